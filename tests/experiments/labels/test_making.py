"""Labels that a run makes itself: once, by the models and settings of its recipe, charged to whoever goes by them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import curricle
from curricle.curriculum.labels import read_labels, write_labels
from curricle.errors import DataError, ModelError, RecipeError, RunError
from curricle.experiments.material import gather
from curricle.experiments.plan import Plan
from curricle.experiments.resolve import Arm, resolve, same_training
from curricle.experiments.smoke import Smoke
from curricle.experiments.toys.base import place_base
from curricle.models.config import ModelConfig
from curricle.runtime.files import read_json
from difficulty.nano_pair import save_pair, write_rows

pytestmark = pytest.mark.usefixtures("libraries")
NUM = 40
STAGES = {"strategy": "layer_wise_progressive", "layers": "all"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    cloud, edge = save_pair(tmp_path_factory.mktemp("models"))
    return {"cloud": str(cloud), "edge": str(edge)}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("train.jsonl"), NUM)


def recipe(models: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "l",
        "model": {"name_or_path": models["edge"], "pad_token": "<|endoftext|>"},
        "data": {"train": "train.jsonl", "max_length": 64},
        "difficulty": {"cloud": models["cloud"], "baselines": ["length", "loss", "gap"]},
        "curriculum": {"labels": "score", **STAGES},
        "training": {"max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "use_cpu": True},
        **changes,
    }


def made() -> list[Path]:
    return sorted(Path("runs/l/labels").glob("*.parquet"))


def cost_of(arm: str, seed: int = 42) -> float:
    return float(read_json(Path(f"runs/l/{arm}/seed-{seed}/results.json"))["label_flops"])


def test_arms_and_seeds_share_what_is_made_once(models: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    arms = {
        "shuffled": {"curriculum": {"strategy": "none"}},
        "mean": {},
        "loss": {"curriculum": {"column": "loss"}},
        "length": {"curriculum": {"column": "length"}},
        "random": {"curriculum": {"control": "random_curriculum"}},
        "untouched": {"trainer": "none"},
    }
    asked = recipe(models, arms=arms, seeds=[0, 1])
    curricle.run(asked)
    [path] = made()
    labels = read_labels(path)
    assert len(labels) == NUM
    assert labels.about["fingerprint"] == path.stem
    columns = labels.about["cost"]["columns"]
    assert columns["mean"] == columns["layers"] > columns["loss"] > columns["length"] == 0
    assert columns["gap"] > columns["loss"]
    assert columns["mean"] + columns["gap"] == pytest.approx(labels.flops)
    for seed in (0, 1):
        assert cost_of("mean", seed) == columns["mean"]
        assert cost_of("loss", seed) == columns["loss"]
        for free in ("shuffled", "length", "random", "untouched"):
            assert cost_of(free, seed) == 0
    assert capsys.readouterr().err.count("labels: cloud") == 1
    written = path.stat().st_mtime_ns
    curricle.run(asked, arms=["mean"], seeds=[2])
    assert made() == [path]
    assert path.stat().st_mtime_ns == written


def test_other_settings_are_other_files(models: dict[str, Any]) -> None:
    arms = {"cosine": {}, "l2": {"difficulty": {"metric": "l2"}}, "edge": {"difficulty": {"edge": models["cloud"]}}}
    curricle.run(recipe(models, arms=arms))
    files = [read_labels(path) for path in made()]
    assert sorted(labels.about["settings"]["metric"] for labels in files) == ["cosine", "cosine", "l2"]
    assert sorted(labels.about["models"]["edge"]["layers"] for labels in files) == [3, 3, 5]


def test_the_rows_are_read_as_the_recipe_reads_them(models: dict[str, Any]) -> None:
    write_rows(Path("more.jsonl"), 40, seed=1)
    data = {"train": ["train.jsonl#20", {"path": "more.jsonl", "weight": 2}], "max_length": 64}
    asked = recipe(models, data={**data, "fields": {"prompt": "completion", "completion": "prompt"}, "max_length": 200})
    curricle.run(asked)
    labels = read_labels(made()[0])
    assert len(labels) == 60
    table = gather(resolve(asked).arms["base"].settings).train
    assert sorted(labels.ids.tolist()) == sorted(one.encode() for one in table.ids[:])
    scored = curricle.score(
        "more.jsonl", **models, output="alone.parquet", baselines=["loss"], overrides=["data.max_length=64"]
    )
    assert set(scored.labels.ids.tolist()).isdisjoint(labels.ids.tolist()), "without the recipe's fields"


def test_a_file_by_name_is_made_once_and_is_the_one_of_score(models: dict[str, Any]) -> None:
    asked = recipe(models, curriculum={"labels": "here/l.parquet", **STAGES})
    curricle.run(asked)
    labels = read_labels("here/l.parquet")
    assert cost_of("base") == labels.about["cost"]["columns"]["mean"] > 0
    assert made() == []
    again = curricle.score(
        "train.jsonl",
        **models,
        output="here/l.parquet",
        baselines=["length", "loss", "gap"],
        overrides=["data.max_length=64"],
    )
    assert again.labels.about["fingerprint"] == labels.about["fingerprint"]
    with pytest.raises(RecipeError, match=r"here/l.parquet holds labels of other data, models or settings"):
        curricle.run(asked, ["difficulty.metric=l2", "name=other"])


def test_a_file_of_another_tool_is_taken_as_it_is(models: dict[str, Any]) -> None:
    asked = recipe(models, curriculum={"labels": "l.parquet", **STAGES})
    write_labels("l.parquet", gather(resolve(asked).base).train.ids, {"mean": range(NUM)})
    curricle.run(asked)
    assert list(read_labels("l.parquet").columns) == ["mean"]
    assert cost_of("base") == 0


def test_layers_of_their_own_go_by_labels_that_were_made(models: dict[str, Any]) -> None:
    asked = recipe(models, curriculum={"labels": "score", "strategy": "layer_specific"})
    curricle.run({**asked, "model": {**asked["model"], "adapter": {"lora_r": 2}}})
    assert cost_of("base") == read_labels(made()[0]).about["cost"]["columns"]["layers"]


def test_toy_models_go_by_their_names(models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any two models stand in the cache where those would."""
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "cache"))
    for name, folder in (("cloud", models["cloud"]), ("base", models["edge"])):
        shutil.copytree(folder, place_base(ModelConfig(name_or_path=f"toy:{name}")).name_or_path)
    asked = recipe(models, model={"name_or_path": "toy:base", "pad_token": "<|endoftext|>"})
    curricle.run({**asked, "difficulty": {**asked["difficulty"], "cloud": "toy:cloud"}})
    [path] = made()
    about = read_labels(path).about
    assert {role: one["name"] for role, one in about["models"].items()} == {"cloud": "toy:cloud", "edge": "toy:base"}
    named: Any = {"overrides": ["data.max_length=64"], "baselines": ["length", "loss", "gap"], "output": "l.parquet"}
    scored = curricle.score("train.jsonl", cloud="toy:cloud", edge="toy:base", **named)
    assert scored.labels.about["fingerprint"] == path.stem
    assert curricle.score("train.jsonl", **models, **named).labels.about["fingerprint"] == path.stem, (
        "wherever they lie"
    )


def test_an_interrupted_labelling_goes_on(models: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from curricle.difficulty.parts import Parts

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
        curricle.run(recipe(models))
    assert made() == []
    monkeypatch.setattr(Parts, "fill", counts)
    curricle.run(recipe(models))
    assert work == ["losses-edge"]
    assert [path.suffix for path in Path("runs/l/labels").iterdir()] == [".parquet"]


def test_an_analysis_lies_beside_the_labels(models: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    arms: dict[str, Any] = {"stages": {}, "pacing": {"curriculum": {"strategy": "dynamic_pacing"}}}
    asked = recipe(models, arms=arms, difficulty={"cloud": models["cloud"], "analyze": True, "probe_folds": 2})
    asked["data"]["fields"] = {"prompt": "completion", "completion": "prompt"}
    asked["data"]["max_length"] = 200
    curricle.run(asked)
    probe, labels = made()
    assert probe.stem == f"{labels.stem}-probe"
    known = read_labels(probe)
    assert len(known) == NUM
    folder = labels.with_name(f"{labels.stem}-analysis")
    found = read_json(folder / "analysis.json")
    assert found["foresight"]["num"] == NUM
    assert {one["column"] for one in found["foresight"]["columns"]} >= {"mean", "loss", "length"}
    assert (folder / "report.html").is_file()
    assert "no text" not in json.dumps(found), "the labels say how their rows are read"
    assert cost_of("stages") == read_labels(labels).about["cost"]["columns"]["mean"], "without the probe"
    assert capsys.readouterr().err.count("has their analysis") == 1
    before = (folder / "analysis.json").stat().st_mtime_ns, probe.stat().st_mtime_ns
    curricle.run(asked, seeds=[1])
    assert before == ((folder / "analysis.json").stat().st_mtime_ns, probe.stat().st_mtime_ns)


def test_a_probe_beside_a_file_by_name_is_not_written_over(models: dict[str, Any]) -> None:
    difficulty = {"cloud": models["cloud"], "analyze": True, "probe_folds": 2}
    asked = recipe(models, curriculum={"labels": "own.parquet", **STAGES}, difficulty=difficulty)
    theirs = Path("own-probe.parquet")
    write_labels(theirs, ["0" * 16], {"probe": [1.0]}, about={"folds": 4})
    before = theirs.read_bytes()
    for force in (False, True):
        with pytest.raises(RecipeError, match=r"probe_folds` is 2, but own-probe.parquet is there with 4"):
            curricle.run(asked, force=force)
    assert theirs.read_bytes() == before
    theirs.unlink()
    curricle.run(asked)
    assert read_labels(theirs).about["folds"] == 2


def probing(models: dict[str, Any], labels: str = "own.parquet", folds: int = 2, **changes: Any) -> dict[str, Any]:
    difficulty = {"cloud": models["cloud"], "baselines": ["length"], "analyze": True, "probe_folds": folds}
    return recipe(models, curriculum={"labels": labels, **STAGES}, difficulty=difficulty, **changes)


def test_a_probe_of_another_training_beside_a_file_by_name_is_refused(models: dict[str, Any]) -> None:
    asked, theirs = probing(models), Path("own-probe.parquet")
    curricle.probe(asked, output=theirs, overrides=["training.max_steps=1"])
    before = theirs.read_bytes()
    with pytest.raises(RecipeError, match=r"own-probe.parquet is there of another model, training.*`curricle analyze`"):
        curricle.run(asked)
    assert theirs.read_bytes() == before
    assert not Path("own.parquet").exists(), "said before hours of scoring"
    curricle.probe(asked, output=theirs, force=True)
    before = theirs.read_bytes()
    curricle.run(asked)
    assert theirs.read_bytes() == before


def test_arms_run_one_by_one_share_a_probe(models: dict[str, Any]) -> None:
    asked = probing(models, "score", arms={"slow": {}, "fast": {"training": {"learning_rate": 1e-2}}})
    curricle.run(asked, arms=["fast"], seeds=[3])
    probe, _ = made()
    assert read_labels(probe).about["arm"] == "slow"
    assert read_labels(probe).about["seeds"] == [42]
    before = probe.stat().st_mtime_ns
    curricle.run(asked, arms=["slow"])
    assert probe.stat().st_mtime_ns == before


def test_a_finished_run_is_looked_into_when_that_is_asked_for(
    models: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = recipe(models, difficulty={"cloud": models["cloud"], "baselines": ["length"]})
    curricle.run(plain)
    [labels] = made()
    report = labels.with_name(f"{labels.stem}-analysis") / "analysis.json"
    results = Path("runs/l/base/seed-42/results.json")
    before = results.stat().st_mtime_ns
    curricle.run(plain, ["difficulty.analyze=true"])
    assert read_json(report)["foresight"] is None
    curricle.run(probing(models, "score"))
    assert len(made()) == 2
    assert read_json(report)["foresight"]["num"] == NUM
    assert results.stat().st_mtime_ns == before
    assert capsys.readouterr().err.count("has their analysis") == 2
    times = [path.stat().st_mtime_ns for path in (*made(), report)]
    curricle.run(probing(models, "score"))
    assert [path.stat().st_mtime_ns for path in (*made(), report)] == times
    labels.unlink()
    curricle.run(probing(models, "score"))
    assert not labels.exists(), "a finished run needs no labels"


@pytest.mark.parametrize("labels", ["score", "own.parquet"])
def test_a_probe_that_cannot_be_is_refused_before_labels_are_made(models: dict[str, Any], labels: str) -> None:
    with pytest.raises(DataError, match=r"40 rows: of `difficulty.probe_folds` 40 at least one would be empty"):
        curricle.run(probing(models, labels, folds=40))
    write_rows(Path("train.jsonl"), 33)
    few = {"train": "train.jsonl#20", "max_length": 64}
    with pytest.raises(DataError, match=r"20 rows: with `difficulty.probe_folds` 2 a model would learn from"):
        curricle.run(probing(models, labels, data=few))
    assert not Path("runs/l").exists()
    assert not Path("own.parquet").exists()


def test_a_probe_that_cannot_be_read_is_refused_before_labels_are_made(models: dict[str, Any]) -> None:
    Path("own-probe.parquet").write_text("no table", encoding="utf-8")
    with pytest.raises(DataError, match=r"own-probe.parquet is no Parquet file that can be read"):
        curricle.run(probing(models))
    assert not Path("own.parquet").exists()


# ---- what a run is, with labels of its own


def arm(asked: dict[str, Any], *sets: str) -> Arm:
    return resolve(asked, sets).arms["base"]


def held(one: Arm, *, without: bool = False) -> dict[str, Any]:
    """What a run leaves behind; `without` the section, as before there was one."""
    settings = one.settings.model_dump(mode="json")
    if without:
        del settings["difficulty"]
    return {"hash": one.hash, "settings": settings}


@pytest.mark.parametrize("labels", ["length", "data", "own.parquet"])
def test_difficulty_is_no_part_of_a_run_that_does_not_go_by_it(models: dict[str, Any], labels: str) -> None:
    section = {} if labels == "own.parquet" else {"cloud": models["cloud"], "metric": "l2"}
    plain = recipe(models, difficulty={}, curriculum={"labels": labels, **STAGES})
    before, now = arm(plain), arm({**plain, "difficulty": section})
    assert before.hash == now.hash
    assert same_training(held(before, without=True), now)


def test_difficulty_is_a_part_of_a_run_that_goes_by_it(models: dict[str, Any]) -> None:
    for labels in ("score", "own.parquet"):
        asked = recipe(models, curriculum={"labels": labels, **STAGES})
        assert not same_training(held(arm(asked)), arm(asked, "difficulty.metric=l2"))
        assert same_training(held(arm(asked)), arm(asked, "difficulty.analyze=true"))
        assert same_training(held(arm(asked)), arm(asked, "difficulty.analyze=true", "difficulty.probe_folds=2"))
        assert arm(asked).hash == arm(asked, "difficulty.token_budget=40").hash


def test_what_tells_two_recipes_apart_is_named_alone(models: dict[str, Any]) -> None:
    curricle.run(recipe(models))
    with pytest.raises(RunError, match=r"another recipe: `difficulty.metric` was cosine, is l2; give this one"):
        curricle.run(recipe(models), ["difficulty.metric=l2", "difficulty.analyze=true", "difficulty.token_budget=40"])


def test_a_smaller_budget_leaves_a_finished_run_as_it_is(
    models: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    curricle.run(recipe(models))
    before = made()
    curricle.run(recipe(models), ["difficulty.token_budget=40"])
    assert "finished before" in capsys.readouterr().err
    curricle.run(recipe(models), ["difficulty.token_budget=40"], seeds=[1])
    assert made() == before


# ---- before and without making any


def test_a_plan_says_what_is_made(models: dict[str, Any]) -> None:
    planned = curricle.run(recipe(models), plan=True)
    assert isinstance(planned, Plan)
    assert f"labels are made first: 40 rows scored by cloud {models['cloud']} and edge {models['edge']}" in str(planned)
    assert not Path("runs/l").exists()
    probed = curricle.run(recipe(models), ["difficulty.analyze=true", "difficulty.probe_folds=3"], plan=True)
    assert "which takes 3 more trainings" in str(probed)
    curricle.run(recipe(models))
    assert f"labels: {made()[0]}, which is there" in str(curricle.run(recipe(models), plan=True))


def test_a_plan_refuses_labels_that_the_run_would_refuse(models: dict[str, Any]) -> None:
    asked = recipe(models, difficulty={}, curriculum={"labels": "own.parqet", **STAGES})
    with pytest.raises(DataError, match=r"there is no label file own.parqet; `curricle score` makes one"):
        curricle.run(asked, plan=True)
    write_labels("own.parqet", gather(resolve(asked).base).train.ids, {"mean": range(NUM)})
    assert isinstance(curricle.run(asked, plan=True), Plan)
    with pytest.raises(DataError, match=r"own.parqet has no score `loss`"):
        curricle.run(asked, ["curriculum.column=loss"], plan=True)


def test_an_order_is_looked_at_when_its_labels_are_there(models: dict[str, Any]) -> None:
    from curricle.experiments import inspect

    with pytest.raises(RunError, match=r"no labels yet to order by; `curricle run` makes them: cloud .* and edge "):
        inspect.order(recipe(models))
    assert not Path("runs/l").exists()
    curricle.run(recipe(models))
    table = gather(resolve(recipe(models)).base).train
    labels = read_labels(made()[0])
    hard = dict(zip(labels.ids.tolist(), labels.columns["mean"].tolist(), strict=True))
    third = sorted(hard.values())[NUM // 3]
    shown = inspect.order(recipe(models, data={"train": "train.jsonl", "max_length": 64, "packing": "none"}), rows=2)
    assert all(hard[name.encode()] <= third for row in shown.rows for name in row.examples)
    assert len(table) == NUM


def test_smoke_tries_scoring_on_a_few_rows(models: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("train.jsonl"), 90)
    tried = curricle.run(recipe(models), smoke=True)
    assert isinstance(tried, Smoke)
    assert "labels of 48 rows stand for those of all 90" in capsys.readouterr().err
    assert not Path("runs/l").exists()


# ---- mistakes


def test_a_missing_file_without_a_cloud_says_both_ways_out(models: dict[str, Any]) -> None:
    asked = recipe(models, difficulty={}, curriculum={"labels": "l.parquet", **STAGES})
    with pytest.raises(DataError, match=r"no label file l.parquet.*`curricle score`.*`difficulty.cloud`") as raised:
        curricle.run(asked)
    assert "\n" not in str(raised.value)
    assert not Path("runs/l").exists()


def test_labels_as_json_say_how_they_become_labels(models: dict[str, Any]) -> None:
    asked = recipe(models, difficulty={}, curriculum={"labels": "l.json", **STAGES})
    Path("l.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"l.json is no Parquet file .*`curricle.curriculum.labels_json.import_json`"):
        curricle.run(asked)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"difficulty": {}}, RecipeError, r"`curriculum.labels: score` needs .*`difficulty.cloud`.*`curricle score`"),
    (
        {"model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300}}},
        RecipeError,
        r"`difficulty.edge`: .*nano:llama has random weights.*toy:base",
    ),
    ({"difficulty": {"cloud": "toy:clowd"}}, ModelError, "no toy model called `toy:clowd`; did you mean `cloud`"),
    ({"difficulty": {"cloud": "./nowhere"}}, ModelError, "no such folder"),
    ({"curriculum": {**STAGES, "labels": "score", "column": "mtld"}}, RecipeError, "mtld.*it makes mean, max"),
    ({"curriculum": {**STAGES, "labels": "l.json"}}, RecipeError, "l.json; .*import_json`, or .*-o labels.parquet"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[message for *_, message in BAD])
def test_mistakes_are_said_before_anything_is_made(
    change: dict[str, Any], kind: type[Exception], message: str, models: dict[str, Any]
) -> None:
    with pytest.raises(kind, match=message) as raised:
        curricle.run(recipe(models, **change))
    assert "\n" not in str(raised.value)
    assert not Path("runs/l").exists()


@pytest.mark.parametrize(
    ("change", "message"), [("probe_folds=1", "no other rows"), ("probe_folds=2", "analyze: true")]
)
def test_folds_that_make_no_sense(change: str, message: str, models: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve(recipe(models), [f"difficulty.{change}"])
