"""What a row brings beside its text: the reward of its answer, and how much its tokens shall count."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .readers import BadRow, json_name

_REWARDS: dict[Any, float] = {True: 1.0, False: 0.0, "true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
"""What a column of rewards may hold; text is how a CSV file says it. JSON's 1 and 1.0 equal True."""


def read_reward(value: Any, column: str) -> float:
    """1 for a correct answer, 0 for an incorrect one."""
    known = value.lower() if isinstance(value, str) else value
    if isinstance(known, bool | int | float | str) and known in _REWARDS:
        return _REWARDS[known]
    reason = f"`{column}` is {json_name(value) if isinstance(value, list | dict) else repr(value)}"
    raise BadRow("a reward that is not 0 or 1", f"{reason}; data.reward_field takes true and false, 1 and 0")


def token_weights_of(given: Any, supervised_t: npt.NDArray[np.bool_], where: str) -> npt.NDArray[np.float32]:
    """The weight of each token from one number, from one for each learned token, or from one for each token.

    tokens       p p a .        supervised  0 0 1 1
    0.5          0 0 .5 .5
    [2, 1]       0 0 2 1
    [1, 1, 2, 1] 1 1 2 1
    """
    learned_t = supervised_t & (np.arange(len(supervised_t)) > 0)
    num, num_learned = len(learned_t), int(learned_t.sum())
    try:
        found = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{where}: weights are a number or a list of numbers; found {str(given)[:60]!r}") from None
    if found.ndim > 1 or (found.ndim == 1 and len(found) not in (num_learned, num)):
        raise DataError(
            f"{where}: {found.size} weights for {num_learned} learned tokens ({num} with the prompt); give one number "
            "for the row, or a list with one for each learned token (the end of the answer is one) or for each token"
        )
    bad = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(bad):
        one = given[bad[0]] if found.ndim else given
        place = f" at place {bad[0]}" if found.ndim else ""
        shown = "null" if one is None else f"{found.flat[bad[0]]:g}"  # numpy makes a nan of None
        raise DataError(f"{where}: weight {shown}{place}; a weight is 0 or more, and finite")
    if found.ndim == 1 and len(found) == num:
        return found
    weights_t = np.zeros(num, dtype=np.float32)
    weights_t[learned_t] = found
    return weights_t
