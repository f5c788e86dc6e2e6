"""A real pretrained model of 260,000 parameters: llama2.c's stories260K, its tokenizer, and stories it should know.

The file holds seven numbers and then float32 weights in one stretch; queries and keys are rotated in interleaved pairs,
where transformers rotates halves, so their rows are put in another order. The tokenizer is a list of scored pieces that
are merged by score, as SentencePiece does.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch


def load_model(folder: Path) -> Any:
    """The checkpoint as transformers' Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    raw = (folder / "tiny_weights" / "stories260K" / "stories260K.bin").read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, length = struct.unpack("7i", raw[:28])
    numbers, place = np.frombuffer(raw, dtype=np.float32, offset=28), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal place
        size = int(np.prod(shape))
        place += size
        return torch.from_numpy(numbers[place - size : place].reshape(shape).copy())

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=length,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    kv = kv_heads * dim // heads
    embedding, parts = take(vocab, dim), {"input_layernorm": take(layers, dim)}
    parts["self_attn.q_proj"] = _halves(take(layers, dim, dim), heads)
    parts["self_attn.k_proj"] = _halves(take(layers, kv, dim), kv_heads)
    parts["self_attn.v_proj"], parts["self_attn.o_proj"] = take(layers, kv, dim), take(layers, dim, dim)
    parts["post_attention_layernorm"] = take(layers, dim)
    parts["mlp.gate_proj"], parts["mlp.down_proj"] = take(layers, hidden, dim), take(layers, dim, hidden)
    parts["mlp.up_proj"] = take(layers, hidden, dim)
    weights = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding, "model.norm.weight": take(dim)}
    weights |= {f"model.layers.{i}.{name}.weight": part[i] for name, part in parts.items() for i in range(layers)}
    model = LlamaForCausalLM(config)
    model.load_state_dict(weights)
    return model.eval()


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows 0 1 2 3 4 5 of a head, pairs (0 1) (2 3) (4 5), to 0 2 4 1 3 5."""
    layers, rows, width = weight.shape
    return weight.view(layers, heads, rows // heads // 2, 2, width).transpose(2, 3).reshape(layers, rows, width)


def load_tokenizer(folder: Path) -> Any:
    """Its 512 pieces, as a fast tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = (folder / "tiny_weights" / "stories260K" / "tok512.bin").read_bytes()
    place, pieces, scores = 4, [], []
    while place < len(raw):
        score, size = struct.unpack_from("fi", raw, place)
        pieces.append(raw[place + 8 : place + 8 + size].decode())
        scores.append(score)
        place += 8 + size
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    pieces = [piece if piece.startswith("<0x") else piece.replace(" ", "▁") for piece in pieces]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in sorted(pieces[259:], key=lambda piece: -scores[vocab[piece]])
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def stories(folder: Path) -> list[str]:
    """One a line."""
    text = (folder / "tinystories_sample" / "ts_valid_head.txt").read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line.strip()]
