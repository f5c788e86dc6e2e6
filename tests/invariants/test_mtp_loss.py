"""METHODS 6.1, 6.2 and 10.2, of the loss over heads: ours, joint full logits, and a backward pass a head, are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

import support
from curricle.data.rows import Rows
from curricle.errors import ModelError
from curricle.losses import FlatTokens
from curricle.losses.future import count_futures, head_scales, reference_futures
from curricle.models.attention import PACKED, for_model
from curricle.models.head import HeadTap, supervised_losses, verify_head
from curricle.models.head_plan import HeadPlan
from curricle.models.mtp.making import scratch_config
from curricle.models.nano import nano_config
from curricle.weighting import Uniform, Weighting

NUM_HEADS = 3

torch.set_num_threads(1)


class ByPosition(Weighting):
    known_beforehand = True

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor, dict[str, Any]]:
        return 0.5 + (tokens.position_n % 3), {}


class ByLoss(Weighting):
    def __call__(self, tokens: FlatTokens) -> tuple[Tensor, dict[str, Any]]:
        assert tokens.loss_n is not None
        return 1 / (1 + tokens.loss_n), {}


def build(num_heads: int = NUM_HEADS, kind: Any = "parallel", **shape: Any) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 5, **shape}
    config = scratch_config(nano_config("llama", support.VOCAB, **shape), num_heads, kind)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED).double()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.2)
    return model


def batch(packing: str) -> tuple[dict[str, Any], Tensor]:
    rows, table = Rows(64, packing), support.table(12, low=2, high=12)  # type: ignore[arg-type]
    made = rows.collate(table, [[0, 1, 2], [3, 4, 5, 6]])
    made.pop("example_ids")
    return made, made.pop("labels")


def reference(model: Any, inputs: dict[str, Any], labels: Tensor, weighting: Weighting) -> Tensor:
    """sum_h c_h * sum(w * l_h) / N_h from all logits of all heads, place by place."""
    with for_model(inputs) as model_inputs:
        logits = model(**model_inputs, all_heads=True).logits
    learned = reference_futures(labels, inputs, logits.shape[2])
    losses = []
    for h, places in enumerate(learned):
        row, at, target = torch.tensor(places).unbind(1)
        losses.append(cross_entropy(logits[row, at, h], target, reduction="none"))
    weights = {}
    position_bt = inputs.get("position_ids", inputs.get("attention_mask", torch.ones(0)).cumsum(-1) - 1)
    position_n = torch.tensor([int(position_bt[row, t + 1]) for row, t, _ in learned[0]])
    found, _ = weighting(FlatTokens(position_n, position_n, position_n, loss_n=losses[0].detach()))
    weights_n = torch.ones(len(position_n)) if found is None else found
    weights = {(row, t + 1): weight for (row, t, _), weight in zip(learned[0], weights_n.double(), strict=True)}
    total = torch.zeros((), dtype=torch.float64)
    for h, (places, loss_n) in enumerate(zip(learned, losses, strict=True), start=1):
        weight_n = torch.stack([weights[row, t + h] for row, t, _ in places])
        coefficient = getattr(model, "get_base_model", lambda: model)().config.coefficients[h - 1]
        total = total + coefficient * (weight_n * loss_n).sum() / len(places)
    return total


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def ours(model: Any, inputs: dict[str, Any], labels: Tensor, tap: HeadTap, weighting: Weighting) -> Any:
    counts = count_futures(labels, inputs, NUM_HEADS)
    with for_model(inputs) as model_inputs:
        result = supervised_losses(
            model, model_inputs, labels, tap, weighting, scales=head_scales(counts, tap.coefficients)
        )
    return result, result.loss_sum / counts[0]


WEIGHTINGS: dict[str, Callable[[], Any]] = {"uniform": Uniform, "by position": ByPosition, "by loss": ByLoss}


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
@pytest.mark.parametrize("path", ["tap", "logits"])
@pytest.mark.parametrize("packing", ["ordered", "none"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_equal_to_all_logits(weighting: str, packing: str, path: str, kind: str) -> None:
    model, (inputs, labels) = build(kind=kind), batch(packing)
    model.train()
    expected = reference(model, inputs, labels, WEIGHTINGS[weighting]())
    wanted = gradients(model, expected)
    with HeadTap(model, HeadPlan("logits", "for the test") if path == "logits" else None) as tap:
        result, loss = ours(model, inputs, labels, tap, WEIGHTINGS[weighting]())
        found = gradients(model, loss)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-12, atol=1e-12)
    assert found.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-10, atol=1e-10, msg=name)
    assert [len(head.loss_n) for head in result.further] == count_futures(labels, inputs, NUM_HEADS)[1:].tolist()


def test_equal_to_a_backward_for_each_head() -> None:
    """The sequential way of the paper: the trunk once, then every head forward and backward on a detached state."""
    model, (inputs, labels) = build(), batch("none")
    masks = [torch.zeros_like(labels, dtype=torch.bool) for _ in range(NUM_HEADS)]
    learned = reference_futures(labels, inputs, NUM_HEADS)
    for mask, places in zip(masks, learned, strict=True):
        for row, t, _ in places:
            mask[row, t] = True
    model.zero_grad()
    layers, entered = [model.model.layers[-1], *model.extra_heads], []
    hook = layers[0].register_forward_pre_hook(
        lambda _, args, given: entered.append((args[0], given)), with_kwargs=True
    )
    model(**inputs, use_cache=False)
    hook.remove()
    ((trunk, given),) = entered
    detached = trunk.detach().requires_grad_()
    for layer, mask, places in zip(layers, masks, learned, strict=True):
        logits = model.lm_head(model.model.norm(layer(detached, **given))[mask])
        cross_entropy(logits, torch.tensor([target for *_, target in places])).backward()
    trunk.backward(detached.grad)
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    with HeadTap(model) as tap:
        found = gradients(model, ours(model, inputs, labels, tap, Uniform())[1])
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-10, atol=1e-10, msg=name)


def test_a_weight_belongs_to_a_token_wherever_it_is_learned() -> None:
    class LastOnly(Weighting):
        known_beforehand = True

        def __call__(self, tokens: FlatTokens) -> tuple[Tensor, dict[str, Any]]:
            return (tokens.position_n == 8).float(), {}

    model, labels = build(), torch.arange(4, 13)[None]
    with HeadTap(model) as tap:
        result, loss = ours(model, {"input_ids": labels}, labels, tap, LastOnly())
    assert [int(head.row_n[-1]) for head in result.further] == [7, 7]  # for every head the last row of the table
    losses = [result.loss_n, *(head.loss_n for head in result.further)]
    assert loss.item() == pytest.approx(sum(loss_n[-1].item() / len(loss_n) for loss_n in losses), rel=1e-12)


def test_documents_too_short_for_a_head_leave_it_a_zero_gradient() -> None:
    model = build()
    labels = torch.tensor([[5, 6]])
    with HeadTap(model) as tap:
        result, loss = ours(model, {"input_ids": labels}, labels, tap, Uniform())
    assert [len(head.loss_n) for head in result.further] == [0, 0]
    found = gradients(model, loss)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all((grad == 0).all() for name, grad in found.items() if "extra_heads" in name)
    assert loss.item() == pytest.approx(result.loss_n.sum().item(), rel=1e-12)


def test_without_scales_only_the_first_head_runs() -> None:
    model, (inputs, labels) = build(), batch("none")
    called: list[int] = []
    for head in model.extra_heads:
        head.register_forward_hook(lambda *_: called.append(1))
    with HeadTap(model) as tap:
        result = supervised_losses(model, inputs, labels, tap, Uniform())
    assert not called
    assert result.further == ()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_one_head_is_the_plain_model_to_the_bit(weighting: str) -> None:
    one = build(1, num_hidden_layers=3).float()
    torch.manual_seed(0)
    config = nano_config("llama", support.VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3)
    plain = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED)
    plain.load_state_dict(one.state_dict())
    inputs, labels = batch("ordered")
    results = []
    for model in (one, plain):
        with HeadTap(model) as tap, for_model(inputs) as model_inputs:
            weigh = WEIGHTINGS[weighting]()
            result = supervised_losses(model, model_inputs, labels, tap, weigh, scales=tap.coefficients)
        results.append((result.loss_sum.detach(), gradients(model, result.loss_sum)))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(results[0][1][name], grad) for name, grad in results[1][1].items())


def test_the_check_before_training_looks_at_every_head() -> None:
    model, (inputs, labels) = build(), batch("none")
    with HeadTap(model) as tap:
        verify_head(model, inputs, labels, tap)
        forward = model.forward

        def swapped(*args: Any, mtp_keep: Any = None, **kwargs: Any) -> Any:
            heads = model.extra_heads
            if mtp_keep is not None:
                heads[0], heads[1] = heads[1], heads[0]
            try:
                return forward(*args, mtp_keep=mtp_keep, **kwargs)
            finally:
                if mtp_keep is not None:
                    heads[0], heads[1] = heads[1], heads[0]

        model.forward = swapped
        with pytest.raises(ModelError, match="head 2"):
            verify_head(model, inputs, labels, tap)


def test_lora_beside_the_heads() -> None:
    model = support.lora(build().float())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    inputs, labels = batch("ordered")
    expected = reference(model, inputs, labels, Uniform())
    wanted = gradients(model, expected.float())
    with HeadTap(model) as tap:
        _, loss = ours(model, inputs, labels, tap, Uniform())
        found = gradients(model, loss)
    assert any("extra_heads" in name for name in wanted)
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        assert (found[name] - grad).abs().max() <= 2e-5 * grad.abs().max().clamp(min=0.1), name
