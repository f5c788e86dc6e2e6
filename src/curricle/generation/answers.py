"""Answers to a set of prompts, once for all metrics, kept in a file that a killed run goes on with.

    samples_eval.jsonl        a line an answer, in the order they come; in the order of the data once all are there
    samples_eval.meta.json    what they were made with: answers of another model or other settings are not used, nor is
                              an answer to a prompt of other tokens, nor one that was cut where the limit is another
                              now; and how drafts fared, where a multi-token model drafted for itself

Several ranks share the prompts: each writes a file of its own, and the first puts them together.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..data.prompts import Prompt, Prompts
from ..errors import ModelError
from ..runtime import ranks
from ..runtime.files import atomic_file, read_json, write_json
from ..runtime.fingerprint import fingerprint
from ..runtime.logs import JsonLog
from ..runtime.progress import say
from .config import GenerationConfig

if TYPE_CHECKING:
    from torch import nn

    from .choice import Row
    from .speculative import Drafted

SPECULATION = "speculation"
_LOOKED_AT = 256  # numbers of each tensor that tell one model from another


@dataclass(frozen=True)
class Answer:
    """One answered prompt, as it stands in the file."""

    id: str
    prompt: str
    prediction: str
    references: list[str]
    num_tokens: int
    finished: bool
    """It ended by an end token or a stop text, not because it was cut."""


def answer(
    model: nn.Module,
    tokenizer: Any,
    prompts: Prompts,
    config: GenerationConfig,
    samples_path: str | Path | None = None,
    seed: int = 0,
) -> list[Answer]:
    """The answers to all prompts, in their order, on every rank. With a path, what is there already is not made again,
    and what is made is written at once."""
    from .decode import model_stop_ids

    prompts = prompts.head(config.num_examples)
    stop_ids = list(dict.fromkeys([*prompts.stop_ids, *model_stop_ids(model)]))
    if not stop_ids:
        raise ModelError("nothing would end an answer: neither tokenizer nor model has an end token; set an eos_token")
    limits = _limits(model, prompts)
    samples = None
    if samples_path is not None:
        samples = _Samples(Path(samples_path), _identity(model, prompts, config, stop_ids, seed))
    done = ranks.shared(samples.found(prompts) if samples and ranks.is_main() else {})
    todo = [i for i in range(len(prompts)) if i not in done]
    own = _Own(tokenizer, prompts, samples)
    ranks.barrier()  # the first rank has put the files in order
    try:
        rows = [_row(prompts[i], i, limits[i], tokenizer) for i in todo]
        drafted = _decode_share(model, rows, stop_ids, config, seed, own, min(config.batch_size, len(prompts)))
    finally:
        own.close()
    for part in ranks.gathered(own.answers):
        done |= part
    answers = [done[i] for i in range(len(prompts))]
    counts = ranks.gathered(drafted)
    if samples and ranks.is_main():
        samples.finish(answers, counts)
    ranks.barrier()
    return answers


def _decode_share(
    model: nn.Module, rows: list[Row], stop_ids: list[int], config: GenerationConfig, seed: int, own: _Own, at_once: int
) -> Drafted | None:
    """This rank's part of the rows: every so-manieth by length. Ranks that share the weights all answer everything, and
    only the first tells how drafts fared."""
    from .decode import decode
    from .decoder import is_sharded

    if not is_sharded(model):
        by_length = sorted(rows, key=lambda row: -len(row.tokens))
        rows = by_length[ranks.rank() :: ranks.world_size()]
    if not rows:
        return None
    drafted = decode(model, rows, stop_ids, config, seed, own.take, at_once)
    return drafted if ranks.is_main() or not is_sharded(model) else None


def _row(prompt: Prompt, index: int, limit: int, tokenizer: Any) -> Row:
    from .choice import Row

    ends = _stop_of(prompt.stop_texts, tokenizer) if prompt.stop_texts else None
    return Row(index, list(prompt.tokens), limit, prompt.id, ends)


def _stop_of(texts: Sequence[str], tokenizer: Any) -> Callable[[Row], bool]:
    """Whether one of the texts stands at the end of an answer. A token has at least one byte, so that so many tokens as
    the longest has bytes, and one that may begin before it, hold it whole."""
    window = max(len(text.encode()) for text in texts) + 1

    def ended(row: Row) -> bool:
        tail = tokenizer.decode(row.answer[-window:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(text in tail for text in texts)

    return ended


def _limits(model: nn.Module, prompts: Prompts) -> list[int]:
    """The most new tokens of each prompt: no position lies beyond what the model has."""
    from .cache import bare

    asked = prompts.max_new_tokens
    positions = getattr(bare(model).config.get_text_config(decoder=True), "max_position_embeddings", None)
    if not isinstance(positions, int):
        return [asked] * len(prompts)
    limits = [min(asked, positions - len(prompt.tokens)) for prompt in prompts]
    if limits and min(limits) < 1:
        row = prompts[limits.index(min(limits))]
        raise ModelError(
            f"{row.example.where}: a prompt of {len(row.tokens)} tokens leaves no room for an answer in a model of "
            f"{positions} positions; set a smaller data.max_length"
        )
    if shorter := sum(limit < asked for limit in limits):
        say(f"{shorter:,} answers may have fewer than {asked} tokens: the model has {positions} positions")
    return limits


class _Own:
    """What this rank has answered."""

    def __init__(self, tokenizer: Any, prompts: Prompts, samples: _Samples | None) -> None:
        self.tokenizer, self.prompts = tokenizer, prompts
        self.answers: dict[int, Answer] = {}
        self._log = None if samples is None else JsonLog(samples.part(ranks.rank()))

    def take(self, row: Row) -> None:
        prompt, tokens = self.prompts[row.index], row.answer
        text = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        made = Answer(prompt.id, prompt.text, text, list(prompt.references), len(tokens), row.finished)
        self.answers[row.index] = made
        if self._log is not None:
            self._log.append(asdict(made))

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


class _Samples:
    """The files of one set of answers."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self.meta = _meta(path)
        self.before: dict[str, Any] | None = None
        """How drafts fared when the answers that are there were made."""

    def part(self, rank: int) -> Path:
        """Where a rank writes; the first writes the file itself."""
        return self.path if rank == 0 else self.path.with_name(f".{self.path.stem}.rank-{rank}.jsonl")

    def _parts(self) -> list[Path]:
        return [self.path, *sorted(self.path.parent.glob(f".{self.path.stem}.rank-*.jsonl"))]

    def found(self, prompts: Prompts) -> dict[int, Answer]:
        """The answers that are there already, by the place of their prompt; the file is left with whole lines only."""
        rows = [row for part in self._parts() for row in _whole_lines(part)]
        known = read_json(self.meta) if self.meta.exists() else {}
        by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if self._stands(row, known):
                by_id[row["id"]].append(row)
        done = {i: _again(by_id[prompt.id].pop(0), prompt) for i, prompt in enumerate(prompts) if by_id.get(prompt.id)}
        if rows and not done:
            say(f"{self.path}: answers of another model, other prompts or settings; they are made anew")
        if done and len(done) < len(prompts):
            say(f"{self.path}: {len(done):,} of {len(prompts):,} answers are there, going on with the rest")
        self.before = known.get(SPECULATION) if done else None
        self._write_meta(self.before)
        self._write(list(done.values()))
        return done

    def _stands(self, row: dict[str, Any], known: dict[str, Any]) -> bool:
        """Whether the same answer would be made again."""
        if known.get("fingerprint") != self.identity["fingerprint"]:
            return False
        if known["prompts"].get(row["id"]) != self.identity["prompts"].get(row["id"]):
            return False
        limit = self.identity["max_new_tokens"]
        return bool(known["max_new_tokens"] == limit or (row["finished"] and row["num_tokens"] < limit))

    def finish(self, answers: Sequence[Answer], counts: Sequence[Drafted | None]) -> None:
        from .speculative import in_all

        self._write(answers)
        self._write_meta(in_all(counts, self.before))

    def _write_meta(self, speculation: dict[str, Any] | None) -> None:
        write_json(self.meta, self.identity | ({SPECULATION: speculation} if speculation else {}))

    def _write(self, answers: Sequence[Answer]) -> None:
        with atomic_file(self.path, "wb") as handle:
            for made in answers:
                handle.write(orjson.dumps(asdict(made), option=orjson.OPT_APPEND_NEWLINE))
        for part in self._parts()[1:]:
            part.unlink()


def _meta(samples_path: Path) -> Path:
    return samples_path.with_suffix(".meta.json")


def speculation_of(samples_path: str | Path) -> dict[str, Any] | None:
    """How drafts fared while these answers were made: `tokens_per_call`, `acceptance` at each distance, and counts;
    None where the model did not draft."""
    found: dict[str, Any] | None = read_json(_meta(Path(samples_path))).get(SPECULATION)
    return found


def in_words(about: dict[str, Any]) -> str:
    """`2.95 tokens a call; drafts stood in 80%, 64%, 51% of the calls`."""
    shares = ", ".join(f"{share:.0%}" for share in about["acceptance"])
    return f"{about['tokens_per_call']:.2f} tokens a call; drafts stood in {shares} of the calls"


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """All lines but one that a kill left half written."""
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def _again(row: dict[str, Any], prompt: Prompt) -> Answer:
    """An answer that is there; what it is compared with may have changed."""
    return Answer(**{**row, "references": list(prompt.references)})


def _identity(
    model: nn.Module, prompts: Prompts, config: GenerationConfig, stop_ids: list[int], seed: int
) -> dict[str, Any]:
    """Everything that shapes an answer: `fingerprint` of what all share, and beside it the prompts and the limit, by
    which single answers are told apart. How many are made at once shapes none."""
    from .decode import drafts

    settings = config.model_dump(exclude={"batch_size", "num_examples", "max_new_tokens", "speculative"})
    settings |= {"stop_ids": stop_ids}
    if config.temperature > 0:
        settings["seed"] = seed
        at_once = min(config.batch_size, len(prompts))
        settings |= {"drafts": True} if drafts(model, config, at_once) else {}  # as likely as without, but not the same
    about = {"generation": settings, "model": model_fingerprint(model)}
    return {
        **about,
        "fingerprint": fingerprint(about),
        "max_new_tokens": prompts.max_new_tokens,
        "num_prompts": len(prompts),
        "prompts": {prompt.id: fingerprint(prompt.tokens, *prompt.stop_texts) for prompt in prompts},
    }


def model_fingerprint(model: nn.Module) -> str:
    """Changes when the weights do: some numbers of every tensor are looked at, bit by bit."""
    import torch

    digest = hashlib.sha256()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            own = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            flat = own.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // _LOOKED_AT)].contiguous()
            digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
            digest.update(some.view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()[:20]
