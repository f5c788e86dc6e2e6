"""Encoded examples, flat and memory-mapped: what packing, training and evaluation read.

Three examples of 4, 3 and 5 tokens lie end to end; `offsets` says where each begins:

    tokens        p p a .   q b .   r r c c .        p, q, r: prompt tokens   a, b, c: target tokens   .: end of turn
    supervised    0 0 1 1   0 1 1   0 0 1 1 1        token t is a target to be learned
    offsets       0         4       7           12

The first token of an example is never supervised: nothing before it could predict it. Some columns are there only when
the rows bring them: `rewards` of examples, `token_weights` of tokens, `truncated` where an example's end was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..runtime.files import disk_error, read_json, write_json
from ..runtime.fingerprint import fingerprint
from .brought import token_weights_of

IGNORE = -100
NO_DOMAIN = "(none)"
ID_BYTES = 32
"""Room for 16 hex digits, a dash and the number of a window or turn."""

_COLUMNS: dict[str, Any] = {
    "tokens": np.uint32,
    "supervised": np.bool_,
    "lengths": np.int64,
    "num_supervised": np.int64,
    "ids": f"S{ID_BYTES}",
    "domains": np.int32,
    "sources": np.int32,
}
_BROUGHT: dict[str, Any] = {"rewards": np.float32, "truncated": np.bool_, "token_weights": np.float32}
"""Columns that may be missing: written for all examples or for none, the last with a value for each token."""


class Ids(Sequence[str]):
    """Names of examples, kept as fixed-width bytes and read as text."""

    def __init__(self, raw: npt.NDArray[np.bytes_]) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: Any) -> Any:
        """One name for a number, a list of names for a slice or an array of numbers."""
        found = self.raw[index]
        return found.decode() if isinstance(found, bytes) else [name.decode() for name in found]


@dataclass(frozen=True)
class EncodedExample:
    """One example on its way into a table."""

    id: str
    tokens: npt.NDArray[np.uint32]
    supervised: npt.NDArray[np.bool_]
    domain: str | None = None
    source: int = 0
    reward: float | None = None
    truncated: bool = False
    """Its end was cut off, or lies in the next window."""
    token_weights: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Example i holds `tokens[offsets[i]:offsets[i + 1]]`, and `supervised` says which of them are learned."""

    tokens: npt.NDArray[np.uint32]
    supervised: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    num_supervised: npt.NDArray[np.int64]
    ids: Ids
    domains: npt.NDArray[np.int32]
    domain_names: list[str]
    sources: npt.NDArray[np.int32]
    report: dict[str, Any] = field(default_factory=dict)
    rewards: npt.NDArray[np.float32] | None = None
    """The reward of each example, NaN where a row has none."""
    truncated: npt.NDArray[np.bool_] | None = None
    """Whether an example's end was cut off; None when no one's was."""
    token_weights: npt.NDArray[np.float32] | None = None
    """The weight of each token, aligned with `tokens`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each example."""
        return np.diff(self.offsets)

    def example(self, i: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
        begin, end = self.offsets[i], self.offsets[i + 1]
        return self.tokens[begin:end], self.supervised[begin:end]

    def head(self, num: int) -> TokenTable:
        """The first examples, sharing this table's memory."""
        num = min(num, len(self))
        return replace(
            self,
            tokens=self.tokens[: self.offsets[num]],
            supervised=self.supervised[: self.offsets[num]],
            offsets=self.offsets[: num + 1],
            num_supervised=self.num_supervised[:num],
            ids=Ids(self.ids.raw[:num]),
            domains=self.domains[:num],
            sources=self.sources[:num],
            **self._brought(slice(num), slice(self.offsets[num])),
        )

    def select(self, taken_n: npt.NDArray[np.bool_]) -> TokenTable:
        """The examples that are marked, in this table's order, copied."""
        taken_t = np.repeat(taken_n, self.lengths)
        return replace(
            self,
            tokens=np.asarray(self.tokens[taken_t]),
            supervised=np.asarray(self.supervised[taken_t]),
            offsets=_offsets(self.lengths[taken_n]),
            num_supervised=self.num_supervised[taken_n],
            ids=Ids(self.ids.raw[taken_n]),
            domains=self.domains[taken_n],
            sources=self.sources[taken_n],
            **self._brought(taken_n, taken_t),
        )

    def _brought(self, examples: Any, tokens: Any) -> dict[str, Any]:
        """Some of the columns that may be missing."""
        columns = {name: getattr(self, name) for name in _BROUGHT}
        return {
            name: None if column is None else column[tokens if name == "token_weights" else examples]
            for name, column in columns.items()
        }

    @classmethod
    def load(cls, folder: str | Path) -> TokenTable:
        """Map a table that a `TableWriter` wrote."""
        folder = Path(folder)
        about = read_json(folder / "table.json")
        column = {name: _mapped(folder / f"{name}.bin", dtype) for name, dtype in _COLUMNS.items()}
        return cls(
            tokens=column["tokens"],
            supervised=column["supervised"],
            offsets=_offsets(column["lengths"]),
            num_supervised=column["num_supervised"],
            ids=Ids(column["ids"]),
            domains=column["domains"],
            domain_names=about["domain_names"],
            sources=column["sources"],
            report=about["report"],
            **{name: _mapped(folder / f"{name}.bin", _BROUGHT[name]) for name in about["brought"]},
        )

    @classmethod
    def from_lists(
        cls,
        input_ids: Sequence[Sequence[int]],
        labels: Sequence[Sequence[int]],
        ids: Sequence[str] | None = None,
        domains: Sequence[str | None] | None = None,
        rewards: Sequence[float | None] | None = None,
        token_weights: Sequence[Sequence[float]] | None = None,
    ) -> TokenTable:
        """A table in memory. `labels` repeat the tokens to be learned and hold -100 elsewhere; weights go with them."""
        names = ids or [fingerprint(list(map(int, tokens)))[:16] for tokens in input_ids]
        examples = []
        for i, (tokens, marks) in enumerate(zip(input_ids, labels, strict=True)):
            tokens_t, supervised_t = np.asarray(tokens, dtype=np.uint32), _learned(i, tokens, marks)
            example = EncodedExample(names[i], tokens_t, supervised_t, domains[i] if domains else None)
            if rewards is not None:
                example = replace(example, reward=rewards[i])
            if token_weights is not None:
                example = replace(
                    example, token_weights=token_weights_of(token_weights[i], supervised_t, f"example {i}")
                )
            examples.append(example)
        return cls.from_examples(examples)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> TokenTable:
        """A table in memory from tokenized rows as TRL and transformers know them: `input_ids` with `labels`, or with
        `completion_mask` and `assistant_masks` (both hold when both are there), or alone, when every token is learned.
        """
        input_ids, labels = [], []
        for row in rows:
            tokens = list(row["input_ids"])
            marks = list(row["labels"]) if row.get("labels") is not None else tokens
            for name in ("completion_mask", "assistant_masks"):
                if row.get(name) is not None:
                    marks = [mark if kept else IGNORE for mark, kept in zip(marks, row[name], strict=True)]
            input_ids.append(tokens)
            labels.append(marks)
        return cls.from_lists(input_ids, labels)

    @classmethod
    def from_examples(cls, examples: Sequence[EncodedExample]) -> TokenTable:
        """A table in memory."""
        if not examples:
            raise DataError("no examples: a table needs at least one")
        _refuse_nothing_to_learn(sum(int(e.supervised[1:].sum()) for e in examples), len(examples))
        names: dict[str, int] = {}
        rows = [_columns(example, names) for example in examples]
        raw_ids = np.array([row["ids"] for row in rows], dtype=bytes)
        return cls(
            tokens=np.concatenate([row["tokens"] for row in rows]),
            supervised=np.concatenate([row["supervised"] for row in rows]),
            offsets=_offsets(np.array([row["lengths"] for row in rows], dtype=np.int64)),
            num_supervised=np.array([row["num_supervised"] for row in rows], dtype=np.int64),
            ids=Ids(raw_ids),
            domains=np.array([row["domains"] for row in rows], dtype=np.int32),
            domain_names=_domain_names(names),
            sources=np.array([row["sources"] for row in rows], dtype=np.int32),
            **{name: _in_memory(name, rows) for name in _are_brought(examples)},
        )


class TableWriter:
    """Appends examples to a folder in constant memory; `close` makes it a table."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.num_examples = self.num_tokens = self.num_supervised = 0
        self._domains: dict[str, int] = {}
        self._are_brought: set[str] = set()
        self._open = ExitStack()
        self._files: dict[str, IO[bytes]] = {}
        for name in _COLUMNS | _BROUGHT:
            self._files[name] = self._open.enter_context(open(self.folder / f"{name}.bin", "wb"))  # noqa: SIM115

    def append(self, examples: Iterable[EncodedExample]) -> None:
        examples = list(examples)
        self._are_brought.update(_are_brought(examples))
        for example in examples:
            row = _columns(example, self._domains)
            if len(row["ids"]) > ID_BYTES:
                raise DataError(f"the id `{example.id}` is longer than {ID_BYTES} bytes; shorten it")
            try:
                for name, dtype in (_COLUMNS | _BROUGHT).items():
                    self._files[name].write(np.asarray(row[name], dtype=dtype).tobytes())
            except OSError as error:
                raise disk_error(self.folder, error) from error
            self.num_examples += 1
            self.num_tokens += row["lengths"]
            self.num_supervised += row["num_supervised"]

    def close(self, report: dict[str, Any]) -> None:
        """Write the last bytes and what a person may want to know. A table without a learnable token is refused."""
        self.abandon()
        if self.num_examples:
            _refuse_nothing_to_learn(self.num_supervised, self.num_examples)
        if "token_weights" in self._are_brought:
            column = self.folder / "token_weights.bin"
            _refuse_some_without(column.stat().st_size // np.dtype(np.float32).itemsize, self.num_tokens)
        for name in _BROUGHT.keys() - self._are_brought:
            (self.folder / f"{name}.bin").unlink()
        about = {"domain_names": _domain_names(self._domains), "brought": sorted(self._are_brought), "report": report}
        write_json(self.folder / "table.json", about)

    def abandon(self) -> None:
        """Close the files; the folder is left to whoever made it."""
        try:
            self._open.close()
        except OSError as error:
            raise disk_error(self.folder, error) from error


def _columns(example: EncodedExample, domain_numbers: dict[str, int]) -> dict[str, Any]:
    """One example as a value for each column. Numbers are given to domains as they appear."""
    supervised = np.array(example.supervised, dtype=np.bool_)
    supervised[:1] = False
    return {
        "tokens": example.tokens,
        "supervised": supervised,
        "lengths": len(example.tokens),
        "num_supervised": int(supervised.sum()),
        "ids": example.id.encode(),
        "domains": domain_numbers.setdefault(example.domain or NO_DOMAIN, len(domain_numbers)),
        "sources": example.source,
        "rewards": np.nan if example.reward is None else example.reward,
        "truncated": example.truncated,
        "token_weights": np.empty(0) if example.token_weights is None else example.token_weights,
    }


def _are_brought(examples: Iterable[EncodedExample]) -> set[str]:
    """Which of the columns that may be missing say anything."""
    told = set()
    for example in examples:
        told |= {"rewards"} if example.reward is not None else set()
        told |= {"truncated"} if example.truncated else set()
        told |= {"token_weights"} if example.token_weights is not None else set()
    return told


def _in_memory(name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    column = np.concatenate([np.atleast_1d(np.asarray(row[name], dtype=_BROUGHT[name])) for row in rows])
    if name == "token_weights":
        _refuse_some_without(len(column), sum(row["lengths"] for row in rows))
    return column


def _refuse_some_without(num_weights: int, num_tokens: int) -> None:
    if num_weights != num_tokens:
        raise DataError(
            f"token weights for {num_weights} of {num_tokens} tokens; all examples of a table bring some, or none does"
        )


def _domain_names(numbers: dict[str, int]) -> list[str]:
    """Names in the order of their numbers; none at all when no example has a domain."""
    return [] if list(numbers) == [NO_DOMAIN] else list(numbers)


def _learned(i: int, tokens: Sequence[int], labels: Sequence[int]) -> npt.NDArray[np.bool_]:
    tokens_t, labels_t = np.asarray(tokens, dtype=np.int64), np.asarray(labels, dtype=np.int64)
    if tokens_t.shape != labels_t.shape:
        raise DataError(f"example {i}: {len(tokens_t)} input_ids but {len(labels_t)} labels; they must be aligned")
    learned_t = labels_t != IGNORE
    if (labels_t[learned_t] != tokens_t[learned_t]).any():
        at = int(np.flatnonzero(learned_t & (labels_t != tokens_t))[0])
        raise DataError(
            f"example {i}: label {labels_t[at]} at place {at} is not its token {tokens_t[at]}; labels repeat input_ids "
            f"(unshifted) or hold {IGNORE}"
        )
    return learned_t


def _refuse_nothing_to_learn(num_supervised: int, num_examples: int) -> None:
    if num_supervised == 0:
        raise DataError(
            f"nothing to learn: none of the {num_examples} examples has a supervised token. "
            "Look at the masks with `curricle inspect masks`."
        )


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _mapped(path: Path, dtype: Any) -> npt.NDArray[Any]:
    """A read-only map; numpy refuses to map an empty file."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")
