"""Losses at the head against cross-entropy of the model's own full logits, value and gradient, whatever the head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from curricle.errors import ModelError, TrainingError
from curricle.losses import FlatTokens
from curricle.models.head import HeadTap, Supervised, supervised_losses, verify_head
from curricle.models.head_plan import HeadPlan, plan_head
from curricle.models.nano import nano_config
from curricle.weighting import Uniform, Weighting

VOCAB = 97
NANO = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}

torch.set_num_threads(1)


class ByLoss(Weighting):
    """Needs the losses: the path that recomputes."""

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor, dict[str, float]]:
        assert tokens.loss_n is not None
        return 1 / (1 + tokens.loss_n), {"weight": 1.0}


class ByPosition(Weighting):
    """Knows beforehand."""

    known_beforehand = True

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor, dict[str, float]]:
        assert tokens.loss_n is None
        return (tokens.position_n % 3).float(), {}


def build(kind: str = "llama", **changes: Any) -> Any:
    torch.manual_seed(0)
    config = nano_config(kind, VOCAB, **NANO | changes)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # random enough that a wrong cap, scale or bias shows
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def lora(model: Any, **config: Any) -> Any:
    model = get_peft_model(
        model,
        LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
        if not config
        else LoraConfig(r=4, task_type="CAUSAL_LM", **{"target_modules": ["q_proj"], **config}),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "delta" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def batch(seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """Two rows with ragged labels, one of them padded."""
    make = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(4, VOCAB, (2, 11), generator=make)
    labels = input_ids.clone()
    labels[0, :4] = labels[1, :7] = -100
    mask = torch.ones_like(input_ids)
    mask[1, 9:] = 0
    labels[1, 9:] = -100
    return {"input_ids": input_ids, "attention_mask": mask}, labels


def plain(model: Any, inputs: dict[str, Tensor], labels: Tensor, weighting: Weighting) -> Tensor:
    """The same sum from the model's own full logits."""
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    learned = labels[:, 1:] != -100
    losses = F.cross_entropy(logits[learned], labels[:, 1:][learned], reduction="none")
    positions = (inputs["attention_mask"].cumsum(1) - 1)[:, 1:][learned]
    tokens = FlatTokens(labels[:, 1:][learned], positions, positions)
    weights, _ = weighting(tokens if weighting.known_beforehand else tokens.with_losses(losses))
    return losses.sum() if weights is None else (losses * weights.detach()).sum()


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal_training(model: Any, tap: HeadTap, weighting: Weighting, tolerance: float = 2e-5) -> Supervised:
    inputs, labels = batch()
    expected = plain(model, inputs, labels, weighting)
    result = supervised_losses(model, inputs, labels, tap, weighting)
    torch.testing.assert_close(result.loss_sum, expected, rtol=tolerance, atol=tolerance)
    wanted, found = gradients(model, expected), gradients(model, result.loss_sum)
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        assert (found[name] - grad).abs().max() <= tolerance * grad.abs().max().clamp(min=0.1), name
    return result


FAMILIES = {
    "llama": (lambda: build("llama"), "tap"),
    "llama, untied": (lambda: build("llama", tie_word_embeddings=False), "tap"),
    "gemma2, soft cap": (lambda: build("gemma2", head_dim=16, final_logit_softcapping=5.0), "tap"),
    "cohere, logit scale": (lambda: build("cohere", logit_scale=0.25), "tap"),
    "granite, logits scaling": (lambda: build("granite", logits_scaling=4.0), "tap"),
    "phi, bias": (lambda: build("phi", tie_word_embeddings=False), "tap"),
    "lora": (lambda: lora(build()), "tap"),
    "lora on the head": (
        lambda: lora(build(tie_word_embeddings=False), target_modules=["q_proj", "lm_head"]),
        "logits",
    ),
    "head saved": (lambda: lora(build(tie_word_embeddings=False), modules_to_save=["lm_head"]), "tap"),
    "tokens trained, tied": (lambda: lora(build(), trainable_token_indices=[5, 9, 20]), "tap"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_full_logits(family: str) -> None:
    make, path = FAMILIES[family]
    model = make()
    with HeadTap(model) as tap:
        assert tap.plan.path == path, tap.plan.reason
        for weighting in (Uniform(), ByLoss(), ByPosition()):
            result = assert_equal_training(model, tap, weighting)
            num_logits = 0 if path == "tap" else result.loss_n.shape[0]
            assert tuple(result.outputs.logits.shape) == (num_logits, VOCAB)
        inputs, labels = batch()
        verify_head(model, inputs, labels, tap)
    assert model(**inputs).logits.shape == (2, 11, VOCAB)  # removed: the model is as it was


@pytest.mark.parametrize("family", ["gemma2, soft cap", "cohere, logit scale", "granite, logits scaling"])
def test_the_plan_reads_cap_and_scale_off_the_model(family: str) -> None:
    plan = plan_head(FAMILIES[family][0]())
    expected = {
        "gemma2, soft cap": (5.0, None),
        "cohere, logit scale": (None, 0.25),
        "granite, logits scaling": (None, 0.25),
    }
    assert (plan.softcap, plan.scale) == expected[family]


def test_bfloat16_autocast_is_as_close_as_the_model_is_to_itself() -> None:
    model = build()
    inputs, labels = batch()
    full = plain(model, inputs, labels, Uniform())
    with HeadTap(model) as tap, torch.autocast("cpu", dtype=torch.bfloat16):
        for weighting in (Uniform(), ByLoss()):
            result = assert_equal_training(model, tap, weighting, tolerance=3e-2)
            assert result.loss_n.dtype == torch.float32
        verify_head(model, inputs, labels, tap)
    assert abs(result.loss_n.sum() - full) > 1e-3  # it did compute in bfloat16


def test_activation_checkpointing_changes_nothing() -> None:
    model = build()
    with HeadTap(model) as tap:
        before = assert_equal_training(model, tap, ByLoss())
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        after = assert_equal_training(model, tap, ByLoss())
    assert torch.equal(before.loss_sum, after.loss_sum)


@pytest.mark.parametrize("weighting", [Uniform(), ByLoss()], ids=["known", "unknown"])
@pytest.mark.parametrize("path", ["tap", "logits"])
def test_nothing_supervised_is_zero_with_a_zero_gradient_everywhere(weighting: Weighting, path: str) -> None:
    """A rank whose micro batch has nothing to learn must still take part in the reduction of gradients."""
    model = build(tie_word_embeddings=False)
    inputs, labels = batch()
    with HeadTap(model, HeadPlan("logits", "for the test") if path == "logits" else None) as tap:
        result = supervised_losses(model, inputs, torch.full_like(labels, -100), tap, weighting)
    assert result.loss_sum.item() == 0.0
    found = gradients(model, result.loss_sum)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all((grad == 0).all() for grad in found.values())


def test_evaluation_without_gradients_gives_the_same_losses() -> None:
    model = build().eval()
    inputs, labels = batch()
    with HeadTap(model) as tap:
        trained = supervised_losses(model, inputs, labels, tap, ByLoss())
        with torch.no_grad():
            evaluated = supervised_losses(model, inputs, labels, tap, ByLoss())
    assert not evaluated.loss_sum.requires_grad
    assert torch.equal(trained.loss_n, evaluated.loss_n)
    assert trained.weights_n is not None
    assert not trained.weights_n.requires_grad
    assert trained.metrics == {"weight": 1.0}


def test_with_the_adapter_off_the_base_head_is_used() -> None:
    model = FAMILIES["head saved"][0]()
    nn.init.normal_(model.get_base_model().get_output_embeddings().weight, std=1.0)
    inputs, labels = batch()
    with HeadTap(model) as tap, torch.no_grad(), model.disable_adapter():
        result = supervised_losses(model, inputs, labels, tap, Uniform())
        torch.testing.assert_close(result.loss_sum, plain(model, inputs, labels, Uniform()), rtol=1e-5, atol=1e-4)


def test_between_batches_the_hooks_do_nothing() -> None:
    model = build().eval()
    inputs, _ = batch()
    with torch.no_grad():
        before = model(**inputs).logits
        with HeadTap(model):
            assert torch.equal(model(**inputs).logits, before)


def test_an_error_in_the_forward_leaves_the_hooks_idle() -> None:
    model = build().eval()
    inputs, labels = batch()
    with HeadTap(model) as tap:
        with pytest.raises(IndexError):
            supervised_losses(model, {"input_ids": inputs["input_ids"] + VOCAB}, labels, tap, Uniform())
        assert model(**inputs).logits.shape == (2, 11, VOCAB)


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("find_unused", [False, True])
def test_through_ddp(one_rank: None, find_unused: bool) -> None:
    """The loss does not come out of the wrapper's outputs, and DDP must reduce every gradient all the same."""
    model = build()
    inputs, labels = batch()
    wanted = gradients(model, plain(model, inputs, labels, Uniform()))
    with HeadTap(model) as tap:
        wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=find_unused)
        for _ in range(2):  # a second forward raises where the first left a gradient unreduced
            found = gradients(model, supervised_losses(wrapped, inputs, labels, tap, Uniform()).loss_sum)
            assert all((found[name] - grad).abs().max() < 1e-4 for name, grad in wanted.items())
        nothing = supervised_losses(wrapped, inputs, torch.full_like(labels, -100), tap, Uniform())
        assert all((grad == 0).all() for grad in gradients(model, nothing.loss_sum).values())


class Strange(nn.Module):
    """A causal model that keeps all positions, whatever is asked, and finishes its logits in its own way."""

    def __init__(self, finish: str) -> None:
        super().__init__()
        self.embed, self.lm_head = nn.Embedding(VOCAB, 16), nn.Linear(16, VOCAB)
        self.temperature, self.finish = nn.Parameter(torch.tensor(2.0)), finish

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Any:
        from transformers.modeling_outputs import CausalLMOutput

        logits = self.lm_head(self.embed(input_ids).tanh())
        changes = {
            "plain": lambda: logits,
            "cap and scale": lambda: 4 * torch.tanh(3 * logits / 4),
            "learned": lambda: logits / self.temperature,
            "squashed": lambda: logits / (1 + logits.abs()),
            "masked": lambda: logits.index_fill(-1, torch.tensor([3]), -1e4),
            "cut": lambda: logits[..., : VOCAB - 1],
            "twice": lambda: logits + self.lm_head(self.embed(input_ids)),
        }
        return CausalLMOutput(logits=changes[self.finish]())


@pytest.mark.parametrize(
    ("finish", "path"),
    [("plain", "tap"), ("cap and scale", "tap")] + [(f, "logits") for f in ("learned", "squashed", "masked", "twice")],
)
def test_an_unknown_model_without_logits_to_keep(finish: str, path: str) -> None:
    torch.manual_seed(0)
    model = Strange(finish)
    with HeadTap(model) as tap:
        assert tap.plan.path == path, tap.plan.reason
        assert_equal_training(model, tap, Uniform())
        assert_equal_training(model, tap, ByLoss())


def test_the_reason_is_said() -> None:
    assert "reshapes" in plan_head(Strange("cut")).reason
    assert "trained parameters" in plan_head(Strange("learned")).reason
    assert "2 times" in plan_head(Strange("twice")).reason
    assert "lora" in plan_head(FAMILIES["lora on the head"][0]()).reason


def test_planning_leaves_the_model_and_the_random_state_alone() -> None:
    model = build(attention_dropout=0.5).train()
    model.model.norm.eval()
    state = torch.get_rng_state()
    plan_head(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not model.model.norm.training
    assert all(p.grad is None for p in model.parameters())


def test_a_wrong_plan_does_not_get_past_the_first_batch() -> None:
    model = build("granite", logits_scaling=4.0)
    inputs, labels = batch()
    with (
        HeadTap(model, HeadPlan("tap", "for the test")) as tap,
        pytest.raises(ModelError, match=r"own loss on a first batch is .* and ours is"),
    ):
        verify_head(model, inputs, labels, tap)


def test_virtual_tokens_are_refused() -> None:
    model = get_peft_model(build(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ModelError, match="virtual tokens"):
        plan_head(model)


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's own, where a graph breaks
@pytest.mark.parametrize("weighting", [Uniform(), ByLoss()], ids=["known", "unknown"])
def test_through_torch_compile(weighting: Weighting) -> None:
    model = build()
    inputs, labels = batch()
    with HeadTap(model) as tap:
        expected = supervised_losses(model, inputs, labels, tap, weighting)
        wanted = gradients(model, expected.loss_sum)
        result = supervised_losses(torch.compile(model, backend="eager"), inputs, labels, tap, weighting)
        found = gradients(model, result.loss_sum)
    torch.testing.assert_close(result.loss_n, expected.loss_n)
    assert all((found[name] - grad).abs().max() < 1e-5 for name, grad in wanted.items())


class Gives(Weighting):
    """Weights made by a rule of the test."""

    def __init__(self, make: Any, known_beforehand: bool) -> None:
        self.make, self.known_beforehand = make, known_beforehand

    def __call__(self, tokens: FlatTokens) -> tuple[Tensor, dict[str, float]]:
        return self.make(len(tokens)), {}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n: torch.ones(n, 1), "weights of shape"),
        (lambda n: torch.ones(1), "weights of shape"),
        (lambda n: torch.ones(n + 1), "weights of shape"),
        (lambda n: torch.linspace(-1, 1, n), "gave a weight of -1"),
    ],
)
def test_weights_of_another_shape_or_below_zero_are_refused(make: Any, said: str, known: bool) -> None:
    inputs, labels = batch()
    model = build()
    with HeadTap(model) as tap, pytest.raises(TrainingError, match=said):
        supervised_losses(model, inputs, labels, tap, Gives(make, known), scales=tap.coefficients)
