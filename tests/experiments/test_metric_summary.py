"""`metric_summary.csv` holds the numbers of the comparison and of the runs, a row for each."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from curricle.cli.app import main
from curricle.experiments.compare import compare
from curricle.experiments.measuring import domains_of
from curricle.experiments.metric_summary import COLUMNS, write_metric_summary
from curricle.runtime.files import read_json, write_json
from made_runs import write_runs
from support import table


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        reader = csv.DictReader(handle)
        assert reader.fieldnames == list(COLUMNS)
        return list(reader)


def test_rows_are_those_of_the_comparison_and_of_each_run(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "runs" / "made")
    rows = [row for row in rows_of(write_metric_summary(folder, tmp_path / "summary.csv")) if not row["domain"]]
    comparison = compare(folder)
    names = [info.name for info in comparison.metrics]
    assert len(rows) == len(comparison.arms) * (1 + 3) * len(names)
    for cell in comparison.cells:
        own = [row for row in rows if (row["arm"], row["metric"]) == (cell.arm, cell.metric)]
        assert [row["seed"] for row in own] == ["", "0", "1", "2"]
        interval = cell.interval
        assert float(own[0]["value"]) == pytest.approx(interval.mean)
        assert (own[0]["method"] or "none") == interval.method
        assert [float(own[0][name]) if own[0][name] else None for name in ("low", "high")] == [
            interval.low,
            interval.high,
        ]
        assert {int(row["seed"]): float(row["value"]) for row in own[1:]} == pytest.approx(cell.per_seed)
        assert {row["n"] for row in own} <= {"12", ""}


def test_domains_have_rows_of_their_own(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "runs" / "made", seeds=(0, 1))
    means = {}
    for seed in (0, 1):
        path = folder / "curriculum" / f"seed-{seed}" / "scores.json"
        scores = read_json(path)
        domains = {id_: ["law", "art"][i % 2] for i, id_ in enumerate(scores["ids"])}
        write_json(path, scores | {"domains": domains})
        loss = scores["scores"]["loss"]
        weights = np.array(loss["weights"] or [1.0] * len(domains)) * [name == "law" for name in domains.values()]
        means[seed] = float((np.array(loss["values"]) * weights).sum() / weights.sum())
    rows = rows_of(write_metric_summary(folder, tmp_path / "summary.csv"))
    law = {row["seed"]: row for row in rows if (row["domain"], row["metric"]) == ("law", "loss")}
    assert {row["arm"] for row in law.values()} == {"curriculum"}
    assert float(law["0"]["value"]) == pytest.approx(means[0])
    assert float(law["1"]["value"]) == pytest.approx(means[1])
    assert float(law[""]["value"]) == pytest.approx((means[0] + means[1]) / 2)
    assert all(float(row["low"]) < float(row["value"]) < float(row["high"]) for row in law.values())
    assert {row["n"] for row in law.values()} == {"6"}
    both = {row["domain"] for row in rows if row["metric"] == "overlap" and row["arm"] == "curriculum"}
    assert both == {"", "law", "art"}


def test_a_run_keeps_the_domains_of_its_rows() -> None:
    found = domains_of(table(6, domains=True))
    assert list(found.values()) == ["a", "b", "a", "b", "a", "b"]
    assert domains_of(table(6)) == domains_of(None) == {}


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_runs(tmp_path / "runs" / "made", seeds=(0,))
    assert main(["compare", str(folder), "--csv", str(tmp_path / "out" / "summary.csv")]) == 0
    rows = rows_of(tmp_path / "out" / "summary.csv")
    assert {row["seed"] for row in rows} == {"0"}
    assert "curriculum" in capsys.readouterr().out
