"""MMLU: prompts letter by letter as the release puts them, the choice against all logits read one question at a time,
examples that do not fit, files that are not what they should be."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import chat_tokenizers
from curricle.data.rows import Rows
from curricle.errors import DataError, ModelError, RecipeError
from curricle.evaluation.config import Mmlu
from curricle.evaluation.measure import refuse_unready
from curricle.evaluation.mmlu import ask, graded, mmlu, read_letters
from curricle.evaluation.mmlu_files import Exam, read_exam, subjects_in
from support import model

NUM = {"dev": 3, "val": 2, "test": 6}


def release(folder: Path, subjects: tuple[str, ...] = ("high_school_art", "law")) -> Path:
    """A small one, of questions that say where they stand."""
    for split, num in NUM.items():
        (folder / split).mkdir(parents=True)
        for subject in subjects:
            rows = [
                [
                    f"{subject} {split} {i}, right?",
                    "one",
                    'the "second", I think',
                    "three\nlines",
                    f"{i}",
                    "ABCD"[i % 4],
                ]
                for i in range(num)
            ]
            with (folder / split / f"{subject}_{split}.csv").open("w", newline="") as handle:
                csv.writer(handle).writerows(rows)
    return folder


@pytest.fixture
def exam(tmp_path: Path) -> Exam:
    return read_exam(release(tmp_path), None, "test", 2)


def sentencepiece_like(texts: list[str]) -> Any:
    """A tokenizer that writes the space before a word into the word's first token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>"]
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=280, special_tokens=special, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


# --- prompts


def test_a_prompt_is_the_release_s(exam: Exam) -> None:
    question = exam.questions[1]
    assert exam.prompt(question, 1) == (
        "The following are multiple choice questions (with answers) about  high school art.\n\n"
        'high_school_art dev 0, right?\nA. one\nB. the "second", I think\nC. three\nlines\nD. 0\nAnswer: A\n\n'
        'high_school_art test 1, right?\nA. one\nB. the "second", I think\nC. three\nlines\nD. 1\nAnswer:'
    )
    assert exam.prompt(question, 2).count("Answer: ") == 2
    assert (question.answer, len(exam.questions), len(set(exam.ids))) == (1, 12, 12)


def test_subjects_split_and_limit(tmp_path: Path) -> None:
    folder = release(tmp_path)
    assert subjects_in(folder, "val") == ["high_school_art", "law"]
    few = read_exam(folder, ["law"], "val", 0, limit=1)
    assert [question.text for question in few.questions] == ["law val 0, right?"]
    assert [Path(one["path"]).name for one in few.files] == ["law_val.csv"]
    assert read_exam(folder, ["law"], "test", 3).ids == read_exam(folder, ["law"], "test", 0).ids


def test_the_release_itself(shared_data: Path) -> None:
    exam = read_exam(shared_data / "mmlu", ["abstract_algebra", "elementary_mathematics"], "test", 5)
    assert [len(exam.questions), len(exam.shots["abstract_algebra"])] == [478, 5]
    first = exam.prompt(exam.questions[0], 5)
    assert first.startswith(
        "The following are multiple choice questions (with answers) about  abstract algebra.\n\n"
        "Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: B\n\n"
    )
    assert first.endswith("\nA. 0\nB. 4\nC. 2\nD. 6\nAnswer:")
    assert all(
        read_exam(shared_data / "mmlu", [name], "test", 5).questions
        for name in subjects_in(shared_data / "mmlu", "test")
    )


# --- the choice


def read_slowly(net: Any, tokenizer: Any, text: str, begin: list[int]) -> list[float]:
    """The log-probability of each letter behind the prompt, the whole text tokenized at once, all logits read."""
    found = []
    for letter in "ABCD":
        prompt = begin + tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = begin + tokenizer(f"{text} {letter}", add_special_tokens=False)["input_ids"]
        assert tokens[: len(prompt)] == prompt
        with torch.no_grad():
            logits = net(input_ids=torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        found.append(sum(logits[t - 1, tokens[t]].item() for t in range(len(prompt), len(tokens))))
    return found


@pytest.mark.parametrize("kind", ["letter with space", "space apart"])
def test_the_likeliest_letter_is_the_one_of_all_logits(exam: Exam, kind: str) -> None:
    texts = [exam.prompt(question, 2) + f" {letter} " for question in exam.questions for letter in "ABCD"]
    tokenizer = sentencepiece_like(texts) if kind == "letter with space" else chat_tokenizers.tokenizer_of("qwen2_5")
    letters = read_letters(tokenizer)
    assert bool(letters.shared) == (kind == "space apart")
    net = model(vocab_size=len(tokenizer), max_position_embeddings=2048, seed=3).eval()
    slow = np.array([read_slowly(net, tokenizer, exam.prompt(question, 2), []) for question in exam.questions])
    right = slow.argmax(1) == [question.answer for question in exam.questions]
    assert 0 < right.sum() < len(right)  # the model is neither always right nor never
    whole, art, law = mmlu(net, exam, tokenizer, Rows(64), batch_size=2)
    assert whole.per_example is not None
    assert (whole.per_example == 100.0 * right).all()
    assert whole.value == pytest.approx(100 * right.mean())
    assert [art.name, law.name] == ["high_school_art", "law"]
    assert law.value == pytest.approx(100 * right[6:].mean())
    assert law.weights is not None
    assert law.weights.tolist() == [0.0] * 6 + [1.0] * 6
    assert "12 questions" in whole.note
    assert "6 questions; 95% interval over questions" in law.note
    assert ("without the space" in whole.note) == (kind == "space apart")


def test_a_tie_goes_to_the_first_letter_and_no_number_is_wrong() -> None:
    found = np.array([[-1.0, -1, -2, -3], [-4, -1, -1, -9], [np.nan, -1, -2, -3], [-3, -2, -1, -0.5]])
    right, ties = graded(found, np.array([0, 2, 1, 3]))
    assert right.tolist() == [100.0, 0.0, 0.0, 100.0]
    assert ties == 2


# --- what does not fit


def test_examples_go_before_the_question_does(exam: Exam) -> None:
    tokenizer = chat_tokenizers.tokenizer_of("qwen2_5")
    letters = read_letters(tokenizer)
    sizes = [
        [len(tokenizer(exam.prompt(q, n))["input_ids"]) + len(letters.shared) for q in exam.questions] for n in range(3)
    ]
    one_fits = max(sizes[1]) + 1
    fitted = ask(exam, tokenizer, letters, one_fits)
    assert fitted.left_out == [1] * 12
    assert [len(choice.prompt) for choice in fitted.choices] == sizes[1]
    assert fitted.cut == 0
    short = ask(exam, tokenizer, letters, min(sizes[0]))
    assert (short.left_out, short.cut) == ([2] * 12, 12)
    assert all(len(choice.prompt) == min(sizes[0]) - 1 for choice in short.choices)
    net = model(vocab_size=len(tokenizer), max_position_embeddings=one_fits).eval()
    assert (
        "left out so that a prompt fits the model: 12, before 12 questions"
        in mmlu(net, exam, tokenizer, Rows(64))[0].note
    )


# --- what cannot be asked


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("what?,1,2,3,A\n", ["law_test.csv:7", "5 columns, expected 6"]),
        ("question,A,B,C,D,answer\n", ["law_test.csv:7", "'answer'", "expected A, B, C or D"]),
        ('"open,1,2,3,4,A\n', ["law_test.csv", "no CSV in UTF-8"]),
    ],
)
def test_a_line_that_is_no_question(tmp_path: Path, line: str, said: list[str]) -> None:
    path = release(tmp_path) / "test" / "law_test.csv"
    path.write_text("".join(f"q{i},1,2,3,4,A\n" for i in range(6)) + line)
    with pytest.raises(DataError) as caught:
        read_exam(tmp_path, ["law"], "test", 0)
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes the folder of the CSV release"):
        read_exam(tmp_path / "none", None, "test", 5)
    release(tmp_path)
    with pytest.raises(RecipeError, match="no subject `lav` in test; did you mean `law`"):
        read_exam(tmp_path, ["lav"], "test", 2)
    with pytest.raises(DataError, match="5 examples are asked for, and it has 3"):
        read_exam(tmp_path, None, "test", 5)
    (tmp_path / "dev" / "law_dev.csv").unlink()
    with pytest.raises(DataError, match=r"law_dev\.csv cannot be read"):
        read_exam(tmp_path, None, "test", 2)


def test_a_tokenizer_without_the_letters() -> None:
    with pytest.raises(ModelError, match="does not tell them apart"):
        read_letters(sentencepiece_like(["nothing but small letters here"] * 3))


def test_figures_are_known_before_anything_is_measured(tmp_path: Path) -> None:
    entry = Mmlu(metric="mmlu", path=str(release(tmp_path)))
    assert entry.figures() == ["mmlu.accuracy", "mmlu.high_school_art", "mmlu.law"]
    assert entry.ranges()["mmlu.law"] == (0.0, 100.0)
    assert Mmlu(metric="mmlu", path="nowhere", subjects=["law"], name="m").figures() == ["m.accuracy", "m.law"]
    with pytest.raises(ValueError, match="named twice"):
        Mmlu(metric="mmlu", path="x", subjects=["law", "law"])


def test_questions_that_are_not_there_are_said_before_any_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes the folder of the CSV release"):
        refuse_unready([Mmlu(metric="mmlu", path=str(tmp_path))])
    refuse_unready([Mmlu(metric="mmlu", path=str(release(tmp_path)), num_shots=2)])
