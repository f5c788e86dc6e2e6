"""What stands beside the merged weights: the base's own files, `merge.json`, and a README that says how it was made."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ...runtime.files import read_json, write_json, write_text
from .config import SPARSE
from .layout import index_of
from .plan import Plan

COPIED = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "spiece.model", "tekken.json", "chat_template*", "preprocessor_config.json", "processor_config.json", "*.py",
    "LICENSE*", "NOTICE*",
)  # fmt: skip
"""Files of the base that go with its weights."""


@contextmanager
def fingerprints(plan: Plan) -> Iterator[Callable[[], list[str | None]]]:
    """Of the base and each expert, worked out beside whatever else is done meanwhile; called, they are waited for."""
    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        works: list[Callable[[], str | None]] = [
            plan.base.fingerprint,
            *(expert.fingerprint for expert in plan.experts),
        ]
        found = [pool.submit(work) for work in works]
        yield lambda: [one.result() for one in found]
    finally:
        pool.shutdown(cancel_futures=True)


def describe(plan: Plan, digests: dict[str, str], prints: list[str | None]) -> dict[str, Any]:
    """`merge.json`: what was asked, what it was made of, and what came out."""
    base, *experts = prints
    sources = {
        expert.name: {"path": str(expert.folder), "fingerprint": found}
        for expert, found in zip(plan.experts, experts, strict=True)
    }
    return {
        "format": "curricle-merge",
        "version": 1,
        "curricle": version("curricle"),
        **plan.about,
        "formula": plan.about.get("formula") or formula(plan),
        "base": {"path": str(plan.base.folder), "fingerprint": base},
        "experts": sources,
        "dtype": plan.settings.dtype or "as the base",
        "rounding": plan.settings.rounding,
        "seed": plan.settings.seed,
        "files": digests,
    }


def formula(plan: Plan) -> str:
    """In one line, with the numbers that were used."""
    about = plan.about
    weights: dict[str, float] = about["weights"]
    total = math.fsum(weights.values())
    inner = " + ".join(f"{weight:g} * ({name} - base)" for name, weight in weights.items()).replace("+ -", "- ")
    if about["method"] in SPARSE:
        inner = f"{about['method']}({inner})"
    said = f"normalize none: the weights, which sum to {total:g}, are used as they are"
    if about["normalize"] == "sum1":
        elects = about["method"] in ("ties", "dare_ties")
        inner = f"({inner}) / {'(the weights of those that agree)' if elects else format(total, 'g')}"
        said = "normalize sum1: divided by the sum of the weights"
    if about["scale"] != 1:
        inner = f"{about['scale']:g} * ({inner})"
    return f"merged = base + {inner}; {said}"


def write_beside(plan: Plan, about: dict[str, Any], folder: Path) -> None:
    """Everything but the weights. What an interrupted merge left of this is written anew."""
    for pattern in COPIED:
        for path in plan.base.folder.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
    write_json(folder / "config.json", _settings(plan))
    if len(plan.shards) > 1:
        write_json(folder / "model.safetensors.index.json", index_of(plan.shards))
    for name, text in plan.other_files.items():
        write_text(folder / name, text)
    write_text(folder / "README.md", card(about, plan.base.config))


def _settings(plan: Plan) -> dict[str, Any]:
    settings: dict[str, Any] = read_json(plan.base.folder / "config.json")
    if plan.settings.dtype is not None:
        settings.pop("torch_dtype", None)
        settings["dtype"] = plan.settings.dtype
    return settings


def card(about: dict[str, Any], config: dict[str, Any]) -> str:
    """The README of the folder."""
    weights = about["weights"]
    base, *folders = _ends([about["base"]["path"], *(source["path"] for source in about["experts"].values())])
    rows = "\n".join(
        f"| {name} | {weights[name] if not isinstance(weights[name], float) else format(weights[name], 'g')} | "
        f"{folder} | {source['fingerprint'] or 'not known'} |"
        for (name, source), folder in zip(about["experts"].items(), folders, strict=True)
    )
    files = "\n".join(f"| {file} | {digest} |" for file, digest in about["files"].items())
    density = f"Density: {about['density']}.\n\n" if "density" in about else ""
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [merge]\n---\n\n"
        f"# A merge of {len(about['experts'])} experts\n\n"
        f"A {config.get('model_type')} merged with Curricle {about['curricle']}, method `{about['method']}`, "
        f"normalize `{about['normalize']}`. Sums are made in float32 and rounded once ({about['rounding']}).\n\n"
        f"```\n{about['formula']}\n```\n\n{density}"
        f"| expert | weight | folder | fingerprint |\n|---|---|---|---|\n{rows}\n"
        f"| base | | {base} | {about['base']['fingerprint']} |\n\n"
        f"| file | SHA256 |\n|---|---|\n{files}\n"
    )


def _ends(paths: list[str]) -> list[str]:
    """As much of the end of each path as tells it from the others; more where that begins with `model` or a seed."""
    return [_end(Path(path), [Path(other) for other in paths if other != path]) for path in paths]


def _end(path: Path, others: list[Path]) -> str:
    for number in range(1, len(path.parts)):
        end = path.parts[-number:]
        says = end[0] != "model" and not end[0].startswith("seed-")
        if says and all(end != other.parts[-number:] for other in others):
            return "/".join(end)
    return str(path)
