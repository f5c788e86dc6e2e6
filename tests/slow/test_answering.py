"""Ranks that share the prompts, or the weights, answer as one process does; and one process goes on where they fell."""

from __future__ import annotations

from pathlib import Path

import pytest

from curricle.evaluation.selection import watch_generation
from curricle.generation.answers import answer
from curricle.runtime.files import read_json
from slow.answering import CONFIG, TOKENIZER, WATCHED, model, prompts
from slow.test_ranks import torchrun

pytestmark = pytest.mark.slow

SCRIPT = str(Path(__file__).with_name("answering.py"))


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_two_ranks_answer_as_one(kind: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    alone = answer(model(), TOKENIZER, prompts(), CONFIG, tmp_path / "one" / "samples_eval.jsonl")
    figures = watch_generation(prompts(), TOKENIZER, CONFIG, WATCHED)(model())
    code, said = torchrun(tmp_path, SCRIPT, kind, str(tmp_path))
    assert code == 0, said
    for rank in (0, 1):
        seen = read_json(tmp_path / f"seen-{rank}.json")
        assert seen["predictions"] == [one.prediction for one in alone]
        assert seen["figures"] == pytest.approx(figures)
    written = (tmp_path / "samples_eval.jsonl").read_bytes()
    assert written == (tmp_path / "one" / "samples_eval.jsonl").read_bytes()
    assert not list(tmp_path.glob(".samples*"))


def test_one_process_goes_on_where_two_ranks_were_killed(tmp_path: Path) -> None:
    path = tmp_path / "samples_eval.jsonl"
    code, _ = torchrun(tmp_path, SCRIPT, "killed", str(tmp_path))
    assert code != 0
    parts = [path, *tmp_path.glob(".samples_eval.rank-*.jsonl")]
    there = sum(part.read_bytes().count(b"\n") for part in parts)
    assert len(parts) == 2
    assert 0 < there < len(prompts())
    going_on, read = model(), []
    going_on.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    answers = answer(going_on, TOKENIZER, prompts(), CONFIG, path)
    assert sum(count for count, width in read if width > 1) == len(prompts()) - there
    assert answers == answer(model(), TOKENIZER, prompts(), CONFIG)
    assert not list(tmp_path.glob(".samples*"))
