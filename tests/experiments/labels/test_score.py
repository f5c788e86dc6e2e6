"""Rows labelled by a Llama cloud and a Qwen2 edge of other depth, width and tokenizer, from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import curricle
from curricle.curriculum.labels import align, align_layers, read_labels
from curricle.data.config import DataConfig
from curricle.data.sources import read_examples
from curricle.difficulty.config import BASELINES
from curricle.difficulty.parts import Parts
from curricle.difficulty.scores import SCORES
from curricle.errors import DataError, ModelError, RecipeError, RunError
from curricle.runtime.rundir import hold
from difficulty.nano_pair import make_rows, save_model, save_pair, write_rows

NUM = 60


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    cloud, edge = save_pair(tmp_path_factory.mktemp("models"))
    return {"cloud": cloud, "edge": edge}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", NUM)


def ids_of(path: Path) -> list[str]:
    return [example.id for example in read_examples(DataConfig(train=str(path)))]


def test_one_label_a_row_with_all_scores(pair: dict[str, Path], data: Path, tmp_path: Path) -> None:
    result = curricle.score(data, **pair, output=tmp_path / "labels.parquet")
    labels = read_labels(tmp_path / "labels.parquet")
    assert list(labels.columns) == [*SCORES, *BASELINES]
    assert align_layers(labels, ids_of(data)).shape == (NUM, 3)
    for name in (*SCORES, *BASELINES):
        assert np.isfinite(align(labels, ids_of(data), name)).all()
    assert labels.about["cost"]["seconds"] > 0
    assert labels.flops > 0
    assert set(labels.about["cost"]["columns"]) == {"layers", *SCORES, *BASELINES}
    assert labels.about["matched_layers"] == [2, 3, 5]
    assert labels.about["models"]["cloud"]["layers"] == 5
    assert "60 labels" in str(result)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.parquet"]


CASES: list[dict[str, Any]] = [
    {"space": "ridge", "metric": "l2"},
    {"space": "procrustes", "match": "cka", "standardize": "whole"},
    {"pool": "mean", "match": "cka", "normalize": "rank"},
    {"pool": "probe", "metric": "l2"},
    {"metric": "kl_bytes"},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_every_way_of_comparing(settings: dict[str, Any], pair: dict[str, Path], data: Path, tmp_path: Path) -> None:
    result = curricle.score(data, **pair, output=tmp_path / "labels.parquet", baselines=[], **settings)
    layers = result.labels.layers
    assert layers is not None
    assert (layers >= 0).all()
    assert (layers.std(0) > 1e-6).all()
    assert list(result.labels.columns) == list(SCORES)


@pytest.mark.parametrize("settings", [{}, {"space": "none", "metric": "l2"}, {"metric": "kl"}], ids=str)
def test_a_model_does_not_differ_from_itself(
    settings: dict[str, Any], pair: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    twice = {"cloud": pair["edge"], "edge": pair["edge"]}
    result = curricle.score(data, **twice, output=tmp_path / "labels.parquet", baselines=["gap"], **settings)
    np.testing.assert_allclose(result.labels.layers, 0, atol=1e-5)
    np.testing.assert_allclose(result.labels.columns["gap"], 0, atol=1e-9)


def test_batches_and_the_order_of_rows_do_not_matter(pair: dict[str, Path], data: Path, tmp_path: Path) -> None:
    anchors = write_rows(tmp_path / "anchors.jsonl", 40, seed=1)
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("\n".join(reversed(data.read_text(encoding="utf-8").splitlines())), encoding="utf-8")
    found = []
    for path, token_budget in ((data, 4096), (backwards, 40)):
        result = curricle.score(
            path, **pair, output=tmp_path / f"{path.stem}.parquet", calibration=anchors, token_budget=token_budget
        )
        found.append({name: align(result.labels, ids_of(data), name) for name in result.labels.columns})
        found[-1]["layers"] = align_layers(result.labels, ids_of(data))
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, atol=1e-4, err_msg=name)


def test_an_interrupted_run_goes_on(
    pair: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = curricle.score(data, **pair, output=tmp_path / "whole.parquet").labels
    fill, work = Parts.fill, list[str]()

    def falls(self: Parts, *args: Any, **kwargs: Any) -> None:
        if self.name == "losses-edge":
            raise KeyboardInterrupt
        fill(self, *args, **kwargs)

    def counts(self: Parts, *args: Any, **kwargs: Any) -> None:
        work.extend(self.name for _ in self.missing)
        fill(self, *args, **kwargs)

    monkeypatch.setattr(Parts, "fill", falls)
    with pytest.raises(KeyboardInterrupt):
        curricle.score(data, **pair, output=tmp_path / "cut.parquet")
    assert not (tmp_path / "cut.parquet").exists()
    monkeypatch.setattr(Parts, "fill", counts)
    again = curricle.score(data, **pair, output=tmp_path / "cut.parquet").labels
    assert work == ["losses-edge", "ifd"]
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(again.columns[name], values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.parquet", "whole.parquet"]


def test_a_smaller_budget_goes_on_where_memory_ran_out(
    pair: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Any = {"data": data, **pair, "baselines": ["length", "loss"]}
    whole = curricle.score(**asked, output=tmp_path / "whole.parquet").labels
    fill, work = Parts.fill, list[str]()

    def runs_out(self: Parts, *args: Any, **kwargs: Any) -> None:
        if self.name == "losses-edge":
            raise MemoryError
        fill(self, *args, **kwargs)

    def counts(self: Parts, *args: Any, **kwargs: Any) -> None:
        work.extend(self.name for _ in self.missing)
        fill(self, *args, **kwargs)

    monkeypatch.setattr(Parts, "fill", runs_out)
    with pytest.raises(MemoryError):
        curricle.score(**asked, output=tmp_path / "cut.parquet")
    monkeypatch.setattr(Parts, "fill", counts)
    again = curricle.score(**asked, output=tmp_path / "cut.parquet", token_budget=40).labels
    assert work == ["losses-edge"]
    assert again.about["fingerprint"] == whole.about["fingerprint"]
    assert again.about["settings"]["token_budget"] == 40
    for name, values in whole.columns.items():
        np.testing.assert_allclose(again.columns[name], values, rtol=1e-4, err_msg=name)
    curricle.score(**asked, output=tmp_path / "whole.parquet", token_budget=60)
    assert work == ["losses-edge"], "labels of another budget are the same labels"


def test_two_calls_do_not_share_parts(pair: dict[str, Path], data: Path, tmp_path: Path) -> None:
    asked: Any = {"data": data, **pair, "baselines": [], "output": tmp_path / "labels.parquet"}
    with hold(tmp_path / ".labels.parquet.parts"), pytest.raises(RunError, match=r"labels.parquet.parts is in use by"):
        curricle.score(**asked)
    assert not list(tmp_path.iterdir())


def test_parts_of_other_labels_stay(
    pair: dict[str, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: Any = {"data": data, **pair, "baselines": [], "output": tmp_path / "labels.parquet"}
    fill = Parts.fill

    def falls(self: Parts, *args: Any, **kwargs: Any) -> None:
        if self.name == "layers":
            raise KeyboardInterrupt
        fill(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "fill", falls)
        with pytest.raises(KeyboardInterrupt):
            curricle.score(**asked)
    root = tmp_path / ".labels.parquet.parts"
    before = sorted(path for path in root.rglob("*.npz"))
    assert before
    curricle.score(**asked, metric="l2")
    assert sorted(path for path in root.rglob("*.npz")) == before
    assert f"{root} keeps parts of 1 other labelling; remove it if none is to go on" in capsys.readouterr().err
    curricle.score(**asked, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.parquet"]


def test_what_is_there_is_not_made_again(pair: dict[str, Path], data: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.parquet"
    curricle.score(data, **pair, output=output, baselines=[])
    before = output.stat().st_mtime_ns
    curricle.score(data, **pair, output=output, baselines=[])
    assert output.stat().st_mtime_ns == before
    with pytest.raises(RunError, match=r"other data, models or settings.*--force"):
        curricle.score(data, **pair, output=output, baselines=[], metric="l2")
    curricle.score(data, **pair, output=output, baselines=[], metric="l2", force=True)
    assert read_labels(output).about["settings"]["metric"] == "l2"


def test_json_holds_the_same(pair: dict[str, Path], data: Path, tmp_path: Path) -> None:
    asked: Any = {"data": data, **pair, "baselines": ["length"]}
    parquet = curricle.score(**asked, output=tmp_path / "labels.parquet").labels
    curricle.score(**asked, output=tmp_path / "labels.json")
    again = curricle.score(**asked, output=tmp_path / "labels.json").labels
    np.testing.assert_array_equal(align_layers(again, parquet.ids), parquet.layers)
    entry = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))["difficulties"][ids_of(data)[3]]
    assert entry["mean"] == pytest.approx(float(parquet.columns["mean"][3]))
    assert list(entry["layers"]) == ["1", "2", "3"]


def test_dialogues_go_through_each_models_own_template(tmp_path: Path, pair: dict[str, Path]) -> None:
    rows = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
        for row in make_rows(40)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asked: Any = {"data": path, **pair, "baselines": ["length", "ifd"]}
    plain = curricle.score(**asked, output=tmp_path / "a.parquet").labels
    told = curricle.score(
        **asked, output=tmp_path / "b.parquet", overrides=["data.system_prompt=Analyze the dialogue."]
    ).labels
    assert (told.columns["length"] > plain.columns["length"]).all()
    assert told.about["system_prompt"] == "Analyze the dialogue."
    assert (told.ids == plain.ids).all()


def test_raw_text_is_all_prompt(tmp_path: Path, pair: dict[str, Path]) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": row["prompt"]}) for row in make_rows(40)), encoding="utf-8")
    labels = curricle.score(path, **pair, output=tmp_path / "labels.parquet").labels
    assert len(labels) == 40
    assert np.isnan(labels.columns["ifd"]).all()
    assert np.isfinite(labels.columns["gap"]).all()


def test_a_row_there_twice_gets_one_label(tmp_path: Path, pair: dict[str, Path], data: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join([data.read_text(encoding="utf-8")] * 2), encoding="utf-8")
    assert len(curricle.score(path, **pair, output=tmp_path / "labels.parquet", baselines=[]).labels) == NUM


# ---- mistakes


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"metric": "kl"}, ModelError, "other vocabularies"),
    ({"space": "none"}, ModelError, "48 wide in the cloud model and 32 in the edge"),
    ({"num_calibration": 8}, DataError, "8 calibration samples.*at least 16"),
    ({"num_calibration": 200}, DataError, "do not fit into the 60 rows"),
    (
        {"metric": "kl_bytes", "space": "rsa"},
        RecipeError,
        "^curricle score: cannot be: metric `kl_bytes` .* space `rsa` has no meaning",
    ),
    ({"metric": "cosin"}, RecipeError, "cosin"),
    ({"pooling": "last"}, RecipeError, "`pooling`"),
    ({"cloud": "nano:llama"}, ModelError, "nano:llama is made for a recipe"),
    ({"cloud": "./nowhere"}, ModelError, "no such folder"),
    ({"output": "labels.csv"}, RunError, "must be .parquet or .json"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[message for *_, message in BAD])
def test_mistakes_are_one_line(
    change: dict[str, Any], kind: type[Exception], message: str, pair: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {**pair, "output": tmp_path / "labels.parquet", **change}
    with pytest.raises(kind, match=message) as raised:
        curricle.score(data, **asked)
    assert "\n" not in str(raised.value)


def test_too_few_rows(pair: dict[str, Path], tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", 20)
    with pytest.raises(DataError, match=r"10 calibration samples.*too few.*--calibration"):
        curricle.score(few, **pair, output=tmp_path / "labels.parquet")


def test_a_cloud_below_the_edge_is_said(
    pair: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = save_model(tmp_path / "small", "llama", 3, ["a b"], 270, num_hidden_layers=1, hidden_size=16)
    curricle.score(data, cloud=small, edge=pair["edge"], output=tmp_path / "labels.parquet", baselines=[])
    assert "warning: the cloud model has" in capsys.readouterr().err


def test_calibration_rows_that_are_scored_are_left_out(
    pair: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed.jsonl"
    own = data.read_text(encoding="utf-8").splitlines()[:5]
    mixed.write_text("\n".join([*own, *map(json.dumps, make_rows(30, seed=2))]), encoding="utf-8")
    result = curricle.score(data, **pair, calibration=mixed, output=tmp_path / "labels.parquet", baselines=[])
    assert result.labels.about["settings"]["num_calibration"] == 30
    assert "5 of 35 calibration samples are rows to be scored" in capsys.readouterr().err
