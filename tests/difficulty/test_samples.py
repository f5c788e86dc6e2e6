"""What is scored by what: no row by a fit that has seen it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curricle.data.config import DataConfig
from curricle.difficulty.config import DifficultyConfig
from curricle.difficulty.samples import Samples, gather_samples
from curricle.models.nano import train_tokenizer
from difficulty.nano_pair import WORDS, make_rows, write_rows

CONFIG = DifficultyConfig(num_calibration=20)


def gathered(path: Path, config: DifficultyConfig = CONFIG, calibration: Path | None = None) -> Samples:
    tokenizers = {"cloud": train_tokenizer(WORDS, 320), "edge": train_tokenizer(["xyz"], 262)}
    anchors = None if calibration is None else DataConfig(train=str(calibration))
    return gather_samples(DataConfig(train=str(path), learn="last_turn"), tokenizers, config, anchors)  # type: ignore[arg-type]


def test_no_row_is_scored_by_a_fit_that_has_seen_it(tmp_path: Path) -> None:
    samples = gathered(write_rows(tmp_path / "rows.jsonl", 70))
    place_of = {int(place): i for i, place in enumerate(samples.readings["edge"].places)}
    calibration = samples.calibration["edge"]
    assert samples.sets == 2
    assert len(set(calibration.places)) == 40
    for which, part in enumerate(np.split(calibration.places, 2)):
        assert {int(samples.set_of[place_of[int(place)]]) for place in part} == {1 - which}
    assert (samples.set_of == 1).sum() == 20


def test_a_file_of_its_own_is_one_set(tmp_path: Path) -> None:
    samples = gathered(write_rows(tmp_path / "a.jsonl", 30), CONFIG, write_rows(tmp_path / "b.jsonl", 25, seed=1))
    assert (samples.sets, len(samples.calibration["cloud"])) == (1, 20)
    assert not samples.set_of.any()


def test_a_lens_needs_no_calibration(tmp_path: Path) -> None:
    samples = gathered(write_rows(tmp_path / "a.jsonl", 5), DifficultyConfig(metric="kl_bytes"))
    assert (samples.sets, len(samples.calibration["cloud"])) == (0, 0)


def test_the_draw_follows_the_seed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 70)
    one, same = gathered(path), gathered(path)
    other = gathered(path, CONFIG.model_copy(update={"seed": 1}))
    assert (one.set_of == same.set_of).all()
    assert (one.set_of != other.set_of).any()


def test_both_models_read_the_same_rows_in_their_own_tokens(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", 40)
    samples = gathered(path, DifficultyConfig(num_calibration=16))
    cloud, edge = samples.readings["cloud"], samples.readings["edge"]
    assert (edge.lengths > cloud.lengths).all()
    for i, row in enumerate(make_rows(40)):
        for reading, tokenizer in ((cloud, train_tokenizer(WORDS, 320)), (edge, train_tokenizer(["xyz"], 262))):
            assert tokenizer.decode(reading.prompt(i).tolist()) == row["prompt"]
            assert tokenizer.decode(reading.pair(i)[1][:-1].tolist()) == row["completion"]
        assert samples.answer_bytes[i] == len(row["completion"])


@pytest.mark.parametrize("learned", ["text", "plain"])
def test_what_the_prompt_of_a_row_is(learned: str, tmp_path: Path) -> None:
    row = {"text": "a cat runs"} if learned == "text" else {"prompt": "a cat", "completion": " runs"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    reading = gathered(path, DifficultyConfig(metric="kl_bytes")).readings["edge"]
    text = train_tokenizer(["xyz"], 262).decode(reading.prompt(0).tolist(), skip_special_tokens=True)
    assert text == ("a cat runs" if learned == "text" else "a cat")
