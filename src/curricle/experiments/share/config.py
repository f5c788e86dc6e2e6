"""The `merge:` section of an arm, and `experts:`, the short way to write the arms of domain experts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ...data.config import Source
from ...experts.search.config import SearchConfig
from ...runtime.config import Section

Sources = str | Source | list[str | Source]
Control = Literal["untouched", "uniform_soup", "joint", "sequential"]
CONTROLS: tuple[Control, ...] = ("untouched", "uniform_soup", "joint", "sequential")
MERGED = "merged"


class MergeConfig(Section):
    """An arm that trains nothing: its model is made out of the models of other arms with the same seed."""

    arms: list[str] = Field(default_factory=list)
    """The arms whose models are merged; each starts from the model that this arm names. Under `experts` all experts."""
    weights: Literal["search", "uniform", "shares"] | dict[str, float] = "search"
    """Arm -> what its difference from the base counts. `uniform`: 1 / n each; `shares`: the share of each in all
    training tokens; `search`: what held-out loss says, by a search on `validation`."""
    normalize: Literal["none", "sum1"] = "none"
    """`none`: base + sum of w times difference, as it is (DEM). `sum1`: the weights are divided by their sum first."""
    method: Literal["linear", "ties", "dare_linear", "dare_ties"] = "linear"
    """How differences are added up; docs/merge.md."""
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    """ties, dare: the share of each difference's numbers that is kept."""
    validation: Sources | None = None
    """The rows that a search goes by, in the forms of `data.eval`, which it never looks at. Their domains say which
    losses are weighed against one another."""
    search: SearchConfig = SearchConfig()
    """How weights are looked for."""
    prompts: str | None = None
    """A file of prompts, one a row (`prompt`), to compare answers by eye; by default those of held-out rows."""
    num_prompts: Annotated[int, Field(ge=0)] = 10
    """How many prompts are answered by the base, each expert and the merged model; 0 for none."""

    @model_validator(mode="after")
    def _agrees(self) -> MergeConfig:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("`arms` names an arm twice")
        if isinstance(self.weights, dict) and self.arms and set(self.weights) != set(self.arms):
            raise ValueError(
                f"`weights` names {', '.join(self.weights)}, and `arms` {', '.join(self.arms)}; each needs one"
            )
        if self.weights == "search" and self.method != "linear":
            raise ValueError(
                f"`weights: search` goes with `method: linear`, and not with {self.method}: candidates are tried "
                "without writing models, by sums of factors; name the weights"
            )
        if self.search.normalize == "sum1" and self.normalize == "none":
            raise ValueError("`search.normalize` is sum1 and `normalize` none; write `normalize: sum1` alone")
        if isinstance(self.weights, dict) and self.normalize == "sum1" and abs(sum(self.weights.values())) < 1e-8:
            raise ValueError(f"the weights sum to {sum(self.weights.values()):g}, by which sum1 cannot divide")
        return self

    @property
    def searches(self) -> bool:
        return self.weights == "search"


class DomainConfig(Section):
    """One domain: its rows, and what its expert has of its own."""

    train: Sources
    """Rows to train on; where none are named for validation and eval, `held_out` of them are kept for these."""
    validation: Sources | None = None
    """Rows that a search of weights goes by."""
    eval: Sources | None = None
    """Rows held out to the end."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """What its expert changes of the base, as an arm does: {training: {learning_rate: 1.0e-4}}."""


def _written_out(given: Any) -> Any:
    """A domain that is a file alone has these rows to train on."""
    if not isinstance(given, dict):
        return given
    named = {name: one for name, one in given.items() if one is not None}  # null takes a domain out
    return {name: one if isinstance(one, dict | DomainConfig) else {"train": one} for name, one in named.items()}


Domains = Annotated[
    dict[str, DomainConfig],
    BeforeValidator(_written_out, json_schema_input_type=dict[str, str | list[str | Source] | DomainConfig | None]),
]


class ExpertsConfig(Section):
    """Experts for domains and what is made of them, each an arm: `untouched` (the base), one expert for each domain,
    called like it, `merged`, and the controls `uniform_soup`, `joint` (one model on all domains) and `sequential`
    (one model on one domain after the other). Every arm is measured on the held-out rows of every domain. What stands
    under `arms` is added to them, or changes them."""

    domains: str | Domains
    """Name -> file of its rows, or {train, validation, eval, overrides}; or a folder with a file for each domain,
    called like it; or one file, and `field` says which domain a row is of."""
    field: str | None = None
    """The column that names the domain, where `domains` is one file."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Where a domain names no rows for it: the share of its rows that is not trained on, by their content; half of it
    is for validation and half for the end."""
    merge: MergeConfig = MergeConfig()
    """How `merged` is made of the experts."""
    controls: list[Control] = Field(default_factory=lambda: list(CONTROLS))
    """What the merged model is compared with besides its experts."""
