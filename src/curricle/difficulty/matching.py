"""Which layer of the cloud model an edge layer is held against.

By relative depth, m(l) = round(l * Lc / Le), halves up: 4 edge layers and 6 cloud layers give

    edge     1  2  3  4
    cloud    2  3  5  6

Or by likeness: of all monotone assignments the one whose pairs have the largest linear CKA in sum, by dynamic
programming. Layers are numbered from 1; 0 would be the embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


def by_depth(num_edge: int, num_cloud: int) -> list[int]:
    """For each edge layer the cloud layer of the same relative depth; the same layer where both have equally many."""
    places = (int(layer * num_cloud / num_edge + 0.5) for layer in range(1, num_edge + 1))
    return [min(max(place, 1), num_cloud) for place in places]


def by_likeness(edge_nld: Tensor, cloud_nld: Tensor) -> list[int]:
    """For each edge layer a cloud layer, never going back, so that the sum of their CKA is the largest."""
    return best_monotone(cka_matrix(edge_nld, cloud_nld))


def best_monotone(gain: npt.NDArray[np.float64]) -> list[int]:
    """The columns (from 1) of a non-decreasing path through all rows with the largest sum."""
    best, came_from = gain[0].copy(), []
    for row in gain[1:]:
        reached = np.maximum.accumulate(best)
        first = np.concatenate([[True], best[1:] > reached[:-1]])  # where the best so far was found
        came_from.append(np.maximum.accumulate(np.where(first, np.arange(len(best)), 0)))
        best = reached + row
    path = [int(np.argmax(best))]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return [column + 1 for column in reversed(path)]


def cka_matrix(edge_nld: Tensor, cloud_nld: Tensor) -> npt.NDArray[np.float64]:
    """Debiased linear CKA of every edge layer with every cloud layer, over the samples n."""
    import torch

    edge_lnn, cloud_lnn = (
        torch.stack([_unbiased_gram(layer_nd) for layer_nd in states_nld.double().unbind(1)])
        for states_nld in (edge_nld, cloud_nld)
    )
    cross = torch.einsum("ijk,ljk->il", edge_lnn, cloud_lnn)
    own_edge, own_cloud = edge_lnn.square().sum((1, 2)), cloud_lnn.square().sum((1, 2))
    return (cross / (own_edge[:, None] * own_cloud[None, :]).sqrt().clamp_min(1e-300)).numpy()


def cka(one_nd: Tensor, other_nd: Tensor) -> float:
    """Linear CKA of two sets of states of the same samples, debiased for few samples and many dimensions."""
    return float(cka_matrix(one_nd[:, None], other_nd[:, None])[0, 0])


def _unbiased_gram(states_nd: Tensor) -> Tensor:
    """The samples' inner products, centred without their diagonal (Szekely and Rizzo 2014), so that the inner product
    of two such matrices estimates HSIC without bias."""
    num = len(states_nd)
    gram = states_nd @ states_nd.T
    gram.fill_diagonal_(0.0)
    means = gram.sum(1) / (num - 2)
    centred = gram - means[:, None] - means[None, :] + gram.sum() / ((num - 1) * (num - 2))
    centred.fill_diagonal_(0.0)
    return centred
