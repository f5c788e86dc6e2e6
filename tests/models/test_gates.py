"""Gates on LoRA factors: the values stay, and a layer's gradient is made from admitted documents alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from curricle.data.rows import Rows
from curricle.errors import ModelError
from curricle.models.attention import for_model
from curricle.models.gates import DocumentGates, GatedLinear, document_of_token, gated_gradients
from curricle.training.depth import layer_stack
from support import lora, model, table

DOCUMENTS = [0, 1, 2, 3]
# Documents by layers: the second teaches no layer, the third only the upper one.
GATES = np.array([[True, True], [False, False], [False, True], [True, False]])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def net(dtype: torch.dtype = torch.float64, kind: str = "llama", dropout: float = 0.0) -> Any:
    return randomised(lora(model(kind), dropout), dtype)


def randomised(made: Any, dtype: torch.dtype = torch.float64) -> Any:
    """With a second factor that is not zero, so that both factors have a gradient."""
    made.to(dtype)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return made.train()


def batch(documents: list[int] = DOCUMENTS, packing: Any = "ordered") -> dict[str, Any]:
    rows = [documents] if packing == "ordered" else [[document] for document in documents]
    made = Rows(max_length=512, packing=packing).collate(table(8), rows)
    made.pop("example_ids")
    return made


def loss_of(made: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The sum of token losses."""
    inputs = dict(inputs)
    labels = inputs.pop("labels")
    with for_model(inputs) as given:
        logits = made(**given).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def factors(made: Any) -> list[list[Any]]:
    return [[p for p in block.parameters() if p.requires_grad] for block in layer_stack(made)]


def gradients(made: Any, inputs: dict[str, Any], gates: np.ndarray | None, scale: float = 1.0) -> list[list[Any]]:
    """After one forward and backward pass; attaches gates unless there are some already."""
    attached = DocumentGates(layer_stack(made))
    attached.admit(gates, inputs)
    made.zero_grad()
    torch.manual_seed(3)
    loss_of(made, inputs).mul(scale).backward()
    return [[p.grad.clone() for p in layer] for layer in factors(made)]


@pytest.mark.parametrize("packing", ["ordered", "none"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_mixed_batch_gives_the_sum_of_admitted_documents(packing: str, kind: str) -> None:
    made = net(kind=kind)
    losses = [loss_of(made, batch([document])) for document in DOCUMENTS]
    expected = gated_gradients(losses, factors(made), GATES)
    found = gradients(made, batch(packing=packing), GATES)
    for layer, (right, ours) in enumerate(zip(expected, found, strict=True)):
        for a, b in zip(right, ours, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12, msg=f"layer {layer}")
    everything = gradients(made, batch(packing=packing), None)
    assert not torch.allclose(everything[0][0], found[0][0])


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@pytest.mark.parametrize(
    ("kind", "targets", "shape"),
    [
        ("gpt2", ["c_attn", "c_fc"], {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
        ("mamba", ["in_proj", "x_proj"], {}),
    ],
)
def test_other_families_are_gated_too(kind: str, targets: list[str], shape: dict[str, Any]) -> None:
    base = model(kind, attn="eager" if kind == "mamba" else "sdpa", **shape)
    made = randomised(get_peft_model(base, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM")))
    losses = [loss_of(made, batch([document], "none")) for document in DOCUMENTS]
    expected = gated_gradients(losses, factors(made), GATES)
    for right, ours in zip(expected, gradients(made, batch(packing="none"), GATES), strict=True):
        for a, b in zip(right, ours, strict=True):
            assert a.any() or not b.any()
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("gates", [None, np.ones((4, 2), dtype=bool)], ids=["none", "all open"])
def test_open_gates_change_no_bit(gates: Any) -> None:
    plain, gated = net(torch.float32, dropout=0.1), net(torch.float32, dropout=0.1)
    torch.manual_seed(3)
    loss_of(plain, batch()).backward()
    expected = [[p.grad for p in layer] for layer in factors(plain)]
    for right, ours in zip(expected, gradients(gated, batch(), gates), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(right, ours, strict=True))


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16 autocast"])
def test_values_and_what_flows_below_keep_every_bit(autocast: bool) -> None:
    """The factors' own code path, every token admitted: what it computes is what a plain linear computes."""
    torch.manual_seed(0)
    plain: Any = torch.nn.Linear(16, 8)
    x = torch.randn(2, 5, 16)
    gate = DocumentGates([torch.nn.Module()]).gates[0]
    gated = GatedLinear(plain, gate)
    gate.kept_k, gate.num_tokens = torch.arange(10), 10
    seen = []
    for module in (plain, gated):
        plain.zero_grad()
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = module(given)
        (y.float() ** 2).sum().backward()
        seen.append((y, given.grad, plain.weight.grad.clone(), plain.bias.grad.clone()))
    assert seen[0][0].dtype == (torch.bfloat16 if autocast else torch.float32)
    assert all(a.dtype == b.dtype for a, b in zip(*seen, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seen[0][:3], seen[1][:3], strict=True))
    torch.testing.assert_close(seen[0][3], seen[1][3])


@pytest.mark.parametrize("extreme", [1.0, float("nan")])
def test_a_gated_document_has_no_share_at_all(extreme: float) -> None:
    """Its tokens are replaced, or its gradient is no number: not one bit of the layers it does not teach changes."""
    made = net(torch.float32)
    inputs = batch()
    gates = np.array([[True, True], [False, False], [True, True], [True, True]])
    before = gradients(made, inputs, gates)
    start, end = np.cumsum([0, *inputs["doc_lens"]])[1:3]
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][:, start:end] = 9
    hook = None
    if extreme != extreme:
        hook = layer_stack(made)[-1].register_forward_hook(lambda _m, _a, out: _Poison.apply(out, start, end))
    after = gradients(made, changed, gates)
    if hook is not None:
        hook.remove()
    for left, right in zip(before, after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


class _Poison(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, start: int, end: int) -> torch.Tensor:
        ctx.place = slice(start, end)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        grad = grad.clone()
        grad[:, ctx.place] = float("nan")
        return grad, None, None


def test_a_layer_that_no_document_teaches_has_a_gradient_of_zeros() -> None:
    found = gradients(net(), batch(), np.array([[False, True]] * 4))
    assert all(not gradient.any() for gradient in found[0])
    assert all(gradient.any() for gradient in found[1])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_checkpointing_recomputes_behind_the_same_gates(dropout: float) -> None:
    plain, checked = net(dropout=dropout), net(dropout=dropout)
    checked.enable_input_require_grads()
    checked.gradient_checkpointing_enable({"use_reentrant": False})
    assert checked.base_model.model.model.gradient_checkpointing
    for a, b in zip(gradients(plain, batch(), GATES), gradients(checked, batch(), GATES), strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)


def test_bfloat16_autocast_gates_to_rounding() -> None:
    exact, made = net(torch.float32), net(torch.float32)
    right = gradients(exact, batch(), GATES)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(made, batch(), GATES)
    for a, b in zip(right, ours, strict=True):
        for x, y in zip(a, b, strict=True):
            assert y.dtype == torch.float32
            assert (x - y).norm() < 0.05 * x.norm()


def test_names_and_saved_weights_do_not_change() -> None:
    made = net()
    before = {name: (id(p), p.requires_grad) for name, p in made.named_parameters()}
    DocumentGates(layer_stack(made))
    assert {name: (id(p), p.requires_grad) for name, p in made.named_parameters()} == before
    assert any(isinstance(part, GatedLinear) for part in made.modules())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"target_modules": "all-linear", "use_dora": True}, "a DoRA adapter"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["mlp"]}, "another thing that learns"),
        ({"target_modules": ["q_proj"], "bias": "all"}, "another thing that learns"),
    ],
)
def test_what_would_learn_past_the_gates_is_refused(settings: dict[str, Any], told: str) -> None:
    base = model(attention_bias=True) if settings.get("bias") else model()
    with pytest.raises(ModelError, match=told):
        DocumentGates(layer_stack(get_peft_model(base, LoraConfig(r=2, task_type="CAUSAL_LM", **settings))))


def test_full_training_is_refused() -> None:
    with pytest.raises(ModelError, match=r"full training \(no model.adapter\)"):
        DocumentGates(layer_stack(model()))


def test_a_factor_that_sees_other_tokens_is_refused() -> None:
    gate = DocumentGates([torch.nn.Module()]).gates[0]
    gate.kept_k, gate.num_tokens = torch.arange(2), 4
    with pytest.raises(ModelError, match="sees 3 tokens of a batch of 4"):
        GatedLinear(torch.nn.Linear(2, 2), gate)(torch.ones(3, 2))


def test_documents_of_tokens() -> None:
    ids = torch.zeros(1, 5, dtype=torch.long)
    packed = {"input_ids": ids, "doc_lens": [3, 2]}
    by_positions = {"input_ids": ids, "position_ids": torch.tensor([[0, 1, 2, 0, 1]])}
    rows = {"input_ids": torch.zeros(2, 2, dtype=torch.long)}
    assert document_of_token(packed).tolist() == document_of_token(by_positions).tolist() == [0, 0, 0, 1, 1]
    assert document_of_token(rows).tolist() == [0, 0, 1, 1]
