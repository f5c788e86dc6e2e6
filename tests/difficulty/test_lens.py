"""The logit lens: the model's own distribution at the last layer, and bytes of tokens."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch

from curricle.difficulty.lens import NUM_CLASSES, Lens, first_bytes, kl, kl_bytes, refuse_other_vocabulary
from curricle.difficulty.states import StateReader
from curricle.errors import ModelError
from curricle.models.nano import train_tokenizer
from support import model

TEXT = ["the cat sat on the mat and the 고양이 sat too"] * 3
PROMPTS = [[5, 9, 20], [30, 31, 8, 9, 10, 11], [44]]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_the_last_layer_gives_the_models_own_distribution(kind: str) -> None:
    tokenizer = train_tokenizer(TEXT, 280)
    net = model(kind, vocab_size=len(tokenizer)).eval()
    found = Lens(net, tokenizer).log_probs(StateReader(net).read(PROMPTS)[:, -1])
    for prompt, own in zip(PROMPTS, found, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(own, net(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1))


def test_first_bytes_are_those_of_the_text() -> None:
    tokenizer = train_tokenizer(TEXT, 320)
    classes = first_bytes(tokenizer)
    for i in range(len(tokenizer)):
        if i in tokenizer.all_special_ids or i in tokenizer.added_tokens_decoder:
            assert classes[i] == 256
        elif "\ufffd" not in (text := tokenizer.decode([i])):
            assert classes[i] == text.encode()[0]


def test_bytes_of_sentencepiece_names() -> None:
    class Pieces:
        names = ("<s>", "▁the", "<0x0A>", "고", "ab")
        all_special_ids = (0,)
        added_tokens_decoder: ClassVar[dict[int, str]] = {}

        def __len__(self) -> int:
            return len(self.names)

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [self.names[i] for i in ids]

    assert first_bytes(Pieces()) == [256, ord(" "), 10, "고".encode()[0], ord("a")]  # type: ignore[arg-type]


def test_byte_distributions_add_up() -> None:
    tokenizer = train_tokenizer(TEXT, 280)
    net = model(vocab_size=len(tokenizer)).eval()
    lens, states = Lens(net, tokenizer), StateReader(net).read(PROMPTS)
    shares = lens.byte_log_probs(states).exp()
    assert shares.shape == (3, 2, NUM_CLASSES)
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 2))
    whole, classes = lens.log_probs(states[:, 0]).exp(), torch.tensor(first_bytes(tokenizer))
    torch.testing.assert_close(shares[:, 0, 65], whole[:, classes == 65].sum(-1))


def test_divergences_by_hand_and_of_one_model() -> None:
    p, q = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.25, 0.75]]]).log()
    assert kl_bytes(p, q).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    tokenizer = train_tokenizer(TEXT, 280)
    net, other = model(vocab_size=len(tokenizer)), model(vocab_size=len(tokenizer), seed=5)
    one, two = Lens(net, tokenizer), Lens(other, tokenizer)
    mine, theirs = StateReader(net).read(PROMPTS), StateReader(other).read(PROMPTS)
    assert kl(one, one, mine, mine).abs().max() < 1e-6
    between = kl(one, two, mine, theirs)
    assert between.min() > 0
    assert (kl_bytes(one.byte_log_probs(mine), two.byte_log_probs(theirs)) <= between + 1e-5).all()  # data processing


def test_other_vocabularies_are_refused() -> None:
    one, other = train_tokenizer(TEXT, 280), train_tokenizer(["zz top"], 262)
    refuse_other_vocabulary(one, one)
    with pytest.raises(ModelError, match=r"other vocabularies.*kl_bytes"):
        refuse_other_vocabulary(one, other)
