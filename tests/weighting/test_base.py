from __future__ import annotations

import torch

from curricle.losses import FlatTokens
from curricle.weighting import Uniform


def test_uniform_gives_no_weights_and_knows_them_beforehand() -> None:
    tokens = FlatTokens(*torch.zeros(3, 2, dtype=torch.long))
    assert Uniform().known_beforehand
    assert Uniform()(tokens) == (None, {})
    assert Uniform().state_dict() == {}
