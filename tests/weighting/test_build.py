from __future__ import annotations

import pytest
from pydantic import ValidationError

from curricle.weighting import Uniform, WeightingConfig, build_weighting


def test_the_default_is_uniform() -> None:
    assert isinstance(build_weighting(WeightingConfig()), Uniform)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="uniform"):
        WeightingConfig(kind="unifrom")
