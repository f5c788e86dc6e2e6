"""Made-up runs in the files that real ones leave: curves by formula, answers from made-up words. For whatever reads a
finished experiment; nothing was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from curricle.experiments.comparison.build import build_comparison
from curricle.experiments.comparison.config import CheckConfig
from curricle.experiments.comparison.facts import read_arm
from curricle.experiments.comparison.shape import Comparison

ROOTS = [a + b for a in ("ka", "lo", "mi", "ten", "sur", "vel", "no", "bra") for b in ("re", "da", "shi", "n", "pol")]
LATIN = [a + b for a in ROOTS for b in ROOTS]
STEMS = [a + b for a in "가나다라마바사아자차" for b in "강논들락말"]
HANGUL = [a + b for a in STEMS for b in ("은", "는", "를", "에서", "하다", "고")]
"""Words enough that the texts pack about as badly as real ones."""

MODEL = {
    "num_parameters": 5e6,
    "num_embedding": 1e6,
    "num_trainable": 5e6,
    "hidden": 256,
    "vocab": 4000,
    "num_layers": 4,
}
SETTINGS: dict[str, Any] = {
    "trainer": "hf",
    "curriculum": {"strategy": "none"},
    "evaluation": [{"metric": "loss", "name": None}, {"metric": "foreign_script", "allow": ["Hangul", "Latin"]}],
}


@dataclass(frozen=True)
class MadeArm:
    """How an arm does: its held-out loss goes from `start` to `end`, and so much of its answers is right."""

    name: str
    end: float
    right: float
    changes: dict[str, Any] = field(default_factory=dict)
    """Of its settings, as an arm of a recipe has them."""

    @property
    def trained(self) -> bool:
        return self.changes.get("trainer") != "none"


ARMS = (
    MadeArm("shuffled", 2.10, 0.45),
    MadeArm("curriculum", 1.95, 0.55, {"curriculum": {"strategy": "length"}}),
)


CHECKS = (
    CheckConfig(arm="curriculum", check="overlap > 5", otherwise="Run `curricle inspect masks`."),
    CheckConfig(arm="curriculum", check="loss < 1", otherwise="Go back to the <b>phase</b> before."),
)


def write_runs(
    folder: Path,
    arms: Sequence[MadeArm] = ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    examples: int = 12,
    steps: int = 60,
    words: int = 120,
    hostile: bool = True,
) -> Path:
    """The folder of an experiment with arms x seeds finished runs. `hostile`: some answers try to be HTML."""
    asked = _examples(np.random.default_rng(0), examples, words)
    for number, arm in enumerate(arms):
        for seed in seeds:
            rng = np.random.default_rng([number, seed])
            run = folder / arm.name / f"seed-{seed}"
            run.mkdir(parents=True)
            curve = _write_curves(run, arm, steps, rng) if arm.trained else []
            _write_answers(run, arm, seed, asked, steps, curve, rng, hostile)
    return folder


def made_comparison(folder: Path, arms: Sequence[MadeArm] = ARMS, checks: Sequence[CheckConfig] = CHECKS) -> Comparison:
    """What is said of the runs in a folder, the first arm as the base."""
    return build_comparison("dialogue summaries", folder, [read_arm(folder / arm.name) for arm in arms], checks=checks)


def _examples(rng: np.random.Generator, num: int, words: int) -> list[dict[str, Any]]:
    """Prompts that are dialogues, every third one Korean, with one to three references."""
    found = []
    for i in range(num):
        vocabulary = HANGUL if i % 3 == 2 else LATIN
        turns = [" ".join(rng.choice(vocabulary, rng.integers(4, 16))) for _ in range(max(2, words // 10))]
        prompt = "\n".join(f"#Person{1 + t % 2}#: {turn}" for t, turn in enumerate(turns)) + "\nSummary:"
        references = [list(rng.choice(vocabulary, rng.integers(15, 35))) for _ in range(1 + i % 3)]
        found.append({"id": f"{i:016x}", "prompt": prompt, "references": references, "vocabulary": vocabulary})
    return found


def _write_curves(run: Path, arm: MadeArm, steps: int, rng: np.random.Generator) -> list[float]:
    """metrics.jsonl and heldout.jsonl; the held-out losses, as they went."""
    progress = np.arange(1, steps + 1) / steps
    loss = arm.end + 4 * np.exp(-5 * progress) + rng.normal(0, 0.12, steps)
    norm = np.exp(rng.normal(0, 0.35, steps)) * (0.6 + 6 * np.exp(-12 * progress))
    rows, heldout = [], []
    for step in range(1, steps + 1):
        skipped = step == steps // 2 and "skips" in arm.name
        rows.append(
            {
                "step": step,
                "loss": float(loss[step - 1]),
                "grad_norm": None if skipped else float(norm[step - 1]),
                "tokens": 4096 * step,
                "supervised_tokens": 1024 * step,
                "step_tokens": 4096,
                "seconds": 0.5,
                "tokens_per_second": 8192.0,
                "peak_memory_bytes": 3 * 2**30,
                "learning_rate": 2e-5,
                "epoch": step / 30,
                "repeats": max(0, step - 30) * 8,
                "step_supervised_tokens": 1024,
            }
        )
        if step % max(1, steps // 12) == 0:
            value = float(arm.end + 3.5 * np.exp(-5 * step / steps) + rng.normal(0, 0.015))
            by_domain = {"daily": value - 0.2, "business": value + 0.3}
            evaluation = {"loss": value, "perplexity": float(np.exp(value)), "tokens": 5e4, "chrf": 60.0 - 12 * value}
            heldout.append({"step": step, "what": "eval", "tokens_trained": 4096 * step, **evaluation})
            heldout[-1]["domain_loss"] = by_domain
    _write_lines(run / "metrics.jsonl", rows)
    _write_lines(run / "heldout.jsonl", heldout)
    return [row["loss"] for row in heldout]


def _write_answers(
    run: Path,
    arm: MadeArm,
    seed: int,
    asked: list[dict[str, Any]],
    steps: int,
    curve: list[float],
    rng: np.random.Generator,
    hostile: bool,
) -> None:
    """samples_eval.jsonl, scores.json, results.json and arm.json."""
    rows, overlap, foreign = [], [], []
    for i, example in enumerate(asked):
        kept = [
            word if rng.random() < arm.right else str(rng.choice(example["vocabulary"]))
            for word in example["references"][0]
        ]
        text = " ".join(kept)
        if hostile and i % 2 == 0:
            text = f"</script><script>alert('{arm.name}')</script><img src=x onerror=alert(1)> & ``` | " + text
        if hostile and i == 1 and seed == 0:
            text = ""
        foreign.append(100.0 if i % 7 == 5 and rng.random() < 0.5 else 0.0)
        text += " 你好" if foreign[-1] else ""
        said = [str(word) for word in example["references"][0]]
        overlap.append(100.0 * len(set(text.split()) & set(said)) / len(set(said)))
        references = [" ".join(map(str, words)) for words in example["references"]]
        answer = {"prediction": text, "references": references, "num_tokens": len(kept) * 2, "finished": i % 9 != 4}
        rows.append({"id": example["id"], "prompt": example["prompt"], **answer})
    _write_lines(run / "samples_eval.jsonl", rows)
    losses = np.abs(rng.normal(arm.end, 0.4, len(rows)))
    weights = rng.integers(10, 60, len(rows)).astype(float)
    tell = {
        "overlap": overlap,
        "foreign_script.samples": foreign,
        "foreign_script.characters": [f / 20 for f in foreign],
    }
    scores = {name: {"values": values, "weights": None, "transform": "none"} for name, values in tell.items()}
    scores["loss"] = {"values": losses.tolist(), "weights": weights.tolist(), "transform": "none"}
    scores["perplexity"] = {"values": losses.tolist(), "weights": weights.tolist(), "transform": "exp"}
    _write(run / "scores.json", {"ids": [row["id"] for row in rows], "scores": scores})
    loss = float(np.average(losses, weights=weights))
    metrics = {"loss": loss, "perplexity": float(np.exp(loss)), **{n: float(np.mean(v)) for n, v in tell.items()}}
    info = {
        name: {"higher_is_better": name == "overlap", "note": "share of the reference's words" * (name == "overlap")}
        for name in metrics
    }
    _write(run / "results.json", _results(arm, seed, steps, metrics, info, curve))
    _write(run / "arm.json", {"arm": arm.name, "hash": f"hash-{arm.name}", "settings": SETTINGS | arm.changes})


def _results(
    arm: MadeArm, seed: int, steps: int, metrics: dict[str, float], info: dict[str, Any], curve: list[float]
) -> dict[str, Any]:
    trained = steps if arm.trained else 0
    return {
        "arm": arm.name,
        "seed": seed,
        "recipe_hash": "f00d",
        "git": None,
        "versions": {"curricle": "0.1.0"},
        "steps": trained,
        "tokens": 4096 * trained,
        "supervised_tokens": 1024 * trained,
        "epochs": trained / 30,
        "repeats": max(0, trained - 30) * 8,
        "train_loss": curve[-1] if curve else None,
        "best_checkpoint": None,
        "peak_memory_bytes": 3 * 2**30,
        "seconds": 0.6 * trained,
        "trained": arm.trained,
        "data": {
            "train": {"examples": 240, "tokens": 86_400, "ids_hash": "beef"},
            "eval": {"examples": 12, "ids_hash": "cafe"},
        },
        "model": MODEL,
        "metrics": metrics,
        "metric_info": info,
        "domain_loss": {"daily": metrics["loss"] - 0.2, "business": 2.4},
    }


def _write(path: Path, value: Any) -> None:
    path.write_bytes(orjson.dumps(value))


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
