"""Rows are read once, however they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curricle.data.config import DataConfig
from curricle.difficulty.config import DifficultyConfig
from curricle.difficulty.measure import measure
from curricle.difficulty.reader import Reader
from curricle.difficulty.samples import Reading, Role, Samples, gather_samples
from curricle.difficulty.spaces import differences, fit_cloud, fit_edge
from curricle.models.config import ModelConfig
from curricle.models.loading import load_tokenizer
from difficulty.nano_pair import save_pair, write_rows

NUM, SETS_OF = 40, 16
CONFIG = DifficultyConfig(num_calibration=SETS_OF, baselines=())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[Role, ModelConfig]:
    cloud, edge = save_pair(tmp_path_factory.mktemp("models"))
    return {"cloud": ModelConfig(name_or_path=str(cloud)), "edge": ModelConfig(name_or_path=str(edge))}


@pytest.fixture
def readers(pair: dict[Role, ModelConfig], tmp_path: Path) -> dict[Role, Reader]:
    return {role: Reader(role, one, load_tokenizer(one), CONFIG, tmp_path, use_cpu=True) for role, one in pair.items()}


def samples_of(readers: dict[Role, Reader], tmp_path: Path, anchors: bool) -> Samples:
    known = DataConfig(train=str(write_rows(tmp_path / "anchors.jsonl", SETS_OF, seed=1))) if anchors else None
    rows = DataConfig(train=str(write_rows(tmp_path / "rows.jsonl", NUM)))
    return gather_samples(rows, {role: one.tokenizer for role, one in readers.items()}, CONFIG, known)


@pytest.mark.parametrize("anchors", [False, True], ids=["from the rows", "from a file"])
def test_each_prompt_is_read_once_by_each_model(
    anchors: bool, readers: dict[Role, Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {"cloud": 0, "edge": 0}
    states = Reader.states

    def counted(self: Reader, reading: Any, rows: Sequence[int], layers: Sequence[int]) -> torch.Tensor:
        read[self.role] += len(rows)
        return states(self, reading, rows, layers)

    monkeypatch.setattr(Reader, "states", counted)
    measure(samples_of(readers, tmp_path, anchors), readers, CONFIG, tmp_path)
    assert read == dict.fromkeys(read, NUM + SETS_OF if anchors else NUM)


def test_differences_are_those_of_rows_read_one_by_one(readers: dict[Role, Reader], tmp_path: Path) -> None:
    """The slow way: every row by itself, the calibration samples again, each row by the set that it is not in."""
    samples = samples_of(readers, tmp_path, anchors=False)
    found = measure(samples, readers, CONFIG, tmp_path)
    layers: dict[Role, list[int]] = {"cloud": found.matched, "edge": [1, 2, 3]}

    def one_by_one(role: Role, reading: Any) -> torch.Tensor:
        return torch.cat([readers[role].states(reading, [i], layers[role]) for i in range(len(reading))])

    edge, cloud = (one_by_one(role, samples.readings[role]) for role in ("edge", "cloud"))
    edge_sets, cloud_sets = (one_by_one(role, samples.calibration[role]).chunk(2) for role in ("edge", "cloud"))
    expected = np.empty((NUM, 3), dtype=np.float32)
    for number in range(2):
        cloud_side = fit_cloud("rsa", cloud_sets[number])
        edge_side = fit_edge("rsa", edge_sets[number], cloud_sets[number], cloud_side)
        own = samples.set_of == number
        every = differences("cosine", edge_side.features(edge), cloud_side.features(cloud))
        expected[own] = every.numpy()[own]
    np.testing.assert_allclose(found.layers, expected, atol=1e-5)


def test_a_column_costs_what_its_forwards_take_row_by_row(pair: dict[Role, ModelConfig], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"baselines": ("loss",)})
    readers = {
        role: Reader(role, one, load_tokenizer(one), config, tmp_path, use_cpu=True) for role, one in pair.items()
    }
    samples = samples_of(readers, tmp_path, anchors=True)
    found = measure(samples, readers, config, tmp_path).column_flops

    def forward(role: Role, reading: Reading, *, answers: bool) -> float:
        model: Any = readers[role].model
        ends = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
        body = sum(one.numel() for one in {*model.parameters()} - ends)
        shape, flops = model.config, 0.0
        for length, place in zip(reading.lengths.tolist(), reading.places.tolist(), strict=True):
            learned = int(reading.table.num_supervised[place])
            read = length if answers else length - learned
            flops += read * (2 * body + 2 * shape.num_hidden_layers * shape.hidden_size * read)
            flops += 2 * shape.hidden_size * shape.vocab_size * learned if answers else 0
        return flops

    both: list[Role] = ["cloud", "edge"]
    states = [forward(role, of[role], answers=False) for of in (samples.readings, samples.calibration) for role in both]
    edge = samples.readings["edge"]
    assert edge.lengths.std() > 0, "else a mean would do"
    assert found["mean"] == pytest.approx(sum(states))
    assert found["loss"] == pytest.approx(forward("edge", edge, answers=True))
