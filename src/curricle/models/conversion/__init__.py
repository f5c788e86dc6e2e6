"""Model files of other makers turned into folders that any tool loads, and such folders looked into, cut and verified.

A conversion is proved before it is written: every tensor is accounted for by name and shape, the logits equal those of
a slow reading of the source, and the model finds ordinary text likelier than guessing would.
"""

from .artifact import verify_files
from .converting import Target, convert
from .inspecting import inspect_model
from .slicing import slice_model
from .verifying import verify_model

__all__ = ["Target", "convert", "inspect_model", "slice_model", "verify_files", "verify_model"]
