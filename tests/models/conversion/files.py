"""Model files as their makers write them, made from tiny random models; written for the tests alone, so that a mistake
in reading is not made twice."""

from __future__ import annotations

import io
import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

VOCAB = 320
SEQ = 64
TEXT = (
    "Once upon a time there was a little girl. She went to the park with her dog, and they played in the sun.",
    "One day a boy found a big red ball. He wanted to play with it, but the ball was too high in the tree.",
    "for i in range(10): print(i, i * i)  # squares",
    "옛날에 토끼와 거북이가 살았습니다.",
)


def llama(tied: bool = False, seed: int = 0, **shape: Any) -> Any:
    """A Llama of transformers with grouped heads and a norm that is no vector of ones."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    fields = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": SEQ,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**fields, **shape})).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(torch.rand_like(weight))
    return model


def meta_tensors(model: Any, extra_heads: Any = ()) -> dict[str, Tensor]:
    """The weights by Meta's names, the rows of wq and wk by neighbours."""
    config = model.config
    head_dim = config.hidden_size // config.num_attention_heads
    found = {"tok_embeddings.weight": model.model.embed_tokens.weight, "norm.weight": model.model.norm.weight}
    if not config.tie_word_embeddings:
        found["output.weight"] = model.lm_head.weight
    blocks = [(f"layers.{i}", layer) for i, layer in enumerate(model.model.layers)]
    for name, layer in [*blocks, *((f"extra_heads.{i}", head) for i, head in enumerate(extra_heads))]:
        attention, mlp = layer.self_attn, layer.mlp
        parts = {
            "attention_norm": layer.input_layernorm.weight,
            "attention.wq": _neighbours(attention.q_proj.weight, head_dim),
            "attention.wk": _neighbours(attention.k_proj.weight, head_dim),
            "attention.wv": attention.v_proj.weight,
            "attention.wo": attention.o_proj.weight,
            "ffn_norm": layer.post_attention_layernorm.weight,
            "feed_forward.w1": mlp.gate_proj.weight,
            "feed_forward.w2": mlp.down_proj.weight,
            "feed_forward.w3": mlp.up_proj.weight,
        }
        found.update({f"{name}.{part}.weight": weight for part, weight in parts.items()})
    return {name: weight.detach().clone() for name, weight in found.items()}


def _neighbours(weight: Tensor, head_dim: int) -> Tensor:
    """Row 2i of a head is row i of its first half, row 2i + 1 row i of its second."""
    rows = []
    for start in range(0, len(weight), head_dim):
        for i in range(head_dim // 2):
            rows += [weight[start + i], weight[start + head_dim // 2 + i]]
    return torch.stack(rows)


# --- llama2.c

NORMS = ["attention_norm"], ["ffn_norm"]
ATTENTION = [f"attention.{name}" for name in ("wq", "wk", "wv", "wo")]
FEED = [f"feed_forward.{name}" for name in ("w1", "w2", "w3")]


def write_llama2c(path: Path, model: Any, version: int = 0, across: tuple[str, ...] = ()) -> Path:
    """`across` names matrices that are written column by column."""
    config, tensors = model.config, meta_tensors(model)
    for name, tensor in tensors.items():
        if any(f".{part}." in name for part in across):
            tensors[name] = tensor.T.contiguous()
    tied, layers = config.tie_word_embeddings, config.num_hidden_layers
    vocab = config.vocab_size if tied or version else -config.vocab_size
    numbers = (config.hidden_size, config.intermediate_size, layers, config.num_attention_heads)
    header = struct.pack("<7i", *numbers, config.num_key_value_heads, vocab, config.max_position_embeddings)

    def blocks(names: list[str]) -> list[Tensor]:
        return [tensors[f"layers.{i}.{name}.weight"] for name in names for i in range(layers)]

    ends = [tensors["tok_embeddings.weight"]], [tensors["norm.weight"]]
    output = [] if tied else [tensors["output.weight"]]
    if version:
        head = struct.pack("<Ii", 0x616B3432, version) + header + bytes([tied])
        body = [*blocks(NORMS[0]), *blocks(NORMS[1]), *ends[1], *ends[0], *blocks(ATTENTION + FEED), *output]
        header = head.ljust(256, b"\0")
    else:
        body = [*ends[0], *blocks(NORMS[0] + ATTENTION + NORMS[1] + FEED), *ends[1], *_tables(config), *output]
    path.write_bytes(header + b"".join(tensor.float().numpy().astype("<f4").tobytes() for tensor in body))
    return path


def _tables(config: Any) -> list[Tensor]:
    head_dim = config.hidden_size // config.num_attention_heads
    theta = config.rope_parameters["rope_theta"]
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2).double() / head_dim)
    angles = torch.outer(torch.arange(config.max_position_embeddings).double(), frequencies)
    return [angles.cos(), angles.sin()]


# --- tokenizers


@cache
def sentencepiece_model(model_type: str = "bpe") -> bytes:
    """A small sentencepiece model of Meta's kind: bytes for the unknown, no normalizer, a space before the text."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 4),
        model_writer=written,
        vocab_size=VOCAB,
        model_type=model_type,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()


def write_tokenizer_model(path: Path, model_type: str = "bpe") -> Path:
    path.write_bytes(sentencepiece_model(model_type))
    return path


def write_tokenizer_bin(path: Path) -> Path:
    """llama2.c's form of the same pieces."""
    import sentencepiece

    spm = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    texts = [spm.id_to_piece(i).replace("\u2581", " ") for i in range(spm.get_piece_size())]
    texts[1:3] = ["\n<s>\n", "\n</s>\n"]
    pieces = [text.encode() for text in texts]
    body = b"".join(struct.pack("<fi", spm.get_score(i), len(piece)) + piece for i, piece in enumerate(pieces))
    path.write_bytes(struct.pack("<i", max(map(len, pieces))) + body)
    return path


# --- Meta

BY_COLUMNS = ("attention.wo", "feed_forward.w2", "tok_embeddings")


def write_meta(folder: Path, model: Any, extra_heads: Any = (), shards: int = 1, **changes: Any) -> Path:
    """`consolidated.00.pth`, ..., `params.json` and `tokenizer.model`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = meta_tensors(model, extra_heads)
    for shard in range(shards):
        part = {name: _part(name, tensor, shard, shards) for name, tensor in tensors.items()}
        part["rope.freqs"] = torch.ones(4)
        torch.save(part, folder / ("consolidated.pth" if shards == 1 else f"consolidated.{shard:02}.pth"))
    config = model.config
    params = {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers + len(extra_heads),
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "vocab_size": -1,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_parameters["rope_theta"],
        **({"n_future_tokens": len(extra_heads) + 1} if extra_heads else {}),
    }
    (folder / "params.json").write_text(json.dumps({**params, **changes}))
    write_tokenizer_model(folder / "tokenizer.model")
    return folder


def _part(name: str, tensor: Tensor, shard: int, shards: int) -> Tensor:
    if tensor.dim() == 1:
        return tensor
    return tensor.chunk(shards, dim=1 if any(part in name for part in BY_COLUMNS) else 0)[shard].clone()


# --- transformers


def write_folder(folder: Path, model: Any) -> Path:
    """A folder of transformers with the tokenizer of the other files."""
    from curricle.models.conversion.pieces import load_llama_tokenizer

    model.save_pretrained(folder)
    load_llama_tokenizer(write_tokenizer_model(folder.parent / f"{folder.name}.model")).save_pretrained(folder)
    return folder


def tokens(length: int = 12, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB, length).tolist()


@torch.no_grad()
def logits(model: Any, ids: list[int], **kwargs: Any) -> Tensor:
    return model(input_ids=torch.tensor([ids]), use_cache=False, **kwargs).logits[0]
