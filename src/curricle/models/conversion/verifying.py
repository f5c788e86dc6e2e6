"""Whether a model folder is whole: files, tensors, tokenizer, and what it makes of text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import ModelError
from ...runtime.quiet import calm_libraries
from .artifact import NAME, verify_files


@dataclass(frozen=True)
class Verified:
    """What was checked, and what came of it."""

    folder: Path
    lines: list[str]

    def __str__(self) -> str:
        return "\n".join([f"{self.folder}: whole", *(f"  {line}" for line in self.lines)])


@calm_libraries()
def verify_model(folder: str | Path, against: str | Path | None = None, *, check_text: bool = True) -> Verified:
    """Raises a ModelError that names what is wrong. `against` is a model of any format, such as the source of this one:
    head 1 must give its logits."""
    from . import proofs
    from .sources import kind_of, read_source

    folder = Path(folder)
    if kind_of(folder) != "transformers":
        raise ModelError(f"{folder} is a model as its makers gave it; convert it first: the conversion verifies it")
    about = verify_files(folder)
    lines = [f"files      {len(about['files'])} as {NAME} says" if about else f"files      no {NAME} to compare with"]
    read = read_source(folder)
    model, tokenizer = read.model, read.tokenizer
    proofs.finite(model)
    lines.append(f"tensors    {len(model.state_dict())}, every one of the config, all finite")
    vocab_size, _ = proofs.limits(model)
    if len(tokenizer) > vocab_size:
        raise ModelError(f"the tokenizer has {len(tokenizer):,} tokens and the model {vocab_size:,}")
    lines.append(f"tokenizer  {len(tokenizer):,} tokens of {vocab_size:,}")
    if about is not None and "text" not in about.get("checks", {}):
        lines.append("text       not asked of it when it was made")
    elif check_text:
        tried = proofs.nothing_turned(model, tokenizer)
        found = proofs.fluent(model, tokenizer)
        lines.append(f"text       {found['best']:.3f} nats a token at best; a guess has {found['guessing']:.3f}")
        lines.append(f"rows       {_turned(tried)}")
    if against is not None:
        lines.append(f"logits     as of {against}, but for {_compared(folder, Path(against), read):.2g}")
    return Verified(folder, lines)


def _turned(tried: int | None) -> str:
    if not tried:
        why = "the model is large" if tried is None else "it has no square matrices"
        return f"not tried the other way round (transposed): {why}"
    return f"no better the other way round (transposed), in {tried} kinds of square matrices"


def _compared(folder: Path, against: Path, read: object) -> float:
    from . import proofs
    from .sources import Source, read_source

    assert isinstance(read, Source)
    other = read_source(against)
    model, theirs = read.model, other.model
    sizes = [proofs.limits(one)[0] for one in (model, theirs)]
    if sizes[0] != sizes[1]:
        raise ModelError(f"{folder} knows {sizes[0]:,} tokens and {against} {sizes[1]:,}; they are different models")
    tokens = proofs.probe_tokens(model, theirs)
    coarser = max(model.dtype, theirs.dtype, key=lambda dtype: proofs.precision(dtype))
    return proofs.same_logits(
        proofs.logits_of(model, tokens), proofs.logits_of(theirs, tokens), coarser, f"{folder} against {against}"
    )
