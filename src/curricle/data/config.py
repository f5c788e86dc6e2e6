"""The `data:` section of a recipe: which files, how to read a row, how to make it fit."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..runtime.config import Section
from .store.config import Selection

FormatName = Literal["auto", "text", "prompt-completion", "messages", "alpaca", "sharegpt", "dialogue"]

Prompt = Literal["sections", "plain"]
Keywords = Literal["all", "first"]

Share = Annotated[float, Field(ge=0, le=1)]

_ROWS_ASKED = re.compile(r"(?P<path>.+)#(?P<rows>[1-9][0-9]*)")


class Source(Section):
    """One file, with its share."""

    path: str
    """A .jsonl, .json, .csv, .tsv or .parquet file (text files also .gz), or a name of `dataset_info`."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often one pass draws each of its examples: 2 draws each twice, 0.5 half of them in turn."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Take its first so many rows; `path#500` says the same."""
    select: Selection | None = None
    """Take these rows of a .jsonl or .parquet file, chosen by its columns through an index: see `curricle select`."""
    between: tuple[Share, Share] | None = None
    """Take the rows whose content, hashed onto 0 to 1, lies from the first number up to the second: [0, 0.9] to train
    on and [0.9, 1] to hold out never share a row, in whatever order the file is, nor a copy of one."""
    domain: Annotated[str, Field(min_length=1)] | None = None
    """The domain of all of its rows, in place of `domain_field`."""

    @field_validator("between")
    @classmethod
    def _rises(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not given[0] < given[1]:
            raise ValueError(f"[{given[0]:g}, {given[1]:g}] does not rise")
        return given

    @classmethod
    def of(cls, given: str | Source) -> Source:
        """A source from `path`, `path#500` or a source that is written out."""
        source = cls(path=given) if isinstance(given, str) else given
        match = _ROWS_ASKED.fullmatch(source.path)
        if match and source.rows is None:
            return source.model_copy(update={"path": match["path"], "rows": int(match["rows"])})
        return source


class DataConfig(Section):
    """Which rows are read, how, and how they are made to fit."""

    train: str | Source | list[str | Source]
    """The file to train on, or several, each as a path, `path#500` (its first 500 rows) or {path, weight, rows,
    select}."""
    eval: str | Source | list[str | Source] | None = None
    """The file held out, in the same forms. Rows without a target are allowed here."""
    format: FormatName = "auto"
    """What a row looks like. `auto` looks at the first rows of each file and says what it took."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our name of a field -> your column, dots reaching inside: {prompt: question, completion: reply.text}."""
    references: list[str] = Field(default_factory=list)
    """Columns that hold accepted targets: the first is trained on, all count in evaluation. A column may hold a list.
    A row may lack all but the first."""
    domain_field: str | None = None
    """A column that names the row's domain, for the loss per domain."""
    reward_field: str | None = None
    """A column that says whether the row's target is correct: true or false, 1 or 0. Held-out rows may lack it."""
    weight_field: str | None = None
    """A column with the weight of the row, or with a list of weights, one for each learned token, for `weighting.kind`
    column. A reward model's scores can stand there too."""
    system_prompt: str | None = None
    """The system message of rows that bring none of their own."""
    show_system_prompt: bool = True
    """Whether the trained model reads system messages; with `model.lora_gen` the cloud model can read them instead."""
    prompt: Prompt = "sections"
    """How a dialogue is shown: under [Conversation] and [Question], or `plain`, the question just below it."""
    question: str = "위 {keywords} 주제에 대한 대화를 요약해주세요."
    """What a dialogue is asked; {keywords} becomes its keywords, joined by a comma and a space."""
    keywords: Keywords = "all"
    """Which of a dialogue's keywords the question names: all, or the first only."""
    question_without_keywords: str = "위 대화를 요약해주세요."
    """What a dialogue without keywords is asked."""
    speaker_prefix: str = ""
    """Text put before each speaker's name in a dialogue; the Korean baseline writes 화자."""
    dataset_suffix: str | None = None
    """Take another file of the same kind: with `small`, train_small.jsonl in place of train.jsonl. Of toy data it takes
    the first 100 rows, and 32 held out."""
    dataset_info: str | None = None
    """A `dataset_info.json` of LLaMA-Factory; `train` and `eval` may then use its names."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Take at most this many rows of each file: for a quick try."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be read: stop and name it, or skip it and count it."""
    max_length: Annotated[int, Field(ge=8)] = 1024
    """The longest example, and the length of a packed row, in tokens."""
    packing: Literal["none", "ordered"] = "ordered"
    """Whether short examples share a row, in curriculum order, isolated from each other."""
    lookahead: Annotated[int, Field(ge=1)] = 256
    """How many drawn examples the packer may choose from to fill a row."""
    on_long: Literal["window", "truncate", "error"] | None = None
    """What to do with an example longer than `max_length`; by default `window` for raw text, else `truncate`."""
    learn: Literal["every_turn", "last_turn", "all"] = "every_turn"
    """Which tokens of a chat are learned: every assistant turn, the last one only, or everything."""
    rewritten_turns: Literal["split", "refuse"] = "split"
    """Where a chat template rewrites earlier turns: make one sample of each turn, or refuse the row."""
    chat_template: str | None = None
    """A Jinja template, or a file holding one, in place of the tokenizer's own."""
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that tokenize; by default one for each core."""

    def sources(self, which: Literal["train", "eval"]) -> list[Source]:
        """The files of `train` or `eval` in their full form; empty when there are none."""
        given = self.train if which == "train" else self.eval
        if given is None:
            return []
        return [Source.of(item) for item in (given if isinstance(given, list) else [given])]
