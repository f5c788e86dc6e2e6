"""What must hold of every curriculum: METHODS 1.4 and 2."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import table as make_table

from curricle import CurriculumConfig, CurriculumSampler, CurriculumTrainingScheduler
from curricle.curriculum.config import MixStage
from curricle.curriculum.dynamic import DynamicPacing, Hybrid, Pace
from curricle.curriculum.layer_specific import AnyLayer, LayerPace, layer_ranks
from curricle.curriculum.mixes import Mixed, bins_of, fixed, ramp, staged
from curricle.curriculum.order import Order
from curricle.curriculum.pacing import Competence, Easiest, EasyToHard, Stages, competence
from curricle.curriculum.ramps import LengthRamp, QualityRamp
from curricle.curriculum.ranks import percentile_ranks, under_control
from curricle.curriculum.self_paced import SelfPaced
from curricle.curriculum.stream import Stream
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import RunError
from curricle.runtime.seeds import numpy_generator
from curricle.training.batches import OrderedBatches

N, STEPS = 60, 24
CHANCE = np.random.default_rng(5)
DIFFICULTY = CHANCE.permutation(N).astype(np.float32)
CONSTANT = np.full(N, 3.0, dtype=np.float32)
TABLE = make_table(N, seed=2)
BINS, NAMES = bins_of(DIFFICULTY, {"low": (0, 19), "high": (30, 59)})
THIRDS = (0.33, 0.66, 1.0)
LAYERS = layer_ranks(CHANCE.normal(size=(N, 3)).astype(np.float32))


def _mix(repeat: bool) -> Mixed:
    parts = [
        {"epoch_range": (0, 0.5), "difficulty_weights": {"low": 1.0}},
        {"epoch_range": (0.5, 1), "difficulty_weights": {"low": 0.2, "high": 0.5, "unknown": 0.3}},
    ]
    return Mixed(BINS, NAMES, staged([MixStage.model_validate(part) for part in parts], NAMES), repeat)


ORDERS: dict[str, Callable[[], Order]] = {
    "uniform": Order,
    "easy_to_hard": lambda: EasyToHard(DIFFICULTY),
    "stages": lambda: Stages(DIFFICULTY, THIRDS),
    "competence": lambda: Competence(DIFFICULTY, 0.05, full_at=0.7),
    "dynamic": lambda: DynamicPacing(DIFFICULTY, Pace(loss_threshold=2.0, step_up=0.2, step_down=0.1)),
    "relative": lambda: DynamicPacing(DIFFICULTY, Pace(relative_threshold=1.02, step_up=0.1)),
    "hybrid": lambda: Hybrid(DIFFICULTY, THIRDS, Pace(step_up=0.2)),
    "self_paced": lambda: SelfPaced(N, STEPS, bound=1.9, every=0.2),
    "length_ramp": lambda: LengthRamp(TABLE.lengths, [(0.3, 10), (0.6, 20)], STEPS),
    "quality_ramp": lambda: QualityRamp(DIFFICULTY),
    "mix": lambda: _mix(repeat=False),
    "repeating mix": lambda: _mix(repeat=True),
    "domain_ramp": lambda: Mixed(BINS, NAMES, ramp((0.9, 0.1, 0.0), (0.1, 0.8, 0.1), 1.0), repeat=True),
    "layer_specific": lambda: AnyLayer(LAYERS, LayerPace(THIRDS, delay=0.3)),
    "random_curriculum": lambda: Competence(under_control(DIFFICULTY, "random_curriculum", seed=4), 0.05),
}


class Layout:
    def __init__(self, batch: int = 2, accumulation: int = 2, world: int = 1, rank: int = 0) -> None:
        self.per_device_train_batch_size, self.gradient_accumulation_steps = batch, accumulation
        self.world_size, self.process_index, self.max_steps, self.seed = world, rank, STEPS, 4


def batches(order: Order, layout: Layout | None = None, table: TokenTable = TABLE) -> OrderedBatches:
    return OrderedBatches(table, order, Rows(max_length=40, lookahead=4), layout or Layout())


def made_up_loss(step: int, example: int) -> float:
    """Falls with time and rises with difficulty, as a learner's does."""
    return 3.0 - 1.6 * step / STEPS + float(DIFFICULTY[example]) / N


def train(run: OrderedBatches, first: int, last: int) -> list[list[list[int]]]:
    """Steps `first` to `last` as the trainer takes them: draw, consume, tell the order. The rows of each step."""
    taken = []
    for step in range(first, last + 1):
        for _ in range(run.layout.gradient_accumulation_steps):
            run.next_batch()
            run.consumed()
        rows = run.rows_of_step(step)
        taken.append(rows)
        if run.order.observes:
            ids = sorted(example for row in rows for example in row)
            run.order.observe(step, ids, [made_up_loss(step, example) for example in ids])
    return taken


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("at", [3, 8, 13, 20])
def test_a_resumed_run_consumes_what_the_unbroken_one_would(name: str, at: int) -> None:
    unbroken = batches(ORDERS[name]())
    train(unbroken, 1, at)
    state = json.loads(json.dumps(unbroken.state_dict()))
    rest = train(unbroken, at + 1, STEPS)
    resumed = batches(ORDERS[name]())
    resumed.load_state_dict(state)
    assert train(resumed, at + 1, STEPS) == rest
    assert resumed.order.metrics() == unbroken.order.metrics()


@pytest.mark.parametrize("name", ORDERS)
def test_ranks_and_accumulation_change_nothing(name: str) -> None:
    alone = train(batches(ORDERS[name](), Layout(batch=4, accumulation=1)), 1, STEPS)
    for world, batch, accumulation in ((2, 2, 1), (4, 1, 1), (2, 1, 2)):
        ranks = [batches(ORDERS[name](), Layout(batch, accumulation, world, rank)) for rank in range(world)]
        for step in range(1, STEPS + 1):
            mine = [_rows_dealt(run, step) for run in ranks]
            dealt = [row for micro in zip(*mine, strict=True) for part in micro for row in part]
            assert dealt == [example for row in alone[step - 1] for example in row]


def _rows_dealt(run: OrderedBatches, step: int) -> list[list[int]]:
    """One step on one rank: the examples of each micro batch that the rank itself collated."""
    micros = []
    for _ in range(run.layout.gradient_accumulation_steps):
        micros.append(run.next_batch()["example_ids"])
        run.consumed()
    ids = sorted(example for row in run.rows_of_step(step) for example in row)
    if run.order.observes:
        run.order.observe(step, ids, [made_up_loss(step, example) for example in ids])
    return micros


def as_plain(order: Order, num: int = 3 * N, progress: Callable[[int], float] = lambda i: min(1.0, i / 100)) -> bool:
    stream, plain = Stream(order, np.arange(N), seed=9), Stream(Order(), np.arange(N), seed=9)
    return [stream.draw(progress(i)) for i in range(num)] == [plain.draw(0.0) for _ in range(num)]


@pytest.mark.parametrize(
    "order",
    [
        Competence(DIFFICULTY, initial=1.0),
        Stages(DIFFICULTY, [1.0]),
        DynamicPacing(DIFFICULTY, Pace(initial=1.0)),
        SelfPaced(N, STEPS, bound=1e9),
        LengthRamp(DIFFICULTY, [(0.5, 1e9)], STEPS),
        QualityRamp(DIFFICULTY, final_share=1.0),
        Mixed(np.zeros(N), ["all"], fixed((1.0,))),
        AnyLayer(LAYERS, LayerPace([1.0])),
        Hybrid(DIFFICULTY, [1.0], Pace(initial=1.0)),
    ],
    ids=lambda order: type(order).__name__,
)
def test_full_competence_is_plain_shuffling_bit_for_bit(order: Order) -> None:
    assert as_plain(order)


@pytest.mark.parametrize(
    "order",
    [
        Competence(CONSTANT),
        Stages(CONSTANT, THIRDS),
        EasyToHard(CONSTANT),
        DynamicPacing(CONSTANT),
        QualityRamp(CONSTANT),
        Hybrid(CONSTANT, THIRDS),
        AnyLayer(layer_ranks(np.ones((N, 3))), LayerPace(THIRDS)),
    ],
    ids=lambda order: type(order).__name__,
)
def test_constant_difficulty_is_plain_shuffling_bit_for_bit(order: Order) -> None:
    assert as_plain(order)


@pytest.mark.parametrize("keys", [{"strategy": "competence", "initial_competence": 1.0}, {"strategy": "none"}], ids=str)
@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_a_sampler_at_full_competence_is_a_plain_shuffle_bit_for_bit(keys: Any, epoch: int) -> None:
    plan = CurriculumTrainingScheduler(CurriculumConfig(**keys), DIFFICULTY, seed=9)
    sampler = CurriculumSampler(plan, num_replicas=1, rank=0)
    sampler.set_epoch(epoch)
    assert list(sampler) == numpy_generator(9, "order", epoch).permutation(N).tolist()


def admitted(order: Order, progress: float) -> set[int]:
    mask = order.admitted(progress)
    return set(range(N)) if mask is None else set(np.flatnonzero(mask).tolist())


@pytest.mark.parametrize("name", ["easy_to_hard", "stages", "competence", "length_ramp", "layer_specific"])
def test_admission_is_nested_and_ends_on_all(name: str) -> None:
    order = ORDERS[name]()
    sets = [admitted(order, step / STEPS) for step in range(STEPS)]
    assert all(a <= b for a, b in pairwise(sets))
    assert len(sets[-1]) == N


@pytest.mark.parametrize("name", ["stages", "competence"])
def test_while_a_set_stands_each_of_it_is_drawn_as_often(name: str) -> None:
    """So its weights are uniform over a growing set, and their entropy, the log of its size, never falls."""
    order = ORDERS[name]()
    inside = admitted(order, 0.2)
    assert 1 < len(inside) < N
    stream = Stream(order, np.arange(N), seed=1)
    counts = Counter(stream.draw(0.2) for _ in range(7 * len(inside)))
    assert counts == dict.fromkeys(inside, 7)


def test_percentile_ranks_are_uniform() -> None:
    assert sorted(percentile_ranks(DIFFICULTY).tolist()) == [place / N for place in range(N)]
    assert np.argsort(percentile_ranks(DIFFICULTY)).tolist() == np.argsort(DIFFICULTY).tolist()


@pytest.mark.parametrize("name", ["stages", "competence", "dynamic", "hybrid"])
def test_nobody_admitted_is_harder_than_anybody_left_out(name: str) -> None:
    order = ORDERS[name]()
    run = batches(order)
    for step in range(1, STEPS + 1):
        train(run, step, step)
        inside = admitted(order, step / STEPS)
        outside = set(range(N)) - inside
        assert inside
        assert not outside or max(DIFFICULTY[list(inside)]) < min(DIFFICULTY[list(outside)])


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    share=st.floats(0.01, 1.0),
)
def test_a_share_admits_whoever_has_too_few_easier_ones_and_ties_together(values: list[int], share: float) -> None:
    class Fixed(Easiest):
        def share(self, progress: float) -> float:
            return share

    mask = Fixed(np.array(values, dtype=np.float32)).admitted(0.0)
    inside = [True] * len(values) if mask is None else mask.tolist()
    easier = [sum(other < value for other in values) for value in values]
    assert inside == [count < share * len(values) - 1e-6 or count == 0 for count in easier]
    assert min(values) in {value for value, one in zip(values, inside, strict=True) if one}
    assert len({(value, one) for value, one in zip(values, inside, strict=True)}) == len(set(values))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True),
)
def test_lengths_found_by_bisection_are_those_of_a_plain_filter(lengths: list[int], cuts: list[int]) -> None:
    cuts = sorted(max(cut, min(lengths)) for cut in cuts)
    schedule = [((place + 1) / (len(cuts) + 1), cut) for place, cut in enumerate(cuts)]
    order = LengthRamp(np.array(lengths), schedule, 100)
    caps = [order.max_length(step / 100) for step in range(100)]
    assert caps == sorted(caps)
    for step in range(100):
        most = next((cut for until, cut in schedule if step / 100 < until), float("inf"))
        mask = order.admitted(step / 100)
        inside = [True] * len(lengths) if mask is None else mask.tolist()
        assert inside == [length <= most for length in lengths]


def test_length_schedule_in_steps_as_the_source_writes_it() -> None:
    order = LengthRamp(TABLE.lengths, [(10, 8), (18, 16), (float("inf"), 8192)], STEPS)
    assert [order.max_length(step / STEPS) for step in (0, 9, 10, 17, 18, 23)] == [8, 8, 16, 16, 8192, 8192]


def test_every_example_of_a_row_is_short_enough_while_the_ramp_lasts() -> None:
    order = LengthRamp(TABLE.lengths, [(0.3, 10), (0.6, 20)], STEPS)
    run = batches(order)
    for step, rows in enumerate(train(run, 1, STEPS), start=1):
        longest = max(int(TABLE.lengths[row].max()) for row in rows)
        assert longest <= order.max_length((step - 1) / STEPS)


def test_a_step_of_short_examples_has_as_many_tokens() -> None:
    """Rows are filled with more of them: a ramp of lengths changes what a step holds, not how much."""
    means = []
    for order in (Order(), LengthRamp(TABLE.lengths, [(0.9, 15)], STEPS)):
        steps = train(batches(order), 1, 12)
        means.append(float(np.mean([sum(int(TABLE.lengths[row].sum()) for row in rows) for rows in steps])))
    assert means[1] == pytest.approx(means[0], rel=0.1)


@pytest.mark.parametrize("name", ["stages", "competence", "length_ramp", "easy_to_hard", "layer_specific"])
def test_after_the_last_threshold_everybody_is_drawn_alike(name: str) -> None:
    stream = Stream(ORDERS[name](), np.arange(N), seed=1)
    for draw in range(31):
        stream.draw(0.0 if draw < 30 else 0.99)
    while stream.left_in_pass:
        stream.draw(0.99)
    counts = Counter(stream.draw(0.99) for _ in range(5 * N))
    assert counts == dict.fromkeys(range(N), 5)


@pytest.mark.parametrize(
    ("root", "expected"),
    [(2, (0.0100, 0.3164, 0.5001, 0.7071, 1.0)), (1, (0.0100, 0.1090, 0.2575, 0.5050, 1.0))],
)
def test_competence_has_the_golden_numbers(root: float, expected: tuple[float, ...]) -> None:
    """METHODS 1.4: T = 1000, c0 = 0.01, at t = 0, 100, 250, 500, 1000."""
    found = [competence(t / 1000, 0.01, root) for t in (0, 100, 250, 500, 1000)]
    assert found == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("shares", [(0.7, 0.3, 0.0), (0.3, 0.6, 0.1), (0.1, 0.5, 0.4)])
@pytest.mark.parametrize("repeat", [False, True])
def test_a_mix_has_its_shares_in_every_stretch(shares: tuple[float, ...], repeat: bool) -> None:
    groups = np.repeat([0, 1, 2], 400)
    stream = Stream(Mixed(groups, ["low", "medium", "high"], fixed(shares), repeat), np.arange(1200), seed=3)
    drawn = groups[[stream.draw(0.0) for _ in range(400)]]
    for end in range(1, 401):
        for group, share in enumerate(shares):
            assert abs((drawn[:end] == group).sum() - share * end) <= 2
    assert len(set(stream.draws()[groups == 2])) == (1 if shares[2] == 0 else 2)


def test_a_mix_that_redistributes_draws_each_example_once_a_pass() -> None:
    groups = np.repeat([0, 1], [50, 10])
    stream = Stream(Mixed(groups, ["many", "few"], fixed((0.5, 0.5))), np.arange(60), seed=3)
    assert sorted(stream.draw(0.0) for _ in range(60)) == list(range(60))
    assert stream.num_repeats == 0


def test_a_mix_that_repeats_keeps_its_shares_and_evens_out_its_repeats() -> None:
    groups = np.repeat([0, 1], [50, 10])
    stream = Stream(Mixed(groups, ["many", "few"], fixed((0.5, 0.5)), repeat=True), np.arange(60), seed=3)
    drawn = [stream.draw(0.0) for _ in range(600)]
    assert abs((groups[drawn] == 1).sum() - 300) <= 2
    draws = stream.draws()
    for group in (0, 1):
        assert np.ptp(draws[groups == group]) <= 1


def test_a_ramp_draws_of_each_domain_what_the_static_mix_of_its_mean_shares_does() -> None:
    """The fair comparison: equal total exposure, another order."""
    groups, draws = np.repeat([0, 1, 2], 100), 2000
    first, last = (0.8, 0.2, 0.0), (0.2, 0.3, 0.5)
    found = []
    for shares in (ramp(first, last, 1.0), fixed((0.5, 0.25, 0.25))):
        stream = Stream(Mixed(groups, ["a", "b", "c"], shares, repeat=True), np.arange(300), seed=2)
        drawn = groups[[stream.draw(draw / draws) for draw in range(draws)]]
        found.append(np.bincount(drawn) / draws)
        assert (np.bincount(drawn[: draws // 4], minlength=3)[2] < 0.1 * draws / 4) == (len(found) == 1)
    np.testing.assert_allclose(found[0], found[1], atol=0.01)


def test_self_paced_takes_part_below_its_bound_and_the_bound_grows() -> None:
    order = SelfPaced(4, 10, bound=1.0, factor=1.3, every=0.2)
    assert order.admitted(0.0) is None
    order.observe(1, [0, 1, 2], [0.5, 1.2, 9.0])
    assert order.admitted(0.1) is None  # the set stands until the bound grows
    order.observe(2, [0], [0.5])
    assert order.admitted(0.2).tolist() == [True, True, False, True]  # type: ignore[union-attr]  # 3 was never seen
    order.observe(4, [3], [1.7])
    assert order.admitted(0.4).tolist() == [True, True, False, False]  # type: ignore[union-attr]
    order.observe(6, [3], [1.7])
    assert order.admitted(0.6).tolist() == [True, True, False, True]  # type: ignore[union-attr]  # 1.3 ** 3 = 2.197


def state_of(name: str) -> dict[str, Any]:
    run = batches(ORDERS[name]())
    train(run, 1, 5)
    return run.state_dict()


@pytest.mark.parametrize("name", ["stages", "competence", "dynamic", "easy_to_hard"])
def test_a_run_with_other_labels_is_not_gone_on_with(name: str) -> None:
    order = ORDERS[name]()
    assert isinstance(order, Easiest)
    order.num_easier = order.num_easier[::-1].copy()
    with pytest.raises(RunError, match="labels of the order"):
        batches(order).load_state_dict(state_of(name))


def test_a_run_with_another_strategy_is_not_gone_on_with() -> None:
    with pytest.raises(RunError, match="curriculum state"):
        batches(Order()).load_state_dict(state_of("stages"))
    with pytest.raises(RunError, match="another curriculum"):
        batches(Stages(DIFFICULTY, THIRDS)).load_state_dict(state_of("uniform"))
