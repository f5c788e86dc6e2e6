from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from curricle.losses import FlatTokens
from curricle.weighting import Uniform


def test_uniform_gives_no_weights_and_knows_them_beforehand() -> None:
    tokens = FlatTokens(*torch.zeros(3, 2, dtype=torch.long))
    assert Uniform().known_beforehand
    assert Uniform()(tokens) == (None, {})
    assert Uniform().state_dict() == {}


def test_the_example_of_the_docs_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "weighting.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code[0], names)
    tokens = FlatTokens(torch.zeros(2), torch.zeros(2), torch.tensor([3, 12]))
    weights, metrics = names["LateTokens"]()(tokens)
    assert weights.tolist() == [0.5, 1.0]
    assert metrics == {"late_share": 0.5}
