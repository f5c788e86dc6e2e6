"""The `evaluation:` section of a recipe: a list of measurements, each told apart by its `metric`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ..runtime.config import Section

Positive = Annotated[int, Field(ge=1)]
WordKind = Literal["english", "eojeol", "morpheme", "character", "syllable-bigram"]

FIRST = 64
"""Held-out rows that are answered at each evaluation in training, where an entry names no number."""

Range = tuple[float, float | None]
"""The least and the most that a figure can be; None where nothing bounds it."""
PERCENT: Range = (0.0, 100.0)
UNBOUNDED: Range = (0.0, None)


class Measurement(Section):
    """One measurement; the figures it gives are called `<label>.<score>`, or by the label alone."""

    metric: str
    """What is measured on `data.eval`."""
    name: str | None = None
    """Its label in tables and checks; by default the metric's name. Two entries of one metric need two names."""

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


AnyMeasurement = Annotated[
    Loss | Perplexity | TokenAccuracy | Hits | Ifd | Rouge | Bleu | Chrf | ForeignScript, Field(discriminator="metric")
]
