"""The recipe's success lines: read, refused, judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curricle.errors import RecipeError
from curricle.experiments.comparison.checks import check_figures, judge, parse_checks
from curricle.experiments.comparison.config import CheckConfig, ComparisonConfig
from curricle.experiments.comparison.facts import ArmFacts, read_arm
from curricle.experiments.comparison.shape import CheckOutcome
from experiments.comparison.runs import noisy, write_arm, write_logs, write_run

METRICS = {
    "loss": (0.0, None),
    "rouge.rouge1": (0.0, 100.0),
    "rouge.sum": (0.0, 300.0),
    "foreign_script.samples": (0.0, 100.0),
}
ARMS = ["base", "phase1", "lr=1e-05+wd"]


@pytest.mark.parametrize(
    ("line", "figure", "op", "offset", "other", "factor"),
    [
        ("rouge.sum > 70", "rouge.sum", ">", 70, None, 0),
        ("rouge.sum>70", "rouge.sum", ">", 70, None, 0),
        ("foreign_script.samples < 3%", "foreign_script.samples", "<", 3, None, 0),
        ("loss <= -1.5e-2", "loss", "<=", -0.015, None, 0),
        ("rouge.sum >= base", "rouge.sum", ">=", 0, "base", 1),
        ("rouge.sum >= base + 5", "rouge.sum", ">=", 5, "base", 1),
        ("rouge.sum >= phase1 - .5", "rouge.sum", ">=", -0.5, "phase1", 1),
        ("seconds_per_epoch < 0.6 * base", "seconds_per_epoch", "<", 0, "base", 0.6),
        ("seconds < 0.6*base + 10", "seconds", "<", 10, "base", 0.6),
        ("loss < lr=1e-05+wd + 1", "loss", "<", 1, "lr=1e-05+wd", 1),
        ("loss.falls_each_epoch", "loss.falls_each_epoch", ">=", 1, None, 0),
        ("loss.falls_each_epoch >= 1", "loss.falls_each_epoch", ">=", 1, None, 0),
    ],
)
def test_lines_are_read(line: str, figure: str, op: str, offset: float, other: str | None, factor: float) -> None:
    [found] = parse_checks([CheckConfig(check=line)], METRICS, ARMS)
    assert (found.figure, found.op, found.offset, found.other, found.factor) == (figure, op, offset, other, factor)


@pytest.mark.parametrize(
    ("line", "arm", "told"),
    [
        ("rouge.summ > 70", None, "no figure `rouge.summ` will be measured; did you mean `rouge.sum`?"),
        ("grad_norm > 1", None, "no figure `grad_norm`"),
        ("rouge.sum > 70", "phase2", "no arm `phase2`; did you mean `phase1`?"),
        ("rouge.sum > phase2", None, "no arm `phase2`; did you mean `phase1`?"),
        ("rouge.sum > 2 * ", None, "`2 *` is no value"),
        ("rouge.sum = 70", None, "a check is `<figure> <op> <value>`"),
        ("rouge.sum", None, "a check is `<figure> <op> <value>`"),
        ("", None, "a check is `<figure> <op> <value>`"),
        ("rouge.sum > seventy points", None, "`seventy points` is no value"),
        ("seconds < 60%", None, "`seconds` is not in percent"),
        ("loss < 3%", None, "`loss` is not in percent"),
        ("rouge.sum > 70%", None, "`rouge.sum` is not in percent"),
        ("rouge.sum > -1 * base", None, "-1 * base is no share of a figure; the factor must be above 0"),
        ("rouge.sum > base", "base", "arm `base` is compared with itself"),
        ("phase1.tokens_to_base < 5", None, "is written {arm: phase1, check: tokens_to_base < 5}"),
        ("phase1: loss < 2", None, "is written {arm: phase1, check: loss < 2}"),
        ("phase1:loss < 2", None, "is written {arm: phase1, check: loss < 2}"),
        ("lr=1e-05+wd.loss < 2", None, "is written {arm: lr=1e-05+wd, check: loss < 2}"),
        ("phase3: loss < 2", None, "a check is `<figure> <op> <value>`"),
    ],
)
def test_what_cannot_be_meant_is_refused(line: str, arm: str | None, told: str) -> None:
    with pytest.raises(RecipeError) as refused:
        parse_checks([CheckConfig(check="loss < 9"), CheckConfig(check=line, arm=arm)], METRICS, ARMS)
    assert told in str(refused.value)
    assert str(refused.value).startswith(f"checks[1] `{line}`: ")


def test_figures_of_the_run_are_known_before_it() -> None:
    known = check_figures(METRICS)
    assert {"rouge.sum", "grad_norm.max", "seconds_per_epoch", "loss.falls_each_epoch", "peak_memory_gib"} <= set(known)


def judged(arms: list[ArmFacts], line: str, arm: str | None = None) -> list[CheckOutcome]:
    checks = parse_checks([CheckConfig(check=line, arm=arm, otherwise="go back")])
    return judge(checks, arms, ComparisonConfig())


@pytest.fixture
def measured(tmp_path: Path) -> list[ArmFacts]:
    """`tuned` is 2 better than `base`, whose mean is near 41; examples differ by 10 from each other."""
    figures = {"base": 0.0, "tuned": 2.0}
    return [
        write_arm(tmp_path / name, {seed: noisy(seed + 10 * i, shift=shift) for seed in range(3)})
        for i, (name, shift) in enumerate(figures.items())
    ]


@pytest.mark.parametrize(
    ("line", "base", "tuned"),
    [
        ("rouge.sum > 30", "met", "met"),
        ("rouge.sum > 42.5", "not decidable", "not decidable"),
        ("rouge.sum > 60", "not met", "not met"),
        ("rouge.sum < 60", "met", "met"),
        ("rouge.sum <= 30", "not met", "not met"),
    ],
)
def test_a_figure_is_judged_by_its_interval(measured: list[ArmFacts], line: str, base: str, tuned: str) -> None:
    assert [found.outcome for found in judged(measured, line)] == [base, tuned]


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("rouge.sum > base", "met"),
        ("rouge.sum > base + 1", "met"),
        ("rouge.sum > base + 2", "not decidable"),
        ("rouge.sum > base + 3", "not met"),
        ("rouge.sum < base", "not met"),
        ("rouge.sum > 1.5 * base", "not met"),
        ("rouge.sum > 0.5 * base", "met"),
    ],
)
def test_against_an_arm_it_is_paired(measured: list[ArmFacts], line: str, outcome: str) -> None:
    """The interval of either arm is 5 wide; their difference is known far better."""
    [found] = judged(measured, line)
    assert (found.arm, found.outcome) == ("tuned", outcome)


def test_what_was_found_is_said(measured: list[ArmFacts]) -> None:
    [found] = judged(measured, "rouge.sum > 60", arm="tuned")
    assert (found.check, found.otherwise) == ("rouge.sum > 60", "go back")
    assert found.why.endswith("is below 60, over 3 seeds and 60 examples")
    assert "[" in found.measured


def test_a_figure_that_nobody_measured(measured: list[ArmFacts]) -> None:
    assert [(found.outcome, found.why) for found in judged(measured, "bleu > 5", arm="tuned")] == [
        ("not decidable", "tuned has no bleu: it was not measured there")
    ]


@pytest.mark.parametrize(("line", "arm"), [("rouge.sum > later", None), ("rouge.sum > 5", "later")])
def test_an_arm_that_has_not_run(measured: list[ArmFacts], line: str, arm: str | None) -> None:
    assert {(found.outcome, found.why) for found in judged(measured, line, arm)} == {
        ("not decidable", "later has no finished run")
    }


def test_without_an_interval_the_value_is_judged(tmp_path: Path) -> None:
    write_run(tmp_path / "base" / "seed-0", metrics={"bleu": 20.0})
    [found] = judged([read_arm(tmp_path / "base")], "bleu > 15")
    assert found.outcome == "met"
    assert "no interval can be drawn from 1 seed" in found.why


def test_none_of_many_is_below_a_percentage_and_none_of_few_is_not(tmp_path: Path) -> None:
    for name, num in (("many", 500), ("few", 40)):
        clean = {"foreign_script.samples": [0.0] * num}
        write_run(tmp_path / name / "seed-0", scores=clean, range=[0, 100])
    outcomes = judged([read_arm(tmp_path / name) for name in ("many", "few")], "foreign_script.samples < 3%")
    assert [found.outcome for found in outcomes] == ["met", "not decidable"]


def run_arm(folder: Path, *norms: float, **logs: object) -> ArmFacts:
    """A run a seed, each with the gradient norms 0.5, 0.5, norm, 0.5."""
    for seed, norm in enumerate(norms):
        write_run(folder / f"seed-{seed}")
        write_logs(folder / f"seed-{seed}", norms=[0.5, 0.5, norm, 0.5], **logs)  # type: ignore[arg-type]
    return read_arm(folder)


@pytest.mark.parametrize(
    ("norms", "outcome", "why"),
    [
        ((1.0, 1.2), "met", "2 of 2 runs meet it"),
        ((1.0, 2.0), "not decidable", "1 of 2 runs meet it"),
        ((1.8, 2.0), "not met", "0 of 2 runs meet it"),
        ((1.8,), "not met", "one run"),
    ],
)
def test_a_figure_of_the_run_is_a_fact_of_each(tmp_path: Path, norms: tuple[float], outcome: str, why: str) -> None:
    [found] = judged([run_arm(tmp_path / "base", *norms)], "grad_norm.max < 1.5")
    assert (found.outcome, found.why) == (outcome, why)


def test_times_are_compared_run_by_run(tmp_path: Path) -> None:
    base, tuned = run_arm(tmp_path / "base", 1, 1), run_arm(tmp_path / "tuned", 1, 1)
    [found] = judged([base, tuned], "seconds_per_epoch < 0.6 * base")
    assert (found.outcome, found.measured) == ("not met", "4 against 2.4, 4 against 2.4")
    [found] = judged([base, tuned], "seconds_per_epoch <= base")
    assert found.outcome == "met"


def test_an_arm_that_nobody_trained_has_no_norms(tmp_path: Path) -> None:
    base = run_arm(tmp_path / "base", 1)
    write_run(tmp_path / "untouched" / "seed-0", settings={"trainer": "none"})
    untouched = read_arm(tmp_path / "untouched")
    assert [found.arm for found in judged([untouched, base], "grad_norm.max < 1.5")] == ["base"]
    [found] = judged([untouched, base], "grad_norm.max < 1.5", arm="untouched")
    assert (found.outcome, found.why) == ("not decidable", "untouched has no grad_norm.max: it was not trained")


@pytest.mark.parametrize(
    ("losses", "heldout", "outcome"),
    [
        ((4.0, 3.0, 2.0, 1.0), (), "met"),
        ((4.0, 3.0, 4.0, 3.5), (), "not met"),
        ((4.0, 3.0, 2.0, 1.0), ((2, 3.0), (4, 3.1)), "not met"),
        ((4.0, 3.0, 4.0, 3.5), ((2, 3.0), (4, 2.9)), "met"),
        ((4.0, 3.0, 4.0, 3.5), ((4, 2.9),), "not met"),  # no evaluation in the first epoch: the training loss
    ],
)
def test_the_loss_falls_each_epoch(
    tmp_path: Path, losses: tuple[float, ...], heldout: tuple[tuple[int, float], ...], outcome: str
) -> None:
    [found] = judged([run_arm(tmp_path / "base", 1.0, losses=losses, heldout=heldout)], "loss.falls_each_epoch")
    assert found.outcome == outcome


def test_one_epoch_says_nothing_of_falling(tmp_path: Path) -> None:
    write_run(tmp_path / "base" / "seed-0")
    write_logs(tmp_path / "base" / "seed-0", losses=[2.0, 1.0])
    [found] = judged([read_arm(tmp_path / "base")], "loss.falls_each_epoch")
    assert (found.outcome, found.why) == (
        "not decidable",
        "base has no loss.falls_each_epoch: fewer than two epochs were trained",
    )


def test_a_percentage_of_what_is_not_in_percent_is_not_judged(tmp_path: Path) -> None:
    """Where the recipe's own figures are not at hand, as when finished runs are compared."""
    for name, bounds in (("loss", [0, None]), ("hits", [0, 100])):
        write_run(tmp_path / name / "seed-0", scores={name: [1.0, 2.0, 4.0]}, range=bounds)
    assert [found.outcome for found in judged([read_arm(tmp_path / "hits")], "hits < 90%")] == ["met"]
    [found] = judged([read_arm(tmp_path / "loss")], "loss < 90%")
    assert (found.outcome, found.why.split(";")[0]) == ("not decidable", "`loss` is not in percent")


def learned(folder: Path, *curves: list[tuple[int, float]], tokens: int | None = None) -> ArmFacts:
    """A run a seed with these held-out losses, over so many tokens where that is said."""
    for seed, heldout in enumerate(curves):
        write_run(folder / f"seed-{seed}")
        write_logs(folder / f"seed-{seed}", heldout=heldout)
    found = read_arm(folder)
    for run in found.runs.values():
        for row in run.evaluations if tokens else ():
            row["tokens"] = tokens
    return found


BASE = [(1, 4.0), (4, 3.0)]  # 3.0 first at 4,000 tokens, after 8 seconds


@pytest.mark.parametrize(
    ("curves", "outcome", "measured"),
    [
        ([[(1, 4.0), (2, 3.0)]] * 2, "met", "2000 against 3600, 2000 against 3600"),
        ([BASE] * 2, "not met", "4000 against 3600, 4000 against 3600"),
        ([[(1, 4.0), (2, 3.0)], [(1, 4.0), (4, 3.5)]], "not decidable", "2000 against 3600, never against 3600"),
        ([[(1, 4.0), (4, 3.5)]] * 2, "not met", "never against 3600, never against 3600"),
    ],
)
def test_ten_percent_fewer_tokens_to_the_base_arms_loss(
    tmp_path: Path, curves: list[list[tuple[int, float]]], outcome: str, measured: str
) -> None:
    arms = [learned(tmp_path / "shuffled", BASE, BASE), learned(tmp_path / "easy", *curves)]
    [found] = judged(arms, "tokens_to_base < 0.9 * shuffled")
    assert (found.arm, found.outcome, found.measured) == ("easy", outcome, measured)
    [found] = judged(arms, "seconds_to_base < 0.9 * shuffled")
    assert found.outcome == outcome


def test_the_mark_is_the_base_arms_whatever_arm_is_compared_with(tmp_path: Path) -> None:
    """The base arm's last loss is 3.0, which the control first has at 3,000 tokens; its own is 2.5."""
    base, control = learned(tmp_path / "base", BASE), learned(tmp_path / "control", [(1, 4.0), (3, 3.0), (4, 2.5)])
    fast = learned(tmp_path / "fast", [(1, 4.0), (2, 3.0)])
    [found] = judged([base, control, fast], "tokens_to_base < 0.9 * control", arm="fast")
    assert found.measured == "2000 against 2700"
    [check] = parse_checks([CheckConfig(check="tokens_to_base < 0.9 * base", arm="fast")])
    [found] = judge([check], [base, control, fast], ComparisonConfig(base="control"))
    assert (found.outcome, found.measured) == ("not met", "never against never")


def test_a_loss_over_other_tokens_is_no_mark_for_a_check(tmp_path: Path) -> None:
    base = learned(tmp_path / "base", BASE, tokens=100)
    other = learned(tmp_path / "other", [(1, 4.0), (2, 3.0)], tokens=150)
    [found] = judged([base, other], "tokens_to_base < 0.9 * base")
    assert (found.outcome, found.why) == (
        "not decidable",
        "other has no tokens_to_base: no run has a held-out loss over the same tokens as base's run of its seed",
    )


def test_layers_that_learn_together(tmp_path: Path) -> None:
    lora, full = run_arm(tmp_path / "lora", 1.0), run_arm(tmp_path / "full", 1.0)
    for row, moved in zip(lora.runs[0].steps, ([0.5, 0.4], [1.0, 0.8], [1.0, 1.0], [1.0, 1.0]), strict=True):
        row["layer_moved"] = moved
    outcomes = judged([lora, full], "layers.spread < 0.2")
    assert [found.outcome for found in outcomes] == ["met", "not decidable"]
    assert outcomes[1].why.endswith("fewer than two layers have a LoRA update that was logged")


@pytest.mark.parametrize(("share", "outcome"), [(0.97, "not met"), (0.95, "not decidable"), (0.93, "met")])
def test_a_loss_five_percent_better_than_another_arms(tmp_path: Path, share: float, outcome: str) -> None:
    """Of both arms an example has much the same loss, so their ratio is known far better than either."""
    rng = np.random.default_rng(0)
    hard, easy = rng.gamma(4.0, 0.5, 80), {}
    for name, factor in (("easy-to-hard", 1.0), ("layer-wise", share)):
        figures = {s: {"loss": (factor * hard + rng.normal(0, 0.03, 80)).tolist()} for s in range(3)}
        easy[name] = write_arm(tmp_path / name, figures)
    [found] = judged(list(easy.values()), "loss < 0.95 * easy-to-hard")
    assert (found.arm, found.outcome) == ("layer-wise", outcome)
    assert "loss less 0.95 * easy-to-hard" in found.why
    low, high = (float(end) for end in found.measured.split("[")[1].strip("]").split(","))
    own = (share - 0.95) * hard.mean()
    assert low < own < high
    assert high - low < 0.1 < 2 * 1.99 * hard.std() / 80**0.5
