"""What one candidate of a search of weights costs, next to what it cannot do without.

    python benchmarks/search.py [--layers 4] [--hidden 256] [--experts 5] [--rank 16]

ours    `Mixture.set` with new weights, then the loss of every domain of the held-out rows
peer    the factors of all experts multiplied into the weights once, one tensor after the other, and one forward pass
        over the same rows, already collated, with nothing taken from it but the loss of each token
alone   how much of a candidate setting the weights is (a share, no target)
tensors the same weights by one product for each expert, as `merge` adds them up, over our one product for all (a ratio)
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from curricle.data.rows import Rows, evaluation_batches
from curricle.data.table import TokenTable
from curricle.experts.difference import Difference, Factors, Lazy
from curricle.experts.search.mixture import Mixture
from curricle.experts.search.objective import HeldOut
from curricle.models.attention import PACKED, for_model
from curricle.models.head import AllOne, HeadTap, supervised_losses
from curricle.models.nano import nano_config
from harness import compare_times

VOCAB = 2048
ENDS = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight", "gate_proj.weight", "up_proj.weight",
        "down_proj.weight")  # fmt: skip


def made_model(layers: int, hidden: int) -> Any:
    torch.manual_seed(0)
    shape = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": 3 * hidden}
    return AutoModelForCausalLM.from_config(nano_config("llama", VOCAB, **shape), attn_implementation=PACKED).eval()


def made_expert(model: Any, rank: int, seed: int) -> Difference:
    draw = torch.Generator().manual_seed(seed)
    parts = {}
    for name, parameter in model.named_parameters():
        if name.endswith(ENDS):
            rows, columns = parameter.shape
            factors = Factors(
                0.02 * torch.randn(rows, rank, generator=draw), 0.02 * torch.randn(rank, columns, generator=draw), 2.0
            )
            parts[name] = Lazy(factors.shape, lambda factors=factors: factors, rank)
    return Difference(f"expert-{seed}", None, None, parts)


def made_rows(num: int, domains: int) -> TokenTable:
    rng = np.random.default_rng(0)
    rows = [rng.integers(4, VOCAB, length).tolist() for length in rng.integers(40, 240, num)]
    return TokenTable.from_lists(rows, rows, domains=[f"domain-{i % domains}" for i in range(num)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"layers": 4, "hidden": 256, "experts": 5, "rank": 16, "rows": 60, "repeats": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    model, table = made_model(asked.layers, asked.hidden), made_rows(asked.rows, asked.experts)
    experts = {f"domain-{i}": made_expert(model, asked.rank, i) for i in range(asked.experts)}
    held = HeldOut(table, Rows(max_length=512), batch_size=1)
    batches = list(evaluation_batches(table, held.rows, 1))
    parameters = dict(model.named_parameters())
    base = {name: parameters[name].detach().clone() for name in next(iter(experts.values())).names}
    weights = iter(np.random.default_rng(1).uniform(0.1, 0.6, (10_000, asked.experts)))
    size = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "experts": asked.experts,
        "rank": asked.rank,
        "tokens": int(table.offsets[-1]),
        "threads": torch.get_num_threads(),
    }

    with Mixture(model, experts) as mixture, HeadTap(model) as tap:

        def candidate() -> None:
            mixture.set(dict(zip(experts, map(float, next(weights)), strict=True)))
            held.losses(model, tap)

        def only_set() -> None:
            mixture.set(dict(zip(experts, map(float, next(weights)), strict=True)))

        @torch.no_grad()
        def one_after_the_other() -> None:
            for name, tensor in base.items():
                parameters[name].copy_(tensor)
                for expert, weight in zip(experts.values(), next(weights), strict=True):
                    part = expert.part(name)
                    assert isinstance(part, Factors)
                    parameters[name].addmm_(part.up, part.down, alpha=float(weight) * part.scale)

        @torch.no_grad()
        def forward() -> None:
            for batch in batches:
                inputs = {name: value for name, value in batch.items() if name not in ("labels", "example_ids")}
                with for_model(inputs) as model_inputs:
                    supervised_losses(model, model_inputs, batch["labels"], tap, AllOne())

        def needed() -> None:
            one_after_the_other()
            forward()

        repeats = asked.repeats
        compare_times("search.candidate", candidate, needed, target=1.1, direction="at_most", repeats=repeats, **size)
        compare_times("search.alone", only_set, candidate, target=None, direction="at_most", repeats=repeats, **size)
        compare_times("search.tensors", only_set, one_after_the_other, target=None, repeats=repeats, **size)


if __name__ == "__main__":
    main()
