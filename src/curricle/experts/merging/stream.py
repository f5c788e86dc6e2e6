"""Makes the merged tensors and writes them: piece by piece, in several threads, each byte at a place known beforehand.

A piece is a run of rows small enough for a core's own cache: it is read, merged in float32, rounded once and written
before the next, so memory holds a few pieces however large the model is. Methods that look at a whole tensor (TIES,
DARE) have one tensor at a time instead. Every number is the same whatever the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ModelError
from ...runtime.files import disk_error, read_json, sha256_file, write_json
from ...runtime.seeds import derive_seed
from ..difference import Factors, learned
from .config import SPARSE
from .inputs import Operand, Whole
from .layout import Item, Shard
from .methods import Options, Part, combine
from .plan import Plan
from .rounding import cast

PIECE = 1 << 16
"""Numbers in a piece; in float32 a few of them fit the second-level cache of a core."""
AHEAD = 32
"""Pieces that wait for a thread."""
DONE = "finished.json"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class _Work:
    """One tensor of the output, and what goes into it."""

    item: Item
    base: Tensor
    operands: list[Operand]
    weights: tuple[float, ...]
    options: Options
    seeds: list[int]
    rounding_seed: int | None
    from_zero: bool


def write_shards(plan: Plan, scratch: Path, advance: Advance | None = None) -> dict[str, str]:
    """Every shard into `scratch`, and the SHA256 of each. Those that an interrupted merge of the same plan finished
    there are kept when they still are what they were."""
    finished = _kept(plan, scratch)
    with _threads(plan) as pool:
        for shard in plan.shards:
            if shard.file not in finished:
                _write_shard(plan, shard, scratch / shard.file, pool)
                finished[shard.file] = sha256_file(scratch / shard.file)
                write_json(scratch / DONE, {"plan": plan.fingerprint, "shards": finished})
            if advance is not None:
                advance(shard.num_bytes)
    (scratch / DONE).unlink()
    return {shard.file: finished[shard.file] for shard in plan.shards}


def peak_bytes(plan: Plan) -> int:
    """About how much memory the work holds at once: pieces in each thread, or whole tensors."""
    shapes = [item.shape for shard in plan.shards for item, _ in shard.items]
    largest = max(map(prod, shapes), default=0)
    if plan.is_sparse:
        return 4 * largest * (len(plan.experts) + 5)
    row = max((prod(shape[1:]) for shape in shapes), default=0)
    return torch.get_num_threads() * 5 * 4 * min(max(PIECE, row), largest)


def _kept(plan: Plan, scratch: Path) -> dict[str, str]:
    """Finished shards of the same plan; whatever else lies there goes."""
    finished: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        left = read_json(scratch / DONE)
        if left["plan"] == plan.fingerprint:
            finished = dict(left["shards"])
    known = {shard.file for shard in plan.shards}
    finished = {
        file: digest
        for file, digest in finished.items()
        if file in known and (scratch / file).is_file() and sha256_file(scratch / file) == digest
    }
    for path in scratch.glob("*.safetensors"):
        if path.name not in finished:
            path.unlink()
    return finished


@contextmanager
def _threads(plan: Plan) -> Iterator[ThreadPoolExecutor]:
    """As many as torch may use, with one thread inside each; for whole tensors one, with all of torch's inside."""
    number = torch.get_num_threads()
    outside = 1 if plan.is_sparse else number
    pool = ThreadPoolExecutor(outside, initializer=torch.set_num_threads, initargs=(number // outside,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(number)


def _write_shard(plan: Plan, shard: Shard, path: Path, pool: ThreadPoolExecutor) -> None:
    """The file has its full size from the start: a disk that is too small says so before the work."""
    running: deque[Future[None]] = deque()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            os.posix_fallocate(handle, 0, shard.num_bytes)
            _write_all(handle, memoryview(shard.header), 0)
            for item, offset in shard.items:
                work = _work(plan, item)
                for first, last in _pieces(item, whole=plan.is_sparse):
                    running.append(pool.submit(_write_piece, plan, work, handle, offset, first, last))
                    if len(running) > AHEAD:
                        running.popleft().result()
            while running:
                running.popleft().result()
        finally:
            for left in running:
                left.cancel()
            wait(running)  # before the file is closed under them
            os.close(handle)
    except OSError as error:
        raise disk_error(path, error) from error


def _work(plan: Plan, item: Item) -> _Work:
    weights, options = plan.rule_of(item.name)
    operands = [
        expert.operand(item.name) if weight and item.dtype.is_floating_point else None
        for expert, weight in zip(plan.experts, weights, strict=True)
    ]
    seed = plan.settings.seed
    return _Work(
        item=item,
        base=plan.base.read(item.name),
        operands=operands,
        weights=weights,
        options=options,
        seeds=[derive_seed(seed, "drop", item.name, expert.name) for expert in plan.experts],
        rounding_seed=seed if plan.settings.rounding == "stochastic" else None,
        from_zero=plan.from_zero and learned(plan.base, item.name),
    )


def _pieces(item: Item, whole: bool) -> Iterator[tuple[int, int]]:
    """Runs of rows: of the first dimension, as a number of its own where there is none."""
    rows = item.shape[0] if item.shape else 1
    if whole or rows == 0:
        yield 0, rows
        return
    per_row = max(1, item.num_bytes // item.dtype.itemsize // rows)
    step = max(1, PIECE // per_row)
    for first in range(0, rows, step):
        yield first, min(rows, first + step)


def _write_piece(plan: Plan, work: _Work, handle: int, offset: int, first: int, last: int) -> None:
    written = merged_rows(work, first, last)
    if written.is_floating_point() and not torch.isfinite(written.sum(dtype=torch.float32)):
        _name_what_is_not_finite(plan, work, written)
    _write_all(handle, _bytes(written), offset + first * (work.item.num_bytes // max(1, (work.item.shape or (1,))[0])))


def merged_rows(work: _Work, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of the merged tensor, as they are written."""
    base = _rows(work.base, first, last)
    only = _copied(work)
    if only is not None:
        taken = _rows(only, first, last)
        return taken if taken.dtype == work.item.dtype else _cast(work, taken.float(), first)
    start = torch.zeros(base.shape) if work.from_zero else base.float()
    parts = (_part(operand, start, first, last, work.from_zero) for operand in work.operands)
    return _cast(work, combine(start, parts, work.weights, work.options, work.seeds), first)


def _copied(work: _Work) -> Tensor | None:
    """The tensor that the merged one equals to the last bit: the base where nothing is added, an expert that counts 1
    and stands alone."""
    said = [i for i, operand in enumerate(work.operands) if operand is not None]
    if not said and not work.from_zero:
        return work.base
    if len(said) != 1 or work.options.scale != 1 or work.options.method in SPARSE:
        return None
    weight = 1.0 if work.options.normalize and sum(work.weights) == work.weights[said[0]] else work.weights[said[0]]
    operand = work.operands[said[0]]
    return operand.tensor if isinstance(operand, Whole) and weight == 1 and sum(map(bool, work.weights)) == 1 else None


def _part(operand: Operand, start: Tensor, first: int, last: int, from_zero: bool) -> Part:
    if operand is None:
        return None
    if isinstance(operand, Factors):
        return Factors(operand.up[first:last], operand.down, operand.scale)
    if isinstance(operand, Whole):
        numbers = _rows(operand.tensor, first, last).float()
        return numbers if from_zero else numbers - start
    return _rows(operand, first, last).float()


def _rows(tensor: Tensor, first: int, last: int) -> Tensor:
    return tensor[first:last] if tensor.dim() else tensor


def _cast(work: _Work, value: Tensor, first: int) -> Tensor:
    seed = None
    if work.rounding_seed is not None:
        seed = derive_seed(work.rounding_seed, "round", work.item.name, first)
    return cast(value, work.item.dtype, seed)


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _write_all(handle: int, data: memoryview, at: int) -> None:
    while len(data):
        done = os.pwrite(handle, data, at)
        data, at = data[done:], at + done


def _name_what_is_not_finite(plan: Plan, work: _Work, written: Tensor) -> None:
    """Says which file holds it, if one does; a sum may also have overflowed over numbers that are all fine."""
    name = work.item.name
    inputs: list[tuple[str, Tensor, Path]] = []
    if not plan.from_zero:
        inputs.append(("the base", work.base, plan.base.folder))
    for expert, operand in zip(plan.experts, work.operands, strict=True):
        tensors = (
            [operand.up, operand.down] if isinstance(operand, Factors) else [operand] if operand is not None else []
        )
        for tensor in tensors:
            numbers = tensor.tensor if isinstance(tensor, Whole) else tensor
            inputs.append((f"the expert `{expert.name}`", numbers, expert.folder))
    for who, tensor, folder in inputs:
        if not torch.isfinite(tensor.float()).all():
            raise ModelError(f"{name} of {who} holds NaN or infinity, in {file_of(folder, name)}; nothing was written")
    if not torch.isfinite(written).all():
        raise ModelError(
            f"{name} goes beyond what {str(work.item.dtype).removeprefix('torch.')} holds; write bfloat16 or float32"
        )


def file_of(folder: Path, name: str) -> Path:
    """The file of a folder that holds a tensor."""
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        return folder / str(read_json(index)["weight_map"].get(name, index.name))
    files = sorted(folder.glob("*.safetensors")) or [folder]
    return folder / "model.safetensors" if folder / "model.safetensors" in files else files[0]
