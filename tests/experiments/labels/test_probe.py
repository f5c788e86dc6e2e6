"""Held-out losses of training rows: whose model read which row, and that nothing but that decides them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import curricle
from curricle.curriculum.labels import Labels, align, read_labels
from curricle.data.config import DataConfig
from curricle.data.sources import read_examples
from curricle.errors import CurricleError, DataError, RecipeError, RunError
from curricle.experiments.comparison.compute import train_flops
from curricle.experiments.labels.crossfit import Crossfit, part_of
from curricle.experiments.material import gather
from curricle.experiments.resolve import resolve
from curricle.training.monitors import Monitor
from difficulty.nano_pair import WORDS, make_rows, save_model, write_rows

NUM = 44
pytestmark = pytest.mark.usefixtures("libraries")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "m", "llama", 0, WORDS * 4, num_hidden_layers=1)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def recipe(model: Path, data: Path | str = "rows.jsonl", **more: Any) -> dict[str, Any]:
    return {
        "model": {"name_or_path": str(model)},
        "data": {"train": str(data), "format": "prompt-completion", "max_length": 96},
        "training": {
            "max_steps": 5,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "use_cpu": True,
        },
        "seed": 7,
        **more,
    }


def rows(path: str = "rows.jsonl", num: int = NUM) -> Path:
    return write_rows(Path(path), num)


def ids_of(path: Path | str) -> list[str]:
    return [example.id for example in read_examples(DataConfig(train=str(path)), "train")]


def columns_of(labels: Labels) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in labels.columns.items()}


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- what is written


def test_each_loss_is_that_of_a_model_that_never_saw_the_row(model: Path) -> None:
    """The same by other means: the other parts as a file, `curricle.train` on it, and plain cross-entropy."""
    from transformers import AutoModelForCausalLM

    path = rows()
    labels = curricle.probe(recipe(model), output="probe.parquet", folds=3).labels
    ids, lines = ids_of(path), path.read_text(encoding="utf-8").splitlines()
    assert [name.decode() for name in labels.ids] == ids
    table = gather(resolve(recipe(model)).base).train
    flops, expected = 0.0, np.zeros(NUM)
    for fold in range(3):
        mine = [int(name, 16) % 3 == fold for name in ids]
        assert 5 < sum(mine) < 25
        others = [line for line, is_mine in zip(lines, mine, strict=True) if not is_mine]
        Path(f"others-{fold}.jsonl").write_text("\n".join(others), encoding="utf-8")
        result: Any = curricle.train(recipe(model, f"others-{fold}.jsonl", name=f"fold-{fold}"))
        [run] = result.runs
        flops += train_flops(run.results) or 0.0
        trained = AutoModelForCausalLM.from_pretrained(run.folder / "model")
        for i in np.flatnonzero(mine):
            tokens, learned = (torch.tensor(part.astype(np.int64)) for part in table.example(int(i)))
            with torch.no_grad():
                logits = trained(tokens[None]).logits[0, :-1]
            losses = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")
            expected[i] = losses[learned[1:].bool()].mean()
    np.testing.assert_allclose(labels.columns["probe"], expected, rtol=1e-4)
    np.testing.assert_array_equal(labels.columns["probe_tokens"], table.num_supervised)
    assert labels.flops == pytest.approx(flops)


def test_the_file_is_labels_that_say_what_made_them(model: Path, tmp_path: Path) -> None:
    path = rows()
    result = curricle.probe(recipe(model), output="deep/probe.parquet")
    assert left_in(tmp_path / "deep") == ["probe.parquet"]
    labels = read_labels("deep/probe.parquet")
    assert columns_of(labels) == columns_of(result.labels)
    assert np.isfinite(align(labels, ids_of(path), "probe")).all()
    about = labels.about
    assert (about["folds"], about["seeds"], about["arm"]) == (2, [7], "base")
    assert [one["path"] for one in about["data"]] == ["rows.jsonl"]
    assert about["settings"]["training"]["max_steps"] == 5
    assert about["cost"]["flops"] > 0
    assert about["cost"]["seconds"] > 0
    assert "44 rows in 2 parts, 1 seed" in str(result)
    assert "runs" not in left_in(tmp_path)


def test_of_several_seeds_the_mean(model: Path) -> None:
    rows()
    found = {
        seeds: curricle.probe(recipe(model), output=f"{len(seeds)}-{seeds[0]}.parquet", seeds=seeds).labels
        for seeds in ((0,), (1,), (0, 1))
    }
    one, other, both = (labels.columns["probe"] for labels in found.values())
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_allclose(both, (one + other) / 2, rtol=1e-5)
    assert found[0, 1].flops == pytest.approx(found[0,].flops + found[1,].flops)


def test_an_arm_without_its_order(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The arm's training, shuffled; nothing of its curriculum, held-out rows or metrics is even read."""
    rows()
    arms = {
        "untouched": {"trainer": "none"},
        "slow": {"training": {"learning_rate": 1e-4}},
        "ordered": {
            "curriculum": {"strategy": "easy_to_hard", "labels": "score"},
            "difficulty": {"cloud": "nowhere", "analyze": True, "probe_folds": 3},
        },
    }
    watched: dict[str, Any] = {"evaluation": [{"metric": "loss"}], "selection": {"metric": "loss"}}
    asked = recipe(model, arms=arms, **watched)
    asked["data"]["eval"] = "nowhere.jsonl"
    asked["training"]["eval_strategy"] = "steps"
    ordered = curricle.probe(asked, output="ordered.parquet", arm="ordered").labels
    said = capsys.readouterr().err
    assert "arm `ordered` is probed shuffled: its `curriculum` is left out" in said
    assert "the model of the last step is read" in said
    plain = curricle.probe(recipe(model), output="plain.parquet").labels
    slow = curricle.probe(asked, output="slow.parquet", arm="slow").labels
    assert columns_of(ordered) == columns_of(plain)
    assert ordered.about["fingerprint"] == plain.about["fingerprint"]
    assert slow.columns["probe"].mean() > plain.columns["probe"].mean()


def test_an_average_of_checkpoints_is_read_where_the_recipe_has_one(model: Path) -> None:
    rows()
    asked = recipe(model)
    asked["training"] |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 4}
    last = curricle.probe(asked, output="last.parquet").labels
    mean = curricle.probe(asked, output="mean.parquet", overrides=["selection.average=4"]).labels
    assert np.abs(mean.columns["probe"] - last.columns["probe"]).max() > 0.01


def test_an_adapter_on_a_nano_model(model: Path) -> None:
    rows()
    asked = recipe(model)
    nano = {"name_or_path": "nano:qwen2", "shape": {"vocab_size": 300}, "adapter": {"lora_r": 4}}
    labels = curricle.probe(asked | {"model": nano}, output="probe.parquet").labels
    assert np.isfinite(labels.columns["probe"]).all()
    assert labels.flops < curricle.probe(asked, output="whole.parquet").labels.flops * 10


# ---- the parts


def study(asked: dict[str, Any], folds: int = 2) -> Crossfit:
    return Crossfit(gather(resolve(asked).base), folds, (7,))


def test_the_part_of_a_row_is_its_own_affair(model: Path) -> None:
    """Neither the order of rows nor which others there are moves a row to another part."""
    path = rows()
    lines = path.read_text(encoding="utf-8").splitlines()
    Path("other.jsonl").write_text("\n".join(lines[::-1][:30]), encoding="utf-8")
    found = []
    for data in ("rows.jsonl", "other.jsonl"):
        one = study(recipe(model, data), 3)
        found.append(dict(zip(one.material.train.ids, one.parts.tolist(), strict=True)))
    assert len(found[1]) == 30
    assert found[0].items() >= found[1].items()


def test_parts_are_about_equally_large() -> None:
    ids = [name.encode() for name in _many_ids(3000)]
    sizes = np.bincount([part_of(name, 3) for name in ids])
    assert len(sizes) == 3
    assert np.abs(sizes - 1000).max() < 130  # five standard deviations


def _many_ids(num: int) -> list[str]:
    return ids_of(rows("many.jsonl", num))


def test_windows_of_a_row_stay_together(model: Path) -> None:
    texts = [{"text": " ".join(row["prompt"] for row in make_rows(1 + i % 4, seed=i))} for i in range(40)]
    Path("texts.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    asked = recipe(model, "texts.jsonl")
    asked["data"] |= {"format": "text", "max_length": 32}
    one = study(asked)
    table = one.material.train
    windows = [name.partition("-") for name in table.ids]
    assert sum(bool(dash) for _, dash, _ in windows) > 20
    part = {row: set[int]() for row, *_ in windows}
    for (row, *_), number in zip(windows, one.parts.tolist(), strict=True):
        part[row].add(number)
    assert all(len(numbers) == 1 for numbers in part.values())
    assert set().union(*part.values()) == {0, 1}
    labels = curricle.probe(asked, output="probe.parquet").labels
    assert [name.decode() for name in labels.ids] == ids_of("texts.jsonl")
    tokens = [sum(int(n) for (row, *_), n in zip(windows, table.num_supervised, strict=True) if row == own)
              for own in ids_of("texts.jsonl")]  # fmt: skip
    assert labels.columns["probe_tokens"].tolist() == tokens
    assert np.isfinite(align(labels, table.ids, "probe")).all()


def test_a_row_there_twice_is_read_once_and_never_learned_by_its_reader(model: Path) -> None:
    path = rows()
    path.write_text("\n".join([path.read_text(encoding="utf-8")] * 2), encoding="utf-8")
    one = study(recipe(model))
    ids = np.array(list(one.material.train.ids))
    for fold in (0, 1):
        read = ids[one.read_by(fold)]
        assert len(set(read)) == len(read)
        assert not set(read) & set(ids[one.parts != fold])
    labels = curricle.probe(recipe(model), output="probe.parquet").labels
    assert len(labels) == NUM
    assert labels.columns["probe_tokens"].tolist() == one.material.train.num_supervised[:NUM].tolist()


def test_a_row_without_a_learned_token_is_unknown(model: Path, tmp_path: Path) -> None:
    rows()
    one = study(recipe(model))
    table = one.material.train
    marks, counts = table.supervised.copy(), table.num_supervised.copy()
    marks[table.offsets[3] : table.offsets[4]], counts[3] = False, 0
    silent = replace(one.material, train=replace(table, supervised=marks, num_supervised=counts))
    found = replace(one, material=silent).run(tmp_path / "parts")
    assert np.flatnonzero(np.isnan(found.loss_n)).tolist() == [3]
    assert found.tokens_n.tolist() == counts.tolist()


# ---- going on, and what is there


def test_a_killed_probe_goes_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed within the second training, and again before the last part is read: the same losses, and nothing that was
    finished is done again."""
    rows()
    asked = recipe(model)
    asked["training"] |= {"save_strategy": "steps", "save_steps": 1}
    whole = curricle.probe(asked, output="whole.parquet").labels
    step, read, steps = Monitor.step, Crossfit._read, list[int]()

    def counts(self: Monitor, *args: Any, **kwargs: Any) -> Any:
        if len(steps) == 8:
            steps.append(0)
            raise KeyboardInterrupt
        steps.append(args[0]["step"])
        return step(self, *args, **kwargs)

    def falls(self: Crossfit, fold: int, *args: Any) -> None:
        if fold == 1:
            raise KeyboardInterrupt
        read(self, fold, *args)

    monkeypatch.setattr(Monitor, "step", counts)
    for _ in range(2):
        monkeypatch.setattr(Crossfit, "_read", falls)
        with pytest.raises(KeyboardInterrupt):
            curricle.probe(asked, output="cut.parquet")
        assert not Path("cut.parquet").exists()
    monkeypatch.setattr(Crossfit, "_read", read)
    cut = curricle.probe(asked, output="cut.parquet").labels
    assert steps == [1, 2, 3, 4, 5, 1, 2, 3, 0, 4, 5]
    assert columns_of(cut) == columns_of(whole)
    assert {**cut.about, "cost": {}} == {**whole.about, "cost": {}}
    assert cut.flops == whole.flops
    assert left_in(tmp_path) == ["cut.parquet", "rows.jsonl", "whole.parquet"]


def test_no_model_stays_of_a_part_that_is_read(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows()
    trained = Crossfit._train

    def stops(self: Crossfit, fold: int, *args: Any) -> None:
        if fold == 1:
            raise KeyboardInterrupt
        trained(self, fold, *args)

    monkeypatch.setattr(Crossfit, "_train", stops)
    with pytest.raises(KeyboardInterrupt):
        curricle.probe(recipe(model), output="probe.parquet")
    [kept] = tmp_path.rglob("seed-7")
    assert kept.parent.name == "fold-0"
    assert {"losses.npy", "results.json"} <= set(left_in(kept))
    assert not [path for path in kept.iterdir() if path.is_dir()]


def test_what_is_there_is_not_made_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rows()
    output = Path("probe.parquet")
    curricle.probe(recipe(model), output=output)
    before = output.stat().st_mtime_ns
    curricle.probe(recipe(model), output=output, overrides=["evaluation=[]", "generation.batch_size=3"])
    assert output.stat().st_mtime_ns == before
    asked: list[dict[str, Any]] = [{"folds": 3}, {"seeds": [8]}, {"overrides": ["training.max_steps=4"]}]
    for other in asked:
        with pytest.raises(RunError, match=r"probe.parquet is there already.*--force"):
            curricle.probe(recipe(model), output=output, **other)
    path.write_text(path.read_text(encoding="utf-8").replace("cat", "dog"), encoding="utf-8")
    with pytest.raises(RunError, match="other data"):
        curricle.probe(recipe(model), output=output)
    curricle.probe(recipe(model), output=output, force=True, folds=3)
    assert read_labels(output).about["folds"] == 3


# ---- mistakes

BAD: list[tuple[dict[str, Any], dict[str, Any], type[CurricleError], str]] = [
    ({}, {"folds": 1}, RecipeError, "--folds 1:.*2 or more"),
    ({}, {"folds": 40}, DataError, "44 rows: of --folds 40 at least one would be empty"),
    ({}, {"arm": "slwo"}, RecipeError, "no arm `slwo`; did you mean `slow`"),
    ({}, {"seeds": [1, 1]}, RecipeError, "seeds are different whole numbers"),
    ({}, {"output": "probe.json"}, RunError, r"-o probe.json: .*\.parquet"),
    ({}, {"arm": "untouched"}, RecipeError, "arm `untouched` trains nothing.*--arm: slow"),
    ({"data": {"format": "text"}}, {}, RecipeError, r"`data.train` is missing"),
    ({"data": {"train": "rows.jsonl#20"}}, {}, DataError, r"20 rows: with --folds 2 .* 16 are the least"),
    ({"data": {"train": "none.jsonl"}}, {}, DataError, "none.jsonl"),
    ({"training": {"optim": "adamw_torch_fusd"}}, {}, RecipeError, "adamw_torch_fusd"),
]


@pytest.mark.parametrize(("change", "asked", "kind", "message"), BAD, ids=[message for *_, message in BAD])
def test_mistakes_are_one_line_and_leave_nothing(
    change: dict[str, Any], asked: dict[str, Any], kind: type[CurricleError], message: str, model: Path, tmp_path: Path
) -> None:
    rows()
    whole = recipe(model, arms={"slow": {}, "untouched": {"trainer": "none"}}) | change
    with pytest.raises(kind, match=message) as raised:
        curricle.probe(whole, **{"output": "probe.parquet", **asked})
    assert "\n" not in str(raised.value)
    assert left_in(tmp_path) == ["rows.jsonl"]


def test_a_recipe_that_only_measures(model: Path) -> None:
    rows()
    with pytest.raises(RecipeError, match=r"arm `base` trains nothing.*set `trainer: hf`"):
        curricle.probe(recipe(model, trainer="none"), output="probe.parquet")
