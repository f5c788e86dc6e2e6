"""The loss of each domain: the same machinery on the rows of one domain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from curricle.experiments.comparison.build import build_comparison
from curricle.experiments.comparison.facts import ArmFacts, read_arm
from curricle.experiments.comparison.shape import Comparison, Difference, Interval
from curricle.experiments.report.tables import domain_table
from curricle.runtime.files import read_json, write_json
from experiments.comparison.runs import noisy, write_arm

SEEDS = (0, 1, 2)
Shifts = dict[str, float]


def arm(folder: Path, shifts: Shifts, seeds: tuple[int, ...] = SEEDS, kept: bool = True, first: int = 0) -> ArmFacts:
    """60 rows, the domains in turn, whose losses are shifted by domain. `kept`: with the domain of each row."""
    names = [list(shifts)[i % len(shifts)] for i in range(60)]
    shift = np.array([shifts[name] for name in names])
    losses = {seed: np.array(noisy(first + seed, name="loss")["loss"]) + shift for seed in seeds}
    write_arm(folder, {seed: {"loss": each.tolist()} for seed, each in losses.items()})
    for seed, each in losses.items():
        path = folder / f"seed-{seed}"
        means = {name: float(np.mean([x for x, n in zip(each, names, strict=True) if n == name])) for name in shifts}
        write_json(path / "results.json", read_json(path / "results.json") | {"domain_loss": means})
        if kept:
            named = {f"id{i}": name for i, name in enumerate(names)}
            write_json(path / "scores.json", read_json(path / "scores.json") | {"domains": named})
    return read_arm(folder)


def compared(folder: Path, *shifts: Shifts, **more: object) -> Comparison:
    arms = [arm(folder / f"arm{i}", each, first=10 * i, **more) for i, each in enumerate(shifts)]  # type: ignore[arg-type]
    return build_comparison("made", folder, arms)


@pytest.mark.parametrize("kept", [True, False])
def test_a_domain_that_was_harmed_is_seen_though_the_whole_is_better(tmp_path: Path, kept: bool) -> None:
    same: Shifts = {"law": 0.0, "art": 0.0, "web": 0.0}
    found = compared(tmp_path, same, {"law": 1.0, "art": -5.0, "web": 0.0}, kept=kept)
    assert [each.domain for each in found.domains] == ["art", "law", "web"]
    cells = {each.domain: each.cells[1] for each in found.domains}
    verdicts = {name: cell.difference.verdict for name, cell in cells.items() if cell.difference}
    assert verdicts == {"law": "worse", "art": "better", "web": "no difference shown"}
    law = cells["law"].difference
    assert law is not None
    assert law.interval.mean == pytest.approx(1.0, abs=0.1)
    assert law.num_examples == (20 if kept else None)
    assert cells["law"].per_seed == {
        seed: pytest.approx(read_json(tmp_path / "arm1" / f"seed-{seed}" / "results.json")["domain_loss"]["law"])
        for seed in SEEDS
    }
    assert [cell.difference for each in found.domains for cell in each.cells if cell.arm == "arm0"] == [None] * 3


def test_the_table_has_a_row_an_arm_and_a_column_a_domain(tmp_path: Path) -> None:
    found = compared(tmp_path, {"law": 0.0, "art": 0.0}, {"law": 1.0, "art": -5.0})
    head, base, other, said = str(found).split("\nBy domain\n")[1].splitlines()[:4]
    assert head.split() == ["arm", "art", "law"]
    assert len(base.split()) == 3
    assert [other.split()[i] for i in (0, 2, 4)] == ["arm1", "better", "worse"]
    assert said.startswith("mean held-out loss over seeds; better or worse than arm0 where")
    table = domain_table(found)
    assert (table.head, [row[0] for row in table.rows]) == (["arm", "art", "law"], ["arm0", "arm1"])
    assert table.rows[1][2].endswith(", worse)")
    assert "(+" in table.rows[1][2]
    small = compared(tmp_path / "small", {"law": 0.0, "art": 0.0}, {"law": 1.0, "art": -5.0})
    tiny = Difference(Interval(4e-5, 2e-5, 6e-5, "t"), 0.01, 0.01, "worse", "")
    small.domains[0].cells[1] = replace(small.domains[0].cells[1], difference=tiny)
    assert domain_table(small).rows[1][1].endswith("(+0.00004, worse)")  # never +0.000
    assert Comparison.from_dict(orjson.loads(orjson.dumps(found.as_dict()))).domains == found.domains


def test_of_many_domains_those_with_a_difference_come_first(tmp_path: Path) -> None:
    names = [f"d{i:02d}" for i in range(15)]
    found = compared(tmp_path, dict.fromkeys(names, 0.0), {name: 2.0 * (name == "d14") for name in names})
    shown = str(found).split("\nBy domain\n")[1].splitlines()
    assert len(shown[0].split()) == 1 + 12
    assert "d14" in shown[0]
    assert "12 of 15 domains" in shown[3]
    assert len(domain_table(found).head) == 1 + 15


def test_one_domain_is_the_whole_and_one_seed_no_verdict(tmp_path: Path) -> None:
    one = compared(tmp_path / "one", {"law": 0.0}, {"law": 1.0})
    assert one.domains == []
    assert "By domain" not in str(one)
    two: Shifts = {"law": 0.0, "art": 0.0}
    lines = str(compared(tmp_path / "two", two, {"law": 1.0, "art": 1.0}, seeds=(0,))).split("\nBy domain\n")[1]
    assert len(lines.splitlines()[2].split()) == 3
    assert "none is called better or worse" in lines.splitlines()[3]
