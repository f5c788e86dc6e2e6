"""How difficulty is measured: which states, in which common space, by which metric. Without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..runtime.config import Section

Pool = Literal["last", "mean", "probe"]
Metric = Literal["l2", "cosine", "kl", "kl_bytes"]
Space = Literal["rsa", "ridge", "procrustes", "none"]
Match = Literal["depth", "cka"]
Scale = Literal["dimension", "whole"]
Baseline = Literal["length", "loss", "ifd", "gap", "compression", "mtld", "quality"]

FEWEST = 16
"""Calibration samples below this say nothing about a space of hundreds of dimensions."""
UNDECIDING = ("token_budget",)
"""Keys that say how it is done: on them a label depends by no more than rounding."""
BASELINES: tuple[Baseline, ...] = ("length", "loss", "ifd", "gap", "compression", "mtld", "quality")


class DifficultyConfig(Section):
    """What is compared between the two models, and how."""

    pool: Pool = "last"
    """Which states of a prompt count: those of its `last` token, the `mean` over its tokens, or those of a `probe`, the
    tokens of `probe_text` put behind it."""
    probe_text: Annotated[str, Field(min_length=1)] = "<meta>"
    """What is put behind each prompt with pool `probe`, through each model's own tokenizer."""
    space: Space | None = None
    """Where states of two models are compared: `rsa` (likeness to a set of anchor samples; any two models), `ridge` or
    `procrustes` (a linear map, fitted on calibration samples), `none` (equal widths). By default rsa;
    kl has no space."""
    metric: Metric = "cosine"
    """`l2`, `cosine`; or `kl` of the next-token distributions that a logit lens gives each layer (one vocabulary), or
    `kl_bytes` of their next-byte distributions (any two)."""
    match: Match = "depth"
    """Which cloud layer an edge layer is held against: that of the same relative `depth`, or the most alike (`cka`)."""
    standardize: Scale = "dimension"
    """What the states of a layer are divided by: each `dimension` by its own spread, as a few massive ones would decide
    every distance otherwise; or the `whole` layer by one number, so that no rotation of a model changes a score."""
    num_calibration: Annotated[int, Field(ge=1)] | None = None
    """Samples that standardising, anchors and maps are fitted on; by default 200, or half the rows if that
    is less."""
    ridge: Annotated[float, Field(gt=0)] = 1.0
    """Penalty of the ridge map, as a share of the mean variance of a dimension."""
    top_k: Annotated[int, Field(ge=1)] = 3
    """How many layers `topk_mean` takes."""
    normalize: Literal["zscore", "rank", "none"] = "zscore"
    """How each layer's differences are put on one scale over the data set before layers are taken together."""
    baselines: tuple[Baseline, ...] = BASELINES
    """Simpler measures of difficulty to write beside it."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Precision of the models; states are compared in float32 whatever it is."""
    token_budget: Annotated[int, Field(ge=1)] = 4096
    """Tokens of one batch."""
    seed: int = 0
    """Of the draw of calibration samples."""

    @model_validator(mode="after")
    def _fits_together(self) -> DifficultyConfig:
        if self.metric in ("kl", "kl_bytes") and self.space is not None:
            raise ValueError(
                f"metric `{self.metric}` compares distributions, not states, so space `{self.space}` has no meaning; "
                "leave space out, or take metric cosine or l2"
            )
        return self

    def deciding(self) -> Self:
        """The same by what the labels depend on; all else at its default."""
        return self.model_copy(update={name: type(self).model_fields[name].default for name in UNDECIDING})

    @property
    def lens(self) -> bool:
        """Whether distributions are compared, which need no calibration."""
        return self.metric in ("kl", "kl_bytes")


class LabellingConfig(DifficultyConfig):
    """The `difficulty:` section of a recipe: labels that its runs make themselves."""

    cloud: str | None = None
    """The large model: a folder, a run, a name on the hub, or `toy:cloud`. With it a run makes labels that are
    missing."""
    edge: str | None = None
    """The small model; by default the arm's own before it is trained."""
    calibration: str | None = None
    """A file of rows to fit the common space on; by default some of the training rows are taken."""
    analyze: bool = False
    """Whether an analysis of the labels is written beside them."""
    probe_folds: Annotated[int, Field(ge=0)] = 0
    """With `analyze`: hold the labels against real difficulty, the loss that each row has when the model is trained on
    the others, in so many folds; 0: do not. It costs a training for each fold, and no arm is charged."""

    @model_validator(mode="after")
    def _probe_is_asked_for(self) -> LabellingConfig:
        if self.probe_folds == 1:
            raise ValueError("probe_folds is 1, but one fold leaves no other rows to train on; take 2 or more, or 0")
        if self.probe_folds and not self.analyze:
            raise ValueError("`probe_folds` is for the analysis; set `analyze: true` as well")
        return self

    def measuring(self) -> DifficultyConfig:
        """How difficulty is measured, without by whom and what for."""
        return DifficultyConfig(**{name: getattr(self, name) for name in DifficultyConfig.model_fields})
