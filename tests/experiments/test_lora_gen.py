"""A generator trained by recipe on rows of two tasks, each with a system prompt: it learns, goes on exactly, and what
it makes of a prompt is a plain adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import curricle
from curricle.cli.app import main
from curricle.curriculum.labels import write_labels
from curricle.data.sources import read_examples
from curricle.errors import DataError, ModelError, RecipeError, RunError
from curricle.experiments.assemble import load_saved
from curricle.experiments.lora_gen import export, train
from curricle.experiments.material import gather, rows_of
from curricle.experiments.resolve import resolve
from curricle.experiments.subject import find_subject
from curricle.models.nano import nano_config, train_tokenizer

TASKS = {
    "Answer with the next letter.": lambda i: (i + 1) % 26,
    "Answer with the letter before.": lambda i: (i - 1) % 26,
}
"""The question alone does not say which; the cloud reads that, the edge does not."""


def write_rows(path: Path, rows: range) -> None:
    lines = []
    for i in rows:
        prompt, answer = list(TASKS.items())[i % 2]
        letter = i * 7 % 26
        messages = [
            {"role": "system", "content": prompt},
            {"role": "user", "content": f"{chr(97 + letter)} {i}"},
            {"role": "assistant", "content": chr(97 + answer(letter))},
        ]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Path:
    """Data, and a cloud of another family, width, depth and vocabulary than the edge."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("lora-gen")
    write_rows(folder / "train.jsonl", range(60))
    write_rows(folder / "eval.jsonl", range(60, 76))
    torch.manual_seed(1)
    for name, kind, size, shape in (
        ("cloud", "llama", 270, {"hidden_size": 48, "num_hidden_layers": 3}),
        (
            "edge",
            "qwen2",
            280,
            {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "initializer_range": 0.3},
        ),
    ):
        AutoModelForCausalLM.from_config(nano_config(kind, size, **shape)).save_pretrained(folder / name)
        train_tokenizer(["a b c d 1 2 3 next letter before"] * 3, size).save_pretrained(folder / name)
    return folder


def recipe(place: Path, name: str = "tasks", **changes: Any) -> dict[str, Any]:
    generator = {"cloud": str(place / "cloud"), "num_experts": 4, "rank": 4, "router_hidden": 16}
    tree: dict[str, Any] = {
        "name": name,
        "model": {"name_or_path": str(place / "edge"), "lora_gen": generator},
        "data": {
            "train": str(place / "train.jsonl"),
            "eval": str(place / "eval.jsonl"),
            "max_length": 128,
            "show_system_prompt": False,
        },
        "training": {
            "max_steps": 20,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 2e-2,
            "logging_steps": 1,
            "save_steps": 10,
            "use_cpu": True,
        },
        "evaluation": [{"metric": "loss"}, {"metric": "token_accuracy"}],
        "seeds": [3],
    }
    return tree | changes


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        curricle.run(recipe(place))
    return place / "runs" / "tasks" / "base" / "seed-3"


def losses(run: Path, name: str = "loss") -> list[float]:
    return [json.loads(line)[name] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_loss_falls_and_only_the_generator_is_saved(run: Path) -> None:
    found = losses(run)
    assert len(found) == 20
    assert sum(found[-3:]) < 0.8 * sum(found[:3])
    assert all(value >= 0 for value in losses(run, "expert_balance"))
    assert all(name.startswith("generator.") for name in load_file(run / "model" / "model.safetensors"))
    results = json.loads((run / "results.json").read_text())
    assert results["metrics"]["loss"] < found[0]
    assert 0 < results["metrics"]["token_accuracy"] < 100
    assert results["model"]["num_trainable"] < results["model"]["num_parameters"]


def test_a_run_that_was_cut_off_goes_on_exactly(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    again = recipe(place, "cut")
    curricle.train(again)
    cut = place / "runs" / "cut" / "base" / "seed-3"
    shutil.rmtree(cut / "model")
    (cut / "results.json").unlink()
    shutil.rmtree(cut / "checkpoint-20")
    whole = losses(cut)
    curricle.train(again)
    assert losses(cut) == whole == losses(run)
    weights = load_file(run / "model" / "model.safetensors")
    for name, value in load_file(cut / "model" / "model.safetensors").items():
        assert torch.equal(value, weights[name]), name


def test_packed_and_padded_rows_measure_the_same(run: Path, place: Path) -> None:
    """Each document of a packed row goes through its own prompt's factors."""
    from curricle.evaluation.perplexity import answer_perplexity

    found = []
    for packing in ("ordered", "none"):
        tree = recipe(place)
        tree["data"] |= {"packing": packing}
        material = gather(resolve(tree).base)
        model = load_saved(material, 3, run)
        assert material.eval is not None
        found.append(answer_perplexity(model, material.eval, rows_of(material), batch_size=4)[0])
    assert found[0].value == pytest.approx(found[1].value, rel=1e-5)
    assert found[0].per_example == pytest.approx(found[1].per_example, rel=1e-4)
    assert found[0].value == pytest.approx(json.loads((run / "results.json").read_text())["metrics"]["loss"], rel=1e-5)


@pytest.mark.parametrize("prompt", [*TASKS, "A prompt that no row has."])
def test_an_exported_adapter_answers_as_the_run_does(run: Path, place: Path, tmp_path: Path, prompt: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(run, prompt, tmp_path / "adapter")
    export(run, prompt, tmp_path / "model", merge=True)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(place / "edge"), tmp_path / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template

    model = load_saved(gather(resolve(recipe(place)).base), 3, run).eval()
    model.prompts = [prompt]
    tokens = torch.randint(4, 270, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = model(input_ids=tokens, prompt_ids=[0, 0]).logits
        for other in (plain.eval(), merged.eval()):
            torch.testing.assert_close(other(input_ids=tokens).logits, want, rtol=1e-4, atol=1e-4)
        assert (want - model(input_ids=tokens).logits).abs().max() > 0.1


def test_export_from_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "adapter"
    asked = ["lora-gen", "export", str(run.parents[1]), "--system-prompt", "Be brief.", "-o", str(out)]
    assert main(asked) == 0
    assert capsys.readouterr().out.strip() == str(out)
    about = json.loads((out / "adapter_config.json").read_text())
    assert (about["r"], about["lora_alpha"], about["peft_type"]) == (8, 8, "LORA")
    assert main(asked) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([*asked, "--force"]) == 0


def test_the_commands_for_whole_models_point_to_it(run: Path, place: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="curricle lora-gen export"):
        curricle.export(run, tmp_path / "whole")
    measured = curricle.evaluate(run, data=place / "train.jsonl", metrics=["loss"])
    assert "loss" in str(measured)


def test_train_refuses_a_recipe_without_a_generator(place: Path, tmp_path: Path, capsys: Any) -> None:
    tree = recipe(place)
    del tree["model"]["lora_gen"]
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert main(["lora-gen", "train", str(path)]) == 2
    assert "lora_gen: {cloud: FOLDER}" in capsys.readouterr().err


def test_an_order_and_arms_without_a_generator(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an untouched arm, and one that trains the model's own weights."""
    monkeypatch.chdir(tmp_path)
    ordered = {"curriculum": {"strategy": "easy_to_hard", "labels": "length"}}
    nano = {"model": {"name_or_path": "nano:llama", "shape": {"vocab_size": 300, "num_hidden_layers": 1}}}
    arms = {"ordered": ordered, "nano": nano, "untouched": {"trainer": "none"}, "whole": {"model": {"lora_gen": None}}}
    tree = recipe(place, "arms", arms=arms)
    tree["training"] |= {"max_steps": 2, "save_strategy": "no"}
    curricle.run(tree, smoke=True)
    curricle.run(tree)
    found = {arm: json.loads((tmp_path / f"runs/arms/{arm}/seed-3/results.json").read_text()) for arm in arms}
    trained = {arm: about["model"] and about["model"]["num_trainable"] for arm, about in found.items()}
    assert trained["ordered"] == 5_564
    assert trained["untouched"] is None
    assert len({about["metrics"]["loss"] for about in found.values()}) == 4
    folder = tmp_path / "runs/arms/nano/seed-3"
    assert json.loads((export(folder, "x", tmp_path / "a") / "adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(folder / "base")


def test_the_balance_term_spreads_the_work(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arms = {name: {"model": {"lora_gen": {"balance": weight}}} for name, weight in (("free", 0), ("held", 10))}
    tree = recipe(place, "balance", arms=arms, evaluation=[])
    tree["training"] |= {"max_steps": 8, "save_strategy": "no", "eval_strategy": "no"}
    curricle.train(tree)
    free, held = (losses(tmp_path / f"runs/balance/{arm}/seed-3", "expert_balance") for arm in arms)
    assert free[0] == held[0]
    assert held[-1] < 0.8 * free[-1]


def test_plan_counts_the_generator_and_the_cloud(
    run: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(place, "planned")), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    memory = train(path, plan=True).arms[0].memory
    trained = sum(value.numel() for value in load_file(run / "model" / "model.safetensors").values())
    assert memory.gradients == 4 * trained
    assert memory.parameters > 4 * (trained + 270 * 48)  # the cloud's embedding alone


def test_a_run_is_not_asked_without_its_prompt(run: Path) -> None:
    subject = find_subject(run)
    with pytest.raises(RunError, match="lora-gen export RUN"):
        subject.load(subject.tokenizer())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": "trl"}, "trained by hf"),
        ({"distributed": {"fsdp": "full_shard"}}, "fsdp"),
        ({"evaluation": [{"metric": "chrf"}]}, "export the adapter"),
        ({"selection": {"metric": "chrf"}}, "it is loss"),
    ],
)
def test_what_does_not_go_with_a_generator_is_said(place: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve(recipe(place, **changes))


def test_rows_without_a_system_prompt_and_a_cloud_that_is_not_there(place: Path, tmp_path: Path) -> None:
    from curricle.experiments.assemble import look_ahead

    bare = tmp_path / "bare.jsonl"
    bare.write_text(json.dumps({"messages": [{"role": r, "content": "x"} for r in ("user", "assistant")]}) + "\n")
    tree = recipe(place)
    tree["data"] |= {"train": str(bare)}
    with pytest.raises(DataError, match=r"bare.jsonl:1 has no system prompt"):
        rows_of(gather(resolve(tree).base))
    tree = recipe(place)
    tree["model"]["lora_gen"] |= {"cloud": str(tmp_path / "nowhere")}
    material = gather(resolve(tree).base)
    with pytest.raises(ModelError, match=r"model\.lora_gen\.cloud is"):
        look_ahead(material, 3, tmp_path)


@pytest.mark.parametrize("strategy", ["layer_specific", "layer_wise_progressive"])
def test_a_curriculum_of_layers_trains_the_generator(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = recipe(place, strategy, curriculum={"strategy": strategy, "labels": str(tmp_path / "labels.parquet")})
    made["training"] |= {"max_steps": 6, "save_strategy": "no"}
    made["evaluation"] = []
    ids = [example.id for example in read_examples(resolve(made).base.data, "train")]
    first = np.arange(len(ids), dtype=np.float32)
    write_labels(tmp_path / "labels.parquet", ids, {"mean": first}, layers=np.stack([first, -first], axis=1))
    curricle.run(made)
    run = tmp_path / "runs" / strategy / "base" / "seed-3"
    admitted = losses(run, "layer_admitted")
    if strategy == "layer_wise_progressive":
        assert losses(run, "open_layers") == [[0]] * 2 + [[0, 1]] * 4
        assert admitted == [[1.0, 0.0]] * 2 + [[1.0, 1.0]] * 4
    else:
        # What is easy for one layer is hard for the other, and the third that neither admits is not drawn.
        assert all(a + b == pytest.approx(1.0) for a, b in admitted[:2])
        assert admitted[-2:] == [[1.0, 1.0]] * 2
