"""Training a multi-token model: every head over its own count, whatever the micro batches; what is logged of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers import Trainer as Plain

from curricle.data.rows import Rows
from curricle.errors import RecipeError
from curricle.models.attention import PACKED
from curricle.models.head import HeadTap, verify_head
from curricle.models.mtp.making import plain_state
from curricle.runtime.logs import JsonLog
from curricle.training.heads import factor_at
from curricle.training.heldout import heldout_metrics
from curricle.training.hf import Trainer
from curricle.weighting import WeightingConfig, build_weighting
from support import VOCAB, arguments, lora, mtp, table

ROWS = Rows(max_length=64, lookahead=8)
HEADS = 3


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer(folder: Path, net: Any = None, rows: Rows = ROWS, **changes: Any) -> Any:
    dials = changes.pop("dials", {})
    args = arguments(folder, **{"max_grad_norm": 0.0, "lr_scheduler_type": "constant", "optim": "sgd", **changes})
    return Trainer(net or mtp(HEADS), args, train_dataset=short(), rows=rows, **dials)


def short() -> Any:
    """Documents of which some are too short for a later head."""
    return table(low=2, high=14)


def log(folder: Path, name: str = "metrics") -> list[dict[str, Any]]:
    return list(JsonLog(folder / f"{name}.jsonl").rows())


def losses_by_document(net: Any, data: Any, examples: list[int]) -> list[tuple[torch.Tensor, int]]:
    """Sum and count of each head's losses, one document after the other, from full logits."""
    found = [(torch.zeros(()), 0) for _ in range(net.config.num_future_tokens)]
    for i in examples:
        tokens, supervised = (torch.from_numpy(np.array(part)).long() for part in data.example(i))
        logits = net(tokens[None], all_heads=True).logits[0]
        for h in range(1, len(found) + 1):
            at = torch.tensor([place for place in range(h, len(tokens)) if supervised[place]], dtype=torch.long)
            loss = cross_entropy(logits[at - h, h - 1], tokens[at], reduction="sum")
            found[h - 1] = found[h - 1][0] + loss, found[h - 1][1] + len(at)
    return found


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
@pytest.mark.parametrize("packing", ["ordered", "none"])
def test_a_step_goes_down_every_heads_mean_over_the_whole_step(tmp_path: Path, packing: Any, kind: str) -> None:
    """Two micro batches against a bare loop over single documents and full logits."""
    data, net, reference = short(), mtp(HEADS, kind), mtp(HEADS, kind)
    trainer(tmp_path, net, Rows(64, packing, lookahead=8), gradient_accumulation_steps=2, max_steps=3).train()
    optimizer = torch.optim.SGD(reference.parameters(), lr=1e-2)
    for step, row in zip(log(tmp_path, "consumed"), log(tmp_path), strict=True):
        heads = losses_by_document(reference, data, [i for each in step["rows"] for i in each])
        coefficients = reference.config.coefficients
        loss = sum(c * total / count for c, (total, count) in zip(coefficients, heads, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logged = [row["loss"], *(row[f"loss_head_{h}"] for h in range(2, HEADS + 1))]
        assert logged == pytest.approx([total.item() / count for total, count in heads], rel=1e-5)
        assert heads[0][1] > heads[1][1] > heads[2][1]
        assert row["step_supervised_tokens"] == heads[0][1]
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)


def test_accumulation_and_batch_size_are_the_same_run(tmp_path: Path) -> None:
    for name, batch, accumulation in (("a", 4, 1), ("b", 1, 4)):
        trainer(
            tmp_path / name, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, max_steps=3
        ).train()
    for one, other in zip(log(tmp_path / "a"), log(tmp_path / "b"), strict=True):
        for name in ("loss", "loss_head_2", "loss_head_3", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_one_head_trains_as_the_plain_model_does_to_the_bit(tmp_path: Path) -> None:
    one = mtp(1)
    plain = AutoModelForCausalLM.from_config(one.config.text_config, attn_implementation=PACKED)
    plain.load_state_dict(one.state_dict())
    settings: dict[str, Any] = {"optim": "adamw_torch", "gradient_accumulation_steps": 2}
    trainer(tmp_path / "one", one, **settings).train()
    trainer(tmp_path / "plain", plain, **settings).train()
    assert all(torch.equal(one.state_dict()[name], value) for name, value in plain.state_dict().items())
    assert [(r["loss"], r["grad_norm"]) for r in log(tmp_path / "one")] == [
        (r["loss"], r["grad_norm"]) for r in log(tmp_path / "plain")
    ]


def test_only_the_factors_of_an_adapter_move(tmp_path: Path) -> None:
    net = lora(mtp(HEADS))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trainer(tmp_path, net, optim="adamw_torch").train()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    assert any("extra_heads" in name for name in moved)


def test_a_resumed_run_is_the_unbroken_run(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch"}
    whole = trainer(tmp_path / "whole", mtp(HEADS, attention_dropout=0.1), **settings)
    whole.train()
    second = trainer(tmp_path / "whole", mtp(HEADS, seed=1, attention_dropout=0.1), **settings)
    second.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert all(torch.equal(whole.model.state_dict()[n], v) for n, v in second.model.state_dict().items())


def test_held_out_losses_of_every_head_do_not_depend_on_the_batches() -> None:
    net, data = mtp(HEADS), short()
    expected = [total.item() / count for total, count in losses_by_document(net, data, list(range(len(data))))]
    with HeadTap(net) as tap:
        for rows, size in ((ROWS, 1), (ROWS, 3), (Rows(64, "none"), 4)):
            found = heldout_metrics(net, data, rows, tap, size)
            assert [found["loss"], found["loss_head_2"], found["loss_head_3"]] == pytest.approx(expected, rel=1e-5)
        lone = table(3, low=2, high=3)
        assert "loss_head_2" not in heldout_metrics(net, lone, ROWS, tap, 1)  # nothing was there to be learned


def test_rows_of_the_host_teach_every_head(tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [dict(zip(("input_ids", "labels"), (x.tolist() for x in pair), strict=True)) for pair in pairs()]
    net = mtp(HEADS)
    before = {name: value.clone() for name, value in net.extra_heads.state_dict().items()}
    run = Trainer(net, arguments(tmp_path, eval_strategy="no"), train_dataset=Dataset.from_list(rows))
    run.train()
    assert not run.our_rows
    assert all(not torch.equal(value, before[name]) for name, value in net.extra_heads.state_dict().items())
    plain = Plain(net, arguments(tmp_path), eval_dataset=Dataset.from_list(rows)).evaluate()
    assert run.evaluate(Dataset.from_list(rows))["eval_loss"] == pytest.approx(plain["eval_loss"], rel=1e-6)


def pairs() -> list[tuple[torch.Tensor, torch.Tensor]]:
    make = torch.Generator().manual_seed(2)
    ids = torch.randint(4, VOCAB, (8, 9), generator=make)
    return [(row, row.masked_fill(torch.arange(9) < 3, -100)) for row in ids]


def test_a_loss_of_the_hosts_own_does_not_go_with_several_heads(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="several heads"):
        Trainer(mtp(HEADS), arguments(tmp_path, label_smoothing_factor=0.1), train_dataset=[{"input_ids": [1, 2]}])


def test_sequential_heads_share_lambda() -> None:
    net, labels = mtp(HEADS, "sequential"), torch.arange(4, 16)[None]
    with HeadTap(net) as tap:
        verify_head(net, {"input_ids": labels}, labels, tap)
        assert tap.coefficients == pytest.approx([1.0, 0.15, 0.15])


def test_head_1_may_learn_alone(tmp_path: Path) -> None:
    """Next-token fine-tuning of a multi-token model: its plain model's run, with the other heads kept as they are."""
    net = mtp(HEADS)
    settings: dict[str, Any] = {"optim": "adamw_torch", "gradient_accumulation_steps": 2}
    plain = AutoModelForCausalLM.from_config(net.config.text_config, attn_implementation=PACKED)
    plain.load_state_dict(plain_state(net))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run = trainer(tmp_path / "one", net, dials={"weighting": weighting(0)}, **settings)
    run.train()
    trainer(tmp_path / "plain", plain, **settings).train()
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in plain.state_dict().items())
    assert all(torch.equal(after[name], before[name]) for name in after if "extra_heads" in name)
    assert "loss_head_2" not in log(tmp_path / "one")[0]
    held_out = heldout_metrics(net, short(), ROWS, run.tap, 1)
    assert {"loss_head_2", "loss_head_3"} <= held_out.keys()  # how they fall behind is still measured


def test_what_later_heads_count_changes_on_the_way(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_steps": 4, "per_device_train_batch_size": 1}
    halved = trainer(tmp_path / "half", dials={"weighting": weighting([(0, 1.0), (0.5, 0.5)])}, **settings)
    halved.train()
    trainer(tmp_path / "whole", **settings).train()
    half, whole = ([row["grad_norm"] for row in log(tmp_path / name)] for name in ("half", "whole"))
    assert half[:2] == whole[:2]
    assert half[2] < whole[2]
    assert [factor_at(halved.heads.later, step / 4) for step in range(4)] == [1.0, 1.0, 0.5, 0.5]


def weighting(later_heads: Any) -> Any:
    return build_weighting(WeightingConfig(later_heads=later_heads))


@pytest.mark.parametrize("shares", [[], [(0.5, 1.0)], [(0, 1.0), (0, 0.5)], [(0, 1.0), (0.7, 0.5), (0.6, 0.1)]])
def test_shares_of_the_run_begin_at_0_and_grow(shares: Any) -> None:
    with pytest.raises(ValueError, match="begin at 0"):
        WeightingConfig(later_heads=shares)
