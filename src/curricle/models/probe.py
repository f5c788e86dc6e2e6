"""Before training on packed rows: proof, on the model itself, that documents do not see each other.

Two short documents A and B go through the model three times:

    packed   A  B      |  the logits of B
    packed   A' B      |  the same, A exchanged: they must not move
    alone       B      |  through transformers' own attention: the same logits

Nothing about a family is assumed: recurrent layers that carry their state over a border, attentions that swallow a term
(sinks, biases), and models that ignore document lengths all fail one of the two comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .attention import documents, packed_rows
from .choose import Choice, dense_choice
from .head_plan import accepts

FIRST, SECOND = 9, 7
# How far B may move, as a share of what it moves when A and B are openly one document: rounding in routed experts.
LEAK_SHARE, LEAK_SHARE_HALF = 0.01, 0.03


class Leak(Exception):
    """One comparison failed, and how."""


def verify_packing(model: Any, choice: Choice | None = None) -> Choice:
    """The attention that isolates documents in this model: `choice`, or a dense mask, or a ModelError in one line.

    Call it before the model is wrapped by DDP or FSDP. Training mode, random state and gradients stay as they were.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config
    choice = choice or Choice(config._attn_implementation, "as the model was loaded")
    dense = dense_choice(config, "")
    tries = [choice] if choice.asked or choice.name == dense.name else [choice, dense]
    problems: list[str] = []
    with _untouched(model):
        for candidate in tries:
            problem = _problem(model, inner, candidate.name, dense.name)
            if problem is None:
                reason = f"{problems[0]}; packed rows use a dense mask" if problems else candidate.reason
                return candidate._replace(reason=reason)
            problems.append(f"{candidate.name}: {problem}")
        _use(inner, choice.name)
    raise ModelError(f"this model cannot isolate packed documents ({'; '.join(problems)}); set data.packing: none")


def _problem(model: Any, inner: Any, name: str, stock: str) -> str | None:
    """Why this attention does not isolate documents in this model, or None. A kernel that fails is one such reason."""
    try:
        _use(inner, name)
        _compare(model, inner, name, stock)
    except (Leak, ModelError) as error:
        return str(error).removesuffix("; set data.packing: none")
    except Exception as error:  # a kernel, a compiler or a family's own check: whatever it is, packing must not use it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _compare(model: Any, inner: Any, name: str, stock: str) -> None:
    first, other, second = _three_documents(inner)
    logits_of = partial(_logits_of_second, model, _every_head(inner))
    packed = logits_of(first, second, [FIRST, SECOND])
    moved = _distance(packed, logits_of(other, second, [FIRST, SECOND]))
    joined = [logits_of(start, second, [FIRST + SECOND]) for start in (first, other)]
    share = LEAK_SHARE if packed.dtype == torch.float32 else LEAK_SHARE_HALF
    if not moved <= share * _distance(*joined):
        raise Leak(f"changing one document moved the next one's logits by {moved:.2g}")
    _use(inner, stock)
    alone = model(input_ids=second, use_cache=False, **_every_head(inner)).logits[0]
    _use(inner, name)
    apart = _distance(packed, alone)
    if not apart <= _tolerance(alone):
        raise Leak(f"a packed document's logits differ from its own by {apart:.2g}")


def _three_documents(inner: Any) -> tuple[Tensor, Tensor, Tensor]:
    """A, A' and B: ordinary tokens, none of them special."""
    table = inner.get_input_embeddings()
    config = inner.config
    special = {getattr(config, f"{kind}_token_id", None) for kind in ("pad", "bos", "eos")}
    usable = torch.tensor(
        [token for token in range(min(table.weight.shape[0], config.vocab_size)) if token not in special]
    )
    generator = torch.Generator().manual_seed(0)
    picks = [torch.randint(len(usable), (1, length), generator=generator) for length in (FIRST, FIRST, SECOND)]
    device = table.weight.device
    return tuple(usable[pick].to(device) for pick in picks)  # type: ignore[return-value]


def _every_head(inner: Any) -> dict[str, bool]:
    """What asks a model with several heads for the logits of all."""
    return {"all_heads": True} if accepts(inner, "all_heads") else {}


def _logits_of_second(model: Any, asked: dict[str, bool], first: Tensor, second: Tensor, doc_lens: list[int]) -> Tensor:
    tokens = torch.cat([first, second], dim=1)
    position_ids = torch.cat([torch.arange(length) for length in doc_lens])[None].to(tokens.device)
    seq_idx = torch.repeat_interleave(torch.arange(len(doc_lens), dtype=torch.int32), torch.tensor(doc_lens))[None]
    borders = {"position_ids": position_ids, "seq_idx": seq_idx.to(tokens.device), **documents(doc_lens, tokens.device)}
    with packed_rows():
        return model(input_ids=tokens, use_cache=False, **asked, **borders).logits[0, -second.shape[1] :]


def _distance(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().max().item()


def _tolerance(logits: Tensor) -> float:
    """The root of the precision the model computes in, times the size of its logits."""
    loose = logits.dtype == torch.float32 and logits.is_cuda and torch.get_float32_matmul_precision() != "highest"
    precision = 2.0**-10 if loose else torch.finfo(logits.dtype).eps
    return precision**0.5 * logits.float().abs().max().item()


def _use(inner: Any, name: str) -> None:
    if inner.config._attn_implementation != name:
        inner.set_attn_implementation(name)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module's mode and the random state are as before."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {tensor.device for tensor in model.parameters() if tensor.is_cuda}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, training in modes:
            module.training = training
