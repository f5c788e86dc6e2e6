from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from curricle.data.config import DataConfig
from curricle.data.inspection import NEAR, DataReport, inspect_data, near_pairs, shingle_hashes, signature
from curricle.data.sources import read_examples
from curricle.runtime.seeds import numpy_generator

WORDS = ["carriage", "horse", "두 마리", "말", "road", "wheel", "달린다", "course", "run", "light", "fast", "빠른"]


def sentences(count: int, words: int = 60) -> list[list[str]]:
    rng = numpy_generator(7, "sentences")
    return [[f"{WORDS[i]}{j}" for i, j in rng.integers(0, 12, (words, 2))] for _ in range(count)]


def changed(words: list[str], count: int) -> list[str]:
    return [f"new{k}" if k < count else word for k, word in enumerate(words)]


def jaccard(a: str, b: str) -> float:
    one, two = set(shingle_hashes(a).tolist()), set(shingle_hashes(b).tolist())
    return len(one & two) / len(one | two)


def report(tmp_path: Path, train: list[dict[str, str]], held_out: list[dict[str, str]] | None = None) -> DataReport:
    for name, rows in (("train", train), ("eval", held_out or [])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(train=str(tmp_path / "train.jsonl"), eval=str(tmp_path / "eval.jsonl"))
    return inspect_data(read_examples(config), read_examples(config, "eval") if held_out else None)


def row(prompt: str, completion: str = "yes") -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def test_a_shingle_hash_is_of_six_characters_case_and_spacing_aside() -> None:
    assert len(shingle_hashes("abcdefgh")) == 3
    assert shingle_hashes("ABC  defgh").tolist() == shingle_hashes("abc defgh\n").tolist()
    assert len(set(shingle_hashes("abcdefghij").tolist())) == 5
    assert set(shingle_hashes("abcdef").tolist()) < set(shingle_hashes("xabcdefx").tolist())
    assert (len(shingle_hashes("ab")), len(shingle_hashes(""))) == (1, 0)


@pytest.mark.parametrize(("length", "changes"), [(30, 1), (200, 5), (1_500, 40)])
def test_the_signature_estimates_the_jaccard_similarity(length: int, changes: int) -> None:
    rng = numpy_generator(0, "texts", length)
    exact, estimated = [], []
    for _ in range(300):
        letters = rng.integers(0xAC00, 0xAC00 + 3000, length)  # Hangul: independent texts share no shingle
        other = letters.copy()
        other[rng.integers(0, length, changes)] = ord("x")
        a, b = ("".join(map(chr, points)) for points in (letters, other))
        exact.append(jaccard(a, b))
        estimated.append((signature(a) == signature(b)).mean())
    errors = np.array(estimated) - exact
    expected = np.sqrt(np.mean([j * (1 - j) / 64 for j in exact]))  # of the mean of 64 independent draws
    assert abs(errors.mean()) < 3 * expected / np.sqrt(len(errors))
    assert errors.std() == pytest.approx(expected, rel=0.15)


def test_a_long_text_is_hashed_in_pieces_with_one_result() -> None:
    words = " ".join(itertools.chain.from_iterable(sentences(60)))
    assert len(words) > 20_000
    half = len(words) // 2
    whole, left, right = (signature(text) for text in (words, words[: half + 5], words[half:]))
    assert np.all((whole == left) | (whole == right))


@pytest.mark.parametrize("split", [None, 120])
def test_near_pairs_are_those_of_comparing_all_with_all(split: int | None) -> None:
    texts = []
    for words in sentences(60):
        texts += [" ".join(changed(words, count)) for count in (0, 1, 2, 20)]
    order = numpy_generator(3, "order").permutation(len(texts))
    signatures_nh = np.stack([signature(texts[k]) for k in order])
    found = {(b, a): alike for b, a, alike in near_pairs(signatures_nh, split)}
    agreement = (signatures_nh[:, None] == signatures_nh[None]).mean(axis=2)
    for (b, a), alike in found.items():
        assert a < b
        assert split is None or a < split <= b
        assert alike == agreement[b, a] >= NEAR
    allowed = range(split or 0, len(texts))
    expected = {b for b in allowed if agreement[b, : (b if split is None else split)].max(initial=0) >= NEAR}
    assert {b for b, _ in found} == expected
    assert len(expected) > 30


def test_no_rows_and_one_row_have_no_pairs() -> None:
    assert near_pairs(np.empty((0, 64), np.uint16)) == []
    assert near_pairs(signature("one")[None]) == []


def test_planted_duplicates_and_overlap_are_found_with_their_places(tmp_path: Path) -> None:
    texts = [" ".join(words) for words in sentences(30)]
    near = [" ".join(changed(words, 1)) for words in sentences(30)]
    train = [row(text) for text in texts[:20]] + [row(texts[3]), row(texts[4], "no"), row(near[5]), row("short", " ")]
    held_out = [row(text) for text in texts[20:]] + [row(texts[6], "other"), row(near[7])]
    found = report(tmp_path, train, held_out)
    folder = tmp_path
    assert found.train.rows == 24
    assert found.train.duplicates.first == [f"{folder}/train.jsonl:21 = {folder}/train.jsonl:4"]
    assert found.train.same_prompt.first == [f"{folder}/train.jsonl:22 = {folder}/train.jsonl:5"]
    assert found.train.near_duplicates.count == 1
    assert found.train.near_duplicates.first[0].startswith(f"{folder}/train.jsonl:23 = {folder}/train.jsonl:6 (simil")
    assert found.train.empty_targets.first == [f"{folder}/train.jsonl:24"]
    assert found.eval is not None
    assert found.eval.duplicates.count == found.eval.same_prompt.count == found.eval.near_duplicates.count == 0
    assert found.overlap.first == [f"{folder}/eval.jsonl:11 = {folder}/train.jsonl:7"]
    assert found.near_overlap.first[0].startswith(f"{folder}/eval.jsonl:12 = {folder}/train.jsonl:8")
    assert (found.overlap.count, found.near_overlap.count) == (1, 1)
    printed = str(found)
    for line in (
        "  prompts of eval that are in train: 1",
        "  empty targets: 1",
        "  fields: prompt in all rows, completion",
    ):
        assert line in printed


def test_lengths_name_the_longest_row(tmp_path: Path) -> None:
    found = report(tmp_path, [row("a" * n, "b" * (12 - n)) for n in (2, 10, 4)])
    prompt, target = found.train.lengths["prompt"], found.train.lengths["target"]
    assert (prompt.median, prompt.longest, prompt.longest_at) == (4, 10, f"{tmp_path}/train.jsonl:2")
    assert (target.mean, target.longest) == (pytest.approx(20 / 3), 10)
    assert found.eval is None


def test_the_words_around_a_dialogue_do_not_make_it_similar(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"dialogue": f"#Person1#: {name}", "summary": "s"} for name in ("Hello there.", "Goodbye now.")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(
        train=str(path), question_without_keywords="A long question. " * 40, system_prompt="Be brief. " * 40
    )
    assert inspect_data(read_examples(config)).train.near_duplicates.count == 0
