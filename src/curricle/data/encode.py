"""Examples to a table of tokens: masked, proved, made to fit, in parallel, in constant memory, and only once.

Chunks of examples are encoded here or in forked processes and come back in order. The table is kept in the cache under
the fingerprint of all that shaped it: files, reading, tokenizer, chat template, lengths, masks.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, RunError
from ..runtime.cache import cached_folder
from ..runtime.fingerprint import fingerprint
from ..runtime.progress import say, track
from .account import Account
from .chunks import ChunkEncoder
from .config import DataConfig
from .schema import Example
from .table import EncodedExample, TableWriter, TokenTable
from .templates import use_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .sources import ExampleSource

VERSION = 4
"""Changes when the same input would give another table."""

CHUNK = 256
SMALL = 8 * CHUNK
"""Up to so many examples, starting processes costs more than it saves."""

_SHAPING = ("max_length", "on_long", "learn", "rewritten_turns", "on_bad_row")

Encoded = tuple[list[EncodedExample], Account]


def encode(source: ExampleSource, tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> TokenTable:
    """The table of a source, made now or found in the cache. The tokenizer gets the recipe's chat template, if any."""
    use_template(tokenizer, config.chat_template)
    settings = {name: getattr(config, name) for name in _SHAPING}
    key = fingerprint("table", VERSION, source.fingerprint, tokenizer_fingerprint(tokenizer), settings)

    def build(folder: Path) -> None:
        encoder = ChunkEncoder(tokenizer, config)
        write_table(folder, source, encoder, num_processes(config), lambda: _account_of(source))

    table = TokenTable.load(cached_folder("tables", key, build))
    for line in table.report["notes"]:
        say(line)
    return table


def _account_of(source: ExampleSource) -> dict[str, list[str]]:
    return {"read": source.report.lines(), "read_remarks": source.report.remarks()}


def encode_examples(examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> TokenTable:
    """A table in memory, made in this process and not cached: for a few examples, or such as come from no file."""
    use_template(tokenizer, config.chat_template)
    encoder = ChunkEncoder(tokenizer, config)
    encoded, account = encoder.encode(list(examples))
    _refuse_nothing(account)
    return replace(TokenTable.from_examples(encoded), report=_report(account, encoder, config))


def write_table(
    folder: Path,
    examples: Iterable[Example],
    encoder: ChunkEncoder,
    processes: int,
    read_account: Callable[[], dict[str, list[str]]] = dict,
) -> None:
    """Encode a stream into a folder. `read_account` is asked once the stream has ended."""
    writer, account = TableWriter(folder), Account()
    try:
        for encoded, part in encoded_chunks(examples, encoder, processes):
            writer.append(encoded)
            account.merge(part)
        _refuse_nothing(account)
        writer.close(_report(account, encoder, encoder.config) | read_account())
    finally:
        writer.abandon()


def _report(account: Account, encoder: ChunkEncoder, config: DataConfig) -> dict[str, Any]:
    end_of_turn, notes = encoder.about_template()
    for line in notes:
        account.note(line)
    return account.report() | {"end_of_turn": end_of_turn, "max_length": config.max_length}


def _refuse_nothing(account: Account) -> None:
    if account.counts["examples"]:
        return
    reasons = [f"{kind}: {n:,} (first: {account.places[kind][0]})" for kind, n in account.skipped.most_common()]
    raise DataError(f"nothing to learn in {account.counts['rows']:,} rows; {'; '.join(reasons) or 'there are none'}")


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Changes with anything that changes ids: vocabulary, merges, normalizer, added tokens, chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        core = json.loads(backend.to_str())
        for passing in ("truncation", "padding"):  # left behind by the last call
            core.pop(passing, None)
    else:
        core = {"vocab": tokenizer.get_vocab(), "settings": tokenizer.init_kwargs}
    added = [(i, str(t), t.special) for i, t in sorted(tokenizer.added_tokens_decoder.items())]
    special = tokenizer.special_tokens_map
    return fingerprint(type(tokenizer).__name__, core, added, special, tokenizer.chat_template)


# --- processes ------------------------------------------------------------------------------------


def num_processes(config: DataConfig) -> int:
    """Processes that tokenize: as many as asked for, else one for each core that this rank may use."""
    if not hasattr(os, "fork") or sys.platform == "darwin":
        return 1  # the tokenizer's own threads still work in parallel
    if config.num_workers is not None:
        return config.num_workers
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // ranks)


def encoded_chunks(examples: Iterable[Example], encoder: ChunkEncoder, processes: int) -> Iterator[Encoded]:
    """The chunks of a stream, encoded, in the order of the stream; processes start only when there is enough to do."""
    stream = iter(track(examples, "tokenizing"))
    chunks = iter(lambda: list(islice(stream, CHUNK)), [])
    yield from map(encoder.encode, islice(chunks, SMALL // CHUNK))
    following = next(chunks, None)
    if following is None:
        return
    chunks = chain([following], chunks)
    if processes < 2:
        yield from map(encoder.encode, chunks)
    else:
        yield from _in_processes(chunks, encoder, processes)


def _in_processes(chunks: Iterator[list[Example]], encoder: ChunkEncoder, processes: int) -> Iterator[Encoded]:
    """Forked, so that they hold the tokenizer at once and need no importable main module, as in a notebook. No more
    chunks are under way than a few for each process, so that memory stays constant."""
    waiting: deque[Future[Encoded]] = deque()
    with (
        _serial_tokenizers(),
        ProcessPoolExecutor(processes, mp_context=get_context("fork"), initializer=_take, initargs=(encoder,)) as pool,
    ):
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_encode_here, chunk))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RunError(
                "a tokenizing process died, most likely for lack of memory; set data.num_workers to 0 or 1"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_encoder_here: ChunkEncoder | None = None


def _take(encoder: ChunkEncoder) -> None:
    global _encoder_here
    _encoder_here = encoder


def _encode_here(chunk: list[Example]) -> Encoded:
    assert _encoder_here is not None
    return _encoder_here.encode(chunk)


@contextmanager
def _serial_tokenizers() -> Iterator[None]:
    """One thread a process: the tokenizer's threads do not survive a fork."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
            yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
