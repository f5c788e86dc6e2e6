"""Models made on the spot, small enough to train in seconds: for the quickstart, for smoke runs, for tests.

They are real: a transformers config of a real architecture with random weights, and a byte-level BPE tokenizer trained
on the user's own text, saved and loaded like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..data.templates import CHATML

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

PAD, END_OF_TEXT, TURN_START, TURN_END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"

NANO_VOCABULARY = 2048
NANO_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
STATE_SPACE: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 16},
    "falcon_mamba": {"state_size": 16},
    "mamba2": {"head_dim": 16, "n_groups": 1, "state_size": 16, "chunk_size": 64},
}
"""Models without attention: what they have beside width and depth."""


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = NANO_VOCABULARY, chat_template: str | None = CHATML
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML turns: it can encode any text, and `<|im_end|>` ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=PAD, eos_token=TURN_END)
    tokenizer.chat_template = chat_template
    return tokenizer


def nano_config(model_type: str, vocab_size: int, **changes: Any) -> PretrainedConfig:
    """A small config of any architecture transformers knows by `model_type` (llama, qwen2, mistral, gemma2, ...)."""
    from transformers import AutoConfig

    special = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 3}
    shape = _state_space_shape(model_type, changes) if model_type in STATE_SPACE else NANO_SHAPE
    return AutoConfig.for_model(model_type, **{**shape, **special, "vocab_size": vocab_size, **changes})


def _state_space_shape(model_type: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Width, depth and the ends as any nano model has them; in mamba2 as many heads as fill the width."""
    general = {name: NANO_SHAPE[name] for name in ("hidden_size", "num_hidden_layers", "tie_word_embeddings")}
    shape = {**general, **STATE_SPACE[model_type]}
    if model_type == "mamba2":
        asked = {**shape, **changes}
        shape["num_heads"] = asked["hidden_size"] * asked.get("expand", 2) // asked["head_dim"]
    return shape
