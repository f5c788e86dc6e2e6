import pytest
from pydantic import ValidationError

from curricle.curriculum.config import CurriculumConfig


def test_unknown_strategy_and_key_are_refused() -> None:
    assert CurriculumConfig().strategy == "none"
    with pytest.raises(ValidationError, match="strategy"):
        CurriculumConfig(strategy="hardest_last")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="stratgy"):
        CurriculumConfig(stratgy="none")  # type: ignore[call-arg]
