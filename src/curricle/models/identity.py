"""Which weights a model has, whatever its folder is called."""

from __future__ import annotations

from pathlib import Path

from ..runtime.files import sha256_file
from ..runtime.fingerprint import fingerprint
from .config import ModelConfig


def weights_fingerprint(config: ModelConfig) -> str | None:
    """Of the config and weight files of a folder; of a name on the hub its revision, and None where none is named."""
    folder = Path(config.name_or_path)
    files = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]) if folder.is_dir() else []
    return fingerprint([(file.name, sha256_file(file)) for file in files]) if files else config.revision
