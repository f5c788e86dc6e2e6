"""Which attention a run uses, and why: chosen from the model, the device and the packing, printed, then verified.

| packing | device, precision             | attention                                                              |
|---------|-------------------------------|------------------------------------------------------------------------|
| none    | any                           | transformers' own default                                              |
| ordered | CUDA, half precision          | flash_attention_3 or _2 when installed (transformers' own integration) |
| ordered | CUDA, soft-capped scores      | flex_attention (transformers' own integration)                         |
| ordered | everything else               | curricle_packed: one small attention per document                      |
| ordered | layers of an older interface  | sdpa or eager over a dense mask: right, but slower on long rows        |

The choice is a proposal: `probe.verify_packing` tries it on the model itself, and falls back or refuses.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ModelError, nearest

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

# Kept as text: importing `attention` imports transformers, and this file is also read by `doctor`.
PACKED = "curricle_packed"
FLASH = ("flash_attention_3", "flash_attention_2")
FLASH_4 = "flash_attention_4"
"""Only when it is asked for."""
RUNNING_STATE = ("mamba", "mamba2", "falcon_mamba")
"""Model types without attention, in which nothing marks where a document ends."""


class Choice(NamedTuple):
    """The name transformers knows an attention by, and the reason it was taken."""

    name: str
    reason: str
    asked: bool = False
    """The user named it: then it is never exchanged for another."""

    def __str__(self) -> str:
        return f"attention: {self.name} ({self.reason})"


class Backend(NamedTuple):
    """One attention, and whether packed rows can use it on this machine."""

    name: str
    works: bool
    reason: str


def choose_attention(
    config: PretrainedConfig,
    device: torch.device | str,
    dtype: torch.dtype,
    packing: str,
    asked: str = "auto",
) -> Choice:
    """The attention for a model of this `config`.

    `dtype` is the precision it computes in (that of autocast, when there is one); `asked` is what the recipe says in
    `model.attn_implementation`.
    """
    if asked != "auto":
        _check_asked(asked, str(device).split(":")[0])
        return Choice(asked, "asked for in model.attn_implementation", asked=True)
    if packing == "none":
        return dense_choice(config, "no packing: transformers' own")
    family = model_class(config)
    if family is not None and not family._supports_attention_backend:
        return dense_choice(config, "its layers take no other attention, so packed rows use a dense mask")
    return _packed_choice(config, family, str(device).split(":")[0], dtype)


def refuse_running_state(config: PretrainedConfig, device: torch.device | str) -> None:
    """Models that are known to carry their state over the border of packed documents, before their weights are read.
    Mamba-2 on a GPU with its own kernels may keep them apart: there the probe decides."""
    kind = config.get_text_config().model_type
    kernels = all(importlib.util.find_spec(package) is not None for package in ("mamba_ssm", "causal_conv1d"))
    if kind not in RUNNING_STATE or (kind == "mamba2" and kernels and str(device).startswith("cuda")):
        return
    raise ModelError(
        f"data.packing is `ordered`, but the state of a {kind} model runs on from one packed document into the next; "
        "set data.packing: none"
    )


def _packed_choice(config: PretrainedConfig, family: Any, device: str, dtype: torch.dtype) -> Choice:
    import torch

    text = config.get_text_config()
    capped = getattr(text, "attn_logit_softcapping", None) is not None
    fast = device == "cuda" and dtype in (torch.bfloat16, torch.float16)
    if fast and (family is None or family._supports_flash_attn):
        for name in FLASH:
            if flash_problem(name) is None:
                return Choice(name, "installed; variable-length kernel, documents by cu_seq_lens")
    drops = bool(getattr(text, "attention_dropout", 0.0))
    if device == "cuda" and capped and not drops and (family is None or family._supports_flex_attn):
        return Choice("flex_attention", "soft-capped scores on a GPU; documents by block mask")
    how = "torch's variable-length kernel" if fast and not capped and not drops else "one attention per document"
    return Choice(PACKED, f"{how} on {device}; no T x T mask")


def dense_choice(config: PretrainedConfig, reason: str) -> Choice:
    """transformers' own attention, which builds a dense mask from position_ids."""
    family = model_class(config)
    return Choice("sdpa" if family is None or family._supports_sdpa else "eager", reason)


def model_class(config: PretrainedConfig) -> Any:
    """transformers' causal model for this config; None for remote code, which brings its own."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    return MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)


def flash_problem(name: str) -> str | None:
    """Why this flash attention cannot run here, or None when it can."""
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_flash_attn_4_available

    available, package = {
        "flash_attention_2": (is_flash_attn_2_available, "flash_attn"),
        "flash_attention_3": (is_flash_attn_3_available, "flash_attn_interface"),
        FLASH_4: (is_flash_attn_4_available, "flash_attn"),
    }[name]
    if available():
        return None
    installed = importlib.util.find_spec(package) is not None
    return "needs a GPU it supports" if installed else f"package {package.replace('_', '-')} is not installed"


def attention_backends() -> list[Backend]:
    """Every attention packed rows may use, and whether it works on this machine."""
    import torch

    cuda = torch.cuda.is_available()
    how = "torch's variable-length kernel in half precision" if cuda else "one small attention per document"
    backends = [Backend(PACKED, True, f"{how}; isolates documents")]
    for name in FLASH:
        problem = flash_problem(name)
        backends.append(Backend(name, problem is None, problem or "variable-length kernel; isolates documents"))
    flex = "block mask; isolates documents" if cuda else "needs a GPU: torch has no backward pass for it on CPU"
    backends.append(Backend("flex_attention", cuda, flex))
    backends.append(Backend("sdpa", True, "dense mask; isolates documents, slower on long packed rows"))
    backends.append(Backend("eager", True, "dense mask; isolates documents, slowest: the reference"))
    return backends


def _check_asked(asked: str, device: str) -> None:
    """What is misspelt or cannot run here is found before the weights are read; `owner/name` is a kernel of the hub."""
    names = ["auto", PACKED, *FLASH, FLASH_4, "flex_attention", "sdpa", "eager"]
    if asked not in names and "/" not in asked:
        raise ModelError(f"model.attn_implementation is `{asked}`; {nearest(asked, names)}")
    problem, hub = None, importlib.util.find_spec("kernels") is not None
    if asked in (*FLASH, FLASH_4) and (device == "cpu" or not hub):  # with it, transformers fetches what is missing
        problem = flash_problem(asked) or ("it needs a GPU" if device == "cpu" else None)
    elif asked == "flex_attention" and device == "cpu":
        problem = "torch has no backward pass for it on a CPU"
    elif "/" in asked and not hub:
        problem = "package kernels is not installed"
    if problem is not None:
        raise ModelError(f"model.attn_implementation is `{asked}`, which cannot run here: {problem}; `auto` chooses")
