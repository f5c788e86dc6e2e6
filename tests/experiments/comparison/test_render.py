"""A comparison as a person reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.experiments.comparison.build import build_comparison
from curricle.experiments.comparison.config import CheckConfig
from curricle.experiments.comparison.facts import read_arm
from curricle.experiments.comparison.shape import Comparison
from curricle.experiments.report.write import write_report
from experiments.comparison.runs import noisy, write_arm, write_logs, write_run

CHECKS = [CheckConfig(check="rouge.sum > 60", otherwise="take the prompts of before"), CheckConfig(check="steps < 9")]


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    for i, name in enumerate(("base", "tuned|x")):
        for seed in range(3):
            folder = tmp_path / name / f"seed-{seed}"
            settings = {f"key{k}": i for k in range(5)}
            write_run(folder, scores=noisy(seed + 10 * i, shift=i), settings=settings, tokens=4000 + 400 * i)
            write_logs(folder, heldout=[(1, 3.0), (4, 2.0 - 0.1 * i)])
    return build_comparison(
        "mine", tmp_path, [read_arm(tmp_path / name) for name in ("base", "tuned|x")], checks=CHECKS
    )


def test_the_table_says_all_of_it(comparison: Comparison) -> None:
    shown = str(comparison)
    assert shown.splitlines()[0] == "mine: 1 arm against base; intervals of 95 %"
    for heading in ("Arms", "Figures", "Compute", "Held-out loss at equal tokens", "Checks", "What to do", "Mind"):
        assert f"\n{heading}\n" in shown
    assert "key0 0 -> 1; key1 0 -> 1; key2 0 -> 1; 2 more" in shown
    assert "rouge.sum (higher is better)" in shown
    assert "better" in shown
    assert "tuned|x: rouge.sum > 60 is not met; take the prompts of before" in shown
    assert "110%" in shown  # of the base's compute
    assert "\x1b" not in shown


def test_columns_stand_under_their_heads(comparison: Comparison) -> None:
    lines = str(comparison).splitlines()
    start = lines.index("Figures") + 1
    head, first, second = lines[start : start + 3]
    assert first.index("base") == second.index("tuned|x") == head.index("arm")
    assert second.index("better") == head.index("verdict")


def test_a_notebook_gets_tables(comparison: Comparison) -> None:
    shown = comparison._repr_markdown_()
    assert "| figure | arm | value | difference | p | verdict |" in shown
    assert "tuned\\|x" in shown
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_one_arm_has_no_differences(tmp_path: Path) -> None:
    arm = write_arm(tmp_path / "base", {0: noisy(0)})
    shown = str(build_comparison("mine", tmp_path, [arm]))
    assert shown.startswith("mine: base, which nothing is compared with")
    assert "verdict" not in shown


def test_one_seed_is_said_in_the_table(tmp_path: Path) -> None:
    arms = [write_arm(tmp_path / name, {0: noisy(i)}) for i, name in enumerate(("base", "tuned"))]
    assert "not decidable (one seed)" in str(build_comparison("mine", tmp_path, arms))


def test_two_perplexities_are_told_apart(tmp_path: Path) -> None:
    figures = {"loss": 1.0, "loss.perplexity": 2.72, "perplexity": 2.8, "perplexity.bits_per_byte": 0.7}
    for i, names in enumerate([list(figures), ["loss", "loss.perplexity"], ["perplexity", "perplexity.bits_per_byte"]]):
        write_run(tmp_path / f"arm{i}" / "seed-0", metrics={name: figures[name] for name in names})
        shown = build_comparison("mine", tmp_path, [read_arm(tmp_path / f"arm{i}")])
        said = "loss.perplexity is over the learned tokens of the held-out rows"
        assert (said in str(shown)) == (said in shown._repr_markdown_()) == (i == 0)
        text = write_report(shown, tmp_path).read_text(encoding="utf-8")
        assert (said in text) == (said in (tmp_path / "report.md").read_text(encoding="utf-8")) == (i == 0)
