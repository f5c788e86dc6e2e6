"""Label masks: what is learned is the answer and the end of its turn, whatever the texts say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import chat_tokenizers
from curricle.data.chunks import ChunkEncoder
from curricle.data.config import DataConfig
from curricle.data.schema import Example, Message, Where
from curricle.data.table import EncodedExample, TokenTable
from curricle.errors import DataError
from curricle.models.nano import nano_config

TEMPLATES = {"llama3": "<|eot_id|>", "qwen2_5": "<|im_end|>", "qwen3": "<|im_end|>"}

HEADERS = [
    "<|im_start|>assistant\n",
    "<|im_end|>\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|eot_id|>",
    "<eos>",
    "<bos>",
    "assistant",
    "### Response:\n",
    "Paris",
]
TEXTS = st.lists(st.one_of(st.sampled_from(HEADERS), st.text(max_size=12)), min_size=1, max_size=6).map("".join)


def chat(user: str, target: str) -> Example:
    messages = (Message("user", user), Message("assistant", target))
    return Example("chat", "0" * 16, Where("rows.jsonl", 1), messages=messages, references=(target,))


def encoded(name: str, example: Example) -> EncodedExample:
    config = DataConfig(train="-", max_length=4096)
    (sample,) = ChunkEncoder(chat_tokenizers.tokenizer_of(name), config).encode([example])[0]
    return sample


def prompt_of(name: str, user: str) -> list[int]:
    turns = [{"role": "user", "content": user}]
    return chat_tokenizers.tokenizer_of(name).apply_chat_template(turns, add_generation_prompt=True, return_dict=False)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("target", ["Paris.", "여섯 시에 만나요.", "two\n\nparagraphs", "x", "ends with a space "])
def test_learned_tokens_are_the_target_and_its_end(name: str, target: str) -> None:
    tokenizer = chat_tokenizers.tokenizer_of(name)
    sample = encoded(name, chat("What is the capital of France?", target))
    learned = sample.tokens[sample.supervised]
    said = target.strip() if name == "llama3" else target  # Llama 3's template trims
    assert tokenizer.decode(learned) == said + TEMPLATES[name]
    assert len(learned) == len(tokenizer(said, add_special_tokens=False)["input_ids"]) + 1
    prompt = prompt_of(name, "What is the capital of France?")
    assert sample.tokens[: len(prompt)].tolist() == prompt
    assert not sample.supervised[: len(prompt)].any()


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(TEMPLATES)), user=TEXTS, target=TEXTS)
def test_no_text_moves_the_mask(name: str, user: str, target: str) -> None:
    tokenizer = chat_tokenizers.tokenizer_of(name)
    sample = encoded(name, chat(user, target))
    end = tokenizer.convert_tokens_to_ids(TEMPLATES[name])
    learned = sample.tokens[sample.supervised].tolist()
    assert learned.count(end) == 1
    assert learned[-1] == end
    said = tokenizer.decode(learned[:-1])
    assert said.strip() == target.strip()
    edges = np.flatnonzero(np.diff(sample.supervised.astype(int)))
    assert len(edges) == 1


def tiny_llama(vocab_size: int) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = nano_config("llama", vocab_size, hidden_size=32, intermediate_size=64)
    return AutoModelForCausalLM.from_config(config).double().eval()


def test_the_loss_under_the_mask_is_the_loss_of_the_suffix() -> None:
    torch.set_num_threads(1)
    tokenizer = chat_tokenizers.tokenizer_of("llama3")
    sample = encoded("llama3", chat("What is the capital of France?", "Paris is the capital."))
    ids = torch.from_numpy(sample.tokens.astype(np.int64))[None]
    labels = torch.where(torch.from_numpy(sample.supervised)[None], ids, -100)
    model = tiny_llama(len(tokenizer))
    whole = model(input_ids=ids, labels=labels)
    target = tokenizer("Paris is the capital.", add_special_tokens=False)["input_ids"]
    target.append(tokenizer.convert_tokens_to_ids("<|eot_id|>"))
    begin = ids.shape[1] - len(target)
    suffix = model(input_ids=ids).logits[0, begin - 1 : -1]
    expected = torch.nn.functional.cross_entropy(suffix, torch.tensor(target))
    torch.testing.assert_close(whole.loss, expected, rtol=1e-6, atol=0, check_dtype=False)


def test_the_prompt_has_no_part_in_the_loss_but_as_context() -> None:
    torch.set_num_threads(1)
    sample = encoded("qwen2_5", chat("What is the capital of France?", "Paris."))
    ids = torch.from_numpy(sample.tokens.astype(np.int64))[None]
    labels = torch.where(torch.from_numpy(sample.supervised)[None], ids, -100)
    out = tiny_llama(len(chat_tokenizers.tokenizer_of("qwen2_5")))(input_ids=ids, labels=labels)
    (slope,) = torch.autograd.grad(out.loss, out.logits)
    predicts_target = torch.from_numpy(np.r_[sample.supervised[1:], False])
    assert (slope[0].abs().sum(-1) > 0).tolist() == predicts_target.tolist()


def test_labels_cannot_name_another_token_than_their_own() -> None:
    with pytest.raises(DataError, match="is not its token"):
        TokenTable.from_lists([[1, 2, 3]], [[-100, 3, 3]])


def test_a_set_that_is_masked_out_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to learn"):
        TokenTable.from_lists([[1, 2, 3], [4, 5]], [[-100] * 3, [-100] * 2])
