"""METHODS 6.1 and 6.2, of the model: what several heads change, and what they must leave as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import support
from curricle.models.mtp.making import add_heads, mtp_config, scratch_config
from curricle.models.mtp.model import MtpForCausalLM
from curricle.models.nano import nano_config

torch.set_num_threads(1)

HEADS, LENGTH = 4, 9
IDS = torch.randint(4, support.VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(3))


def build(kind: str = "parallel", heads: int = HEADS, **shape: Any) -> Any:
    """In float64, with weights large enough for every layer to matter."""
    shape = {"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 48, **shape}
    torch.manual_seed(0)
    model = MtpForCausalLM(mtp_config(nano_config("llama", support.VOCAB, **shape), heads, kind)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    return model


def all_heads(model: MtpForCausalLM, ids: Tensor = IDS) -> Tensor:
    logits: Tensor = model(input_ids=ids, all_heads=True).logits
    return logits


def head_losses(model: MtpForCausalLM, ids: Tensor = IDS) -> list[Tensor]:
    """Head h at place t learns the token at t + h."""
    logits = all_heads(model, ids)
    return [
        cross_entropy(logits[:, :-h, h - 1].flatten(0, 1), ids[:, h:].flatten())
        for h in range(1, model.config.num_future_tokens + 1)
    ]


def gradients(model: MtpForCausalLM, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


# --- 6.1, parallel heads


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_logits_are_batch_by_place_by_head_by_vocabulary(kind: str, heads: int) -> None:
    assert all_heads(build(kind, heads)).shape == (2, LENGTH, heads, support.VOCAB)


def test_one_head_is_the_plain_models_loss_and_gradient_bit_for_bit() -> None:
    plain = support.model(attn="sdpa", num_hidden_layers=3)
    expected_loss = plain(input_ids=IDS, labels=IDS).loss
    expected_loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in plain.named_parameters()}
    plain.zero_grad()
    model = add_heads(plain, 1)
    loss = model(input_ids=IDS, labels=IDS).loss
    assert torch.equal(loss, expected_loss)
    found = gradients(model, loss)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_more_heads_leave_head_1_where_it_is() -> None:
    plain = support.model(attn="sdpa", num_hidden_layers=3)
    expected = plain(input_ids=IDS).logits
    for heads in (1, 2, 4):
        assert torch.equal(all_heads(add_heads(plain, heads))[:, :, 0], expected)


def test_giving_up_heads_leaves_the_others_where_they_are() -> None:
    model, fewer = build(), build(heads=2)
    fewer.load_state_dict({name: value for name, value in model.state_dict().items() if name in fewer.state_dict()})
    assert torch.equal(all_heads(fewer), all_heads(model)[:, :, :2])


def test_exchanging_heads_exchanges_their_logits_and_nothing_else() -> None:
    model = build()
    before = all_heads(model)
    model.extra_heads = torch.nn.ModuleList([model.extra_heads[i] for i in (2, 0, 1)])
    assert torch.equal(all_heads(model), before[:, :, [0, 3, 1, 2]])


def test_heads_from_scratch_cost_no_parameters() -> None:
    family = nano_config("llama", support.VOCAB, num_hidden_layers=8)
    counts = {heads: MtpForCausalLM(scratch_config(family, heads)).num_parameters() for heads in (1, 2, 4, 6)}
    assert len(set(counts.values())) == 1, counts


@pytest.mark.parametrize("tied", [True, False])
def test_head_after_head_gives_the_gradients_of_all_at_once(tied: bool) -> None:
    """The trunk once, its state detached, each head backward on its own, and the trunk last."""
    model = build(tie_word_embeddings=tied).train()
    expected = gradients(model, torch.stack(head_losses(model)).sum())
    expected = {name: gradient.clone() for name, gradient in expected.items()}

    model.zero_grad()
    states = model.model(input_ids=IDS, output_hidden_states=True, use_cache=False).hidden_states
    trunk = states[-2]
    cut = trunk.detach().requires_grad_()
    rotary = model.model.rotary_emb(cut, torch.arange(LENGTH)[None])
    for h, layer in enumerate([model.model.layers[-1], *model.extra_heads], start=1):
        logits = model.lm_head(model.model.norm(layer(cut, position_embeddings=rotary, use_cache=False)))
        cross_entropy(logits[:, :-h].flatten(0, 1), IDS[:, h:].flatten()).backward()
    trunk.backward(cut.grad)
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-10, rtol=1e-10, msg=name)


@pytest.mark.parametrize("head", range(HEADS))
def test_no_parallel_head_sees_a_token_to_come(head: int) -> None:
    model, changed = build(), IDS.clone()
    changed[:, 5] = (changed[:, 5] + 1) % support.VOCAB
    before, after = all_heads(model)[:, :, head], all_heads(model, changed)[:, :, head]
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5] - after[:, 5]).abs().max() > 1e-6


# --- 6.2, sequential heads


@pytest.mark.parametrize("depth", range(1, HEADS))
def test_depth_k_sees_k_tokens_ahead_and_no_more(depth: int) -> None:
    """P^k at place i has read the tokens up to i + k: another token at j moves it from i = j - k on."""
    model, changed, j = build("sequential"), IDS.clone(), 6
    changed[:, j] = (changed[:, j] + 1) % support.VOCAB
    before, after = all_heads(model)[:, :, depth], all_heads(model, changed)[:, :, depth]
    assert torch.equal(before[:, : j - depth], after[:, : j - depth])
    assert (before[:, j - depth] - after[:, j - depth]).abs().max() > 1e-6


@pytest.mark.parametrize("depth", range(1, HEADS))
def test_depth_k_is_k_places_shorter(depth: int) -> None:
    """Where a place has its k tokens ahead, it does not matter that the row has ended behind them."""
    model = build("sequential")
    shorter = all_heads(model, IDS[:, :-2])[:, : LENGTH - 2 - depth, depth]
    torch.testing.assert_close(all_heads(model)[:, : LENGTH - 2 - depth, depth], shorter, atol=1e-10, rtol=1e-10)


def test_depth_k_is_what_the_definition_says() -> None:
    """h'^k_i = M [RMSNorm(h^{k-1}_i); RMSNorm(Emb(t_{i+k}))], then a layer and a norm; place by place, from scratch."""
    model = build("sequential", heads=3)
    backbone, embedding = model.model, model.model.embed_tokens
    state = backbone(input_ids=IDS, use_cache=False).last_hidden_state
    for k, module in enumerate(model.extra_heads, start=1):
        rows = LENGTH - k
        ahead, before = embedding(IDS[:, k:]), state[:, :rows]
        both = torch.cat([module.enorm(ahead), module.hnorm(before)], -1)
        rotary = backbone.rotary_emb(both, torch.arange(rows)[None])
        state = module.post_norm(module.mtp_block(both @ module.eh_proj.weight.T, position_embeddings=rotary))
        found = all_heads(model)[:, :rows, k]
        torch.testing.assert_close(found, model.lm_head(state), atol=1e-10, rtol=1e-10)


def test_lambda_0_leaves_the_main_models_loss_and_gradient_bit_for_bit() -> None:
    model = build("sequential")
    model.config.mtp_lambda = 0.0
    main = head_losses(model)[0]
    expected = {name: gradient.clone() for name, gradient in gradients(model, main).items()}
    losses = head_losses(model)
    joint = sum(c * loss for c, loss in zip(model.config.coefficients, losses, strict=True))
    assert isinstance(joint, Tensor)
    assert torch.equal(joint, main)
    found = gradients(model, joint)
    for name, gradient in found.items():
        assert torch.equal(gradient, expected.get(name, torch.zeros_like(gradient))), name


def test_lambda_is_shared_by_the_depths() -> None:
    family = nano_config("llama", support.VOCAB)
    assert mtp_config(family, 4, "sequential", 0.3).coefficients == pytest.approx([1, 0.1, 0.1, 0.1])
    assert mtp_config(family, 2, "sequential", 0.3).coefficients == pytest.approx([1, 0.3])
    assert mtp_config(family, 1, "sequential", 0.3).coefficients == [1]
    assert mtp_config(family, 4, "parallel").coefficients == [1, 1, 1, 1]


def test_the_embedding_learns_from_both_its_places() -> None:
    """Its gradient is the sum of that through the trunk and of that through the token ahead. Nothing is detached."""
    model = build("sequential", heads=2, tie_word_embeddings=False)
    weight = model.model.embed_tokens.weight
    total = gradients(model, head_losses(model)[1])["model.embed_tokens.weight"].clone()

    def share(through_trunk: bool) -> Tensor:
        embeds = torch.nn.functional.embedding(IDS, weight)
        trunk_in, ahead = (embeds, embeds.detach()) if through_trunk else (embeds.detach(), embeds)
        state = model.model(inputs_embeds=trunk_in, use_cache=False).last_hidden_state[:, :-1]
        [module] = model.extra_heads
        rotary = model.model.rotary_emb(state, torch.arange(LENGTH - 1)[None])
        states = module(ahead[:, 1:], state, rotary, None, None, None)
        loss = cross_entropy(model.lm_head(states)[:, :-1].flatten(0, 1), IDS[:, 2:].flatten())
        [gradient] = torch.autograd.grad(loss, [weight])
        return gradient

    torch.testing.assert_close(total, share(True) + share(False), atol=1e-10, rtol=1e-10)
    assert share(True).abs().max() > 0
    assert share(False).abs().max() > 0
