"""The table of `choose`, as far as a machine without a GPU shows it."""

from __future__ import annotations

import pytest
import torch

from curricle.errors import ModelError
from curricle.models import choose
from curricle.models.attention import PACKED
from curricle.models.choose import attention_backends, choose_attention
from curricle.models.nano import nano_config

LLAMA, GEMMA2, BLOOM = nano_config("llama", 97), nano_config("gemma2", 97), nano_config("bloom", 97)
HALF, FULL = torch.bfloat16, torch.float32


def test_one_name_for_the_packed_attention() -> None:
    assert choose.PACKED == PACKED


@pytest.mark.parametrize(
    ("config", "device", "dtype", "packing", "expected"),
    [
        (LLAMA, "cpu", FULL, "ordered", PACKED),
        (GEMMA2, "cpu", HALF, "ordered", PACKED),
        (LLAMA, "cpu", FULL, "none", "sdpa"),
        (GEMMA2, "cpu", FULL, "none", "eager"),
        (BLOOM, "cpu", FULL, "ordered", "eager"),
        (LLAMA, "cuda", FULL, "ordered", PACKED),
        (GEMMA2, "cuda", FULL, "ordered", "flex_attention"),
        (LLAMA, torch.device("cuda", 1), FULL, "ordered", PACKED),
    ],
)
def test_choices(config: object, device: str, dtype: torch.dtype, packing: str, expected: str) -> None:
    choice = choose_attention(config, device, dtype, packing)  # type: ignore[arg-type]
    assert choice.name == expected
    assert not choice.asked
    assert str(choice) == f"attention: {expected} ({choice.reason})"


def test_flash_is_taken_where_it_is_installed() -> None:
    installed = [name for name in choose.FLASH if choose.flash_problem(name) is None]
    expected = installed[0] if installed else PACKED
    assert choose_attention(LLAMA, "cuda", HALF, "ordered").name == expected


def test_the_user_has_the_last_word() -> None:
    for name in ("eager", PACKED):
        choice = choose_attention(LLAMA, "cpu", FULL, "ordered", asked=name)
        assert (choice.name, choice.asked) == (name, True)


def test_a_misspelt_attention_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean `flash_attention_2`"):
        choose_attention(LLAMA, "cpu", FULL, "ordered", asked="flash_atention_2")


def test_backends_say_what_works_here() -> None:
    backends = {backend.name: backend for backend in attention_backends()}
    assert list(backends) == [PACKED, "flash_attention_3", "flash_attention_2", "flex_attention", "sdpa", "eager"]
    assert backends[PACKED].works
    assert backends["sdpa"].works
    assert backends["flex_attention"].works == torch.cuda.is_available()
    assert all(backend.reason for backend in backends.values())
