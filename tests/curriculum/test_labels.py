"""Label files: what is written is read, ids find their labels, and what cannot be used is refused with counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curricle.curriculum.labels import Labels, align, align_layers, read_labels, write_labels
from curricle.curriculum.labels_json import export_json, import_json
from curricle.data.table import TokenTable
from curricle.errors import DataError
from curricle.runtime.files import write_json

IDS = [f"{number:016x}" for number in (7, 3, 2**60, 11)]
MEAN = [0.5, 0.1, 0.9, 0.3]
LAYERS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    about = {"what": "test", "cost": {"flops": 12.5, "seconds": 1}}
    write_labels(tmp_path / "l.parquet", IDS, {"mean": MEAN, "length": [1, 2, 3, 4]}, LAYERS, about)
    return read_labels(tmp_path / "l.parquet")


def test_what_is_written_is_read(labels: Labels) -> None:
    assert [name.decode() for name in labels.ids] == IDS
    assert list(labels.columns) == ["mean", "length"]
    assert labels.columns["mean"].dtype == np.float32
    assert labels.layers is not None
    assert labels.layers.tolist() == LAYERS
    assert labels.flops == 12.5
    assert labels.about["version"] == 1
    assert read_labels(labels.path).about["what"] == "test"


def test_the_file_is_plain_parquet(labels: Labels) -> None:
    table = pq.read_table(labels.path)
    assert table.column("id").to_pylist() == IDS
    assert table.column("layers").type == pa.list_(pa.float32(), 2)


def test_ids_find_their_labels_in_any_sequence_windows_and_turns_too(labels: Labels) -> None:
    asked = [IDS[2], f"{IDS[0]}-0", f"{IDS[0]}-1", IDS[1], f"{IDS[3]}-12"]
    np.testing.assert_allclose(align(labels, asked, "mean"), [0.9, 0.5, 0.5, 0.1, 0.3], rtol=1e-6)
    assert align_layers(labels, asked)[:, 0].tolist() == [5.0, 1.0, 1.0, 3.0, 7.0]


def test_ids_of_a_table_are_read_as_they_lie(labels: Labels) -> None:
    table = TokenTable.from_lists([[1, 2]] * 4, [[-100, 2]] * 4, ids=IDS)
    np.testing.assert_allclose(align(labels, table.ids, "mean"), MEAN, rtol=1e-6)


def test_many_ids_against_a_dictionary(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"{number:016x}" for number in rng.integers(0, 2**63, 500)]
    score = rng.random(500).astype(np.float32)
    write_labels(tmp_path / "l.parquet", ids, {"s": score})
    asked = [ids[i] for i in rng.integers(0, 500, 2000)]
    by_id = dict(zip(ids, score.tolist(), strict=True))
    assert align(read_labels(tmp_path / "l.parquet"), asked, "s").tolist() == [by_id[name] for name in asked]


def test_missing_labels_are_counted_and_one_is_named(labels: Labels) -> None:
    other = f"{99:016x}"
    with pytest.raises(DataError, match=f"lacks a label for 2 of the 3 examples, such as `{other}`"):
        align(labels, [IDS[0], other, f"{98:016x}"], "mean")
    with pytest.raises(DataError, match="belongs to other data: none of the 1 examples"):
        align(labels, [other], "mean")
    known = align(labels, [IDS[0], other], "mean", allow_unknown=True)
    assert known[0] == 0.5
    assert np.isnan(known[1])


def test_what_is_no_number_is_refused_with_its_count(tmp_path: Path) -> None:
    write_labels(tmp_path / "l.parquet", IDS, {"mean": [1, np.nan, np.inf, 2]}, [[np.nan], [0], [0], [0]])
    labels = read_labels(tmp_path / "l.parquet")
    with pytest.raises(DataError, match=f"no finite number for 2 of the 4 examples, such as `{IDS[1]}`"):
        align(labels, IDS, "mean")
    with pytest.raises(DataError, match="`layers` is no finite number for 1 of the 4"):
        align_layers(labels, IDS)


def test_an_unknown_score_names_the_nearest(labels: Labels) -> None:
    with pytest.raises(DataError, match="no score `maen`; did you mean `mean`"):
        align(labels, IDS, "maen")


def test_labels_without_layers_are_refused_where_layers_are_needed(tmp_path: Path) -> None:
    write_labels(tmp_path / "l.parquet", IDS, {"mean": MEAN})
    with pytest.raises(DataError, match="no difference per layer"):
        align_layers(read_labels(tmp_path / "l.parquet"), IDS)


@pytest.mark.parametrize("name", ["abc", "0123456789abcdeg", "0123456789abcdef0", "0123456789ABCDEF"])
def test_what_is_no_id_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no id of an example"):
        write_labels(tmp_path / "l.parquet", [IDS[0], name], {"mean": [1, 2]})


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no label file"):
        read_labels(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match="no Parquet file that can be read"):
        read_labels(tmp_path / "text.parquet")
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column `id`; it has name"):
        read_labels(tmp_path / "other.parquet")
    pq.write_table(pa.table({"id": ["abc"]}), tmp_path / "short.parquet")
    with pytest.raises(DataError, match="something other than 16 hex digits"):
        read_labels(tmp_path / "short.parquet")
    with pytest.raises(DataError, match="`mean` has 1 values for 4 ids"):
        write_labels(tmp_path / "l.parquet", IDS, {"mean": [1]})


def test_columns_a_person_brings_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": IDS, "mine": [1, 2, None, 4], "note": list("abcd")}), tmp_path / "l.parquet")
    labels = read_labels(tmp_path / "l.parquet")
    assert list(labels.columns) == ["mine"]
    assert np.isnan(labels.columns["mine"]).tolist() == [False, False, True, False]
    assert labels.flops == 0.0


def test_json_and_back(labels: Labels, tmp_path: Path) -> None:
    export_json(labels, tmp_path / "l.json")
    import_json(tmp_path / "l.json", tmp_path / "again.parquet")
    again = read_labels(tmp_path / "again.parquet")
    places = [again.ids.tolist().index(name) for name in labels.ids.tolist()]
    for name, values in labels.columns.items():
        assert again.columns[name][places].tolist() == values.tolist()
    assert again.layers is not None
    assert again.layers[places].tolist() == LAYERS
    assert again.about == labels.about


def test_json_with_unlike_entries_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "l.json", {"difficulties": {IDS[0]: {"mean": 1}, IDS[1]: {"max": 1}}})
    with pytest.raises(DataError, match=f"`{IDS[0]}` has other scores"):
        import_json(tmp_path / "l.json", tmp_path / "l.parquet")
    (tmp_path / "l.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="has no labels"):
        import_json(tmp_path / "l.json", tmp_path / "l.parquet")
