"""Ordered packing against TRL's best-fit-decreasing packing of a table in memory.

    python benchmarks/packing.py            200,000 examples, rows of 1,024 tokens, look-ahead 256
    python benchmarks/packing.py --table    what the look-ahead buys and moves: the table of docs/packing.md

Ours draws a shuffled pass, packs it in that order and puts the token rows in memory; the peer packs a
`datasets.Dataset` in memory, and may reorder it as it likes. Both hold the same tokens as 32-bit integers.
"""

from __future__ import annotations

import argparse
import tracemalloc
from functools import partial

import numpy as np
import pyarrow as pa
from datasets import Dataset, disable_progress_bars
from trl import pack_dataset

from curricle.curriculum.order import Uniform
from curricle.curriculum.stream import Stream
from curricle.data.collation import token_rows
from curricle.data.packing import PackedRows, pack
from curricle.data.table import Ids, TokenTable
from harness import compare_times, figure, versioned


def make_lengths(num_examples: int, budget: int, seed: int = 0) -> np.ndarray:
    """Lengths like those of chat data: log-normal with mean about 250, between 8 and the row."""
    drawn = np.random.default_rng(seed).lognormal(np.log(250) - 0.32, 0.8, num_examples)
    return np.clip(drawn, 8, budget).astype(np.int64)


def plan(lengths: np.ndarray, budget: int, lookahead: int) -> PackedRows:
    stream = Stream(Uniform(), np.arange(len(lengths), dtype=np.int32), seed=0)
    return pack(lengths, budget, lookahead, (stream.draw(0.0) for _ in range(len(lengths))))


def bytes_an_example(lengths: np.ndarray, budget: int, lookahead: int) -> float:
    """Peak memory of order and plan together, the table's own lengths included."""
    tracemalloc.start()
    plan(lengths, budget, lookahead)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (peak + lengths.nbytes) / len(lengths)


def peer_fill(dataset: Dataset, budget: int) -> float:
    packed = pack_dataset(dataset, budget)
    tokens = sum(len(chunk.values) for chunk in packed.data.column("input_ids").chunks)
    return tokens / (len(packed) * budget)


def make_table(lengths: np.ndarray) -> TokenTable:
    offsets = np.r_[0, np.cumsum(lengths)]
    zeros = np.zeros(len(lengths), dtype=np.int32)
    return TokenTable(
        tokens=np.random.default_rng(1).integers(0, 32_000, offsets[-1], dtype=np.uint32),
        supervised=np.zeros(offsets[-1], dtype=bool),
        offsets=offsets,
        num_supervised=zeros,
        ids=Ids(np.zeros(len(lengths), dtype="S1")),
        domains=zeros,
        domain_names=[],
        sources=zeros,
    )


def make_peer(table: TokenTable) -> Dataset:
    offsets, tokens = pa.array(table.offsets.astype(np.int32)), pa.array(table.tokens.view(np.int32))
    return Dataset(pa.table({"input_ids": pa.ListArray.from_arrays(offsets, tokens)}))


def shuffled_positions(table: TokenTable) -> np.ndarray:
    """The place of every token, example by example in a shuffled order: what a bare take is given."""
    begins, ends = table.offsets[:-1], table.offsets[1:]
    order = np.random.default_rng(2).permutation(len(table))
    return np.concatenate([np.arange(begins[i], ends[i], dtype=np.int32) for i in order])


def lookahead_table(lengths: np.ndarray, budget: int) -> None:
    """Fill, rows waited in the window and places moved against the order drawn, for several look-aheads."""
    print("| look-ahead | fill | rows waited: mean, most | places moved: mean, 99%, most |\n|---|---|---|---|")
    for lookahead in (1, 4, 16, 64, 256, 1024, 4096):
        rows = pack(lengths, budget, lookahead)
        row_of_place = np.repeat(np.arange(len(rows)), np.diff(rows.starts))
        row_of = np.empty(len(lengths), dtype=np.int64)
        row_of[rows.examples] = row_of_place
        first_row = np.searchsorted(rows.starts[:-1] + lookahead, np.arange(len(lengths)), side="right")
        waited = row_of - first_row  # the window is filled up to `lookahead` before each row, never within one
        moved = np.abs(rows.examples - np.arange(len(lengths)))
        print(
            f"| {lookahead} | {rows.stats.fill:.4f} | {waited.mean():.1f}, {waited.max()} "
            f"| {moved.mean():.0f}, {np.percentile(moved, 99):.0f}, {moved.max()} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--lookahead", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="print fill and displacement by look-ahead, and stop")
    args = parser.parse_args()
    disable_progress_bars()

    lengths = make_lengths(args.examples, args.budget)
    if args.table:
        lookahead_table(lengths, args.budget)
        return
    table = make_table(lengths)
    dataset, positions = make_peer(table), shuffled_positions(table)

    def plan_only() -> PackedRows:
        return plan(lengths, args.budget, args.lookahead)

    def ours() -> tuple:
        rows = plan_only()
        return (rows, *token_rows(table, rows), lengths[rows.examples])

    trl, bare = versioned("trl"), versioned("numpy") + " take by a ready index"
    fill, peer = plan_only().stats.fill, peer_fill(dataset, args.budget)
    memory = bytes_an_example(lengths, args.budget, args.lookahead)
    figure("packing.fill", ours=fill, peer=peer, peer_version=trl, ratio=fill, target=0.97)
    figure("packing.bytes_an_example", ours=memory, target=32, direction="at_most")

    compare = partial(compare_times, repeats=args.repeats)
    bfd, floor = partial(pack_dataset, dataset, args.budget), partial(np.take, table.tokens, positions)
    compare("packing.speed", ours, bfd, target=2.0, peer_version=trl)
    compare("packing.floor", ours, floor, target=None, direction="at_most", peer_version=bare)
    compare("packing.floor_plan_only", plan_only, floor, target=None, direction="at_most", peer_version=bare)


if __name__ == "__main__":
    main()
