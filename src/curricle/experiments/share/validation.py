"""The rows that a search of weights goes by, and what can be said of the search before its experts are trained."""

from __future__ import annotations

from ...data.encode import encode
from ...data.sources import read_examples
from ...data.table import TokenTable
from ...experts.search.starts import check_budget
from ..material import Material, judging
from ..toys.sources import place_given
from .config import MergeConfig


def validation_rows(config: MergeConfig, material: Material) -> TokenTable:
    """Read and encoded as held-out rows are."""
    data = material.settings.data.model_copy(update={"eval": place_given(config.validation)})
    return encode(read_examples(data, "eval"), material.tokenizer, judging(data))


def check_search(material: Material) -> None:
    """Refuse before hours are spent on the experts: rows that are not there, a budget that does not reach."""
    config = material.settings.merge
    if config is None or not config.searches:
        return
    check_budget(config.search.model_copy(update={"normalize": config.normalize}), config.arms)
    validation_rows(config, material)
