"""The base order is the uniform one, and refuses state that is not its own."""

import numpy as np
import pytest

from curricle.curriculum.order import Order, Uniform
from curricle.errors import RunError
from curricle.runtime.seeds import numpy_generator


def test_uniform_admits_all_and_arranges_by_permutation() -> None:
    ids = np.array([4, 4, 7, 9])
    assert Uniform().admitted(0.0) is None
    arranged = Uniform().arrange(ids, numpy_generator(1, "order", 0))
    assert arranged.tolist() == numpy_generator(1, "order", 0).permutation(ids).tolist()


def test_state_of_another_order_is_refused() -> None:
    Order().load_state_dict(Order().state_dict())
    with pytest.raises(RunError, match=r"curriculum state \(competence\).*`Order` has none"):
        Order().load_state_dict({"competence": 0.5})
