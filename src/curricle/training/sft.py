"""The mixin on `trl.SFTTrainer`: a TRL script changes one import."""

from __future__ import annotations

from typing import Any

import trl

from ..data.table import TokenTable
from .mixin import CurricleMixin


class SFTTrainer(CurricleMixin, trl.SFTTrainer):
    """`trl.SFTTrainer` with the dials; see `CurricleMixin` for what it adds.

    Given a `TokenTable`, TRL's own preparation (which truncates, and drops rows that are left without a target) is
    told to stand aside.
    """

    def __init__(self, model: Any, args: Any = None, **kwargs: Any) -> None:
        if args is not None and isinstance(kwargs.get("train_dataset"), TokenTable):
            args.dataset_kwargs = {**(getattr(args, "dataset_kwargs", None) or {}), "skip_prepare_dataset": True}
        super().__init__(model, args, **kwargs)
