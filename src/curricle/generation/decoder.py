"""What every way of answering needs: the model, how tokens are taken, and how many rows one batch may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..runtime.progress import say
from ..runtime.ranks import shared
from .cache import accepted
from .choice import Choice, Row
from .config import GenerationConfig

Finished = Callable[[Row], None]
Same = TypeVar("Same")


class Decoder:
    """What every batch needs, and how many rows one may have."""

    def __init__(self, model: nn.Module, stop_ids: Sequence[int], config: GenerationConfig, choice: Choice) -> None:
        self.model, self.config, self.choice = model, config, choice
        self.stop_ids = list(stop_ids)
        self.size = config.batch_size
        self.device = next(model.parameters()).device
        self.only_last = {"logits_to_keep": 1} if "logits_to_keep" in accepted(model) else {}
        self.is_sharded = is_sharded(model)
        self.finished: Finished = lambda row: None

    def shrink(self, error: torch.OutOfMemoryError, longest: int) -> None:
        """Half the rows from now on. Their answers so far are kept and go on as part of the prompt."""
        if self.size == 1 or self.is_sharded:  # ranks that share the weights have to stay in step
            raise ModelError(
                f"out of memory while answering {self.size} prompts at once, the longest of {longest} tokens; "
                "set a smaller generation.batch_size or data.max_length"
            ) from error
        self.size //= 2
        say(f"out of memory: answering {self.size} prompts at once from now on")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def agreed(self, made: Same) -> Same:
        """What the first rank made, where ranks share the weights: they answer the same rows, and not one bit may
        differ."""
        return shared(made) if self.is_sharded else made

    def take(self, rows: Sequence[Row], tokens: Sequence[int]) -> None:
        """Give each row that is under way its next token."""
        for row, token in zip(rows, self.agreed(list(tokens)), strict=True):
            self.give(row, [token])

    def give(self, row: Row, tokens: Sequence[int]) -> int:
        """Give a row its next tokens, up to where it ends; how many of them that took."""
        used = 0
        for token in tokens:
            if not row.under_way:
                break
            used += 1
            if token in self.stop_ids:
                row.finished = True
            else:
                row.tokens.append(token)
                row.finished = row.ends is not None and row.ends(row)
            if not row.under_way:
                self.finished(row)
        return used

    def padded(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Tokens, flush right, and a mask of them."""
        width = max(len(row.tokens) for row in rows)
        ids_bt = torch.tensor([[self.stop_ids[0]] * (width - len(row.tokens)) + row.tokens for row in rows])
        return ids_bt, torch.arange(width) >= width - torch.tensor([len(row.tokens) for row in rows])[:, None]


def is_sharded(model: nn.Module) -> bool:
    """Whether ranks hold a share of each weight, and so have to go through the model together."""
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())
