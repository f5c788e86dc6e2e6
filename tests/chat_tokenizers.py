"""Tokenizers for tests: small, real, and with the special tokens of a given chat template."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import trl

from curricle.models.nano import train_tokenizer

_FOLDER = Path(trl.__file__).parent / "chat_templates"

# The text templates are all others. A training twin of an excluded template is excluded too.
EXCLUDED = {
    "diffusion_gemma": "diffusion: the answer is denoised, not predicted token by token",
    "idefics3": "vision: writes only content given as a list of image and text parts",
    "llava_next": "vision: writes only content given as a list of image and text parts",
    "smolvlm": "vision: writes only content given as a list of image and text parts",
}

_TEXT = [
    "What is the capital of France? Paris is the capital of France.",
    "#Person1#: Shall we eat at six? #Person2#: Yes, see you there.",
    "회의는 여섯 시에 시작합니다. 저녁을 먹고 갈게요.",
]

# What stands between angle brackets or pipes in a template is a token of its model's vocabulary.
_SPECIAL = re.compile(r"<[|｜][^|｜<>\s'\"{}]+[|｜]>|<(?:start|end)_of_turn>|<\|turn>|<turn\|>|\[gMASK\]|<sop>")


def names() -> list[str]:
    """Every text chat template of the installed TRL, training twins too."""
    found = sorted(path.stem for path in _FOLDER.glob("*.jinja"))
    return [name for name in found if name.removesuffix("_training") not in EXCLUDED]


def template(name: str) -> str:
    return (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


@lru_cache
def _base() -> Any:
    return train_tokenizer(_TEXT * 4, vocab_size=600)


def tokenizer_with(chat_template: str | None) -> Any:
    """A tokenizer that knows the special tokens of a template; think tags are tokens but not special, as in Qwen."""
    tokenizer = copy.deepcopy(_base())
    special = sorted(set(_SPECIAL.findall(chat_template or "")))
    tokenizer.add_special_tokens({"bos_token": "<bos>", "eos_token": "<eos>", "extra_special_tokens": special})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = chat_template
    return tokenizer


@lru_cache
def tokenizer_of(name: str) -> Any:
    """The tokenizer of a TRL template; tests do not change it."""
    return tokenizer_with(template(name))
