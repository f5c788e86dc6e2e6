"""From a model as its makers gave it to a folder that any tool loads, proved on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import ModelError
from ...runtime.files import atomic_folder
from ...runtime.progress import say
from ...runtime.quiet import calm_libraries
from .artifact import describe_files, read_metadata, write_metadata

if TYPE_CHECKING:
    from .sources import Source

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Target:
    """What the folder shall hold. None leaves it as the source has it."""

    num_future_tokens: int | None = None
    """Heads in all: 1 gives the plain model of head 1, more add heads where the source has none."""
    kind: Literal["parallel", "sequential"] = "parallel"
    dtype: Dtype | None = None
    check_text: bool = True
    """Refuse a model to which no ordinary text is likelier than a guess."""


@dataclass(frozen=True)
class Written:
    """A folder that was written, and what its metadata says."""

    folder: Path
    metadata: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        about = self.metadata
        size = sum(file["bytes"] for file in about["files"].values())
        heads = f", {about['num_future_tokens']} heads" if about["num_future_tokens"] > 1 else ""
        lines = [
            f"{self.folder}: {about['model_type']}{heads}, {about['num_parameters']:,} parameters, {about['dtype']}, "
            f"{size / 2**20:,.1f} MiB, from {about['source']['format']}"
        ]
        checks = about["checks"]
        if "logits" in checks:
            lines.append(f"logits   differ from the source's by at most {checks['logits']:.2g}, in its precision")
        if "text" in checks:
            best, guess = checks["text"]["best"], checks["text"]["guessing"]
            lines.append(f"text     {best:.3f} nats a token at best; a guess has {guess:.3f}")
        return "\n".join(lines)


@calm_libraries()
def convert(
    source: str | Path,
    output: str | Path,
    target: Target | None = None,
    *,
    tokenizer: str | Path | None = None,
    origin: str | None = None,
    force: bool = False,
) -> Written:
    """Read `source` (a llama2.c file, a folder of Meta's, a folder of transformers) and write a folder of transformers.

    `tokenizer` names the tokenizer's file or folder where it does not lie beside the model; `origin` is kept in the
    metadata: a repository, a licence.
    """
    from .sources import read_source

    target, output = target or Target(), new_folder(output, source, force)
    if target.kind != "parallel" and (target.num_future_tokens or 1) == 1:
        raise ModelError(f"{target.kind} heads were asked for, but not how many; add --heads N")
    read = read_source(Path(source), None if tokenizer is None else Path(tokenizer))
    say_left_out(read)
    checks = prove(read, target.check_text)
    model = cast(_with_heads(read, target), target.dtype)
    about = {"source": {**source_of(Path(source), read), **({"origin": origin} if origin else {})}, "checks": checks}
    return write(output, model, read.tokenizer, about)


def say_left_out(read: Source) -> None:
    """Nothing goes without a word."""
    if read.left_out:
        say(f"left out: {', '.join(read.left_out)}; a value head stands beside a model and is learned anew")


def prove(source: Source, check_text: bool) -> dict[str, Any]:
    """The checks on a model as it was read, with their figures."""
    from . import proofs
    from .reference import reference_logits

    model, weights = source.model, source.weights
    checks: dict[str, Any] = {"logits": 0.0}
    proofs.finite(model)
    if weights is not None:
        tokens = proofs.probe_tokens(model)
        ours = proofs.logits_of(model, tokens, **({"all_heads": True} if weights.shape.num_future_tokens > 1 else {}))
        theirs = reference_logits(weights, tokens)
        checks["logits"] = proofs.same_logits(ours.reshape(theirs.shape), theirs, model.dtype, source.kind)
    if check_text:
        if weights is not None:
            proofs.nothing_across(weights, source.tokenizer)
        else:
            proofs.nothing_turned(model, source.tokenizer)
        checks["text"] = proofs.fluent(model, source.tokenizer)
    return checks


def write(output: Path, model: Any, tokenizer: Any, about: dict[str, Any]) -> Written:
    """The folder with its metadata, taking its name only once it was loaded again as the model that was meant."""
    from .proofs import finite
    from .sources import read_model

    finite(model)
    known = {
        "model_type": model.config.get_text_config().model_type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "num_parameters": model.num_parameters(),
        "num_future_tokens": heads_of(model),
    }
    with atomic_folder(output) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        same_model(read_model(scratch)[0], model, "the model that was written")
        write_metadata(scratch, {**known, **about, "curricle": _version()})
    metadata = read_metadata(output)
    assert metadata is not None
    return Written(output, metadata)


def same_model(ours: Any, theirs: Any, what: str) -> None:
    """The same weights bit for bit, and logits but for what a library makes of the same numbers elsewhere in memory."""
    from .proofs import logits_of, probe_tokens, same_logits, same_weights

    same_weights(ours, theirs, what)
    tokens = probe_tokens(theirs)
    several = {"all_heads": True} if heads_of(ours) == heads_of(theirs) > 1 else {}
    same_logits(logits_of(ours, tokens, **several), logits_of(theirs, tokens, **several), theirs.dtype, what)


def heads_of(model: Any) -> int:
    """How many tokens ahead a model has heads for."""
    return int(getattr(model.config, "num_future_tokens", 1)) if model.config.model_type == "curricle_mtp" else 1


def new_folder(output: str | Path, source: str | Path, force: bool) -> Path:
    """Refuse what would be written over."""
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ModelError(f"{output} is a file; give a folder to write the model to")
    if output.exists() and output.resolve() == Path(source).resolve():
        raise ModelError(f"{output} is the source itself; give another folder")
    if output.exists() and any(output.iterdir()) and not force:
        raise ModelError(f"{output} is not empty; give another folder, or --force to replace it")
    return output


def source_of(source: Path, read: Source) -> dict[str, Any]:
    """Where a model came from: names and hashes of its files, and what those were made from."""
    from ...runtime.files import read_json

    about: dict[str, Any] = {"format": read.kind, "files": describe_files(read.files)}
    if read.kind == "Meta":
        about["params"] = read_json(source / "params.json")
    if source.is_dir() and (older := read_metadata(source)) is not None:
        about["made_from"] = older["source"]
    return about


def _with_heads(read: Source, target: Target) -> Any:
    """The model with as many heads as asked; head 1 must be what it was."""
    from .heads import retarget

    has, asked = heads_of(read.model), target.num_future_tokens
    if asked is None or asked == has:
        return read.model
    model = retarget(read.model, asked, target.kind)
    same_model(model, read.model, "head 1")
    return model


def cast(model: Any, dtype: Dtype | None) -> Any:
    """The same weights in another precision, each rounded once; what the model works out itself stays exact."""
    import torch

    from .sources import remade

    if dtype is None or model.dtype == getattr(torch, dtype):
        return model
    return remade(model, model.config, model.state_dict(), getattr(torch, dtype))


def _version() -> str:
    from importlib.metadata import version

    return version("curricle")
