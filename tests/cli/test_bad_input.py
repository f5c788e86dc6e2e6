"""Whatever is wrong with what was asked for: one line that says so, exit 2, and nothing half written."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from curricle.cli import main
from curricle.runtime.rundir import hold

ROWS = [{"prompt": f"what is {i}", "completion": str(i)} for i in range(8)]
CHATS = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}] * 4
RECIPE: dict[str, Any] = {
    "model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300}},
    "data": {"train": "rows.jsonl", "format": "prompt-completion", "max_length": 128},
    "training": {"max_steps": 1},
}
pytestmark = pytest.mark.usefixtures("libraries")
CHAT_DATA = ("data.train=chats.jsonl", "data.format=messages")


class Refused(Protocol):
    def __call__(self, *arguments: str, command: tuple[str, ...] = ("run", "r.yaml")) -> str: ...


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command line that must be refused, in a folder with a recipe and rows; gives the line that says why."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", ROWS)
    write_rows(tmp_path / "chats.jsonl", CHATS)
    (tmp_path / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")

    def run(*arguments: str, command: tuple[str, ...] = ("run", "r.yaml")) -> str:
        before = files_below(tmp_path)
        capsys.readouterr()
        assert main([*command, *arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        lines = shown.err.splitlines()
        [line] = [line for line in lines if line.startswith("error: ")]
        assert line == lines[-1]
        assert files_below(tmp_path) == before
        return line.removeprefix("error: ")

    return run


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def sets(*overrides: str) -> list[str]:
    return [part for each in overrides for part in ("--set", each)]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        # keys
        (["data.trian=x"], ["--set data.trian=x: ", "`data.trian` is not a key", "did you mean `train`?"]),
        (["curiculum.strategy=none"], ["`curiculum` is not a key", "did you mean `curriculum`?"]),
        (["lookahead=64"], ["it belongs in `data.lookahead`"]),
        (["training.lerning_rate=1"], ["did you mean `learning_rate`?"]),
        (["training.max_steps=0"], ["`training.max_steps` is 0", "1 or more, or -1"]),
        (["training.foo=1"], ["`training.foo` is not an argument of the trainer", "docs/training-arguments.md"]),
        (["training.output_dir=x"], ["`training.output_dir` is refused", "the run folder follows from"]),
        (["training.logging_nan_inf_filter=true"], ["is refused", "stops at NaN"]),
        (["training.learning_rate=abc"], ["`training.learning_rate` is 'abc'", "valid number"]),
        (["data=3"], ["`data` is 3", "keys of its own, such as `train`"]),
        (["trainer=sft"], ["`trainer` is sft", "'hf', 'trl' or 'none'"]),
        (["tokenizer=other"], ["a tokenizer comes with its model"]),
        (["training.warmup_ratio=0.1", "training.warmup_steps=3"], ["`training.warmup_steps`", "keep one"]),
        (["training.optim=foo"], ["foo is not a valid", "adamw_torch"]),
        (["training.report_to=foo"], ["`training.report_to` is 'foo'", "`wandb`"]),
        (["name=a/b"], ["`name`", "letters, digits"]),
        (["seed=-1"], ["`seed` is -1", "greater than or equal to 0"]),
        (["seed=5000000000"], ["`seed` is 5000000000", "less than or equal to 4294967295"]),
        (["seeds=[1, 5000000000]"], ["5000000000", "less than or equal to 4294967295"]),
        (["training.lr_scheduler_type=cosine_with_min_lr"], ["cosine_with_min_lr", "lr_scheduler_kwargs", "min_lr"]),
        (["training.lr_scheduler_kwargs={foo: 1}"], ["`lr_scheduler_kwargs: {'foo': 1}`", "unexpected keyword"]),
        (
            ["training.lr_scheduler_type=cosine", "training.lr_scheduler_kwargs={num_cycles: x}"],
            ["training.lr_scheduler_type: cosine", "cannot be made"],
        ),
        (["training.optim_args=foo"], ["training.optim: adamw_torch_fused", "`optim_args: foo`", "cannot be made"]),
        (["distributed.fsdp={}"], ["`distributed.fsdp` asks for several processes", "torchrun"]),
        (["training"], ["--set takes key=value", "'training'"]),
        (["training={max_steps: [}"], ["--set training={max_steps: [}", "not YAML"]),
        (["extends=r.yaml"], ["`extends` is written in the recipe file"]),
        (["distributed.enabled=true"], ["several processes", "torchrun"]),
        (["selection.metric=loss"], ["`selection.metric` needs held-out examples", "`data.eval`"]),
        # data
        (["data.train=none.jsonl"], ["no such data file: none.jsonl", "relative to"]),
        (["data.eval=none.jsonl"], ["no such data file: none.jsonl"]),
        (["data.train=.gz"], [".gz", ".jsonl"]),
        (["data.format=dialogue"], ["rows.jsonl:1: no field `dialogue`", "data.fields"]),
        (["data.fields={prompt: question}"], ["rows.jsonl:1: no field", "`question`"]),
        (["data.max_length=7"], ["`data.max_length` is 7", "8"]),
        ([*CHAT_DATA, "data.max_length=16"], ["chats.jsonl:1: longer than data.max_length", "tokens, 16 are allowed"]),
        ([*CHAT_DATA, "data.max_length=16", "data.on_bad_row=skip"], ["nothing to learn in 4 rows", "chats.jsonl:1"]),
        (["data.chat_template=nothing"], ["`nothing`", "known: chatml"]),
        (["data.dataset_info=none.json"], ["data.dataset_info: cannot read none.json"]),
        # model
        (["model.name_or_path=nano:lama"], ["`nano:lama`", "did you mean `llama`?"]),
        (["model.name_or_path=nano:t5"], ["`nano:t5`, a t5 model", "causal language models"]),
        (["model.shape.hiden_size=32"], ["`hiden_size`", "did you mean `hidden_size`?"]),
        (["model.shape.hidden_size=63"], ["63", "attention heads"]),
        (["model.attn_implementation=flash"], ["`flash`", "`flash_attention_2`"]),
        (["model.name_or_path=models/none"], ["model.shape belongs to nano models", "set model.shape to null"]),
        (["model.name_or_path=./none", "model.shape=null"], ["`./none`, and there is no such folder"]),
        (
            ["model.attn_implementation=flex_attention", "training.use_cpu=true"],
            ["`flex_attention`", "backward", "CPU"],
        ),
        (["model.adapter.lora_target_modules=foo("], ["`model.adapter.lora_target_modules`", "no regular expression"]),
        (["model.adapter.lora_target_modules=[foo]"], ["{'foo'}", "linear layers end in", "q_proj"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_setting(refused: Refused, overrides: list[str], said: list[str]) -> None:
    line = refused(*sets(*overrides))
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: {name_or_path: nano:llama}\ndta: {train: a}\n", ["bad.yaml:2: `dta`", "did you mean `data`?"]),
        ("model: {}\ndata: {train: rows.jsonl}\n", ["bad.yaml:1: `model.name_or_path` is missing"]),
        ("model: [1\ndata: 2", ["bad.yaml:2: this is not YAML"]),
        ("", ["bad.yaml: a recipe is a mapping", "found nothing"]),
        (
            "extends: r.yaml\narms:\n  a: {}\n  b: {}\n  a: {seed: 1}\n",
            ["bad.yaml:5: `arms.a` is written twice", "line 3"],
        ),
        ("extends: r.yaml\narms: {a b: {}}\n", ["bad.yaml:2: `arms.a b`", "letters, digits"]),
        ("extends: r.yaml\narms: {a: {sed: 1}}\n", ["bad.yaml:2: `arms.a.sed` is not a key"]),
        ("extends: r.yaml\nseeds: [1, 1]\n", ["bad.yaml:2: `seeds`", "twice"]),
        ("extends: other.yaml\n", ["bad.yaml:1: `extends: other.yaml` is no file"]),
        ("extends: r.yaml\ntraining: {output_dir: x}\n", ["bad.yaml:2: `training.output_dir` is refused"]),
    ],
)
def test_a_recipe_file(refused: Refused, tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    line = refused(command=("run", "bad.yaml"))
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "none.yaml"], ["there is no recipe file none.yaml", "relative to"]),
        (["run", "."], ["cannot read the recipe ."]),
        (["run", "r.yaml", "--arms", "none"], ["no arm `none`", "`base`"]),
        (["run", "r.yaml", "--arms", ","], ["no arm was named", "base"]),
        (["run", "r.yaml", "--seeds", "0,x"], ["--seeds takes whole numbers", "'0,x'"]),
        (["run", "r.yaml", "--seeds", "-1"], ["whole numbers from 0 on", "-1"]),
        (["run", "r.yaml", "--seeds", "5000000000"], ["4294967295 at most", "5000000000"]),
        (["run", "r.yaml", "--seeds", "1,1"], ["different whole numbers", "[1, 1]"]),
        (["run", "r.yaml", "--plan", *sets("data.train=none.jsonl")], ["no such data file: none.jsonl"]),
        (["run", "r.yaml", "--smoke", *sets("model.attn_implementation=flash")], ["`flash`"]),
        (["inspect", "masks", "r.yaml", *sets("data.train=none.jsonl")], ["no such data file: none.jsonl"]),
        (["inspect", "data", "r.yaml", *sets("data.train=none.jsonl")], ["no such data file: none.jsonl"]),
        (["inspect", "order", "r.yaml", "--arm", "none"], ["no arm `none`"]),
        (["export", "runs/r", "-o", "out"], ["runs/r holds no finished run"]),
        (["init", "r.yaml"], ["r.yaml"]),
    ],
)
def test_a_command_line(refused: Refused, arguments: list[str], said: list[str]) -> None:
    line = refused(command=tuple(arguments))
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "bad.jsonl is empty"),
        ([*ROWS[:3], {"completion": "a"}], "bad.jsonl:4: no field `prompt`"),
        ([*ROWS[:3], {"prompt": "a", "completion": 1}], "bad.jsonl:4: `completion` is not text"),
        ([*ROWS[:3], [1]], "bad.jsonl:4: "),
    ],
)
@pytest.mark.parametrize("which", ["train", "eval"])
def test_a_data_file(refused: Refused, tmp_path: Path, rows: list[Any], said: str, which: str) -> None:
    write_rows(tmp_path / "bad.jsonl", rows)
    assert said in refused(*sets(f"data.{which}=bad.jsonl"))
    if rows and which == "train":
        assert said in refused("r.yaml", *sets("data.train=bad.jsonl"), command=("inspect", "packing"))


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForCausalLM

    from curricle.models.nano import nano_config, train_tokenizer

    folder = tmp_path_factory.mktemp("models") / "whole"
    tokenizer = train_tokenizer([row["prompt"] for row in ROWS], 300)
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_config(nano_config("llama", len(tokenizer))).save_pretrained(folder)
    return folder


def without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def without_pad(folder: Path, *_: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)


def cut_short(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:100])


TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.mark.parametrize(
    ("spoil", "names", "said"),
    [
        (without, ["model.safetensors"], ["holds no weights", "model.safetensors", "it holds", "config.json"]),
        (without, ["config.json"], ["holds no config", "config.json"]),
        (without, [*TOKENIZER, "chat_template.jinja"], ["holds no tokenizer", "tokenizer.json"]),
        (without, ["chat_template.jinja"], ["no chat template", "data.chat_template", "chatml"]),
        (without_pad, [], ["has no pad token", "model.pad_token", "such as `<|im_end|>`"]),
        (cut_short, ["model.safetensors"], ["cannot be read"]),
        (cut_short, ["config.json"], ["config.json"]),
        (cut_short, ["tokenizer.json"], ["tokenizer"]),
    ],
    ids=["weights", "config", "tokenizer", "template", "pad", "short weights", "short config", "short tokenizer"],
)
def test_a_model_folder(
    refused: Refused, tmp_path: Path, saved_model: Path, spoil: Any, names: list[str], said: list[str]
) -> None:
    shutil.copytree(saved_model, tmp_path / "spoilt")
    spoil(tmp_path / "spoilt", *names)
    line = refused(*sets("model={name_or_path: spoilt, shape: null}", *CHAT_DATA))
    assert all(part in line for part in [*said, "spoilt"]), line


def test_the_second_arm_is_looked_at_before_the_first_is_trained(refused: Refused) -> None:
    assert "no such folder" in refused(*sets("arms={good: {}, bad: {model: {name_or_path: ./none, shape: null}}}"))


def test_a_row_to_train_on_needs_its_target(refused: Refused, tmp_path: Path) -> None:
    write_rows(tmp_path / "bad.jsonl", [*ROWS[:3], {"prompt": "a"}])
    line = refused(*sets("data.train=bad.jsonl"))
    assert "bad.jsonl:4: no field `completion`: the row has `prompt`" in line
    assert "data.on_bad_row: skip" in line


def test_an_adapter_on_missing_layers_leaves_finished_runs_alone(refused: Refused, tmp_path: Path) -> None:
    assert main(["run", "r.yaml"]) == 0
    finished = tmp_path / "runs/r/base/seed-42/results.json"
    before = finished.read_bytes()
    assert "'foo'" in refused(*sets("arms={bad: {model: {adapter: {lora_target_modules: [foo]}}}}"))
    assert finished.read_bytes() == before
    assert not (tmp_path / "runs/r/bad").exists()


def test_a_folder_that_holds_another_recipe(refused: Refused, tmp_path: Path) -> None:
    assert main(["train", "r.yaml"]) == 0
    line = refused(*sets("training.learning_rate=1.0e-3", "data.max_length=64"))
    assert "runs/r/base/seed-42 holds another recipe" in line
    assert "`training.learning_rate` was 2e-05, is 0.001" in line
    assert "`data.max_length` was 128, is 64" in line
    assert "--force" in line
    assert "holds another recipe" in refused(*sets("data.max_length=64"), command=("train", "r.yaml"))


def test_a_folder_in_use(refused: Refused, tmp_path: Path) -> None:
    with hold(tmp_path / "runs" / "r"):
        assert "runs/r is in use by another process (pid " in refused()


def test_a_run_that_is_not_finished(refused: Refused, tmp_path: Path) -> None:
    run = tmp_path / "runs/r/base/seed-0"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").touch()
    for asked in ("runs/r", "runs/r/base/seed-0"):
        assert f"{asked} holds no finished run" in refused(command=("export", asked, "-o", "out"))


def test_an_extra_that_is_not_there(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.integration_utils.is_mlflow_available", lambda: False)
    line = refused(*sets("training.report_to=mlflow"))
    assert "needs mlflow" in line
    assert "pip install 'curricle[mlflow]'" in line


@pytest.mark.parametrize(
    ("package", "changes", "said"),
    [
        ("bitsandbytes", "{training: {optim: adamw_8bit}}", "`training.optim: adamw_8bit` cannot be had here"),
        ("flash_attn", "{model: {attn_implementation: flash_attention_2}}", "flash-attn is not installed"),
        ("kernels", "{model: {attn_implementation: kernels-community/fa2}}", "kernels is not installed"),
    ],
)
def test_a_package_that_is_not_there(refused: Refused, package: str, changes: str, said: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    line = refused(*sets(f"arms={{good: {{}}, bad: {changes}}}"))
    assert said in line
    assert package.replace("_", "-") in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "r.yaml", *sets("data.trian=x")], "did you mean"),
        (["run", "r.yaml", *sets("data.train=none.jsonl")], "none"),
    ],
)
def test_in_a_process_of_its_own(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    command = [sys.executable, "-m", "curricle", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert files_below(tmp_path) == {"r.yaml"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.ddp_timeout=1"], "the 2 processes of this run did not meet"),
        (["arms={a: {}, b: {training: {ddp_timeout: 5}}}"], "the arms differ in distributed.backend"),
        (["distributed.backend=nccl"], "nccl needs a GPU for each process"),
    ],
)
def test_processes_that_cannot_meet(tmp_path: Path, overrides: list[str], said: str) -> None:
    """The first of two processes, alone."""
    (tmp_path / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    write_rows(tmp_path / "rows.jsonl", ROWS)
    command = [sys.executable, "-m", "curricle", "run", "r.yaml", *sets("training.use_cpu=true", *overrides)]
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | torchrun, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error (rank 0): ")
    assert said in line
    assert "Traceback" not in done.stderr
    assert files_below(tmp_path) == {"r.yaml", "rows.jsonl"}
