"""Perplexity against one document at a time with all logits, transformers' own loss, and known figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curricle.data.rows import Rows
from curricle.data.schema import Example, Message, Where
from curricle.data.table import TokenTable
from curricle.errors import DataError, RecipeError
from curricle.evaluation.perplexity import answer_perplexity, read_documents, text_perplexity, whole_text, windows
from curricle.models.nano import END_OF_TEXT, train_tokenizer
from stories import load_model, load_tokenizer, stories
from support import model, table

TEXTS = [
    "Shall we eat at six? Yes, see you there.",
    "회의는 여섯 시에 시작합니다.",
    "a",
    "What is the capital of France? Paris is the capital of France. " * 6,
]


def without_bos() -> Any:
    return train_tokenizer(TEXTS * 4, vocab_size=400)


def with_bos() -> Any:
    from tokenizers.processors import TemplateProcessing

    tokenizer = without_bos()
    begin = (END_OF_TEXT, tokenizer.convert_tokens_to_ids(END_OF_TEXT))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{END_OF_TEXT} $A", special_tokens=[begin])
    return tokenizer


def net_for(tokenizer: Any, kind: str = "llama", **shape: Any) -> Any:
    return model(kind, vocab_size=len(tokenizer), **shape).eval()


def slow_losses(net: Any, tokens: list[int]) -> list[float]:
    """-log p of every token but the first."""
    with torch.no_grad():
        logits = net(input_ids=torch.tensor([tokens])).logits[0].double()
    return [-torch.log_softmax(logits[t - 1], -1)[tokens[t]].item() for t in range(1, len(tokens))]


def slow_windows(net: Any, tokens: list[int], first: int, width: int, step: int) -> list[float]:
    """The losses of tokens from `first` on, in windows, as transformers' page on perplexity does it."""
    found: list[float] = []
    previous_end = first
    for begin in range(0, len(tokens), step):
        end = min(begin + width, len(tokens))
        if end > previous_end:
            found += slow_losses(net, tokens[begin:end])[previous_end - end :]
        previous_end = max(previous_end, end)
        if end == len(tokens):
            break
    return found


def whole(score: Any) -> float:
    """The figure again, from its values."""
    mean = float((score.weights * score.per_example).sum() / score.weights.sum())
    return math.exp(mean) if score.transform == "exp" else mean


# ---- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("rows", [Rows(64), Rows(64, packing="none")], ids=["packed", "padded"])
def test_answers_against_one_document_at_a_time(kind: str, rows: Rows) -> None:
    net, examples = model(kind).eval(), table(12)
    losses = []
    for i in range(len(examples)):
        tokens, supervised = examples.example(i)
        own = slow_losses(net, tokens.tolist())
        losses.append([own[t - 1] for t in range(1, len(tokens)) if supervised[t]])
    loss, perplexity = answer_perplexity(net, examples, rows, batch_size=2)
    mean = sum(map(sum, losses)) / sum(map(len, losses))
    assert loss.value == pytest.approx(mean, rel=1e-6)
    assert perplexity.value == pytest.approx(math.exp(mean), rel=1e-5)
    assert perplexity.per_example == pytest.approx([np.mean(own) for own in losses], rel=1e-5)
    assert perplexity.weights.tolist() == [len(own) for own in losses]
    assert [whole(loss), whole(perplexity)] == pytest.approx([loss.value, perplexity.value])
    assert (perplexity.transform, perplexity.higher_is_better) == ("exp", False)


def test_an_even_guess_has_the_vocabulary_for_its_perplexity() -> None:
    net = model().eval()
    torch.nn.init.zeros_(net.lm_head.weight)
    assert answer_perplexity(net, table(5), Rows(64))[1].value == pytest.approx(97, rel=1e-6)


# ---- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [without_bos, with_bos])
@pytest.mark.parametrize(("context", "stride"), [(None, None), (16, None), (16, 4), (16, 15), (16, 16), (7, 1)])
@pytest.mark.parametrize("eos", [True, False])
def test_texts_against_windows_read_one_by_one(make: Any, context: int | None, stride: int | None, eos: bool) -> None:
    tokenizer = make()
    net, width = net_for(tokenizer), context or 64
    step = min(stride or width, width - 1)
    expected = []
    for text in TEXTS:
        tokens = tokenizer(text).input_ids + ([tokenizer.eos_token_id] if eos else [])
        [document] = read_documents([text], tokenizer, eos=eos)
        assert document.tokens == tokens
        expected.append(slow_windows(net, tokens, document.first, width, step))
    perplexity, bits = text_perplexity(net, TEXTS, tokenizer, Rows(64), context=context, stride=stride, eos=eos)
    mean = sum(map(sum, expected)) / sum(map(len, expected))
    assert math.log(perplexity.value) == pytest.approx(mean, rel=1e-5)
    assert perplexity.weights.tolist() == list(map(len, expected))
    nats = sum(sum(own[:-1] if eos and own else own) for own in expected)
    assert bits.value == pytest.approx(nats / math.log(2) / bits.weights.sum(), rel=1e-5)
    assert whole(perplexity) == pytest.approx(perplexity.value)
    assert whole(bits) == pytest.approx(bits.value)


@given(length=st.integers(1, 60), first=st.integers(1, 3), width=st.integers(2, 20), data=st.data())
def test_windows_score_every_token_once_with_enough_before_it(
    length: int, first: int, width: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, width - 1))
    scored: list[int] = []
    for begin, end, start in windows(length, first, width, step):
        assert 0 <= begin < end <= length
        assert end - begin <= width
        assert begin < start
        assert begin == 0 or start - begin >= width - step
        scored += range(start, end)
    assert scored == list(range(first, length))


def test_bytes_are_those_of_the_text_that_is_scored() -> None:
    tokenizer = without_bos()
    texts = ["Paris is here.", "회의", "", "é"]
    documents = read_documents(texts, tokenizer, eos=True)
    for text, document in zip(texts, documents, strict=True):
        scored = tokenizer.decode(document.tokens[document.first : -1] if document.ended else [])
        assert document.num_bytes == len(scored.encode())
        assert text.endswith(scored)
    assert not documents[2].ended
    assert documents[1].first >= 1


def test_what_the_tokenizer_puts_first_is_context_and_the_first_token_is_scored(shared_data: Path) -> None:
    tokenizer = load_tokenizer(shared_data)
    [document] = read_documents(["Once upon a time"], tokenizer)
    assert document.tokens == [1, 403, 407, 261, 378, 2]
    assert (document.first, document.num_bytes, document.ended) == (1, 16, True)


def test_the_note_says_what_was_scored() -> None:
    tokenizer = without_bos()
    net = net_for(tokenizer)
    note = text_perplexity(net, TEXTS, tokenizer, Rows(32), stride=8, eos=False)[0].note
    assert note == "windows of 32 tokens that move on by 8; first token not scored; end of document not scored"
    note = text_perplexity(net, TEXTS, with_bos(), Rows(32))[0].note
    assert note.endswith("move on by 31; first token scored after <|endoftext|>; end of document scored")


def test_windows_are_no_longer_than_the_model_was_made_for() -> None:
    tokenizer = without_bos()
    net = net_for(tokenizer, "gpt2", max_position_embeddings=24)
    assert "windows of 24 tokens" in text_perplexity(net, TEXTS, tokenizer, Rows(64))[0].note
    with pytest.raises(RecipeError, match="context is 30, and the model was made for 24"):
        text_perplexity(net, TEXTS, tokenizer, Rows(64), context=30)


def test_what_cannot_be_measured_is_said() -> None:
    tokenizer = without_bos()
    net = net_for(tokenizer)
    with pytest.raises(RecipeError, match="stride 9 is longer than context 8"):
        text_perplexity(net, TEXTS, tokenizer, Rows(64), context=8, stride=9)
    with pytest.raises(RecipeError, match="a window of 1 token"):
        text_perplexity(net, TEXTS, tokenizer, Rows(64), context=1)
    with pytest.raises(DataError, match="no token to score: all 2 texts"):
        text_perplexity(net, ["", ""], tokenizer, Rows(64))


def test_a_text_with_nothing_to_score_weighs_nothing() -> None:
    tokenizer = without_bos()
    net = net_for(tokenizer)
    alone = text_perplexity(net, TEXTS[:1], tokenizer, Rows(64))
    beside = text_perplexity(net, [TEXTS[0], ""], tokenizer, Rows(64))
    assert [score.value for score in beside] == pytest.approx([score.value for score in alone])
    assert [score.weights[1] for score in beside] == [0, 0]


def test_what_a_row_says() -> None:
    where = Where("x.jsonl", 1)
    assert whole_text(Example("text", "a", where, text="Hi.")) == "Hi."
    assert whole_text(Example("plain", "a", where, prompt="Q: ", completion="A")) == "Q: A"
    turns = (Message("user", "Hi"), Message("assistant", "Hello"))
    assert whole_text(Example("chat", "a", where, messages=turns)) == "Hi\nHello"


# ---- a real model ---------------------------------------------------------------------------------------------------


def test_a_pretrained_model_has_its_known_perplexity(shared_data: Path) -> None:
    """stories260K on 19 stories of TinyStories' validation set, cut at 1,500 characters and 512 tokens: 9,136 tokens,
    1.64378 nats a token, found by an independent implementation in numpy; and transformers' own loss."""
    net, tokenizer = load_model(shared_data), load_tokenizer(shared_data)
    tokens = [tokenizer(story[:1500]).input_ids[:512] for story in stories(shared_data)]
    texts = tokenizer.batch_decode([ids[1:] for ids in tokens])
    stock = 0.0
    with torch.no_grad():
        for ids in tokens:
            row = torch.tensor([ids])
            stock += net(input_ids=row, labels=row).loss.item() * (len(ids) - 1)
    num_tokens = sum(len(ids) - 1 for ids in tokens)
    assert num_tokens == 9136
    for rows in (Rows(512, packing="none"), Rows(2048)):
        perplexity, bits = text_perplexity(net, texts, tokenizer, rows, context=512, eos=False, batch_size=4)
        assert perplexity.weights.sum() == num_tokens
        assert math.log(perplexity.value) == pytest.approx(stock / num_tokens, rel=1e-5)
        assert math.log(perplexity.value) == pytest.approx(1.64378, abs=1e-5)
        size = sum(len(text.encode()) for text in texts)
        assert bits.value == pytest.approx(1.64378 * 9136 / math.log(2) / size, rel=1e-5)
    labelled = TokenTable.from_lists(tokens, [[-100, *ids[1:]] for ids in tokens])
    assert answer_perplexity(net, labelled, Rows(512))[1].value == pytest.approx(5.175, abs=5e-4)


def test_more_context_foresees_better(shared_data: Path) -> None:
    net, tokenizer, texts = load_model(shared_data), load_tokenizer(shared_data), stories(shared_data)[:4]
    values = [
        text_perplexity(net, texts, tokenizer, Rows(512), **shape)[0].value
        for shape in ({"context": 32}, {"context": 32, "stride": 8}, {"context": 128, "stride": 32})
    ]
    assert values == sorted(values, reverse=True)
