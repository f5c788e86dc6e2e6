"""Tiny random models of many families, and the slow exact reference: each document alone, in eager attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from curricle.models.attention import documents
from curricle.models.nano import nano_config

VOCABULARY = 97
DOC_LENS = [7, 3, 11, 1, 9]

WINDOW = {"sliding_window": 4}
LOCAL_AND_FULL = {"layer_types": ["sliding_attention", "full_attention"], **WINDOW}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16}
GPT = {"n_embd": 64, "n_head": 4, "n_layer": 2}

# Isolated by `curricle_packed`. Windows are shorter than the documents, caps are tight enough to matter.
ISOLATED: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, **WINDOW},
    "qwen3": {},
    "mistral": WINDOW,
    "gemma": {"head_dim": 16},
    "gemma2": {"attn_logit_softcapping": 0.05, **GEMMA, **WINDOW},
    "gemma3_text": {**GEMMA, **LOCAL_AND_FULL},
    "phi3": WINDOW,
    "phimoe": {"num_local_experts": 4, **WINDOW},
    "qwen2_moe": {"use_sliding_window": True, "shared_expert_intermediate_size": 32, **EXPERTS, **LOCAL_AND_FULL},
    "qwen3_moe": EXPERTS,
    "mixtral": {"num_local_experts": 4, **WINDOW},
    "deepseek_v3": {
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        **LATENT,
    },
    "llama4_text": {
        "attention_chunk_size": 4,
        "num_local_experts": 2,
        "intermediate_size_mlp": 64,
        "head_dim": 16,
        "interleave_moe_layer_step": 1,
    },
    "cohere2": LOCAL_AND_FULL,
    "exaone4": LOCAL_AND_FULL,
    "olmo2": {},
    "olmo3": LOCAL_AND_FULL,
    "granite": {},
    "starcoder2": WINDOW,
    "smollm3": {},
    "glm4": {"head_dim": 16},
    "ernie4_5": {},
    "phi": {},
    "gpt_neox": {},
    "gpt2": GPT,
    "opt": {"word_embed_proj_dim": 64, "ffn_dim": 64},
}
# Right over transformers' own dense mask, but not with `curricle_packed`.
DENSE: dict[str, dict[str, Any]] = {
    "stablelm": {},
    "nemotron": {},
    "doge": LOCAL_AND_FULL,
    "gptj": {"rotary_dim": 8, **GPT},
    "codegen": {"rotary_dim": 8, **GPT},
}
# Documents see each other whatever the attention (gpt_oss has sinks, and its mask ignores position_ids).
REFUSED: dict[str, dict[str, Any]] = {
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 16},
    "mamba": {},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {},
    "minimax": {"num_local_experts": 2, "layer_types": ["linear_attention", "full_attention"], "head_dim": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "jamba": {"num_experts": 2, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
}


def build(kind: str, attention: str, experts_implementation: str | None = None, **changes: Any) -> Any:
    """The same weights for the same family, whatever the attention."""
    shape = {**ISOLATED, **DENSE, **REFUSED}[kind]
    torch.manual_seed(0)
    config = nano_config(kind, VOCABULARY, **{**shape, **changes})
    how = {"attn_implementation": attention, "experts_implementation": experts_implementation}
    return AutoModelForCausalLM.from_config(config, **how).eval()


def random_tokens(num_tokens: int, seed: int = 0) -> Tensor:
    return torch.randint(5, VOCABULARY, (1, num_tokens), generator=torch.Generator().manual_seed(seed))


def packed_row(input_ids: Tensor, doc_lens: list[int]) -> dict[str, Any]:
    """The arguments of a model for one packed row, as the collator and `documents` make them."""
    seq_idx = torch.repeat_interleave(torch.arange(len(doc_lens), dtype=torch.int32), torch.tensor(doc_lens))[None]
    position_ids = torch.cat([torch.arange(length) for length in doc_lens])[None]
    borders = {"position_ids": position_ids, "seq_idx": seq_idx, **documents(doc_lens, "cpu")}
    return {"input_ids": input_ids, "use_cache": False, **borders}


def logits_alone(model: Any, input_ids: Tensor, doc_lens: list[int]) -> Tensor:
    """The reference: one document per call."""
    return torch.cat([model(input_ids=piece, use_cache=False).logits for piece in input_ids.split(doc_lens, 1)], dim=1)


def gradients(model: Any, logits: Tensor) -> dict[str, Tensor]:
    """Of a fixed random combination of the logits, so that every entry counts."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    model.zero_grad(set_to_none=True)
    (logits * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
