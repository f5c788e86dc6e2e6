"""What must hold of generated LoRA exactly, whatever the models: METHODS of LoRA-Gen as equations."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import support
from curricle.data.collation import collate_packed
from curricle.models.attention import for_model
from curricle.models.config import LoraGenConfig
from curricle.models.gates import DocumentGates
from curricle.models.lora_gen.adapter import merge
from curricle.models.lora_gen.edge import GeneratedLora, find_targets, widths_of
from curricle.models.lora_gen.generator import LoraGenerator, balance_loss, keep_top_k
from curricle.training.depth import layer_stack

CONFIG = LoraGenConfig(cloud="none", num_experts=5, top_k=2, rank=3, alpha=6, router_hidden=7)
CLOUD_WIDTH = 11


def generator_for(edge: Any, config: LoraGenConfig = CONFIG) -> LoraGenerator:
    """With experts that do something: fresh ones add nothing."""
    torch.manual_seed(2)
    made = LoraGenerator(widths_of(edge, find_targets(edge, config.targets)), CLOUD_WIDTH, config)
    with torch.no_grad():
        for up in made.up_ero.values():
            up.normal_(std=0.3)
    return made.to(next(edge.parameters()).dtype)


def edge_model(dtype: torch.dtype = torch.float32) -> Any:
    return support.model("qwen2").to(dtype).eval()


def states(generator: LoraGenerator, prompts: int = 1) -> Tensor:
    shape = (prompts, generator.num_layers, CLOUD_WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(generator.meta_lc.dtype)


TOKENS = torch.randint(4, support.VOCAB, (2, 12), generator=torch.Generator().manual_seed(4))


def logits_with(edge: Any, generator: LoraGenerator, gates_ple: Tensor, prompt_bt: Tensor | None = None) -> Tensor:
    lora = GeneratedLora(edge, generator)
    lora.use(gates_ple, prompt_bt)
    try:
        return edge(input_ids=TOKENS, use_cache=False).logits
    finally:
        lora.remove()


@pytest.mark.parametrize("normalizer", ["softmax", "ratio"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_kept_gates_sum_to_one_and_are_exactly_k(normalizer: Any, k: int) -> None:
    logits_e = 4 * torch.randn(4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gates_e = keep_top_k(logits_e, k, normalizer)
    torch.testing.assert_close(gates_e.sum(-1), torch.ones(4, 3, dtype=torch.float64))
    assert ((gates_e > 0).sum(-1) == k).all()
    assert (gates_e >= 0).all()
    kept, largest = gates_e > 0, logits_e >= logits_e.topk(k).values[..., -1:]
    torch.testing.assert_close(kept, largest)


def test_ratio_is_each_kept_logit_over_their_sum() -> None:
    gates_e = keep_top_k(torch.tensor([1.0, 3.0, 0.5, -2.0]), 2, "ratio")
    torch.testing.assert_close(gates_e, torch.tensor([0.25, 0.75, 0.0, 0.0]))


@pytest.mark.parametrize("chosen", [0, 3])
def test_one_hot_gates_are_that_expert_alone(chosen: int) -> None:
    edge = edge_model(torch.float64)
    generator = generator_for(edge)
    gates_ple = torch.zeros(1, generator.num_layers, 5, dtype=torch.float64)
    gates_ple[..., chosen] = 1
    mixed = logits_with(edge, generator, gates_ple)
    alone = copy.deepcopy(edge)
    with torch.no_grad():
        for layer, named in enumerate(find_targets(edge, CONFIG.targets)):
            for target, name in named.items():
                down_eir, up_ero = generator.experts(layer, target)
                alone.get_submodule(name).weight += 2 * (down_eir[chosen] @ up_ero[chosen]).T  # alpha / rank is 2
    torch.testing.assert_close(mixed, alone(input_ids=TOKENS, use_cache=False).logits, rtol=1e-10, atol=1e-12)
    assert (mixed - edge(input_ids=TOKENS, use_cache=False).logits).abs().max() > 1e-3


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float64, 1e-10, 1e-12), (torch.float32, 1e-5, 1e-5)])
def test_merged_forward_is_the_unmerged_one(dtype: torch.dtype, rtol: float, atol: float) -> None:
    edge = edge_model(dtype)
    generator = generator_for(edge)
    gates_ple = generator.gates(states(generator))
    unmerged = logits_with(edge, generator, gates_ple)
    merged = merge(copy.deepcopy(edge), generator, gates_ple[0])(input_ids=TOKENS, use_cache=False).logits
    torch.testing.assert_close(merged, unmerged, rtol=rtol, atol=atol)


def test_permuting_experts_with_the_routers_rows_changes_nothing() -> None:
    edge = edge_model(torch.float64)
    generator = generator_for(edge)
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = copy.deepcopy(generator)
    with torch.no_grad():
        for part in (permuted.router[2], permuted.router[3]):
            part.weight.copy_(part.weight[order])
            part.bias.copy_(part.bias[order])
        for factors in (*permuted.down_eir.values(), *permuted.up_ero.values()):
            factors.copy_(factors[order])
    seen = states(generator)
    gates, other = generator.gates(seen), permuted.gates(seen)
    torch.testing.assert_close(other, gates[..., order])
    one, two = logits_with(edge, generator, gates), logits_with(edge, permuted, other)
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(balance_loss(gates), balance_loss(other))


def test_balance_is_zero_only_when_all_experts_carry_equally_much() -> None:
    even = torch.tensor([[[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]])
    assert balance_loss(even) == 0
    assert balance_loss(torch.full((2, 3, 4), 0.25)) == 0
    assert balance_loss(torch.tensor([[[0.5, 0.5, 0, 0], [0, 0.5, 0, 0.5]]])) > 0.4
    # One expert of four does all: shares 1 0 0 0, mean 1/4, variance 3/16.
    assert balance_loss(torch.tensor([[[1.0, 0, 0, 0]]])) == pytest.approx(3.0)


def test_gradients_reach_states_router_and_the_kept_experts() -> None:
    edge = edge_model().requires_grad_(False)
    generator = generator_for(edge)
    seen = states(generator).requires_grad_()
    gates_ple = generator.gates(seen)
    (logits_with(edge, generator, gates_ple).square().mean() + balance_loss(gates_ple)).backward()
    assert seen.grad is not None
    assert (seen.grad.abs().sum(-1) > 0).all()
    kept = (gates_ple.detach() > 0).any(1)[0]
    for name, parameter in generator.named_parameters():
        if name == "meta_lc":  # behind the states, which stand in for the cloud here
            continue
        assert parameter.grad is not None, name
        if name.startswith(("down", "up")):
            assert ((parameter.grad.abs().sum((1, 2)) > 0) == kept).all(), name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_documents_of_one_row_have_their_own_prompts() -> None:
    """A packed row with two prompts gives each document what it gets alone, values and gradients."""
    edge = edge_model(torch.float64).requires_grad_(False)
    generator = generator_for(edge)
    table = support.table(4, low=5, high=12)
    batch = collate_packed(table, [[0, 1], [2, 3]])
    of_document = torch.tensor([0, 1, 1, 0])
    seen = states(generator, 2)
    grads, found = [], []
    for together in (True, False):
        generator.zero_grad()
        gates_ple = generator.gates(seen)
        lora = GeneratedLora(edge, generator)
        if together:
            lora.use(gates_ple, of_document[batch["seq_idx"].long()])
            with for_model({n: v for n, v in batch.items() if n not in ("labels", "example_ids")}) as inputs:
                logits = edge(**inputs, use_cache=False).logits[0]
        else:
            parts = []
            for document, tokens in enumerate(batch["input_ids"][0].split(batch["doc_lens"])):
                lora.use(gates_ple[of_document[document]][None])
                parts.append(edge(input_ids=tokens[None], use_cache=False).logits[0])
            logits = torch.cat(parts)
        logits.square().mean().backward()
        lora.remove()
        found.append(logits.detach())
        grads.append({name: p.grad.clone() for name, p in generator.named_parameters() if p.grad is not None})
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)
    assert set(grads[0]) == set(grads[1])
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-8, atol=1e-12, msg=name)


def test_a_gated_document_teaches_the_generator_through_no_closed_layer() -> None:
    """The sum of admitted documents' gradients, layer by layer; values and the state of the last layer as ever."""
    edge = edge_model(torch.float64)
    generator = generator_for(edge)
    gates_ple = generator.gates(states(generator)).detach()
    open_dl = np.array([[True, False], [False, True], [False, False]])
    inputs = collate_packed(support.table(8), [[0, 1, 2]])
    inputs.pop("example_ids")
    lora = GeneratedLora(edge, generator)
    lora.use(gates_ple)
    found, value = _gradients(edge, generator, inputs, lora, open_dl)
    whole, plain = _gradients(edge, generator, inputs, lora, None)
    assert torch.equal(value, plain)
    expected = [torch.zeros_like(gradient) for gradient in found]
    for document, layer in zip(*np.nonzero(open_dl), strict=True):
        others = {**inputs, "labels": inputs["labels"].clone()}
        others["labels"][inputs["seq_idx"] != int(document)] = -100
        only_layer = np.zeros_like(open_dl)
        only_layer[:, layer] = True
        for total, share in zip(expected, _gradients(edge, generator, others, lora, only_layer)[0], strict=True):
            total += share
    for a, b, everything in zip(expected, found, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
        assert not torch.allclose(b, everything)


def _gradients(edge: Any, generator: LoraGenerator, inputs: Any, lora: GeneratedLora, open_dl: Any) -> Any:
    DocumentGates(layer_stack(edge), lora.layer_gates).admit(open_dl, inputs)
    generator.zero_grad()
    given = dict(inputs)
    labels = given.pop("labels")
    with for_model(given) as arguments:
        logits = edge(**arguments).logits
    torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum").backward()
    grown = [*generator.down_eir.values(), *generator.up_ero.values()]
    return [parameter.grad.clone() for parameter in grown], logits.detach()
