"""One LoRA adapter out of five of rank 16, on a Llama of about 120M parameters, next to PEFT's own ways.

    python benchmarks/adapters.py

Ours reads the five adapters from disk and writes the sixth, from the call to the closed file. PEFT's time is that of
`add_weighted_adapter` alone, with the model and all five adapters already in memory. Errors are against the dense sum,
made for every tensor in float64.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from harness import figure, interleaved, versioned

NUM, RANK = 5, 16
NAMES = [f"expert{number}" for number in range(NUM)]
WEIGHTS = dict(zip(NAMES, (0.4, 0.3, 0.2, -0.1, 0.5), strict=True))


def make(folder: Path) -> Any:
    """A base and five adapters whose singular values fall off as those of trained ones do; PEFT's model of all."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}
    LlamaForCausalLM(LlamaConfig(**shape, vocab_size=32000, tie_word_embeddings=True)).save_pretrained(folder / "base")
    falling = torch.arange(1, RANK + 1) ** -1.0
    for name in NAMES:
        base = AutoModelForCausalLM.from_pretrained(folder / "base")
        lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(base, lora)
        for key, tensor in model.named_parameters():
            if "lora_A" in key:
                tensor.data = torch.randn_like(tensor) * falling[:, None] / tensor.shape[1] ** 0.5
            elif "lora_B" in key:
                tensor.data = torch.randn_like(tensor) / tensor.shape[0] ** 0.5
        model.save_pretrained(folder / name)
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    theirs = PeftModel.from_pretrained(base, folder / NAMES[0], NAMES[0])
    for name in NAMES[1:]:
        theirs.load_adapter(folder / name, name)
    return theirs


def of_peft(model: Any, kind: str, made: str) -> None:
    """PEFT's adapter `made`, anew."""
    if made in model.peft_config:
        model.delete_adapter(made)
    model.add_weighted_adapter(NAMES, list(WEIGHTS.values()), made, combination_type=kind, svd_rank=RANK)


def error_of_peft(model: Any, made: str) -> float:
    left = total = 0.0
    for layer in model.modules():
        if made in getattr(layer, "lora_A", {}):
            wanted = sum(weight * layer.get_delta_weight(name).double() for name, weight in WEIGHTS.items())
            left += float((layer.get_delta_weight(made).double() - wanted).square().sum())
            total += float(wanted.square().sum())
    return (left / total) ** 0.5


def error_of_ours(folder: Path, out: Path) -> float:
    from curricle.experts.checkpoint import Checkpoint
    from curricle.experts.reading import read_difference

    base = Checkpoint(folder / "base")
    experts, made = [read_difference(folder / name, base, name) for name in NAMES], read_difference(out, base, "made")
    left = total = 0.0
    for name in made.names:
        wanted = sum(WEIGHTS[each.name] * each.dense(name).double() for each in experts)
        left += float((made.dense(name).double() - wanted).square().sum())
        total += float(wanted.square().sum())
    return (left / total) ** 0.5


def main() -> None:
    from curricle.experts.adapter import merge_adapters
    from curricle.runtime.quiet import calm_libraries

    peer = versioned("peft")
    with tempfile.TemporaryDirectory() as name, calm_libraries(), torch.no_grad():
        folder = Path(name)
        model = make(folder)
        paths: dict[str, Any] = {name: folder / name for name in NAMES}

        def ours(out: str, rank: int | None) -> None:
            merge_adapters(folder / "base", paths, WEIGHTS, folder / out, rank=rank, force=True)

        for out, rank, about in (("exact", None, "concatenated"), ("best", RANK, f"best of rank {RANK}")):
            times = interleaved(lambda out=out, rank=rank: ours(out, rank), lambda: of_peft(model, "svd", "svd"), 3)
            ratios = sorted(p / o for o, p in zip(*times, strict=True))
            figure(
                f"adapters.speed.{out}", ours=sorted(times[0])[1], peer=sorted(times[1])[1], peer_version=peer,
                ratio=ratios[1], target=30.0, spread=(ratios[0], ratios[-1]), unit="s", repeats=3, what=about,
            )  # fmt: skip
        of_svd = error_of_peft(model, "svd")
        figure("adapters.error.exact", ours=error_of_ours(folder, folder / "exact"), target=1e-6, direction="at_most")
        best = error_of_ours(folder, folder / "best")
        figure(
            "adapters.error.best", ours=best, peer=of_svd, peer_version=f"{peer} svd", target=1.0 + 1e-6,
            direction="at_most",
        )  # fmt: skip
        of_peft(model, "linear", "linear")
        linear = error_of_peft(model, "linear")
        figure("adapters.error.of_peft_linear", ours=best, peer=linear, peer_version=f"{peer} linear")


if __name__ == "__main__":
    main()
