"""Every random stream has a name, and its seed follows from the run's seed and that name alone.

Two streams never share numbers, adding a stream moves no other, and no stream depends on the rank: what must differ
between ranks (dropout) names the rank.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named stream, the same on every machine and Python version."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *names)))
