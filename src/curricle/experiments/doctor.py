"""What works on this machine: versions, devices, attention back ends, the sandbox, optional extras,
the cache.

Only looks: nothing is downloaded, written or changed.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from ..runtime.cache import cache_root
from ..sandbox import Layer, layers

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "numpy")

WHAT_EXTRAS_ADD = {
    "korean": "Korean morphemes, for ROUGE; nothing uses it yet",
    "mlflow": "training.report_to: mlflow",
    "wandb": "training.report_to: wandb",
    "lm-eval": "tasks of the LM Evaluation Harness; nothing uses it yet",
    "fp8": "training in 8-bit floating point; nothing uses it yet",
    "qlora": "LoRA over a 4-bit base model (model.quantization)",
    "dev": "tests, style and type checks",
}


@dataclass(frozen=True)
class Device:
    name: str
    memory_bytes: int | None
    note: str


@dataclass(frozen=True)
class Attention:
    name: str
    works: bool
    note: str


@dataclass(frozen=True)
class Extra:
    name: str
    packages: dict[str, str | None]
    """Version of each package, None where it is not installed."""
    adds: str

    @property
    def installed(self) -> bool:
        return all(self.packages.values())


@dataclass(frozen=True)
class Cache:
    path: str
    size_bytes: int
    writable: bool


@dataclass(frozen=True)
class Health:
    """The findings; prints itself as a page, `as_dict()` for a program."""

    versions: dict[str, str]
    devices: list[Device]
    threads: dict[str, int]
    memory_bytes: int
    attention: list[Attention]
    sandbox: list[Layer]
    extras: list[Extra]
    cache: Cache

    def as_dict(self) -> dict[str, object]:
        found = asdict(self)
        for extra, described in zip(self.extras, found["extras"], strict=True):
            described["installed"] = extra.installed
        return found

    def __str__(self) -> str:
        return "\n".join(f"{title}\n{_columns(rows)}" for title, rows in _pages(self))


def doctor() -> Health:
    """Look at this machine."""
    return Health(
        versions=_versions(),
        devices=_devices(),
        threads=_threads(),
        memory_bytes=_memory_limit(),
        attention=_attention(),
        sandbox=layers(),
        extras=_extras(),
        cache=_cache(),
    )


def _versions() -> dict[str, str]:
    found = {
        "curricle": metadata.version("curricle"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return found | {name: _version_of(name) or "not installed" for name in LIBRARIES}


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[Device]:
    import torch

    found = [
        Device(f"cpu ({_cpu_name()})", None, f"{torch.backends.cpu.get_cpu_capability()}, {_usable_cores()} cores")
    ]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        note = f"compute capability {about.major}.{about.minor}" + (
            "" if torch.cuda.is_bf16_supported() else ", no bfloat16"
        )
        found.append(Device(f"cuda:{index} ({about.name})", about.total_memory, note))
    if torch.backends.mps.is_available():
        found.append(Device("mps", None, "shares the memory of the machine"))
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _usable_cores() -> int:
    """The cores this process may use, which a container or a batch system makes fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _threads() -> dict[str, int]:
    import torch

    return {"within an operation": torch.get_num_threads(), "between operations": torch.get_num_interop_threads()}


def _memory_limit() -> int:
    """Bytes of main memory, or the container's limit where that is less."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return installed
    return min(installed, int(limit)) if limit.isdigit() else installed


def _attention() -> list[Attention]:
    from ..models.choose import attention_backends

    return [Attention(backend.name, backend.works, backend.reason) for backend in attention_backends()]


def _extras() -> list[Extra]:
    about = metadata.metadata("curricle")
    packages: dict[str, dict[str, str | None]] = {name: {} for name in about.get_all("Provides-Extra") or []}
    for requirement in about.get_all("Requires-Dist") or []:
        extra = re.search(r"extra == [\"']([^\"']+)[\"']", requirement)
        if extra:
            package = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
            packages[extra[1]][package] = _version_of(package)
    return [Extra(name, found, WHAT_EXTRAS_ADD[name]) for name, found in packages.items()]


def _cache() -> Cache:
    root = cache_root()
    size = sum(file.lstat().st_size for file in root.rglob("*") if not file.is_dir()) if root.is_dir() else 0
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    return Cache(str(root), size, there.is_dir() and os.access(there, os.W_OK | os.X_OK))


def _pages(health: Health) -> list[tuple[str, list[tuple[str, ...]]]]:
    cache = health.cache
    return [
        ("Versions", list(health.versions.items())),
        ("Devices", [(d.name, _readable(d.memory_bytes), d.note) for d in health.devices]),
        ("Threads", [(where, str(count)) for where, count in health.threads.items()]),
        ("Memory", [("main memory", _readable(health.memory_bytes))]),
        ("Attention over packed rows", [(a.name, "works" if a.works else "no", a.note) for a in health.attention]),
        ("Sandbox", [(layer.name, "active" if layer.active else "no", layer.note) for layer in health.sandbox]),
        ("Extras", [_extra_row(extra) for extra in health.extras]),
        ("Cache", [(cache.path, _readable(cache.size_bytes), "writable" if cache.writable else "NOT WRITABLE")]),
    ]


def _extra_row(extra: Extra) -> tuple[str, str, str]:
    if extra.installed:
        return extra.name, "installed", extra.adds
    missing = [package for package, version in extra.packages.items() if version is None]
    state = "absent" if len(missing) == len(extra.packages) else f"lacks {', '.join(missing)}"
    return extra.name, state, f"{extra.adds}; pip install 'curricle[{extra.name}]'"


def _readable(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(f"  {line}" for line in lines)
