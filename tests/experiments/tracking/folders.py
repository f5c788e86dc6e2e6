"""Run folders as a run leaves them."""

from __future__ import annotations

from pathlib import Path

import orjson

from curricle.runtime.files import write_json


def write_log(run: Path, log: str, steps: int, seconds: float = 0.1) -> None:
    rows = [{"step": step, "loss": 4.0 / step, "grad_norm": 1.0, "seconds": seconds} for step in range(1, steps + 1)]
    if log == "heldout":
        rows = [{"step": row["step"], "what": "eval", "loss": row["loss"]} for row in rows if row["step"] % 2 == 0]
    (run / f"{log}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def make_run(folder: Path, steps: int = 4, seconds: float = 0.1, finished: bool = True, arm: str = "base") -> Path:
    """`runs/told/<arm>/seed-3`, finished or in the middle."""
    run = folder / "runs" / "told" / arm / "seed-3"
    run.mkdir(parents=True, exist_ok=True)
    settings = {"data": {"train": "rows.jsonl"}, "training": {"learning_rate": 0.001}, "evaluation": []}
    write_json(run / "arm.json", {"arm": arm, "hash": "abc", "settings": settings})
    (folder / "runs" / "told" / "recipe.yaml").write_text("name: told\n")
    write_log(run, "metrics", steps, seconds)
    write_log(run, "heldout", steps)
    if finished:
        write_json(
            run / "results.json", {"metrics": {"loss": 1.5, "rouge.sum": 70.0}, "steps": steps, "averaged": None}
        )
    return run
