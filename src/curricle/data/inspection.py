"""What is in a data set, before anything is trained on it: sizes, fields, duplicates, and train rows found in eval.

Two prompts are near-duplicates when the sets of their 6-character shingles (letter case and spacing aside) overlap by
at least `NEAR` (Jaccard). The overlap is estimated by MinHash with 64 hash functions, standard error 0.05 at 0.8, and
only pairs that share one of 16 bands of 4 values are compared (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3.4): a pair at 0.8 is missed once in 4,500 times. Memory peaks near 500 bytes a row, at any length.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..runtime.progress import track
from ..runtime.seeds import numpy_generator
from .schema import Example
from .sources import ExampleSource, Skipped

NEAR = 0.8
_SHINGLE = 6
_HASHES, _BAND = 64, 4
_SHOWN = 5

_generator = numpy_generator(0, "minhash")
_MULTIPLY = _generator.integers(0, 1 << 32, (_HASHES, 1), dtype=np.uint32) | np.uint32(1)
_ADD = _generator.integers(0, 1 << 32, (_HASHES, 1), dtype=np.uint32)


@dataclass
class Finding:
    """How many rows, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass
class Lengths:
    """A distribution in a few numbers; lengths are characters (tokens depend on a model), turns are messages."""

    mean: float
    median: float
    p90: float
    p99: float
    longest: int
    longest_at: str


@dataclass
class SplitReport:
    """One of train and eval."""

    rows: int
    kinds: dict[str, int]
    columns: dict[str, int]
    reading: list[str]
    lengths: dict[str, Lengths]
    empty_targets: Finding
    duplicates: Finding
    """Rows whose prompt and target both came before."""
    same_prompt: Finding
    """Rows whose prompt came before with another target."""
    near_duplicates: Finding
    """Rows whose prompt is nearly one that came before."""


@dataclass
class DataReport:
    """What `inspect data` shows; `str` is its printed form."""

    train: SplitReport
    eval: SplitReport | None = None
    overlap: Finding = field(default_factory=Finding)
    """Rows of eval whose prompt is in train."""
    near_overlap: Finding = field(default_factory=Finding)
    """Rows of eval whose prompt is nearly one in train."""

    def __str__(self) -> str:
        lines = _split_lines("train", self.train)
        if self.eval:
            lines += _split_lines("eval", self.eval)
            lines.append("train and eval")
            lines += _finding_lines("prompts of eval that are in train", self.overlap)
            lines += _finding_lines(f"prompts of eval nearly in train (similarity >= {NEAR})", self.near_overlap)
        return "\n".join(lines)


def inspect_data(train: ExampleSource, eval: ExampleSource | None = None) -> DataReport:
    """Read both sources once and report on each and on what they share."""
    trained = _Gathered.of(train)
    report = DataReport(trained.report(train))
    if eval is not None:
        held_out = _Gathered.of(eval)
        report.eval = held_out.report(eval)
        report.overlap, report.near_overlap = _overlap(trained, held_out)
    return report


class _Gathered:
    """What is kept of each row: where it is, how long, two digests and a MinHash signature."""

    def __init__(self) -> None:
        self.files: dict[int, str] = {}
        self.numbers = {name: array("q") for name in ("source", "line", "prompt", "target", "turns")}
        self.kinds: dict[str, int] = {}
        self.prompts, self.wholes = array("Q"), array("Q")
        self.signatures = bytearray()

    @classmethod
    def of(cls, source: ExampleSource) -> _Gathered:
        gathered = cls()
        for example in track(source, f"reading {source.which}"):
            gathered.add(example)
        return gathered

    def add(self, example: Example) -> None:
        prompt, target = prompt_and_target(example)
        self.files.setdefault(example.source_index, example.where.file)
        row = (example.source_index, example.where.line, len(prompt), len(target), len(example.messages))
        for name, value in zip(self.numbers, row, strict=True):
            self.numbers[name].append(value)
        self.kinds[example.kind] = self.kinds.get(example.kind, 0) + 1
        self.prompts.append(_digest(prompt))
        self.wholes.append(_digest(f"{len(prompt)}:{prompt}{target}"))
        self.signatures += signature(prompt).tobytes()

    def place(self, row: int) -> str:
        return f"{self.files[self.numbers['source'][row]]}:{self.numbers['line'][row]}"

    def signature_nh(self) -> np.ndarray:
        return np.frombuffer(self.signatures, dtype=np.uint16).reshape(-1, _HASHES)

    def report(self, source: ExampleSource) -> SplitReport:
        prompts, wholes = _first_seen(self.prompts), _first_seen(self.wholes)
        rows = np.arange(len(prompts))
        again = np.flatnonzero(wholes != rows)
        answered = np.flatnonzero((prompts != rows) & (wholes == rows))
        new = np.flatnonzero((prompts == rows) & (np.asarray(self.numbers["prompt"]) > 0))
        near = [(int(new[b]), int(new[a]), s) for b, a, s in near_pairs(self.signature_nh()[new])]
        return SplitReport(
            rows=len(rows),
            kinds=self.kinds,
            columns=dict(source.report.columns),
            reading=source.report.lines(),
            lengths={name: self._lengths(name) for name in ("prompt", "target", "turns") if any(self.numbers[name])},
            empty_targets=_of_skipped(source.report.empty_targets),
            duplicates=self._finding([(int(r), int(wholes[r]), None) for r in again], self),
            same_prompt=self._finding([(int(r), int(prompts[r]), None) for r in answered], self),
            near_duplicates=self._finding(near, self),
        )

    def _lengths(self, name: str) -> Lengths:
        values = np.asarray(self.numbers[name])
        median, p90, p99 = np.quantile(values, (0.5, 0.9, 0.99)).tolist()
        longest = int(values.argmax())
        return Lengths(float(values.mean()), median, p90, p99, int(values[longest]), self.place(longest))

    def _finding(self, pairs: Sequence[tuple[int, int, float | None]], other: _Gathered) -> Finding:
        """Pairs of (row here, row of `other` that it repeats, similarity)."""
        shown = [
            f"{self.place(row)} = {other.place(earlier)}" + ("" if alike is None else f" (similarity {alike:.2f})")
            for row, earlier, alike in pairs[:_SHOWN]
        ]
        return Finding(len(pairs), shown)


def prompt_and_target(example: Example) -> tuple[str, str]:
    """What two rows are compared by: what people say, without system messages and the question around a dialogue."""
    target = example.target or ""
    if example.kind != "chat":
        return example.text or example.prompt or "", target
    if example.units:
        return "\n".join(example.units), target
    asked = example.messages[:-1] if example.target is not None else example.messages
    return "\n".join(message.content for message in asked if message.role != "system"), target


def _overlap(train: _Gathered, held_out: _Gathered) -> tuple[Finding, Finding]:
    known, first = np.unique(np.asarray(train.prompts), return_index=True)
    asked = np.asarray(held_out.prompts)
    found = np.searchsorted(known, asked).clip(max=len(known) - 1)
    shared = known[found] == asked
    exact = [(int(row), int(first[found[row]]), None) for row in np.flatnonzero(shared)]
    rest = np.flatnonzero(~shared)
    both_nh = np.concatenate([train.signature_nh(), held_out.signature_nh()[rest]])
    near = [(int(rest[b - len(train.prompts)]), a, s) for b, a, s in near_pairs(both_nh, len(train.prompts))]
    return held_out._finding(exact, train), held_out._finding(near, train)


# --- MinHash ---------------------------------------------------------------------------------------


def shingle_hashes(text: str) -> np.ndarray:
    """A 32-bit hash of each 6-character piece of the text; a shorter text is one piece."""
    letters = " ".join(text.casefold().split()).encode("utf-32-le", "replace")
    points = np.frombuffer(letters, dtype=np.uint32)
    width = min(_SHINGLE, len(points))
    count = len(points) - width + 1 if width else 0
    hashes = np.full(count, 2_166_136_261, dtype=np.uint32)
    for k in range(width):
        hashes = _mixed(hashes ^ points[k : k + count])
    return hashes


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Spread every bit over all 32 (the finisher of MurmurHash3)."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def signature(text: str) -> np.ndarray:
    """Sixty-four 16-bit MinHash values; the share on which two texts agree estimates their Jaccard similarity."""
    hashes = shingle_hashes(text)
    least = np.full(_HASHES, np.iinfo(np.uint32).max, dtype=np.uint32)
    for begin in range(0, len(hashes), 4096):
        permuted = hashes[None, begin : begin + 4096] * _MULTIPLY + _ADD
        least = np.minimum(least, permuted.min(axis=1))
    return (_mixed(least) >> np.uint32(16)).astype(np.uint16)


def near_pairs(signature_nh: np.ndarray, split: int | None = None) -> list[tuple[int, int, float]]:
    """(row, the earlier row most like it, similarity) for each row that has one at `NEAR` or above.

    With `split`, rows from there on are compared with rows before it only. Within a band's group a row is compared with
    the group's first row and with the nearest one before it: linear, however large a group is.
    """
    rows = len(signature_nh)
    best, partner = np.zeros(rows), np.full(rows, -1, dtype=np.int64)
    bands = np.ascontiguousarray(signature_nh).view(np.uint64) if rows else np.empty((0, 0), np.uint64)
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        for position in _candidates(band[order], order, rows if split is None else split):
            asked = np.flatnonzero(position >= 0)
            if split is not None:
                asked = asked[order[asked] >= split]
            later, earlier = order[asked], order[position[asked]]
            for begin in range(0, len(later), 1 << 16):
                b, a = later[begin : begin + (1 << 16)], earlier[begin : begin + (1 << 16)]
                alike = (signature_nh[b] == signature_nh[a]).mean(axis=1)
                better = alike > best[b]
                best[b[better]], partner[b[better]] = alike[better], a[better]
    return [(int(row), int(partner[row]), float(best[row])) for row in np.flatnonzero(best >= NEAR)]


def _candidates(keys: np.ndarray, order: np.ndarray, split: int) -> tuple[np.ndarray, np.ndarray]:
    """For each place in the sorted band: the first of its group, and the last one before it that is a row < `split`."""
    places = np.arange(len(keys))
    opens = np.ones(len(keys), dtype=bool)
    opens[1:] = keys[1:] != keys[:-1]
    first = np.maximum.accumulate(np.where(opens, places, 0))
    eligible = np.maximum.accumulate(np.where(order < split, places, -1))
    before = np.concatenate([[-1], eligible[:-1]])
    none = np.full(len(keys), -1)
    usable = (first < places) & (order[first] < split)
    return np.where(usable, first, none), np.where(before >= first, before, none)


# --- Small things ----------------------------------------------------------------------------------


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _first_seen(digests: array[int]) -> np.ndarray:
    """For each row, the first row with the same digest."""
    _, first, inverse = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    return first[inverse]


def _of_skipped(skipped: Skipped) -> Finding:
    return Finding(skipped.count, list(skipped.places))


def _split_lines(name: str, split: SplitReport) -> list[str]:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in split.kinds.items())
    lines = [name, *(f"  {line}" for line in split.reading), f"  rows: {split.rows:,} ({kinds})"]
    lines.append("  fields: " + ", ".join(f"{column} {_share(n, split.rows)}" for column, n in split.columns.items()))
    for what, lengths in split.lengths.items():
        unit = "messages" if what == "turns" else "characters"
        lines.append(
            f"  {what}: mean {lengths.mean:,.1f}, median {lengths.median:,.0f}, 90% {lengths.p90:,.0f}, "
            f"99% {lengths.p99:,.0f}, longest {lengths.longest:,} {unit} ({lengths.longest_at})"
        )
    lines += _finding_lines("empty targets", split.empty_targets)
    lines += _finding_lines("rows that came before, prompt and target", split.duplicates)
    lines += _finding_lines("prompts that came before with another target", split.same_prompt)
    lines += _finding_lines(f"near-duplicate prompts (similarity >= {NEAR})", split.near_duplicates)
    return lines


def _share(count: int, rows: int) -> str:
    return "in all rows" if count == rows else f"in {count:,}"


def _finding_lines(what: str, finding: Finding) -> list[str]:
    return [f"  {what}: {finding.count:,}", *(f"    {place}" for place in finding.first)]
