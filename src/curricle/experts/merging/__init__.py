"""Base plus weighted differences, streamed to a new model folder: methods, mergekit's YAML, checks before writing."""

from .config import MergeSettings
from .merge import Merged, merge, merge_config

__all__ = ["MergeSettings", "Merged", "merge", "merge_config"]
