"""Which weights a model has, whatever its folder is called."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ..runtime.files import sha256_file
from ..runtime.fingerprint import fingerprint
from .config import ModelConfig


def weights_fingerprint(config: ModelConfig) -> str | None:
    """Of the config and weight files of a folder; of a name on the hub its revision, and None where none is named."""
    folder = Path(config.name_or_path)
    files = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]) if folder.is_dir() else []
    if not files:
        return config.revision
    return fingerprint([(file.name, _hash(file, file.stat().st_mtime_ns)) for file in files])


@lru_cache(maxsize=256)
def _hash(file: Path, written: int) -> str:
    """Of a file as it was at that time: arms that share a model read its weights once for this."""
    return sha256_file(file)
