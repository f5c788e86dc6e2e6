"""What is scored: the rows of a file as each model reads them, and the calibration samples that nothing is scored by.

A row is encoded as for training, the dialogue through each model's own chat template; its prompt is what comes before
the last answer, and of raw text it is the text itself. Calibration samples come from a file of their own, or from the
rows. Then there are two sets of them: rows of the first are scored by what was fitted on the second, and all others by
what was fitted on the first, so that no row is scored by a fit that has seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..data.config import DataConfig
from ..data.encode import encode
from ..data.prompts import prompt_and_target
from ..data.schema import Example
from ..data.sources import ExampleSource, read_examples
from ..data.table import EncodedExample, TokenTable
from ..errors import DataError
from ..runtime.progress import say, track
from .config import FEWEST, Baseline, DifficultyConfig
from .text_measures import answer_of, compression, mtld, quality, text_of

Role = Literal["cloud", "edge"]
DEFAULT_CALIBRATION = 200


@dataclass(frozen=True)
class Reading:
    """The rows as one model reads them."""

    table: TokenTable
    places: npt.NDArray[np.int64]
    """Sample i is example `places[i]` of the table."""
    raw: npt.NDArray[np.bool_]
    """Samples that are raw text, and so are all prompt."""

    def __len__(self) -> int:
        return len(self.places)

    def pair(self, i: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Prompt and last answer of a sample, in tokens."""
        return prompt_and_target(*self.table.example(int(self.places[i])))

    def prompt(self, i: int) -> npt.NDArray[Any]:
        if self.raw[i]:
            return self.table.example(int(self.places[i]))[0]
        return self.pair(i)[0]

    def examples(self, rows: Iterable[int]) -> list[EncodedExample]:
        return [EncodedExample("", *self.table.example(int(self.places[i]))) for i in rows]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.table.lengths[self.places]


@dataclass(frozen=True)
class Samples:
    """What is scored, for both models in the same order."""

    ids: list[str]
    readings: dict[Role, Reading]
    columns: dict[str, npt.NDArray[np.float32]]
    """The measures of text that need no model."""
    answer_bytes: npt.NDArray[np.int64]
    calibration: dict[Role, Reading]
    """The calibration samples, one set behind the other; empty where none are needed."""
    sets: int
    """Of calibration samples: none, one from a file, or two from the rows."""
    set_of: npt.NDArray[np.int8]
    """Which set each sample is scored by."""

    def __len__(self) -> int:
        return len(self.ids)


def gather_samples(
    data: DataConfig, tokenizers: Mapping[Role, Any], config: DifficultyConfig, calibration: DataConfig | None = None
) -> Samples:
    """Read and encode the rows, and choose the calibration samples."""
    source = read_examples(data, "train")
    told = _describe(source, config)
    ids, readings = _readings(source, tokenizers, told)
    sets, set_of = (0 if config.lens else 1), np.zeros(len(ids), dtype=np.int8)
    if config.lens:
        chosen = {role: _some(reading, np.arange(0)) for role, reading in readings.items()}
    elif calibration is not None:
        chosen = _from_file(calibration, tokenizers, config, set(ids))
    else:
        order, size = _drawn(len(ids), config)
        chosen = {role: _some(reading, order[: 2 * size]) for role, reading in readings.items()}
        sets, set_of[order[:size]] = 2, 1  # rows of the first set are scored by the second, all others by the first
    columns = {
        str(name): np.array([told[one].texts[name] for one in ids], dtype=np.float32)
        for name in _TEXTS
        if name in config.baselines
    }
    answer_bytes = np.array([told[one].answer_bytes for one in ids])
    return Samples(ids, readings, columns, answer_bytes, chosen, sets, set_of)


# ---- rows -----------------------------------------------------------------------------------------------------------

_TEXTS: dict[Baseline, Callable[[str], float]] = {"compression": compression, "mtld": mtld, "quality": quality}


@dataclass(frozen=True, slots=True)
class _Told:
    raw: bool
    answer_bytes: int
    texts: dict[str, float]


def _describe(source: ExampleSource, config: DifficultyConfig) -> dict[str, _Told]:
    """Of each row what its text says, once where a row is there more than once."""
    told: dict[str, _Told] = {}
    for example in track(source, "reading rows"):
        if example.id not in told:
            size = len(answer_of(example).encode())
            told[example.id] = _Told(example.kind == "text", size, _measured(example, config))
    return told


def _measured(example: Example, config: DifficultyConfig) -> dict[str, float]:
    text, found = text_of(example), dict[str, float]()
    for name, measure in _TEXTS.items():
        if name in config.baselines:
            found[name] = measure(answer_of(example) if name == "quality" else text)
    return found


def _readings(
    source: ExampleSource, tokenizers: Mapping[Role, Any], told: Mapping[str, _Told]
) -> tuple[list[str], dict[Role, Reading]]:
    """The rows that both models can read, each once, in the order of the file."""
    tables = {role: encode(source, tokenizer, source.config) for role, tokenizer in tokenizers.items()}
    places = {role: _first_places(table) for role, table in tables.items()}
    ids = [one for one in told if all(one in own for own in places.values())]
    if len(ids) < len(told):
        say(f"{len(told) - len(ids):,} of {len(told):,} rows cannot be read by both models and get no label")
    if not ids:
        raise DataError("no row can be read by both models; look at their chat templates with `curricle inspect masks`")
    raw = np.array([told[one].raw for one in ids], dtype=bool)
    return ids, {
        role: Reading(table, np.array([places[role][one] for one in ids], dtype=np.int64), raw)
        for role, table in tables.items()
    }


def _first_places(table: TokenTable) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(table.ids[:]):
        places.setdefault(name, place)
    return places


def _some(reading: Reading, rows: npt.NDArray[np.int64]) -> Reading:
    return Reading(reading.table, reading.places[rows], reading.raw[rows])


# ---- calibration ----------------------------------------------------------------------------------------------------


def _drawn(num: int, config: DifficultyConfig) -> tuple[npt.NDArray[np.int64], int]:
    """A random order of the rows, and the size of each of the two sets at its beginning."""
    asked = config.num_calibration
    size = min(DEFAULT_CALIBRATION, num // 2) if asked is None else asked
    if 2 * size > num:
        raise DataError(
            f"{size} calibration samples are asked for, and two sets of them do not fit into the {num} rows; ask for "
            f"{num // 2} or fewer, or bring a file of calibration samples"
        )
    _refuse_few(size, f"the data have {num} rows, of which half are taken at most" if asked is None else "as asked")
    return np.random.default_rng([config.seed, 0xCA1]).permutation(num), size


def _from_file(
    data: DataConfig, tokenizers: Mapping[Role, Any], config: DifficultyConfig, scored: set[str]
) -> dict[Role, Reading]:
    source = read_examples(data, "train")
    told = _describe(source, config.model_copy(update={"baselines": ()}))
    ids, readings = _readings(source, tokenizers, told)
    kept = np.array([i for i, one in enumerate(ids) if one not in scored], dtype=np.int64)
    if len(kept) < len(ids):
        say(f"{len(ids) - len(kept):,} of {len(ids):,} calibration samples are rows to be scored, and are left out")
    if config.num_calibration is not None:
        kept = kept[: config.num_calibration]
    _refuse_few(len(kept), f"in {data.sources('train')[0].path}")
    return {role: _some(reading, kept) for role, reading in readings.items()}


def _refuse_few(size: int, why: str) -> None:
    if size < FEWEST:
        raise DataError(
            f"{size} calibration samples ({why}) are too few to compare two models by: at least {FEWEST} are needed, "
            "200 are better; bring a file of them with --calibration (`difficulty.calibration` in a recipe)"
        )
