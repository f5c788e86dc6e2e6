"""A finished run as a folder that plain transformers loads: adapters merged, one dtype, tokenizer, template, card."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..errors import RunError
from ..models.config import ModelConfig
from ..models.loading import load_model
from ..runtime.files import atomic_folder, read_json, write_text
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.rundir import find_run
from .folding import merge_adapter

Dtype = Literal["float32", "bfloat16", "float16"]


@calm_libraries()
def export(
    run: str | Path,
    out: str | Path,
    *,
    dtype: Dtype | None = None,
    push_to_hub: str | None = None,
    force: bool = False,
) -> Path:
    """Write the model of a run to `out`.

    `run` is `runs/<name>/<arm>/seed-<k>`, or a folder above it that holds no other run. An adapter is merged in float32
    and cast once, to `dtype` (by default the base model's own). `push_to_hub` names a repository to upload to as well.
    """
    folder, out = find_run(Path(run)), Path(out)
    if (folder / "model" / "lora_gen.json").exists():
        raise RunError(f"{folder} has a LoRA generator; `curricle lora-gen export` writes what a system prompt gives")
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; give a folder to write the model to")
    if out.exists() and any(out.iterdir()) and not force:
        raise RunError(f"{out} is not empty; give another folder, or --force to replace it")
    model, tokenizer = _load(folder / "model", dtype)
    with atomic_folder(out) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_text(scratch / "README.md", card(folder, model))
    size = sum(file.stat().st_size for file in out.iterdir())
    say(f"{out}: {size / 2**20:,.1f} MiB, {_how_to_load(out, model)}")
    if push_to_hub:
        model.push_to_hub(push_to_hub)
        tokenizer.push_to_hub(push_to_hub)
    return out


def _how_to_load(out: Path, model: Any) -> str:
    """Plain transformers does not know models with several heads."""
    from ..models.mtp.model import MtpForCausalLM

    if not isinstance(model, MtpForCausalLM):
        return "loadable with AutoModelForCausalLM"
    return (
        "loadable with AutoModelForCausalLM after `import curricle.models.mtp.model`, as it has "
        f"{model.config.num_future_tokens} heads; `curricle model convert {out} -o DIR --heads 1` makes the plain "
        "model of its first head, which needs no import"
    )


def _load(folder: Path, dtype: Dtype | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ..models.mtp.model import MtpForCausalLM  # noqa: F401 (transformers knows it from here on)
    from ..models.value_head import expected_by_us, load_value_head, match_head

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not (folder / "adapter_config.json").exists():
        with expected_by_us():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or "auto")
        load_value_head(model, folder)
        return model, tokenizer
    base = load_model(_base_of(folder))
    match_head(base, folder)
    own = base.dtype
    return merge_adapter(base.float(), folder).to(getattr(torch, dtype) if dtype else own), tokenizer


def _base_of(folder: Path) -> ModelConfig:
    """The model that the adapter in `folder` stands on: a nano model's lies beside it, wherever the run was moved."""
    about, beside = read_json(folder / "adapter_config.json"), folder.parent / "base"
    name = str(beside) if beside.is_dir() else about["base_model_name_or_path"]
    return ModelConfig(name_or_path=name, revision=about.get("revision"), dtype="auto")


def card(folder: Path, model: Any) -> str:
    """What this model is, from the run's own results."""
    results = read_json(folder / "results.json") if (folder / "results.json").exists() else {}
    rows = "\n".join(f"| {name} | {value} |" for name, value in results.items() if isinstance(value, int | float | str))
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# {folder.parent.parent.name}\n\n"
        f"Arm `{folder.parent.name}`, {folder.name}, trained with Curricle: {model.config.model_type}, "
        f"{model.num_parameters():,} parameters, {str(model.dtype).removeprefix('torch.')}.\n\n"
        f"| | |\n|---|---|\n{rows}\n"
    )
