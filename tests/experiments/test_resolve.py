"""From what was written to what runs; every mistake names its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from curricle.data.config import DataConfig
from curricle.errors import RecipeError
from curricle.experiments.document import parse
from curricle.experiments.recipe import Recipe
from curricle.experiments.resolve import resolve
from curricle.models.config import ModelConfig

WHOLE = "model: {name_or_path: nano:llama}\ndata: {train: a.jsonl}\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str, name: str = "r.yaml") -> Path:
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return _write


def test_a_small_recipe(write: Write) -> None:
    experiment = resolve(write(WHOLE, "my first recipe.yaml"))
    assert experiment.name == "my-first-recipe"
    assert list(experiment.arms) == ["base"]
    assert experiment.seeds == (42,)
    assert experiment.arms["base"].settings == experiment.base
    assert experiment.base.training["learning_rate"] == 2e-5


def test_starting_from_another(write: Write, tmp_path: Path) -> None:
    write(WHOLE + "name: ground\ntraining: {learning_rate: 1e-4, max_steps: 5}\nseed: 1\n", "ground.yaml")
    (tmp_path / "sub").mkdir()
    write("extends: ../ground.yaml\ndata: {max_length: 256}\nseed: 2\n", "sub/middle.yaml")
    write("extends: sub/middle.yaml\ntraining: {learning_rate: 2e-4}\nmodel: {adapter: {lora_r: 4}}\n", "top.yaml")
    experiment = resolve(tmp_path / "top.yaml", ["training.max_steps=7", "data.train=[b.jsonl, c.jsonl#5]"])
    settings = experiment.base
    assert (settings.training["learning_rate"], settings.training["max_steps"]) == (2e-4, 7)
    assert settings.data.max_length == 256
    assert settings.data.train == ["b.jsonl", "c.jsonl#5"]
    assert settings.model.adapter is not None
    assert settings.model.adapter.lora_r == 4
    assert experiment.name == "top"
    assert experiment.seeds == (2,)


def test_a_null_takes_a_section_away(write: Write) -> None:
    model = "model: {name_or_path: x, adapter: {lora_r: 4}}\n"
    arms = resolve(write(model + "data: {train: a.jsonl}\narms: {lora: , full: {model: {adapter: }}}")).arms
    assert arms["lora"].settings.model.adapter is not None
    assert arms["full"].settings.model.adapter is None


def test_arms_and_grid_and_seeds(write: Write) -> None:
    path = write(
        WHOLE
        + """
        arms:
          short: {data: {max_length: 64}}
          long:
        grid:
          training.learning_rate: [1e-5, 0.1]
          data.packing: [none, ordered]
        seeds: [3, 1]
        """.replace("\n        ", "\n")
    )
    experiment = resolve(path)
    assert list(experiment.arms)[:2] == [
        "short+learning_rate=1e-05+packing=none",
        "short+learning_rate=1e-05+packing=ordered",
    ]
    assert len(experiment.arms) == 8
    arm = experiment.arms["long+learning_rate=0.1+packing=none"]
    assert arm.changes == {"training": {"learning_rate": 0.1}, "data": {"packing": "none"}}
    assert (arm.settings.data.max_length, arm.settings.data.packing) == (1024, "none")
    assert experiment.seeds == (3, 1)
    assert list(experiment.select(["long+learning_rate=0.1+packing=none"], [5]).arms) == [arm.name]
    assert experiment.select(seeds=[5]).seeds == (5,)


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        (["shrt"], None, "did you mean `short`"),
        ([], None, "no arm was named"),
        (None, [1, 1], "different whole numbers"),
        (None, [], "different whole numbers"),
    ],
)
def test_selecting_what_is_not_there(write: Write, arms: list[str], seeds: list[int], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve(write(WHOLE + "arms: {short: }")).select(arms, seeds)


def test_the_resolved_recipe_reads_back_as_itself(write: Write) -> None:
    path = write(
        "model: {name_or_path: nano:llama}\n"
        "data: {train: [a.jsonl, {path: b.jsonl, weight: 2}], max_length: 64}\n"
        "training: {eval_strategy: no, warmup_ratio: 0.1}\n"
        "arms: {a: , b: {training: {logging_steps: 5}}}\ngrid: {training.learning_rate: [1e-5, 1e-4]}\nseeds: [0, 1]\n"
    )
    first = resolve(path)
    again = resolve(write(first.dump(), "again.yaml"))
    assert again.dump() == first.dump()
    assert again == first
    assert {name: arm.hash for name, arm in again.arms.items()} == {name: arm.hash for name, arm in first.arms.items()}


def test_a_hash_names_the_settings_of_one_arm(write: Write) -> None:
    def hashes(text: str) -> dict[str, str]:
        return {name: arm.hash for name, arm in resolve(write(text)).arms.items()}

    base = hashes(WHOLE)["base"]
    more = hashes(WHOLE + "name: other\nseeds: [4, 5]\narms: {base: , b: {data: {max_length: 64}}}")
    assert more["base"] == base
    assert more["b"] != base
    assert hashes(WHOLE + "training: {learning_rate: 2e-5}")["base"] == base, "a default written out changes nothing"
    assert hashes(WHOLE + "training: {learning_rate: 3e-5}")["base"] != base


def test_from_python() -> None:
    mapping = {"model": {"name_or_path": "nano:llama"}, "data": {"train": "a.jsonl"}, "name": "mine"}
    built = Recipe(model=ModelConfig(name_or_path="nano:llama"), data=DataConfig(train="a.jsonl"), name="mine")
    assert resolve(mapping) == resolve(built)
    with pytest.raises(RecipeError, match=r"`data\.lenght` is not a key here"):
        resolve({**mapping, "data": {"lenght": 3}})


def test_toys_are_files_to_the_run_and_names_in_the_recipe(write: Write) -> None:
    experiment = resolve(write("model: {name_or_path: nano:llama}\ndata: {train: toy:dialogue#5}"))
    [source] = experiment.arms["base"].settings.data.sources("train")
    assert len(Path(source.path).read_text(encoding="utf-8").splitlines()) == 5
    assert parse(experiment.dump(), "x")[0]["data"]["train"] == "toy:dialogue#5"
    with pytest.raises(RecipeError, match=r"no toy data called `toy:dialog`; did you mean `dialogue`\?"):
        resolve(write("model: {name_or_path: nano:llama}\ndata: {train: toy:dialog}"))


MODEL, DATA = "model: {name_or_path: x}\n", "data: {train: a}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # unknown keys, at any depth
        (
            MODEL + "data:\n  train: a\n  max_lenght: 3",
            "r.yaml:4: `data.max_lenght` is not a key here; did you mean `max_length`?",
        ),
        (
            MODEL + DATA + "learning_rate: 1",
            "r.yaml:3: `learning_rate` is not a key here; it belongs in `training.learning_rate`",
        ),
        (
            MODEL + DATA + "lerning_rate: 1",
            "r.yaml:3: `lerning_rate` is not a key here; did you mean `training.learning_rate`?",
        ),
        (
            MODEL + DATA + "training:\n  lerning_rate: 1",
            "r.yaml:4: `training.lerning_rate` is not an argument of the trainer; did you mean `learning_rate`?",
        ),
        (
            DATA + "model:\n  name_or_path: x\n  adapter:\n    lora_alfa: 3",
            "r.yaml:5: `model.adapter.lora_alfa` is not a key here; did you mean `lora_alpha`?",
        ),
        (
            MODEL + "data:\n  train:\n  - a\n  - {path: b, wieght: 2}",
            "r.yaml:5: `data.train[1].wieght` is not a key here; did you mean `weight`?",
        ),
        (
            MODEL + DATA + "arms:\n  b:\n    data: {max_lenght: 3}",
            "r.yaml:5: `arms.b.data.max_lenght` is not a key here; did you mean `max_length`?",
        ),
        (MODEL + DATA + "arms:\n  b:\n    seed: 3", "r.yaml:5: `arms.b.seed` is not a key here; known: "),
        (
            MODEL + DATA + "grid:\n  data.packng: [none]",
            "r.yaml:4: `grid.data.packng` is not a key here; did you mean `packing`?",
        ),
        # values
        (
            MODEL + "data: {train: a, max_length: 2}",
            "r.yaml:2: `data.max_length` is 2; input should be greater than or equal to 8",
        ),
        (
            MODEL + "data:\n  train:\n  - {path: b, weight: -2}",
            "r.yaml:4: `data.train[0].weight` is -2; input should be greater than 0",
        ),
        (
            MODEL + DATA + "training: {learning_rate: fast}",
            "r.yaml:3: `training.learning_rate` is 'fast'; input should be a valid number",
        ),
        (MODEL + DATA + "trainer: trll", "r.yaml:3: `trainer` is trll; input should be 'hf', 'trl' or 'none'"),
        (MODEL + DATA + "training: 3", "r.yaml:3: `training` is 3; it takes keys of its own, such as `"),
        (MODEL + DATA + "seeds: [1, 1]", "r.yaml:3: `seeds` cannot be: a seed is written twice"),
        (MODEL + DATA + "arms: {a/b: }", "r.yaml:3: `arms.a/b` cannot be: a name is a folder's name too"),
        (MODEL + DATA + "name: ../up", "r.yaml:3: `name` cannot be: a name is a folder's name too"),
        (
            MODEL + DATA + "grid: {data.packing: none}",
            "r.yaml:3: `grid.data.packing` is none; input should be a valid list",
        ),
        (
            MODEL + DATA + "grid: {data.packing: [odd]}",
            "r.yaml:3: `grid.data.packing` is odd; input should be 'none' or 'ordered'",
        ),
        (
            MODEL + DATA + "grid: {data.packing: [none]}\narms: {a: {data: {packing: none}}}",
            "`grid` and arm `a` both set `data.packing`; keep one",
        ),
        # what is missing, and what contradicts
        (DATA, "r.yaml: `model` is missing: The model that is trained."),
        (MODEL + "data:\n  format: text", "r.yaml:2: `data.train` is missing: The file to train on"),
        (MODEL + "data:", "r.yaml:2: `data` is null; "),
        (
            MODEL + DATA + "selection: {metric: loss}",
            "r.yaml:3: `selection.metric` needs held-out examples; set `data.eval`",
        ),
        (MODEL + DATA + "evaluation: [{metric: loss}]", "r.yaml:3: `evaluation` needs held-out examples"),
        (
            MODEL + DATA + "training: {eval_strategy: steps}",
            "r.yaml:3: `training.eval_strategy` is steps, but there is no `data.eval`",
        ),
        (
            MODEL + "data: {train: a, eval: b}\nselection: {patience: 3}",
            "r.yaml:3: `selection.patience` needs a measure to watch",
        ),
        (
            MODEL + "data: {train: a, eval: b}\nselection: {metric: loss}\ntraining: {eval_strategy: no}",
            "r.yaml:3: `selection.metric` needs evaluations",
        ),
        # refused arguments
        (
            MODEL + DATA + "training:\n  deepspeed: z.json",
            "r.yaml:4: `training.deepspeed` is refused: weights are sharded by FSDP2; set `distributed.fsdp`",
        ),
        (
            MODEL + DATA + "training: {activation_offloading: true}",
            "r.yaml:3: `training.activation_offloading` is an argument of SFTConfig only",
        ),
        # files
        ("extends: none.yaml", "r.yaml:1: `extends: none.yaml` is no file"),
        ("extends: r.yaml", "r.yaml: `extends` comes back to itself: r.yaml -> r.yaml"),
    ],
)
def test_mistakes(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(RecipeError) as caught:
        resolve(path)
    said = str(caught.value).replace(f"{path.parent}/", "")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.max_lenght=3",
            "--set data.max_lenght=3: `data.max_lenght` is not a key here; did you mean `max_length`?",
        ),
        ("data.max_length=2", "--set data.max_length=2: `data.max_length` is 2; "),
        ("training", "--set takes key=value"),
        ("training.=3", "--set takes key=value"),
        ("training.max_steps=[", "the value '[' is not YAML"),
    ],
)
def test_mistakes_on_the_command_line(write: Write, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve(write(WHOLE), [override])
    assert message in str(caught.value)


def test_an_override_that_an_arm_does_not_take_is_said(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    text = WHOLE + "arms: {a: {data: {max_length: 64}}, b: }"
    arms = resolve(write(text), ["data.max_length=32"]).arms
    assert (arms["a"].settings.data.max_length, arms["b"].settings.data.max_length) == (64, 32)
    assert capsys.readouterr().err == "--set data.max_length=32: arm `a` keeps its own value, 64\n"
    assert resolve(write(text), ["arms.a.data.max_length=16"]).arms["a"].settings.data.max_length == 16


def test_a_mapping_stays_as_it_was_given() -> None:
    def given() -> dict[str, dict[str, object]]:
        training = {"warmup_ratio": 0.1, "max_seq_length": 64}
        return {"model": {"name_or_path": "nano:llama"}, "data": {"train": "a.jsonl"}, "training": training}

    recipe = given()
    assert resolve(recipe).base.data.max_length == 64
    assert recipe == given()
