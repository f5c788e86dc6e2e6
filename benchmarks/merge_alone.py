"""Merges in a process that has imported everything: `merge.py` starts one with our Python and one with mergekit's.

    PYTHON benchmarks/merge_alone.py ours|mergekit        then `CONFIG OUT` on standard input, a line for each merge

Each answer is a line of JSON: seconds, and by how much anonymous memory (RssAnon) rose at its highest.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path


def ours() -> Callable[[Path, Path], object]:
    """The inputs' hashes, which go into the card, are worked out anew each time, as in a process of its own."""
    from curricle.experts.merging import merge_config
    from curricle.models import identity

    def run(config: Path, out: Path) -> None:
        identity._hash.cache_clear()
        merge_config(config, out)

    return run


def mergekit() -> Callable[[Path, Path], object]:
    """As `mergekit-yaml --quiet --no-copy-tokenizer`."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    options = MergeOptions(copy_tokenizer=False, quiet=True)

    def run(config: Path, out: Path) -> None:
        run_merge(MergeConfiguration.model_validate(yaml.safe_load(config.read_text())), str(out), options=options)

    return run


def rss_anon() -> int:
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024


class Watch:
    """The highest anonymous memory while it runs."""

    def __enter__(self) -> Watch:
        self.highest, self._going = rss_anon(), True
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._thread.join()

    def _look(self) -> None:
        while self._going:
            self.highest = max(self.highest, rss_anon())
            time.sleep(0.005)


def main() -> None:
    run = {"ours": ours, "mergekit": mergekit}[sys.argv[1]]()
    for line in sys.stdin:
        config, out = map(Path, line.split())
        before = rss_anon()
        with Watch() as watch:
            start = time.perf_counter()
            run(config, out)
            seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "memory": watch.highest - before}), flush=True)


if __name__ == "__main__":
    main()
