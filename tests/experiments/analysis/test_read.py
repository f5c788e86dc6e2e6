"""Label files side by side: what they have in common, what each lacks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curricle.curriculum.labels import read_labels, write_labels
from curricle.errors import DataError
from curricle.experiments.analysis.read import read_table, read_target

IDS = [f"{i:016x}" for i in range(40)]


def save(path: Path, ids: list[str] = IDS, **columns: np.ndarray) -> Path:
    write_labels(path, ids, columns or {"mean": np.arange(len(ids), dtype=float)})
    return path


def test_one_file_keeps_its_names(tmp_path: Path) -> None:
    table, target = read_table([save(tmp_path / "a.parquet")], "probe")
    assert (len(table), list(table.columns), target, table.notes) == (40, ["mean"], None, [])


def test_several_files_are_matched_by_id_and_named_after_their_files(tmp_path: Path) -> None:
    length = np.arange(40.0)
    one = save(tmp_path / "l2.parquet", mean=np.arange(40.0), length=length)
    other = save(tmp_path / "kl.parquet", IDS[:1:-1], mean=-np.arange(38.0), length=length[:1:-1])
    table, _ = read_table([one, other], "probe")
    assert [each.decode() for each in table.ids] == IDS[2:]
    assert list(table.columns) == ["l2.mean", "kl.mean", "length"]
    np.testing.assert_array_equal(table.columns["l2.mean"], np.arange(2.0, 40))
    np.testing.assert_array_equal(table.columns["kl.mean"], np.arange(-37.0, 1))
    assert table.notes == [
        "l2: 2 of 40 labels are left out, as other files lack them",
        "the same in all files, and so shown once: length",
    ]


def test_files_of_one_stem_are_named_with_their_folders(tmp_path: Path) -> None:
    paths = []
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        paths.append(save(tmp_path / name / "labels.parquet", mean=np.arange(40.0) ** (i + 1)))
    table, _ = read_table(paths, "probe")
    assert list(table.columns) == ["a-labels.mean", "b-labels.mean"]
    with pytest.raises(DataError, match="is named twice"):
        read_table([paths[0], paths[0]], "probe")


def test_a_row_that_is_there_twice_is_one_example(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", [*IDS, *IDS[:3]], mean=np.arange(43.0))
    table, _ = read_table([path], "probe")
    np.testing.assert_array_equal(table.columns["mean"], np.arange(40.0))
    assert table.notes == [f"{path}: 3 labels of rows that were labelled already are left out"]


def test_a_target_within_the_labels_is_no_score(tmp_path: Path) -> None:
    columns = {"mean": np.arange(40.0), "probe": np.arange(40.0) ** 2, "probe_tokens": np.ones(40)}
    table, target = read_table([save(tmp_path / "a.parquet", **columns)], "probe")
    assert list(table.columns) == ["mean"]
    np.testing.assert_array_equal(target.values_n, np.arange(40.0) ** 2)


def test_what_either_side_lacks_is_counted(tmp_path: Path) -> None:
    table, _ = read_table([save(tmp_path / "a.parquet", IDS[:30])], "probe")
    probe = save(tmp_path / "probe.parquet", IDS[:9:-1], probe=np.arange(30.0))
    target = read_target(probe, "probe", table)
    np.testing.assert_array_equal(target.values_n[10:], np.arange(29.0, 9, -1))
    assert np.isnan(target.values_n[:10]).all()
    assert target.notes == [
        f"10 of the 30 labelled examples have no `probe` in {probe}",
        f"10 of the 30 examples of {probe} have no label",
    ]


def test_a_row_that_the_target_has_twice_counts_once(tmp_path: Path) -> None:
    table, _ = read_table([save(tmp_path / "a.parquet")], "probe")
    probe = save(tmp_path / "probe.parquet", [*IDS[:5], *IDS], probe=np.arange(45.0))
    target = read_target(probe, "probe", table)
    np.testing.assert_array_equal(target.values_n, [*range(5), *range(10, 45)])
    assert target.notes == [f"{probe}: 5 labels of rows that were labelled already are left out"]


def test_a_row_without_a_token_to_learn_is_left_out(tmp_path: Path) -> None:
    table, _ = read_table([save(tmp_path / "a.parquet")], "probe")
    values, tokens = np.arange(40.0), np.ones(40)
    values[4], tokens[4] = np.nan, 0
    target = read_target(save(tmp_path / "p.parquet", probe=values, probe_tokens=tokens), "probe", table)
    assert np.flatnonzero(np.isnan(target.values_n)).tolist() == [4]
    assert target.notes == ["1 example without a token to learn, and so without `probe`"]


@pytest.mark.parametrize(
    ("ids", "columns", "said"),
    [
        (IDS, {"probe": np.where(np.arange(40) == 3, np.nan, 1.0)}, "no finite number for 1 of 40"),
        (IDS, {"probe": np.ones(40)}, "is the same for all examples, 1; nothing can foresee it"),
        (IDS, {"loss": np.arange(40.0)}, "has no column `probe`; known: `loss`"),
        ([f"{i:016x}" for i in range(900, 940)], {"probe": np.arange(40.0)}, "belongs to other data: none of its 40"),
        ([*IDS[:15], "f" * 16], {"probe": np.arange(16.0)}, "15 examples in common; at least 16"),
        (IDS, {"probe": np.arange(40.0), "probe_tokens": (np.arange(40) < 9) * 1.0}, "is known of 9 labelled examples"),
    ],
)
def test_a_target_that_is_none_is_refused(tmp_path: Path, ids: list[str], columns: dict, said: str) -> None:
    table, _ = read_table([save(tmp_path / "a.parquet")], "probe")
    with pytest.raises(DataError, match=said):
        read_target(save(tmp_path / "probe.parquet", ids, **columns), "probe", table)


def test_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no label file"):
        read_table([tmp_path / "none.parquet"], "probe")
    with pytest.raises(DataError, match=r"8 examples .*at least 16 are needed"):
        read_table([save(tmp_path / "few.parquet", IDS[:8])], "probe")
    with pytest.raises(DataError, match="no score; its columns: probe"):
        read_table([save(tmp_path / f"{name}.parquet", probe=np.arange(40.0)) for name in "pq"], "probe")
    one, other = save(tmp_path / "a.parquet"), save(tmp_path / "b.parquet", [f"{i:016x}" for i in range(90, 130)])
    with pytest.raises(DataError, match="belongs to other data than"):
        read_table([one, other], "probe")


def test_json_is_read_and_row_numbers_match_nothing(tmp_path: Path) -> None:
    scores = {"mean": 0.5, "max": 1.0}
    entries = {name: {**scores, "layers": {"1": 0.1, "2": i}} for i, name in enumerate(IDS)}
    by_id, by_row = tmp_path / "ids.json", tmp_path / "rows.json"
    by_id.write_text(json.dumps({"difficulties": entries}), encoding="utf-8")
    by_row.write_text(json.dumps({str(i): scores for i in range(40)}), encoding="utf-8")
    table, _ = read_table([by_id], "probe")
    assert table.layers["ids"].shape == (40, 2)
    assert read_table([by_row], "probe")[0].by_row
    with pytest.raises(DataError, match="keyed by row number"):
        read_table([by_id, by_row], "probe")
    with pytest.raises(DataError, match=r"rows\.json is keyed by row number"):
        read_target(save(tmp_path / "p.parquet", probe=np.arange(40.0)), "probe", read_table([by_row], "probe")[0])


def test_our_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", mean=np.linspace(0, 1, 40))
    table, _ = read_table([path], "probe")
    np.testing.assert_array_equal(table.columns["mean"], read_labels(path).columns["mean"])
