"""The `evaluation:` section of a recipe: a list of measurements, each told apart by its `metric`."""

from __future__ import annotations

from sys import float_info
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..runtime.config import Section

Positive = Annotated[int, Field(ge=1)]
WordKind = Literal["english", "eojeol", "morpheme", "character", "syllable-bigram"]

FIRST = 64
"""Held-out rows that are answered at each evaluation in training, where an entry names no number."""

REFERENCE_SCORES = ("reference_loss", "reference_bits_per_byte")
"""How likely a model finds the reference solutions of problems; it moves before the first program passes."""

Range = tuple[float, float | None]
"""The least and the most that a figure can be; None where nothing bounds it."""
PERCENT: Range = (0.0, 100.0)
UNBOUNDED: Range = (0.0, None)


class Measurement(Section):
    """One measurement; the figures it gives are called `<label>.<score>`, or by the label alone."""

    metric: str
    """What is measured: on `data.eval`, or on questions of its own."""
    name: str | None = None
    """Its label in tables and checks; by default the metric's name. Two entries of one metric need two names."""

    own_rows: ClassVar[bool] = False
    """Whether it brings questions of its own, and reads nothing of `data.eval`."""
    scores: ClassVar[tuple[str, ...]] = ()
    range: ClassVar[Range] = PERCENT
    """Of all its scores but those that `range_of` tells apart."""

    @property
    def label(self) -> str:
        return self.name or self.metric

    def figures(self) -> list[str]:
        """The names of its figures, known before anything is measured."""
        return [self.figure(score) for score in self.scores]

    def figure(self, score: str) -> str:
        """The name of one of its scores among all figures of a run."""
        return self.label if score == self.metric else f"{self.label}.{score}"

    def range_of(self, score: str) -> Range:
        return self.range

    def ranges(self) -> dict[str, Range]:
        """Between what its figures lie."""
        names = {self.figure(score): score for score in self.scores}
        return {figure: self.range_of(names.get(figure, figure)) for figure in self.figures()}


class TextMeasurement(Measurement):
    """Compares generated answers with the references; one generation serves all of these."""

    higher_is_better: ClassVar[bool] = True

    during_training: Positive | None = None
    """Also measure it at every evaluation of the training, on the first so many rows of `data.eval`."""


class Loss(Measurement):
    metric: Literal["loss"]
    """The loss on the answers of `data.eval`: the mean over tokens, and its perplexity."""
    scores = ("loss", "perplexity")
    range = UNBOUNDED

    def range_of(self, score: str) -> Range:
        return (1.0, None) if score == "perplexity" else self.range


class Perplexity(Measurement):
    metric: Literal["perplexity"]
    """The perplexity of whole rows, prompts included, and bits per byte, which models of different tokenizers share."""
    context: Positive | None = None
    """Tokens of a window; by default `data.max_length`."""
    stride: Positive | None = None
    """Tokens that a window moves on; what it shares with the one before is context. By default they share nothing."""
    eos: bool = True
    """Whether the end of a document counts as a token to be foreseen."""
    scores = ("perplexity", "bits_per_byte")
    range = UNBOUNDED

    @model_validator(mode="after")
    def _stride_fits(self) -> Perplexity:
        if self.stride and self.context and self.stride > self.context:
            raise ValueError(f"stride {self.stride} is longer than context {self.context}: text between would be lost")
        return self


class TokenAccuracy(Measurement):
    metric: Literal["token_accuracy"]
    """The share of answer tokens that the model itself would have put first."""
    scores = ("token_accuracy",)


class Hits(Measurement):
    metric: Literal["hits"]
    """How often the true answer is among the k likeliest of some candidates."""
    candidates: Annotated[int, Field(ge=2)] = 20
    """The true answer and so many less one from other rows."""
    k: Annotated[list[Positive], Field(min_length=1)] = Field(default_factory=lambda: [1])
    """Places that count as a hit."""

    def figures(self) -> list[str]:
        return [self.figure(f"hits@{k}") for k in self.k]

    @model_validator(mode="after")
    def _can_be_missed(self) -> Hits:
        if max(self.k) >= self.candidates:
            raise ValueError(f"hits@{max(self.k)} of {self.candidates} candidates is always met; k must be below them")
        return self


class Ifd(Measurement):
    metric: Literal["ifd"]
    """Instruction-following difficulty: the answer's loss with its prompt, over its loss without."""
    scores = ("ifd",)
    range = UNBOUNDED


class Rouge(TextMeasurement):
    metric: Literal["rouge"]
    """ROUGE F1 of the answers, 0 to 100, and the sum of ROUGE-1, -2 and -L."""
    tokenizer: WordKind = "character"
    """What counts as a word: `english` (as rouge-score), `eojeol`, `morpheme` (Kiwi), `character` or
    `syllable-bigram`."""
    multi_ref: Literal["mean", "max"] = "mean"
    """With several references: the mean over them, as Korean competitions have it, or the best."""
    implementation: Literal["google", "pltrdy"] = "google"
    """As the package rouge-score computes, or as `rouge` 1.0.1, which Korean competitions pin."""
    scores = ("rouge1", "rouge2", "rougeL", "rougeLsum", "sum")

    def figures(self) -> list[str]:
        return [self.figure(score) for score in self.scores if (score, self.implementation) != ("rougeLsum", "pltrdy")]

    def range_of(self, score: str) -> Range:
        return (0.0, 300.0) if score == "sum" else self.range


class Bleu(TextMeasurement):
    metric: Literal["bleu"]
    """BLEU of sacrebleu, with its signature."""
    tokenizer: str = "13a"
    """sacrebleu's `13a`, `char`, `intl`, `ko-mecab`, ... or ours: `eojeol`, `morpheme`, `character`,
    `syllable-bigram`."""
    scores = ("bleu",)


class Chrf(TextMeasurement):
    metric: Literal["chrf"]
    """chrF of sacrebleu: character n-grams, the same for every language."""
    scores = ("chrf",)


class ForeignScript(TextMeasurement):
    metric: Literal["foreign_script"]
    """How many answers, and how many of their letters, are in a script that is not allowed."""
    allow: list[str] = Field(default_factory=lambda: ["Hangul", "Latin"])
    """Unicode scripts that may occur, such as Hangul, Latin, Han."""
    ignore: list[str] = Field(default_factory=list)
    """Words that may occur whatever their script: names, brands."""
    scores = ("samples", "characters")
    higher_is_better = False


class PassAtK(Measurement):
    metric: Literal["pass_at_k"]
    """How likely one of k programs passes the tests of a problem; docs/pass-at-k.md. Programs run in the sandbox."""
    problems: str
    """The file of problems, such as `curricle prepare` writes."""
    n: Positive = 1
    """Programs sampled for each problem."""
    k: Annotated[list[Positive], Field(min_length=1)] = Field(default_factory=lambda: [1])
    """Of how many one has to pass; none above n."""
    style: Literal["auto", "base", "chat", "bare"] = "auto"
    """How a problem is put: code to go on with, a message that wants a code block, or the bare task. `auto` is chat
    where the tokenizer has a chat template, else base."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """By default 0 for one program a problem, 0.8 for several."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the likeliest tokens that together have this share of the probability; by default 0.95 above 0."""
    max_new_tokens: Positive = 512
    """The longest answer, in tokens."""
    seconds: Annotated[float, Field(gt=0)] = 3.0
    """How long a program may run."""
    memory_mib: Annotated[int, Field(ge=64)] = 512
    """The memory a program may have."""
    own_rows = True

    def figures(self) -> list[str]:
        return [self.figure(score) for score in (*(f"pass@{k}" for k in self.k), *REFERENCE_SCORES)]

    def range_of(self, score: str) -> Range:
        return UNBOUNDED if score in REFERENCE_SCORES else (0.0, 1.0)

    @property
    def drawn_at(self) -> float:
        """The temperature that samples are drawn at."""
        return self.temperature if self.temperature is not None else 0.0 if self.n == 1 else 0.8

    @model_validator(mode="after")
    def _enough_samples(self) -> PassAtK:
        if max(self.k) > self.n:
            raise ValueError(f"pass@{max(self.k)} needs {max(self.k)} programs a problem, and n is {self.n}")
        if self.n > 1 and self.temperature == 0:
            raise ValueError(f"at temperature 0 all {self.n} programs of a problem are the same; set n to 1, or draw")
        if self.drawn_at == 0 and self.top_p is not None:
            raise ValueError("top_p is for drawing tokens; set temperature above 0, or leave it out")
        return self


class Mmlu(Measurement):
    metric: Literal["mmlu"]
    """Questions with four choices from the CSV release of MMLU, answered by the likeliest letter; docs/metrics.md."""
    path: str
    """The release's folder, with dev, val and test below it."""
    subjects: Annotated[list[str], Field(min_length=1)] | None = None
    """Such as abstract_algebra; by default all that are there."""
    num_shots: Annotated[int, Field(ge=0)] = 5
    """Examples with their answers before each question, from dev."""
    split: Literal["test", "val"] = "test"
    """Which questions."""
    limit: Positive | None = None
    """Only the first so many questions of each subject."""
    own_rows = True

    def figures(self) -> list[str]:
        from .mmlu_files import subjects_in

        subjects = self.subjects or subjects_in(self.path, self.split)
        return [self.figure(score) for score in ("accuracy", *subjects)]

    @field_validator("subjects")
    @classmethod
    def _each_once(cls, subjects: list[str] | None) -> list[str] | None:
        if subjects and len(set(subjects)) < len(subjects):
            raise ValueError("a subject is named twice")
        return subjects


class LmEval(Measurement):
    metric: Literal["lm_eval"]
    """Tasks of lm-evaluation-harness, by its own rules; needs the extra `lm-eval`; docs/metrics.md."""
    tasks: Annotated[list[str], Field(min_length=1)]
    """Such as arc_easy; `lm_eval ls tasks` lists them."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """Examples before each question; by default as many as the task says."""
    limit: Positive | None = None
    """Only the first so many questions of each task."""
    task_folder: str | None = None
    """A folder with tasks of your own, as its YAML files. They may name Python code, which is run."""
    own_rows = True
    range = (-float_info.max, None)

    def figures(self) -> list[str]:
        """Only the tasks know them."""
        return []


AnyMeasurement = Annotated[
    Loss | Perplexity | TokenAccuracy | Hits | Ifd | Rouge | Bleu | Chrf | ForeignScript | PassAtK | Mmlu | LmEval,
    Field(discriminator="metric"),
]
