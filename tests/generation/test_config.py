"""Settings that would have no effect are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from curricle.generation.config import GenerationConfig


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"top_p": 0.9}, "set temperature above 0"),
        ({"top_k": 5}, "set temperature above 0"),
        ({"temperature": 1.0, "num_beams": 2}, "beams look for the likeliest answer"),
        ({"speculative": True, "num_beams": 2}, "speculative is for one answer at a time, not for beams"),
        ({"batch_size": 0}, "greater than or equal to 1"),
        ({"temperature": -1}, "greater than or equal to 0"),
    ],
)
def test_what_has_no_effect_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GenerationConfig(**settings)
