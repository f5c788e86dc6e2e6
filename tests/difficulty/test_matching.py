"""Layers by depth and by likeness, the latter against every monotone assignment."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from curricle.difficulty.matching import best_monotone, by_depth, by_likeness, cka


def test_the_page_example() -> None:
    assert by_depth(4, 6) == [2, 3, 5, 6]
    assert by_depth(28, 32)[:4] == [1, 2, 3, 5]


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("columns", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_path_is_the_best_of_all(rows: int, columns: int, seed: int) -> None:
    gain = np.random.default_rng(seed).normal(size=(rows, columns))
    sums = {
        path: sum(gain[i, j] for i, j in enumerate(path))
        for path in combinations_with_replacement(range(columns), rows)
    }
    best = max(sums, key=lambda path: sums[path])
    assert best_monotone(gain) == [column + 1 for column in best]


def test_alike_layers_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = torch.randn(60, 5, 12, generator=generator)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    assert by_likeness(cloud[:, [1, 3, 4]] @ turn * 3, cloud) == [2, 4, 5]


def test_cka_of_what_has_nothing_in_common_is_about_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = torch.randn(50, 200, generator=generator), torch.randn(50, 300, generator=generator)
    assert abs(cka(one, other)) < 0.1  # without debiasing it would be 0.8
