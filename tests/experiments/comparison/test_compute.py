"""What training costs, against products counted by hand and by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curricle.experiments.comparison.build import build_comparison
from curricle.experiments.comparison.compute import arm_compute, experts_of, of_experts, train_flops, unequal
from curricle.experiments.comparison.facts import read_arm
from experiments.comparison.runs import SIZE, write_logs, write_run


def results(**changes: Any) -> dict[str, Any]:
    data = {"train": {"examples": 10, "tokens": 50}}
    return {"tokens": 100, "supervised_tokens": 40, "model": SIZE, "data": data, **changes}


def test_full_training_by_hand() -> None:
    """800 weights in the body at 6 a token; a head of 8 x 25 at 6 an answer token; attention over 5 tokens."""
    assert train_flops(results()) == 100 * 6 * 800 + 40 * 6 * 200 + 100 * 6 * 2 * 8 * 5


def test_attention_is_over_the_document_of_each_token() -> None:
    """Documents of 1 and 9 tokens: of 10 tokens one lies in the first and nine in the second, so 8.2 on average."""
    known = {"train": {"examples": 2, "tokens": 10, "squared_lengths": 1 + 81}}
    older = {"train": {"examples": 2, "tokens": 10}}
    by_length = [train_flops(results(data=data)) for data in (known, older)]
    assert by_length[0] == pytest.approx(100 * 6 * 800 + 40 * 6 * 200 + (1 * 1 + 9 * 9) * 10 * 6 * 2 * 8)
    assert by_length[1] == pytest.approx(100 * 6 * 800 + 40 * 6 * 200 + 100 * 5 * 6 * 2 * 8)


def test_a_runs_books_keep_the_squares_of_lengths() -> None:
    from curricle.experiments.one import about_rows
    from support import table

    rows = table(5)
    about = about_rows(rows)
    assert about is not None
    assert about["squared_lengths"] == sum(len(rows.example(i)[0]) ** 2 for i in range(5))


def test_frozen_weights_need_no_gradient_of_their_own() -> None:
    lora = {**SIZE, "num_parameters": 1100, "num_trainable": 100}
    body = 100 * (4 * 900 + 2 * 100)
    assert train_flops(results(model=lora)) == body + 40 * 4 * 200 + 100 * 6 * 2 * 8 * 5


def test_an_output_head_that_learns_in_a_model_that_does_not_as_a_whole() -> None:
    part = {**SIZE, "num_trainable": 500, "num_trainable_body": 300, "head_learns": True}
    assert train_flops(results(model=part)) == 100 * (4 * 800 + 2 * 300) + 40 * 6 * 200 + 100 * 6 * 2 * 8 * 5


def test_each_head_that_runs_is_charged() -> None:
    """Of 800 weights in the body, 100 are those of two extra heads with a layer each."""
    running = {**SIZE, "num_heads": 3, "num_idle": 0}
    alone = {**SIZE, "num_trainable": 900, "num_trainable_body": 700, "num_heads": 1, "num_idle": 100}
    alone["head_learns"] = True
    assert train_flops(results(model=running)) == 100 * 6 * 800 + 3 * 40 * 6 * 200 + 100 * 6 * 4 * 8 * 5
    assert train_flops(results(model=alone)) == 100 * 6 * 700 + 40 * 6 * 200 + 100 * 6 * 2 * 8 * 5


def test_a_critic_alone_goes_backward_where_it_moves_something() -> None:
    """A value head of 17 weights; the losses of the tokens are looked at only."""
    frozen = {**SIZE, "num_trainable": 17, "num_trainable_body": 17, "head_learns": False, "backward_from": "nowhere"}
    moved = {**SIZE, "num_trainable": 800, "num_trainable_body": 800, "head_learns": False, "backward_from": "trunk"}
    assert train_flops(results(model=frozen)) == 100 * (2 * 800 + 2 * 17) + 40 * 2 * 200 + 100 * 2 * 2 * 8 * 5
    assert train_flops(results(model=moved)) == 100 * 6 * 800 + 40 * 2 * 200 + 100 * 6 * 2 * 8 * 5


def test_what_is_not_known_is_not_guessed() -> None:
    assert train_flops(results(model=None)) is None
    assert train_flops(results(model=None, tokens=0)) == 0.0
    assert train_flops({}) == 0.0


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("adapter", [False, True])
def test_as_torch_counts_a_step(kind: str, adapter: bool) -> None:
    """One document, every token an answer. Torch counts matrix products only, and all of attention, ahead too."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from curricle.experiments.one import model_size
    from support import lora, model

    tokens, hidden, layers = 48, 64, 4
    net = model(kind, attn="eager", hidden_size=hidden, intermediate_size=128, num_hidden_layers=layers)
    if adapter:
        net = lora(net)
    batch = torch.randint(4, 90, (1, tokens))
    with FlopCounterMode(display=False) as counter:
        net(input_ids=batch, labels=batch).loss.backward()
    size = model_size(net)
    ours = train_flops(
        {
            "tokens": tokens,
            "supervised_tokens": tokens,
            "model": size,
            "data": {"train": {"examples": 1, "tokens": tokens}},
        }
    )
    ahead = 6 * layers * hidden * tokens * tokens  # the half of attention that we do not count
    assert ours is not None
    assert ours + ahead == pytest.approx(counter.get_total_flops(), rel=0.03)


def counted(net: Any, run: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    net.eval()  # in training the extra heads compute their layers again in backward, which is not counted
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
def test_several_heads_as_torch_counts_them(kind: str) -> None:
    import torch

    from curricle.experiments.one import model_size
    from support import mtp

    tokens, hidden = 48, 64
    net = mtp(3, kind, hidden_size=hidden, intermediate_size=128, num_hidden_layers=4)
    net.config.family._attn_implementation = "eager"
    batch = torch.randint(4, 90, (1, tokens))
    total = counted(net, lambda: net(input_ids=batch, all_heads=True).logits.logsumexp(-1).sum().backward())
    size = model_size(net)
    assert size["num_heads"] == 3
    book = {"tokens": tokens, "supervised_tokens": tokens, "model": size}
    ours = train_flops(book | {"data": {"train": {"examples": 1, "tokens": tokens}}})
    ahead = 6 * (size["num_layers"] + 2) * hidden * tokens * tokens
    assert ours is not None
    assert ours + ahead == pytest.approx(total, rel=0.03)


def test_a_frozen_trunk_as_torch_counts_it() -> None:
    import torch

    from curricle.experiments.one import model_size
    from support import model

    tokens, hidden, layers = 48, 64, 4
    net = model("llama", attn="eager", hidden_size=hidden, intermediate_size=128, num_hidden_layers=layers)
    net.requires_grad_(False)
    batch = torch.randint(4, 90, (1, tokens))
    total = counted(net, lambda: net(input_ids=batch))
    book = {"tokens": tokens, "supervised_tokens": tokens, "model": model_size(net) | {"backward_from": "nowhere"}}
    ours = train_flops(book | {"data": {"train": {"examples": 1, "tokens": tokens}}})
    assert ours is not None
    assert ours + 2 * layers * hidden * tokens * tokens == pytest.approx(total, rel=0.03)


def test_means_over_seeds(tmp_path: Path) -> None:
    for seed, tokens in enumerate((3000, 5000)):
        write_run(tmp_path / "a" / f"seed-{seed}", tokens=tokens, label_flops=1e6 * (seed + 1))
        write_logs(tmp_path / "a" / f"seed-{seed}")
    found = arm_compute(read_arm(tmp_path / "a"))
    assert (found.steps, found.tokens, found.label_flops) == (4, 4000, 1.5e6)
    assert found.tokens_per_second == pytest.approx(500)  # 8 seconds of steps, whatever the run took in all
    assert found.train_flops == pytest.approx(4000 * 6 * 800 + 1000 * 6 * 200 + 4000 * 6 * 2 * 8 * 10)


def test_unequal_compute_is_said(tmp_path: Path) -> None:
    for name, tokens, steps in (("base", 4000, 4), ("near", 4030, 4), ("more", 4400, 4), ("longer", 4000, 5)):
        write_run(tmp_path / name / "seed-0", tokens=tokens, steps=steps)
    write_run(tmp_path / "untouched" / "seed-0", tokens=0, steps=0)
    compute = [arm_compute(read_arm(tmp_path / name)) for name in ("base", "near", "more", "longer", "untouched")]
    lines = unequal(compute, "base")
    assert len(lines) == 2
    assert lines[0].startswith("more was trained on 4,400 tokens and base on 4,000 (+10%)")
    assert lines[1] == "longer took 5 steps and base 4 (+25%)"


def test_experts_are_spoken_of_together(tmp_path: Path) -> None:
    every = [{"path": f"{name}.jsonl"} for name in ("drama", "korean", "web")]
    tokens = {"joint": 4000, "drama": 720, "korean": 800, "web": 840, "longer": 8000, "merged": 0}
    settings: dict[str, Any] = {name: {"data": {"train": every}} for name in ("joint", "longer", "merged")}
    settings |= {name: {"data": {"train": [{"path": f"{name}.jsonl"}]}} for name in ("drama", "korean", "web")}
    settings["merged"]["merge"] = {"arms": ["drama", "korean", "web"]}
    for name, num in tokens.items():
        write_run(tmp_path / name / "seed-0", tokens=num, settings=settings[name], metrics={"loss": 1.0})
    by_name = {name: read_arm(tmp_path / name, f"old/{name}") for name in tokens}
    arms = list(by_name.values())
    assert build_comparison("dem", tmp_path, arms).warnings == [
        "old/drama, old/korean and old/web are experts: each was trained on its own domain, on 18 to 21 % of "
        "old/joint's tokens",
        "old/longer was trained on 8,000 tokens and old/joint on 4,000 (+100%): what differs may be due to that",
    ]
    one = of_experts([by_name["drama"]], by_name["joint"])
    assert one == ["old/drama is an expert: it was trained on its own domain, on 18 % of old/joint's tokens"]
    same = of_experts([by_name["longer"]], by_name["joint"])  # merges may be of other arms than experts of domains
    assert same == ["old/longer is an expert: it was trained on 200 % of old/joint's tokens"]
    assert of_experts([by_name["joint"]], by_name["joint"]) == []
    assert [arm.name for arm in experts_of(arms, by_name["drama"])] == ["old/korean", "old/web"]
