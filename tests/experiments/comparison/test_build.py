"""Figures, differences and verdicts from run folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from curricle.experiments.comparison.build import build_comparison
from curricle.experiments.comparison.config import ComparisonConfig
from curricle.experiments.comparison.facts import ArmFacts, read_arm
from curricle.experiments.comparison.shape import Comparison, Difference
from experiments.comparison.runs import noisy, write_arm, write_run
from made_runs import MadeArm, made_comparison, write_runs

SEEDS = (0, 1, 2)


def arm(folder: Path, shift: float = 0.0, seeds: tuple[int, ...] = SEEDS, first: int = 0, **more: object) -> ArmFacts:
    """An arm whose examples are `shift` better than those of an arm without; its noise is its own."""
    return write_arm(folder, {seed: noisy(first + seed, shift=shift) for seed in seeds}, **more)


def compared(folder: Path, *arms: ArmFacts, **config: object) -> Comparison:
    return build_comparison("made", folder, arms, ComparisonConfig(**config))  # type: ignore[arg-type]


def found(comparison: Comparison, name: str, metric: str = "rouge.sum") -> Difference:
    cell = comparison.cell(name, metric)
    assert cell is not None
    assert cell.difference is not None
    return cell.difference


def test_a_better_arm_is_called_better(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "tuned", 1.0, first=10))
    difference = found(result, "tuned")
    assert difference.verdict == "better"
    assert difference.interval.method == "t over seeds and examples"
    assert difference.interval.mean == pytest.approx(1.0, abs=0.1)
    assert difference.interval.low is not None
    assert difference.interval.low > 0
    assert (difference.seeds, difference.num_examples) == ([0, 1, 2], 60)
    base = result.cell("base", "rouge.sum")
    assert base is not None
    assert base.difference is None
    assert base.per_seed[1] == pytest.approx(np.mean(noisy(1)["rouge.sum"]))


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    base = write_arm(tmp_path / "base", {seed: noisy(seed, name="loss") for seed in SEEDS})
    lower = write_arm(tmp_path / "lower", {seed: noisy(seed + 9, shift=-1, name="loss") for seed in SEEDS})
    higher = write_arm(tmp_path / "higher", {seed: noisy(seed + 5, shift=1, name="loss") for seed in SEEDS})
    result = compared(tmp_path, base, lower, higher)
    assert [found(result, name, "loss").verdict for name in ("lower", "higher")] == ["better", "worse"]


def test_no_difference_is_not_called_one(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "same", first=10))
    assert found(result, "same").verdict == "no difference shown"
    assert any("same: no difference from base is shown in rouge.sum" in line for line in result.open_questions)


def test_one_seed_gives_an_interval_and_no_verdict(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base", seeds=(4,)), arm(tmp_path / "tuned", 1.0, seeds=(4,), first=10))
    difference = found(result, "tuned")
    assert difference.verdict == "not decidable"
    assert difference.interval.method == "bootstrap over examples"
    assert difference.interval.low is not None
    assert difference.interval.low > 0.5
    assert "another seed may turn it" in difference.why
    assert any("--seeds" in line for line in result.open_questions)


def test_two_models_that_nobody_trained_need_no_seeds(tmp_path: Path) -> None:
    plain = {"trainer": "none"}
    result = compared(
        tmp_path,
        arm(tmp_path / "small", seeds=(0,), settings=plain),
        arm(tmp_path / "large", 1.0, seeds=(1,), first=10, settings=plain),
    )
    assert found(result, "large").verdict == "better"
    assert found(result, "large").interval.method == "bootstrap over examples"
    assert [info.trained for info in result.arms] == [False, False]


def test_an_untouched_model_stands_beside_every_seed(tmp_path: Path) -> None:
    untouched = arm(tmp_path / "untouched", seeds=(0,), settings={"trainer": "none"})
    result = compared(tmp_path, untouched, arm(tmp_path / "tuned", 1.0, first=10))
    assert found(result, "tuned").seeds == [0, 1, 2]
    assert found(result, "tuned").verdict == "better"
    assert not any("seeds" in line for line in result.warnings)


def test_figures_of_the_whole_have_a_t_over_seeds(tmp_path: Path) -> None:
    for name, values in (("base", (20.0, 20.4, 20.2)), ("tuned", (22.0, 22.3, 22.1))):
        for seed, value in enumerate(values):
            write_run(tmp_path / name / f"seed-{seed}", metrics={"bleu": value})
    result = compared(tmp_path, read_arm(tmp_path / "base"), read_arm(tmp_path / "tuned"))
    difference = found(result, "tuned", "bleu")
    assert (difference.interval.method, difference.verdict) == ("t over seeds", "better")
    assert difference.num_examples is None


def test_a_figure_of_the_whole_in_one_seed_says_nothing(tmp_path: Path) -> None:
    for name in ("base", "tuned"):
        write_run(tmp_path / name / "seed-0", metrics={"bleu": 20.0 + len(name)})
    difference = found(compared(tmp_path, read_arm(tmp_path / "base"), read_arm(tmp_path / "tuned")), "tuned", "bleu")
    assert (difference.interval.low, difference.p, difference.verdict) == (None, None, "not decidable")


def test_only_common_seeds_are_compared_and_that_is_said(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "tuned", 1.0, seeds=(1, 2, 3), first=10))
    assert found(result, "tuned").seeds == [1, 2]
    assert any("only 1, 2 are compared" in line for line in result.warnings)


def test_no_common_seed_decides_nothing(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "tuned", 1.0, seeds=(7, 8), first=10))
    difference = found(result, "tuned")
    assert difference.verdict == "not decidable"
    assert difference.why == "tuned and base have no seed in common"
    assert difference.interval.low is None
    assert difference.interval.mean == pytest.approx(1.0, abs=0.1)


def test_other_examples_are_left_out_on_both_sides(tmp_path: Path) -> None:
    """Of 60 examples 40 are common; those that only one arm has are a thousand better, and must not count."""
    base = arm(tmp_path / "base")
    for seed in SEEDS:
        values = np.array(noisy(seed + 10, shift=1.0)["rouge.sum"])[20:]
        scores = {"rouge.sum": [*values.tolist(), *([1000.0] * 20)]}
        ids = [f"id{i}" for i in range(20, 60)] + [f"new{i}" for i in range(20)]
        write_run(tmp_path / "tuned" / f"seed-{seed}", scores=scores, ids=ids)
    result = compared(tmp_path, base, read_arm(tmp_path / "tuned"))
    difference = found(result, "tuned")
    assert difference.num_examples == 40
    assert difference.interval.mean == pytest.approx(1.0, abs=0.1)
    assert "of 60 examples 40 are common" in difference.why
    assert any("of which 40 are common" in line for line in result.warnings)


def test_the_order_of_examples_does_not_matter(tmp_path: Path) -> None:
    base, order = arm(tmp_path / "base"), np.random.default_rng(0).permutation(60)
    straight = arm(tmp_path / "straight", 1.0, first=10)
    for seed in SEEDS:
        values = np.array(noisy(seed + 10, shift=1.0)["rouge.sum"])[order]
        write_run(
            tmp_path / "mixed" / f"seed-{seed}", scores={"rouge.sum": values.tolist()}, ids=[f"id{i}" for i in order]
        )
    one, other = (
        found(compared(tmp_path, base, each), each.name).interval for each in (straight, read_arm(tmp_path / "mixed"))
    )
    assert [one.mean, one.low, one.high] == pytest.approx([other.mean, other.low, other.high])


def test_other_data_without_values_an_example_decide_nothing(tmp_path: Path) -> None:
    for name in ("base", "tuned"):
        for seed in SEEDS:
            data = {"eval": {"examples": 5, "tokens": 9, "ids_hash": name}}
            write_run(tmp_path / name / f"seed-{seed}", metrics={"bleu": seed + len(name)}, data=data)
    difference = found(compared(tmp_path, read_arm(tmp_path / "base"), read_arm(tmp_path / "tuned")), "tuned", "bleu")
    assert (difference.verdict, difference.why) == (
        "not decidable",
        "measured on other data: the held-out sets differ",
    )


def test_scores_of_another_measurement_are_not_used(tmp_path: Path) -> None:
    """results.json was measured again and scores.json was not: only the figures themselves can be compared."""
    base, tuned = arm(tmp_path / "base"), arm(tmp_path / "tuned", 1.0, first=10)
    for seed in SEEDS:
        path = tmp_path / "tuned" / f"seed-{seed}" / "results.json"
        results = orjson.loads(path.read_bytes())
        results["metrics"]["rouge.sum"] += 5
        path.write_bytes(orjson.dumps(results))
    difference = found(compared(tmp_path, base, read_arm(tmp_path / "tuned")), "tuned")
    assert difference.num_examples is None
    assert difference.interval.mean == pytest.approx(6.0, abs=0.1)
    assert tuned.name == "tuned"


def test_a_weighted_figure_with_an_exponential(tmp_path: Path) -> None:
    """Perplexity: the exponential of a mean over tokens, and its difference in that unit."""
    rng = np.random.default_rng(0)
    weights = rng.integers(5, 50, 40).astype(float)
    for name, shift in (("base", 0.0), ("tuned", -0.2)):
        for seed in SEEDS:
            values = 2.0 + shift + 0.3 * np.random.default_rng(1).normal(size=40) + 0.01 * rng.normal(size=40)
            folder = tmp_path / name / f"seed-{seed}"
            value = float(np.exp(np.average(values, weights=weights)))
            write_run(folder, metrics={"perplexity": value}, lower=["perplexity"])
            each = {"values": values.tolist(), "weights": weights.tolist(), "transform": "exp"}
            scores = {"ids": [f"id{i}" for i in range(40)], "scores": {"perplexity": each}}
            (folder / "scores.json").write_bytes(orjson.dumps(scores))
    result = compared(tmp_path, read_arm(tmp_path / "base"), read_arm(tmp_path / "tuned"))
    difference = found(result, "tuned", "perplexity")
    assert difference.verdict == "better"
    assert difference.num_examples == 40
    ours, theirs = (result.cell(name, "perplexity") for name in ("tuned", "base"))
    assert ours is not None
    assert theirs is not None
    assert difference.interval.mean == pytest.approx(ours.interval.mean - theirs.interval.mean)


@pytest.mark.parametrize(
    ("unit", "tokens", "verdict"),
    [("tokens", 12, "not decidable"), ("tokens", 10.05, "worse"), ("bytes", 12, "not decidable"), ("", 12, "worse")],
)
def test_a_loss_over_other_tokens_is_another_figure(tmp_path: Path, unit: str, tokens: float, verdict: str) -> None:
    more = {"unit": unit, "lower": ["loss"]}
    base = write_arm(tmp_path / "base", {s: noisy(s, name="loss") for s in SEEDS}, weights=[10] * 60, **more)
    figures = {s: noisy(s, shift=5.0, name="loss") for s in SEEDS}
    other = write_arm(tmp_path / "other", figures, weights=[tokens] * 60, **more)
    comparison = compared(tmp_path, base, other)
    assert found(comparison, "other", "loss").verdict == verdict
    told = f"it is over other {unit} of the same examples (720 against 600)"
    assert any(told in line for line in comparison.open_questions) == (verdict == "not decidable")


def test_a_rate_of_nothing_still_has_an_interval(tmp_path: Path) -> None:
    clean = {seed: {"foreign_script.samples": [0.0] * 500} for seed in SEEDS}
    result = compared(tmp_path, write_arm(tmp_path / "base", clean, range=[0, 100]))
    cell = result.cell("base", "foreign_script.samples")
    assert cell is not None
    assert cell.interval.low == 0
    assert cell.interval.high == pytest.approx(0.735, abs=0.001)


def test_several_arms_are_corrected_for(tmp_path: Path) -> None:
    arms = [arm(tmp_path / "base"), *(arm(tmp_path / f"arm{i}", 0.07, first=10 * i) for i in range(1, 5))]
    plain, holm, all_ = (compared(tmp_path, *arms, correction=how) for how in ("none", "holm", "bonferroni"))
    for name in ("arm1", "arm2", "arm3", "arm4"):
        one, other, third = (found(each, name) for each in (plain, holm, all_))
        assert one.p == one.p_corrected == other.p == third.p
        assert one.p is not None
        assert other.p_corrected is not None
        assert third.p_corrected == pytest.approx(min(1, 4 * one.p))
        assert one.p <= other.p_corrected <= third.p_corrected
        assert (one.level, third.level) == (0.95, pytest.approx(1 - 0.05 / 4))
        assert one.interval.low is not None
        assert other.interval.low is not None
        assert third.interval.low is not None
        assert one.interval.low >= other.interval.low >= third.interval.low


def test_verdict_and_interval_never_contradict(tmp_path: Path) -> None:
    for trial in range(4):
        folder = tmp_path / str(trial)
        shifts = (0.03, 0.06, 0.1, 0.2)
        arms = [arm(folder / f"arm{i}", shift, first=10 * i + 100 * trial) for i, shift in enumerate((0.0, *shifts))]
        for cell in compared(folder, *arms).cells:
            if cell.difference is not None:
                low, high = cell.difference.interval.low, cell.difference.interval.high
                assert low is not None
                assert high is not None
                assert (cell.difference.verdict == "no difference shown") == (low <= 0 <= high)


def test_identical_runs_are_no_different(tmp_path: Path) -> None:
    difference = found(compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "again")), "again")
    assert (difference.verdict, difference.p, difference.interval.low) == ("no difference shown", 1.0, None)
    assert "no spread is seen" in difference.why


def test_the_base_may_be_chosen(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "one"), arm(tmp_path / "two", 1.0, first=10), base="two")
    assert result.base == "two"
    assert found(result, "one").verdict == "worse"


def test_a_base_that_is_not_finished_is_said(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "one"), base="two")
    assert result.base == "one"
    assert result.warnings == ["two has no finished run, so the others are compared with one"]


def test_what_differs_is_named(tmp_path: Path) -> None:
    settings = {"training": {"learning_rate": 1e-4, "max_steps": 5}, "curriculum": {"strategy": "none"}}
    changed = {"training": {"learning_rate": 2e-5, "max_steps": 5}, "curriculum": {"strategy": "length", "up": True}}
    result = compared(
        tmp_path, arm(tmp_path / "base", settings=settings), arm(tmp_path / "tuned", settings=changed, first=10)
    )
    assert result.arms[0].changes == {}
    assert result.arms[1].changes == {
        "training.learning_rate": (1e-4, 2e-5),
        "curriculum.strategy": ("none", "length"),
        "curriculum.up": (None, True),
    }


def test_what_makes_it_unfair_is_said(tmp_path: Path) -> None:
    base = arm(tmp_path / "base")
    other = arm(
        tmp_path / "other", 1.0, first=10, tokens=8000, versions={"torch": "2.9"}, measured="n", recipe_hash="x"
    )
    lines = compared(tmp_path, base, other).warnings
    for part in ("8,000 tokens and base on 4,000 (+100%)", "torch 2.13 and 2.9", "`evaluation` or `generation`"):
        assert any(part in line for line in lines), part


def test_data_that_changed_between_runs_is_said(tmp_path: Path) -> None:
    rows = {"train": {"examples": 41, "tokens": 400, "ids_hash": "changed"}}
    base = arm(tmp_path / "base")
    said = "other and base name the same data, but were trained on other rows: it changed between the runs"
    assert said in compared(tmp_path, base, arm(tmp_path / "other", first=10, data=rows)).warnings
    own = arm(tmp_path / "own", first=10, data=rows, settings={"data": {"train": "own.jsonl"}})
    assert compared(tmp_path, base, own).warnings == []
    write_run(tmp_path / "base" / "seed-2", scores=noisy(2), data=rows)
    mixed = compared(tmp_path, read_arm(tmp_path / "base")).warnings
    assert mixed == ["the runs of base were trained on different rows: its data changed between them"]


def test_equal_compute_is_no_warning(tmp_path: Path) -> None:
    assert compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "tuned", tokens=4030, first=10)).warnings == []


def test_an_arm_alone_is_measured_and_not_compared(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base"))
    assert [cell.difference for cell in result.cells] == [None]
    assert result.open_questions == []


def test_it_comes_back_from_json(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base"), arm(tmp_path / "tuned", 1.0, first=10))
    assert Comparison.from_dict(orjson.loads(orjson.dumps(result.as_dict()))) == result


def test_runs_are_named_from_the_folder(tmp_path: Path) -> None:
    result = compared(tmp_path, arm(tmp_path / "base", seeds=(3,)))
    assert [(run["arm"], run["seed"], run["folder"]) for run in result.runs] == [("base", 3, "base/seed-3")]
    assert result.runs[0]["results"]["metrics"].keys() == {"rouge.sum"}


def test_a_perplexity_has_the_verdict_of_its_loss(tmp_path: Path) -> None:
    arms = [MadeArm("base", 2.1, 0.5), MadeArm("near", 2.3, 0.5), MadeArm("far", 4.0, 0.5)]
    result = made_comparison(write_runs(tmp_path, arms, examples=30, steps=4), arms, checks=())
    for name in ("near", "far"):
        loss, perplexity = found(result, name, "loss"), found(result, name, "perplexity")
        assert perplexity.p == pytest.approx(loss.p, rel=1e-6)
        assert (perplexity.verdict, perplexity.level) == (loss.verdict, loss.level)
        cells = [result.cell(name, metric) for metric in ("loss", "perplexity")]
        bounds = [(cell.interval.low, cell.interval.mean, cell.interval.high) for cell in cells if cell]
        assert bounds[1] == pytest.approx(np.exp(np.array(bounds[0], dtype=float)))
    assert found(result, "far", "perplexity").verdict == "worse"


@pytest.mark.parametrize(("name", "highest"), [("rouge.rouge1", 100.0), ("loss", None)])
def test_an_own_interval_stays_in_range_and_a_difference_need_not(
    name: str, highest: float | None, tmp_path: Path
) -> None:
    """Two seeds that disagree: a t of one degree of freedom is wide."""
    values = {0: {name: [0.0, 10.0, 20.0, 5.0]}, 1: {name: [90.0, 100.0, 80.0, 95.0]}}
    base = write_arm(tmp_path / "base", values, range=[0.0, highest])
    turned = write_arm(tmp_path / "turned", {0: values[1], 1: values[0]}, range=[0.0, highest])
    result = compared(tmp_path, base, turned)
    cell, interval = result.cell("turned", name), found(result, "turned", name).interval
    assert cell is not None
    assert cell.interval.low == 0.0
    assert cell.interval.high is not None
    assert interval.high is not None
    assert interval.low is not None
    assert cell.interval.high == 100.0 if highest else cell.interval.high > 100.0
    assert interval.low < -100.0 < 100.0 < interval.high
