"""mergekit's YAML: what it says of every tensor is what mergekit would do, and what is not done here is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from curricle.errors import RecipeError
from curricle.experts.merging import MergeSettings, merge, merge_config
from curricle.experts.merging.mergekit import plan_of_config, read_config
from curricle.experts.merging.methods import drop
from curricle.experts.reading import read_difference
from curricle.runtime.files import read_json
from curricle.runtime.seeds import derive_seed
from experts import made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    base = made.base(folder / "base")
    names = {name: made.moved(folder / name, base, seed) for seed, name in enumerate("abc")}
    return {"base": base, **names, "lora": made.adapter(folder / "lora", base)}


def written(models: dict[str, Path], file: Path, text: str) -> Path:
    """The text with the folders for `<a>` and the like."""
    for name, folder in models.items():
        text = text.replace(f"<{name}>", str(folder))
    file.write_text(text)
    return file


def merged(models: dict[str, Path], tmp_path: Path, text: str, **settings: Any) -> dict[str, torch.Tensor]:
    file = written(models, tmp_path / "config.yml", text)
    done = merge_config(file, tmp_path / "out", settings=MergeSettings(**settings))
    assert (done.folder / "mergekit_config.yml").read_text() == file.read_text()
    return load_file(done.folder / "model.safetensors")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


LINEAR = """
merge_method: linear
models:
  - model: <a>
    parameters: {weight: 1.0}
  - model: <b>
    parameters: {weight: 3}
  - {model: <c>, parameters: {weight: -0.5}}
"""


@pytest.mark.parametrize("normalize", [True, False])
def test_linear_is_a_mean_of_models(models: dict[str, Path], tmp_path: Path, normalize: bool) -> None:
    text = LINEAR if normalize else LINEAR + "parameters: {normalize: false}\n"
    found = merged(models, tmp_path, text)
    a, b, c = (weights(models[name]) for name in "abc")
    for name in found:
        total = a[name] + 3 * b[name] - 0.5 * c[name]
        torch.testing.assert_close(found[name], total / 3.5 if normalize else total, rtol=1e-6, atol=1e-7)


def test_linear_with_weight_1_alone_is_that_model(models: dict[str, Path], tmp_path: Path) -> None:
    text = (
        "merge_method: linear\nmodels: [{model: <a>}, {model: <b>, parameters: {weight: 1}}]\nparameters: {weight: 0}"
    )
    found, expected = merged(models, tmp_path, text), weights(models["b"])
    assert all(found[name].equal(expected[name]) for name in found)


TASK = """
merge_method: task_arithmetic
base_model: <base>
models:
  - model: <base>
  - model: <a>
    parameters: {weight: 0.5}
  - model: <base>+<lora>
    parameters: {weight: 1e-1}
dtype: float32
out_dtype: bfloat16
"""


@pytest.mark.parametrize("extra", [{}, {"normalize": True}, {"lambda": 0.5, "int8_mask": True}], ids=str)
def test_task_arithmetic_is_ours(models: dict[str, Path], tmp_path: Path, extra: dict[str, Any]) -> None:
    found = merged(models, tmp_path, TASK + (yaml.safe_dump({"parameters": extra}) if extra else ""))
    settings = MergeSettings(scale=extra.get("lambda", 1.0), dtype="bfloat16")
    done = merge(
        models["base"], {"a": models["a"], "lora": models["lora"]}, tmp_path / "ours", settings=settings,
        weights={"a": 0.5, "lora": 0.1}, normalize="sum1" if extra.get("normalize") else "none",
    )  # fmt: skip
    expected = weights(done.folder)
    assert all(found[name].equal(expected[name]) for name in found)
    assert read_json(tmp_path / "out" / "config.json")["dtype"] == "bfloat16"


def test_ties_divides_by_those_that_agree_unless_told_not_to(models: dict[str, Path], tmp_path: Path) -> None:
    text = (
        "merge_method: ties\nbase_model: <base>\nmodels: [{model: <a>}, {model: <b>}]\n"
        "parameters: {weight: 0.5, density: 0.3, int8_mask: true}\n"
    )
    found = merged(models, tmp_path, text)
    experts = {name: models[name] for name in "ab"}
    how: dict[str, Any] = {"method": "ties", "settings": MergeSettings(density=0.3), "weights": {"a": 0.5, "b": 0.5}}
    expected = weights(merge(models["base"], experts, tmp_path / "ours", normalize="sum1", **how).folder)
    assert all(found[name].equal(expected[name]) for name in found)


def test_dare_restores_the_norm_and_draws_by_our_seed(models: dict[str, Path], tmp_path: Path) -> None:
    text = (
        "merge_method: dare_linear\nbase_model: <base>\n"
        "models: [{model: <a>, parameters: {weight: 0.8, density: 0.4}}]\n"
    )
    found, base = merged(models, tmp_path, text, seed=5), weights(models["base"])
    change = {name: weights(models["a"])[name] - base[name] for name in base}
    for name in found:
        kept = drop(change[name], 0.4, derive_seed(5, "drop", name, "a"), "norm")
        torch.testing.assert_close(found[name], base[name] + 0.8 * kept, rtol=1e-6, atol=1e-7)


def test_filters_and_gradients_give_each_tensor_its_weight(models: dict[str, Path], tmp_path: Path) -> None:
    """The first filter that is in the name holds; a list runs from the first layer to the last, and its first value
    holds outside of the layers; what a model leaves open the file's own parameters say."""
    text = """
merge_method: task_arithmetic
base_model: <base>
models:
  - model: <a>
    parameters:
      weight:
        - {filter: self_attn, value: [0.0, 1.0]}
        - {filter: mlp, value: 0.25}
  - model: <b>
    parameters: {weight: [0.1, 0.2, 0.5]}
parameters:
  weight:
    - filter: lm_head
      value: 2e-1
    - value: 0.75
"""
    plan = plan_of_config(read_config(written(models, tmp_path / "config.yml", text)), MergeSettings())
    layer = "model.layers.{}.{}.weight"
    for name, expected in {
        layer.format(0, "self_attn.q_proj"): (0.0, 0.1),
        layer.format(1, "self_attn.q_proj"): (1.0, 0.5),
        layer.format(1, "mlp.up_proj"): (0.25, 0.5),
        layer.format(1, "input_layernorm"): (0.75, 0.5),
        "lm_head.weight": (0.2, 0.1),
        "model.norm.weight": (0.75, 0.1),
    }.items():
        assert plan.rule_of(name)[0] == pytest.approx(expected), name
    found = merged(models, tmp_path, text)
    expert = read_difference(models["a"], plan.base).dense("model.norm.weight")
    other = read_difference(models["b"], plan.base).dense("model.norm.weight")
    expected = plan.base.read("model.norm.weight") + 0.75 * expert + 0.1 * other
    torch.testing.assert_close(found["model.norm.weight"], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "is no merge configuration"),
        ("a: [", "cannot be read as YAML"),
        (TASK.replace("task_arithmetic", "slerp"), "merge_method slerp is not done here; known: linear, task_arith"),
        (TASK.replace("base_model: <base>", ""), "task_arithmetic needs base_model"),
        (TASK + "tokenizer_source: union", r"`tokenizer_source` is not done here \(vocabularies joined"),
        (TASK + "slices: []", "`slices` is not done here"),
        (TASK + "out_dtyp: float32", "unknown key `out_dtyp`; did you mean `out_dtype`"),
        (TASK + "parameters: {t: 0.5}", "parameters has the unknown key `t`"),
        (TASK.replace("{weight: 0.5}", "{wieght: 0.5}"), "unknown key `wieght`; did you mean `weight`"),
        (TASK.replace("{weight: 0.5}", "{weight: 1, normalize: true}"), "`normalize`, which holds for all models"),
        (TASK.replace("{weight: 0.5}", "{weight: much}"), "weight is 'much'; a number was expected"),
        (TASK.replace("{weight: 0.5}", "{weight: [{filter: x}]}"), "it is written {filter, value}"),
        (TASK.replace("{weight: 0.5}", "{weight: {filter: x, value: 1}}"), "no weight for lm_head.weight"),
        (TASK.replace("<a>", "<base>"), "twice"),
        (TASK.replace("<base>+<lora>", "<a>+<lora>"), "but base_model is .*, another folder"),
        (TASK.replace("bfloat16", "int8"), "out_dtype is int8; known: float32, bfloat16, float16"),
        (LINEAR.replace("models:", "base_model: <base>\nmodels:"), "linear is a mean of `models`"),
        (LINEAR.replace("weight: 3", "weight: -0.5"), "sum to 0, and normalize divides"),
        (LINEAR.replace("<c>", "<base>+<lora>"), "not by linear"),
    ],
)
def test_what_is_not_done_is_named(models: dict[str, Path], tmp_path: Path, text: str, says: str) -> None:
    file = written(models, tmp_path / "config.yml", text)
    with pytest.raises(RecipeError, match=says):
        merge_config(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
