"""Merging next to mergekit: five full experts in bfloat16, task arithmetic, as a process and alone, and its memory.

    python benchmarks/merge.py                        models of 120M and 600M parameters (9 GB of disk for a while)
    python benchmarks/merge.py --sizes 120
    python benchmarks/merge.py --mergekit PYTHON      a Python that has mergekit; else one is set up in the cache by pip

Both read the same YAML and the same files, which are in the system's cache, and mergekit runs in an environment of its
own with the same torch. Sums are in float32 in both (`dtype: float32`, `out_dtype: bfloat16`), as ours always are; with
`dtype: bfloat16` mergekit subtracts and adds in bfloat16, which is timed as well and gives other numbers. `merge.floor`
is what reading all inputs and writing the output once takes, and importing torch. Memory is what a process holds that
is not a file (RssAnon), at its highest, above what it held after the imports and a first merge of a tiny model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from curricle.runtime.cache import cached_folder
from curricle.runtime.progress import say
from harness import compare_times, figure, interleaved

MERGEKIT = "0.1.5"
WEIGHTS = (0.45, 0.3, 0.25, 0.2, 0.12)
"""No part of them is half of all: a mean that lies between two numbers of bfloat16 would be rounded either way."""
SHAPES: dict[str, dict[str, int]] = {
    "1": {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "vocab_size": 2048},
    "120": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 10, "vocab_size": 32000},
    "600": {"hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 18, "vocab_size": 32000},
}
OURS = [sys.executable, "-m", "curricle", "merge"]


def tensor_shapes(shape: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Of a Llama, by the names of its checkpoint."""
    hidden, inner, vocabulary = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(shape["num_hidden_layers"]):
        for name in "qkvo":
            shapes[f"model.layers.{layer}.self_attn.{name}_proj.weight"] = (hidden, hidden)
        for name in ("gate", "up"):
            shapes[f"model.layers.{layer}.mlp.{name}_proj.weight"] = (inner, hidden)
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (hidden, inner)
        for name in ("input", "post_attention"):
            shapes[f"model.layers.{layer}.{name}_layernorm.weight"] = (hidden,)
    return {**shapes, "model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def make_models(folder: Path, shape: dict[str, int]) -> int:
    """A base and five experts near it; the number of parameters of each."""
    import torch
    from safetensors.torch import save_file

    heads = shape["hidden_size"] // 64
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "tie_word_embeddings": False,
        "num_attention_heads": heads, "num_key_value_heads": heads, **shape,
    }  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    shapes = tensor_shapes(shape)
    base = {name: (0.02 * torch.randn(size, generator=draw)).bfloat16() for name, size in shapes.items()}
    for i in range(len(WEIGHTS) + 1):
        path = folder / ("base" if i == 0 else f"expert-{i}")
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(config))
        moved = {name: tensor + 0.02 * tensor.roll(i, 0) for name, tensor in base.items()} if i else base
        save_file(moved, path / "model.safetensors", {"format": "pt"})
    return sum(tensor.numel() for tensor in base.values())


def write_config(folder: Path, dtype: str = "float32", method: str = "task_arithmetic") -> Path:
    lines = [f"merge_method: {method}", f"dtype: {dtype}", "out_dtype: bfloat16", "models:"]
    if method != "linear":
        lines.insert(1, f"base_model: {folder / 'base'}")
    for i, weight in enumerate(WEIGHTS, start=1):
        lines.append(f"  - {{model: {folder / f'expert-{i}'}, parameters: {{weight: {weight}}}}}")
    path = folder / f"{method}-{dtype}.yml"
    path.write_text("\n".join(lines) + "\n")
    return path


def mergekit_python(asked: str | None) -> str:
    """A Python with mergekit: the one named, or that of an environment made once in the cache."""
    if asked is not None:
        return asked
    torch = version("torch")

    def build(folder: Path) -> None:
        say(f"setting up mergekit {MERGEKIT} with torch {torch} in an environment of its own, once")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"mergekit=={MERGEKIT}", f"torch=={torch}"], check=True, stdout=sys.stderr)

    return str(cached_folder("peers", f"mergekit-{MERGEKIT}-torch-{torch}", build) / "bin" / "python")


def peer_version(python: str) -> str:
    code = 'from importlib.metadata import version as v; print(f\'mergekit {v("mergekit")}, torch {v("torch")}\')'
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


class Server:
    """A process that merges whenever it is asked to."""

    def __init__(self, python: str, which: str) -> None:
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("merge_alone.py")), which],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet(),
        )  # fmt: skip
        self.memory: list[int] = []

    def run(self, config: Path, out: Path) -> float:
        """Seconds of one merge, as its process measured them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{config} {out}\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        shutil.rmtree(out)
        self.memory.append(said["memory"])
        return float(said["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def servers(python: str, tiny: Path) -> Iterator[tuple[Server, Server]]:
    """Ours and mergekit's, each with a tiny merge behind it: what is loaded late is loaded."""
    both = Server(sys.executable, "ours"), Server(python, "mergekit")
    config = write_config(tiny)
    for server in both:
        server.run(config, tiny / "out")
        server.memory.clear()
    try:
        yield both
    finally:
        for server in both:
            server.close()


def quiet() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


# --- the figures


def run_process(command: list[str], out: Path) -> None:
    subprocess.run(command, check=True, env=quiet(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(out)


def whole_process(folder: Path, python: str, peer: str, size: int) -> None:
    out = folder / "out"
    for dtype in ("float32", "bfloat16"):
        config = write_config(folder, dtype)
        compare_times(
            f"merge.process.{dtype}", partial(run_process, [*OURS, str(config), "-o", str(out)], out),
            partial(run_process, mergekit_yaml(python, config, out), out), target=1.6, peer_version=peer,
            parameters=size, experts=len(WEIGHTS),
        )  # fmt: skip


def mergekit_yaml(python: str, config: Path, out: Path) -> list[str]:
    return [python, "-m", "mergekit.scripts.run_yaml", str(config), str(out), "--no-copy-tokenizer"]


def alone(folder: Path, tiny: Path, python: str, peer: str, size: int) -> None:
    """The merge in a process that has imported everything, and what memory it takes."""
    largest = 4 * max(a * b for a, b in (s for s in tensor_shapes(SHAPES[folder.name]).values() if len(s) == 2))
    with servers(python, tiny) as (ours, theirs):
        for dtype in ("float32", "bfloat16"):
            config = write_config(folder, dtype)
            pairs = [(ours.run(config, folder / "out"), theirs.run(config, folder / "out")) for _ in range(6)][1:]
            ratios = [one / other for one, other in pairs]
            figure(
                f"merge.alone.{dtype}", ours=statistics.median(one for one, _ in pairs),
                peer=statistics.median(other for _, other in pairs),
                ratio=statistics.median(ratios), spread=(min(ratios), max(ratios)), target=1.0, direction="at_most",
                peer_version=peer, unit="s", repeats=5, parameters=size,
            )  # fmt: skip
        figure(
            "merge.memory", ours=max(ours.memory), ratio=max(ours.memory) / (3 * largest), target=1.2,
            direction="at_most", unit="bytes", of="3 times the largest tensor in float32", largest=largest,
            mergekit=max(theirs.memory), parameters=size,
        )  # fmt: skip


def floor(folder: Path, size: int) -> None:
    """All inputs read and the output written once, without a sum; and torch imported."""
    files = sorted(folder.glob("*/model.safetensors"))

    def read_and_write() -> None:
        buffer = bytearray(1 << 20)
        for file in files:
            with file.open("rb", buffering=0) as handle:
                while handle.readinto(buffer):
                    pass
        left = files[0].stat().st_size
        with (folder / "floor").open("wb", buffering=0) as handle:
            while left > 0:
                left -= handle.write(buffer)
        (folder / "floor").unlink()

    def import_torch() -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    for name, run in (("read_and_write", read_and_write), ("import_torch", import_torch)):
        times, _ = interleaved(run, lambda: None)
        figure(f"merge.floor.{name}", ours=statistics.median(times), unit="s", parameters=size)


def same_tensors(folder: Path, python: str, peer: str, size: int) -> None:
    """Our tensors and mergekit's of the same YAML: the share of numbers that are alike to the bit, and how far apart
    the others are at most."""
    for method, dtype in (("task_arithmetic", "float32"), ("linear", "float32"), ("task_arithmetic", "bfloat16")):
        config = write_config(folder, dtype, method)
        ours, theirs = folder / "ours", folder / "theirs"
        subprocess.run([*OURS, str(config), "-o", str(ours)], check=True, env=quiet(), capture_output=True)
        subprocess.run(mergekit_yaml(python, config, theirs), check=True, env=quiet(), capture_output=True)
        equal, apart = compare(ours, theirs)
        exact = dtype == "float32"
        figure(
            f"merge.same.{method}.{dtype}", ours=equal, target=1.0 if exact else None, peer_version=peer,
            largest_difference=apart, parameters=size,
        )  # fmt: skip
        for out in (ours, theirs):
            shutil.rmtree(out)


def compare(ours: Path, theirs: Path) -> tuple[float, float]:
    import torch
    from safetensors import safe_open

    equal, number, apart = 0, 0, 0.0
    with safe_open(ours / "model.safetensors", "pt") as one, safe_open(theirs / "model.safetensors", "pt") as other:
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118
            a, b = one.get_tensor(name), other.get_tensor(name)
            assert a.dtype == b.dtype == torch.bfloat16
            equal, number = equal + int((a == b).sum()), number + a.numel()
            apart = max(apart, float((a.float() - b.float()).abs().max()))
    return equal / number, apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="120,600", help="millions of parameters, of 120 and 600")
    parser.add_argument("--mergekit", help="a Python that has mergekit")
    arguments = parser.parse_args()
    python = mergekit_python(arguments.mergekit)
    peer = peer_version(python)
    with tempfile.TemporaryDirectory(prefix="curricle-merge-") as place:
        tiny = Path(place) / "1"
        make_models(tiny, SHAPES["1"])
        for name in arguments.sizes.split(","):
            folder = Path(place) / name
            size = make_models(folder, SHAPES[name])
            if name == "120":
                same_tensors(folder, python, peer, size)
                whole_process(folder, python, peer, size)
            alone(folder, tiny, python, peer, size)
            floor(folder, size)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
