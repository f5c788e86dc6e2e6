"""Drafts of parallel heads for transformers' own `generate(use_mtp=True)`, one prompt at a time.

Its assisted decoding verifies candidates, draws, and rolls the cache back; this hands it the candidates. The extra
heads are read in the pass that verifies, at all its tokens: the next drafts are what they say at the last one that
stood. (`curricle.generation.decode` does the same for many prompts at once.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.generation.candidate_generator import CandidateGenerator

from ...errors import ModelError


class HeadsCandidateGenerator(CandidateGenerator):
    """What the heads beside the first say next."""

    requires_model_outputs = True

    def __init__(self, generation_config: Any, logits_processor: Any) -> None:
        self.do_sample, self.logits_processor = generation_config.do_sample, logits_processor
        self.model_kwargs_overrides: dict[str, Any] = {"mtp_keep": self._places}
        self._num_read = 0

    def _places(self, logits_btv: Tensor) -> Tensor:
        """The tokens of a pass that have logits: of the prompt the last, of the drafts all."""
        num = logits_btv.shape[1]
        return torch.arange(self._num_read - num, self._num_read, device=logits_btv.device)[None]

    def get_candidates(  # type: ignore[override]
        self, input_ids: Tensor, *, model_outputs: Any, is_first_iteration: bool, n_last_matches: int, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`input_ids` and behind them the drafts; and their scores, where they were drawn."""
        if is_first_iteration:  # the prompt has to be read before anything can be drafted
            self._num_read = input_ids.shape[1]
            return input_ids, None
        scores = []
        for logits_bkv in model_outputs.mtp_logits:
            score_bv = self.logits_processor(input_ids, logits_bkv[:, int(n_last_matches)].float())
            chosen_b1 = score_bv.softmax(-1).multinomial(1) if self.do_sample else score_bv.argmax(-1, keepdim=True)
            input_ids = torch.cat([input_ids, chosen_b1.to(input_ids.device)], dim=-1)
            scores.append(score_bv)
        self._num_read = len(scores) + 1
        return input_ids, torch.stack(scores, dim=1) if self.do_sample else None


def cache_for_drafts(cache: Any, empty: Any) -> Any:
    """The cache of all heads in place of the one that `generate` made for head 1."""
    if cache.get_seq_length():
        raise ModelError(
            "generate(use_mtp=True) was given past_key_values that hold tokens which the extra heads have not read; "
            "give it the whole prompt and no past_key_values"
        )
    empty.activate_past_recording()
    return empty
