"""The mixin on `transformers.Trainer`."""

from __future__ import annotations

import transformers

from .mixin import CurricleMixin


class Trainer(CurricleMixin, transformers.Trainer):
    """`transformers.Trainer` with the dials; see `CurricleMixin` for what it adds."""
