"""flex_attention on packed rows, forward on CPU: the only part of the GPU back ends that runs without a GPU."""

from __future__ import annotations

import shutil

import pytest
import torch

from curricle.models.attention import packed_rows
from models.families import DOC_LENS, build, logits_alone, packed_row, random_tokens

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles this kernel with g++"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch"),
]


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_flex_isolates_documents_windows_and_caps_included(kind: str) -> None:
    input_ids = random_tokens(sum(DOC_LENS))
    with torch.no_grad(), packed_rows():
        logits = build(kind, "flex_attention")(**packed_row(input_ids, DOC_LENS)).logits
        alone = logits_alone(build(kind, "eager"), input_ids, DOC_LENS)
    torch.testing.assert_close(logits, alone, rtol=1e-5, atol=2e-6)
