"""A logit lens: the next-token distribution that a layer's state would give, were it the last.

p_l = softmax(head(norm(h_l))), with the model's own final norm and head. Two models with one vocabulary are compared
token by token. Any two are compared by the next *byte*: the probabilities of all tokens that begin with a byte, added
up. The 257th class holds special tokens, which are no text.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..models.head_plan import base_model
from .states import blocks_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_CLASSES = 257
_ROWS = 64


class Lens:
    """The final norm and head of a model, kept when the model itself is let go."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        inner = base_model(model)
        self.cap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)
        self.norm, self.head = deepcopy(_final_norm(inner)), deepcopy(inner.get_output_embeddings())
        self.num_tokens = min(len(tokenizer), self.head.weight.shape[0])
        self.classes = torch.tensor(first_bytes(tokenizer)[: self.num_tokens], device=self.head.weight.device)
        self._prove(inner)

    @torch.no_grad()
    def log_probs(self, states_nd: Tensor) -> Tensor:
        """`[n, V]` over the tokens that the tokenizer knows."""
        logits_nv: Tensor = self._logits(states_nd)[:, : self.num_tokens].float()
        return logits_nv.log_softmax(-1)

    @torch.no_grad()
    def byte_log_probs(self, states_nld: Tensor) -> Tensor:
        """`[n, l, 257]`."""
        num, layers, width = states_nld.shape
        parts = [self._byte_classes(part) for part in states_nld.reshape(num * layers, width).split(_ROWS)]
        return torch.cat(parts).reshape(num, layers, NUM_CLASSES)

    def _byte_classes(self, states_nd: Tensor) -> Tensor:
        shares_nv = self.log_probs(states_nd).exp()
        sums_nc = torch.zeros(len(shares_nv), NUM_CLASSES, device=shares_nv.device)
        sums_nc.index_add_(1, self.classes, shares_nv)
        return sums_nc.clamp_min(1e-12).log().cpu()

    def _logits(self, states_nd: Tensor) -> Tensor:
        weight = self.head.weight
        logits: Tensor = self.head(self.norm(states_nd.to(device=weight.device, dtype=weight.dtype)))
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    @torch.no_grad()
    def _prove(self, model: Any) -> None:
        """On the last layer the lens must give the model's own distribution."""
        caught: list[Tensor] = []

        def catch(module: nn.Module, args: Any, output: Any) -> None:
            caught.append(output if isinstance(output, Tensor) else output[0])

        handle = blocks_of(model)[-1].register_forward_hook(catch)
        try:
            ids = torch.arange(4, 9, device=next(model.parameters()).device)[None]
            own = model(input_ids=ids, use_cache=False).logits[0, :, : self.num_tokens].float().log_softmax(-1)
        finally:
            handle.remove()
        if not torch.allclose(self.log_probs(caught[0][0]), own, atol=1e-2):
            raise ModelError(
                f"final norm and head do not make the logits of {type(model).__name__} of its last layer's state; "
                "metrics kl and kl_bytes cannot be measured, take cosine or l2"
            )


def kl(cloud: Lens, edge: Lens, cloud_nld: Tensor, edge_nld: Tensor) -> Tensor:
    """`[n, l]`: KL(cloud || edge) of the two lenses' next-token distributions."""
    columns = []
    for cloud_nd, edge_nd in zip(cloud_nld.unbind(1), edge_nld.unbind(1), strict=True):
        parts = [
            _kl(cloud.log_probs(c), edge.log_probs(e).to(cloud.head.weight.device)).cpu()
            for c, e in zip(cloud_nd.split(_ROWS), edge_nd.split(_ROWS), strict=True)
        ]
        columns.append(torch.cat(parts))
    return torch.stack(columns, 1)


def kl_bytes(cloud_nlc: Tensor, edge_nlc: Tensor) -> Tensor:
    """`[n, l]`: KL(cloud || edge) of two sets of next-byte log-probabilities."""
    return _kl(cloud_nlc, edge_nlc)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0.0)


def refuse_other_vocabulary(cloud: PreTrainedTokenizerBase, edge: PreTrainedTokenizerBase) -> None:
    if cloud.get_vocab() != edge.get_vocab():
        raise ModelError(
            f"metric `kl` compares next tokens, and the two models have other vocabularies ({len(cloud):,} and "
            f"{len(edge):,} tokens); take metric kl_bytes, which compares next bytes, or cosine"
        )


def first_bytes(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The first byte of each token of the vocabulary; 256 for tokens that are no text."""
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids) | {i for i, one in tokenizer.added_tokens_decoder.items() if one.special}
    alphabet = _byte_alphabet() if _is_byte_level(tokenizer) else None
    return [256 if i in special or not name else _first_byte(name, alphabet) for i, name in enumerate(names)]


def _first_byte(name: str, alphabet: dict[str, int] | None) -> int:
    if alphabet is not None and name[0] in alphabet:
        return alphabet[name[0]]
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return int(name[3:5], 16)
    return (" " if name[0] == "▁" else name[0]).encode()[0]


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and '"ByteLevel"' in json.dumps(json.loads(backend.to_str()).get("decoder"))


def _byte_alphabet() -> dict[str, int]:
    """How byte-level BPE writes bytes: those that print as themselves, the others by characters from 256 on."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _final_norm(model: Any) -> nn.Module:
    """The norm that comes after the last block."""
    for name, module in model.base_model.named_children():
        if "norm" in name.lower() or name in ("ln_f", "final_layernorm"):
            return module
    raise ModelError(f"{type(model).__name__} has no final norm that could be found; take metric cosine or l2")
