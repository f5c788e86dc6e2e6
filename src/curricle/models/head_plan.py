"""How a model's losses are made: from its hidden states and its head's matrix, or from logits it makes itself.

Two questions, neither answered by the name of an architecture:

Is the head a plain matrix?            Its type must say so: a fresh LoRA on it computes the same, and trains otherwise.
What happens to logits after the head? The model runs once with known numbers in place of the head's output, and the
                                       logits it returns must be softcap * tanh(scale * number / softcap), or simpler.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ModelError

# Large enough for any soft cap to saturate, small enough for scales to show in float32.
PROBE = (1e5, -1e5, 1.0, -1.0, 0.0, 3.0, -7.0, 30.0, -60.0, 0.25, 200.0)


@dataclass(frozen=True)
class HeadPlan:
    """How this model's losses are made, and why."""

    path: Literal["tap", "logits"]
    reason: str
    softcap: float | None = None
    scale: float | None = None


class _Seen(NamedTuple):
    """What the model did in the probe."""

    calls: list[tuple[Any, ...]]
    numbers: Tensor
    logits: Tensor


def plan_head(model: nn.Module) -> HeadPlan:
    """The tap where it is proved right, the logits otherwise. Runs the model on four tokens; changes nothing."""
    peft_config = getattr(model, "active_peft_config", None)
    if peft_config is not None and peft_config.is_prompt_learning:
        raise ModelError(
            f"the adapter is {peft_config.peft_type.value}, which puts virtual tokens before the text, so labels no "
            "longer line up with positions; use an adapter on layers, such as LoRA"
        )
    base = base_model(model)
    head: nn.Module | None = base.get_output_embeddings()
    if head is None:
        return HeadPlan("logits", "the model names no output head")
    if not is_matrix(head):
        return HeadPlan("logits", f"the output head is {type(head).__module__}.{type(head).__qualname__}, not a matrix")
    seen = _run_probe(base, head)
    if len(seen.calls) != 1 or len(seen.calls[0]) != 1:
        return HeadPlan("logits", f"the model calls its output head {len(seen.calls)} times or with other arguments")
    if seen.logits.requires_grad:
        return HeadPlan("logits", "trained parameters change the logits after the output head")
    return _recognise(seen.numbers, seen.logits)


def base_model(model: nn.Module) -> Any:
    """The transformers model inside a PEFT model; the model itself otherwise."""
    inside: Any = getattr(model, "get_base_model", None)
    return model if inside is None else inside()


def accepts(model: Any, argument: str) -> bool:
    """Whether the model's forward names this argument; one that it would only swallow does not count."""
    return argument in inspect.signature(model.forward).parameters


def is_matrix(head: nn.Module) -> bool:
    """Whether the head is nothing but x W^T + b, with W and b as `matrix_of` gives them."""
    if _is_linear(head):
        return True
    from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

    if isinstance(head, ModulesToSaveWrapper):
        return all(_is_linear(part) for part in (head.original_module, *head.modules_to_save.values()))
    if isinstance(head, TrainableTokensWrapper):
        return _is_linear(head.original_module)
    return False


def matrix_of(head: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias as the head would use them now; PEFT's wrappers answer for the active adapter."""
    return head.weight, getattr(head, "bias", None)


def _is_linear(module: Any) -> bool:
    # A subclass with a forward of its own (quantized weights, for one) is something else.
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def _run_probe(base: Any, head: nn.Module) -> _Seen:
    """One forward of four tokens with `PROBE` repeated over the head's output."""
    calls: list[tuple[Any, ...]] = []
    numbers: list[Tensor] = []

    def replace(module: nn.Module, args: tuple[Any, ...], logits: Tensor) -> Tensor:
        calls.append(args)
        flat = torch.tensor(PROBE, device=logits.device).repeat(math.ceil(logits.numel() / len(PROBE)))
        numbers.append(flat[: logits.numel()].view(logits.shape))
        return numbers[-1]

    tokens = torch.arange(1, 5, device=base.get_input_embeddings().weight.device)[None]
    cache = {"use_cache": False} if accepts(base, "use_cache") else {}
    modes = [(module, module.training) for module in base.modules()]
    devices = {p.device for p in base.parameters() if p.is_cuda}
    handle = head.register_forward_hook(replace)
    try:
        base.eval()
        with torch.enable_grad(), torch.random.fork_rng(devices=list(devices)):
            logits = base(input_ids=tokens, **cache).logits
    finally:
        handle.remove()
        for module, training in modes:
            module.training = training
    return _Seen(calls, numbers[-1] if numbers else logits, logits)


def _recognise(numbers: Tensor, logits: Tensor) -> HeadPlan:
    """Which softcap * tanh(scale * x / softcap) it was: both are read off, then proved on every number."""
    if logits.shape != numbers.shape:
        return HeadPlan("logits", "the model cuts or reshapes the logits after its output head")
    x, y = numbers.cpu().double().flatten(), logits.detach().cpu().double().flatten()
    largest, one = y[x == PROBE[0]][0].item(), y[x == 1.0][0].item()
    if _close(y, x):
        return HeadPlan("tap", "the output head is a matrix")
    if _close(y, x * one):
        scale = _tidy(one)
        return HeadPlan("tap", f"the output head is a matrix, logits times {scale:g}", scale=scale)
    if 0 < one < largest < PROBE[0]:
        softcap = _tidy(largest)
        scale = _tidy(softcap * math.atanh(one / softcap))
        if _close(y, softcap * torch.tanh(x * scale / softcap)):
            reason = "the output head is a matrix, logits" + (f" times {scale:g}," if scale != 1 else "")
            return HeadPlan("tap", f"{reason} capped at {softcap:g}", softcap, None if scale == 1 else scale)
    return HeadPlan("logits", "the model changes the logits after its output head in a way of its own")


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def _tidy(value: float) -> float:
    """30 for 30.000002: float32 rounding taken off a number that somebody wrote in a config."""
    return float(f"{value:.6g}")
