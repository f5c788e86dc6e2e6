"""What `torchrun` starts on every rank: a run whose second rank falls after a few steps, by exception or SIGKILL."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from curricle.cli import main
from curricle.runtime.ranks import rank

METRICS = Path("runs/falling/base/seed-42/metrics.jsonl")


def fall(*_: Any) -> None:
    raise ZeroDivisionError("the second rank fell over")


def push(how: int) -> None:
    while not METRICS.exists() or METRICS.read_bytes().count(b"\n") < 3:
        time.sleep(0.01)
    print(f"falls at {time.time()}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), how)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, fall)
    if rank() == 1:
        threading.Thread(target=push, args=(int(sys.argv[1]),), daemon=True).start()
    sys.exit(main(["train", "recipe.yaml"]))
