"""hits@k against every candidate read alone with all logits; the draw of candidates; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curricle.data.prepare.personachat import prepare_personachat
from curricle.data.readers import read_rows
from curricle.data.rows import Rows
from curricle.data.table import TokenTable
from curricle.errors import DataError, RecipeError
from curricle.evaluation import ranking
from curricle.evaluation.answers import last_answers
from curricle.evaluation.ranking import Choice, candidate_scores, distractors, hits, rank
from stories import load_model, load_tokenizer
from support import VOCAB, model, table


def slow(net: Any, prompt: list[int], candidate: list[int], by: str = "mean") -> float:
    tokens = prompt + candidate
    with torch.no_grad():
        logits = net(input_ids=torch.tensor([tokens])).logits[0].double()
    found = [torch.log_softmax(logits[t - 1], -1)[tokens[t]].item() for t in range(len(prompt), len(tokens))]
    return sum(found) / (len(found) if by == "mean" else 1)


def choices(num: int = 4, candidates: int = 5, longest: int = 9) -> list[Choice]:
    rng = np.random.default_rng(0)
    lengths = [1, 2, 17, *rng.integers(3, 12, max(0, num - 3))][:num]
    return [
        Choice(
            rng.integers(4, VOCAB, length).tolist(),
            [rng.integers(4, VOCAB, rng.integers(1, longest)).tolist() for _ in range(candidates)],
        )
        for length in lengths
    ]


WINDOWED = {"sliding_window": 4}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1, **WINDOWED},
    "gemma2": {"attn_logit_softcapping": 0.05, "head_dim": 8, "query_pre_attn_scalar": 8, **WINDOWED},
    "gpt2": {},
}


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("by", ["mean", "sum"])
def test_a_prompt_read_once_gives_what_each_candidate_alone_gives(
    kind: str, by: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    net = model(kind, **FAMILIES[kind]).eval()
    asked = choices()
    found = candidate_scores(net, asked, Rows(64), by)
    for choice, scores in zip(asked, found, strict=True):
        assert scores == pytest.approx([slow(net, choice.prompt, one, by) for one in choice.candidates], rel=1e-4)
    assert capsys.readouterr().err == ""  # no word that prompts could not be shared


def test_ranks_share_the_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process group nothing is summed, so each rank shows what it has computed itself."""
    net, asked = model().eval(), choices(7)
    whole = np.concatenate(candidate_scores(net, asked, Rows(64)))
    monkeypatch.setattr(ranking, "_shares_prompts", lambda *_: True)
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        shares.append(np.concatenate(candidate_scores(net, asked, Rows(64))))
    assert sum(shares) == pytest.approx(whole, rel=1e-5)


def test_a_memory_that_is_no_list_of_keys_is_not_shared(capsys: pytest.CaptureFixture[str]) -> None:
    net = model("mamba", "eager", num_hidden_layers=2, state_size=4).eval()
    asked = choices(3)
    found = candidate_scores(net, asked, Rows(64, packing="none"))
    for choice, scores in zip(asked, found, strict=True):
        assert scores == pytest.approx([slow(net, choice.prompt, one) for one in choice.candidates], rel=1e-4)
    assert "each is read with its own" in capsys.readouterr().err


def test_prompts_are_read_with_each_candidate_where_sharing_gives_other_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net, asked = model().eval(), choices()
    expected = candidate_scores(net, asked, Rows(64))
    shared = ranking._after_prompt
    monkeypatch.setattr(ranking, "_after_prompt", lambda *args: shared(*args) - 0.1)
    monkeypatch.setattr(ranking, "SLICE", 2)
    found = candidate_scores(net, asked, Rows(64))
    assert "each is read with its own" in capsys.readouterr().err
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_the_hits_of_a_table() -> None:
    net, examples = model().eval(), table(30)
    pairs = last_answers(examples)
    drawn = distractors(pairs, range(30), examples.ids, 7, seed=0)
    places = []
    for i, (prompt, target) in enumerate(pairs):
        own = slow(net, prompt, target)
        places.append(1 + sum(slow(net, prompt, one) >= own for one in drawn[i]))
    scores = hits(net, examples, Rows(64), candidates=8, k=[1, 3])
    for score, k in zip(scores, [1, 3], strict=True):
        assert score.name == f"hits@{k}"
        assert score.per_example.tolist() == [100.0 * (place <= k) for place in places]
        assert score.value == pytest.approx(np.mean(score.per_example))
    assert "8 candidates: the true answer and other rows' answers" in scores[0].note


def test_a_model_that_has_learned_the_answers_hits_them() -> None:
    torch.set_num_threads(1)
    net, rng = model(), np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(4, VOCAB, (24, 8)))
    labels = tokens.clone()
    labels[:, :4] = -100
    examples = TokenTable.from_lists(tokens.tolist(), labels.tolist())
    [before] = hits(net, examples, Rows(64), candidates=20)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(40):
        net(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    [after] = hits(net, examples, Rows(64), candidates=20)
    assert before.value < 30
    assert after.value == 100


def test_rows_without_a_prompt_weigh_nothing() -> None:
    examples = TokenTable.from_lists(
        [[5, 6, 7], [8, 9, 10, 11], [12, 13, 14]], [[-100, -100, 7], [-100] * 4, [-100, 13, 14]]
    )
    net = model().eval()
    [score] = hits(net, examples, Rows(16), candidates=2)
    assert score.weights.tolist() == [1.0, 0.0, 1.0]
    assert score.value == pytest.approx(np.average(score.per_example, weights=score.weights))
    nothing = TokenTable.from_lists([[5, 6], [7, 8]], [[-100, 6], [-100, -100]])
    with pytest.raises(DataError, match=r"needs as many different answers, and `data.eval` has 1"):
        hits(net, nothing, Rows(16), candidates=3)


def test_candidates_given_with_the_rows() -> None:
    examples, net = table(3), model().eval()
    given = [[[5, 6], [7]], [[8], [9, 10, 11]], [[12], [13]]]
    [score] = hits(net, examples, Rows(64), candidates=3, given=given)
    for i in range(3):
        prompt, target = last_answers(examples)[i]
        best = max(slow(net, prompt, one) for one in given[i])
        assert score.per_example[i] == 100.0 * (slow(net, prompt, target) > best)
    assert "given with the row" in score.note


# ---- the draw -------------------------------------------------------------------------------------------------------


def pairs_of(targets: list[list[int]]) -> list[tuple[list[int], list[int]]]:
    return [([1, 2], target) for target in targets]


def test_the_draw_depends_on_the_rows_id_and_not_on_its_place() -> None:
    targets = [[10 + i, 3] for i in range(40)]
    ids = [f"{i:016x}" for i in range(40)]
    drawn = distractors(pairs_of(targets), range(40), ids, 19, seed=0)
    back = distractors(pairs_of(targets[::-1]), range(40), ids[::-1], 19, seed=0)
    assert [drawn[i] for i in range(40)] == [back[39 - i] for i in range(40)]
    other = distractors(pairs_of(targets), range(40), ids, 19, seed=1)
    assert drawn != other
    assert [one[0] for one in drawn[0][:5]] == [26, 24, 32, 46, 38]  # the same on every machine, for good


def test_candidates_are_different_and_never_the_true_answer() -> None:
    tokenizer = _Words()
    targets = [[10 + i % 25, 3] for i in range(50)] + [[10, 10 + i, 3] for i in range(5)]
    drawn = distractors(pairs_of(targets), range(55), [f"{i}" for i in range(55)], 19, 0, tokenizer)
    for i, target in enumerate(targets):
        texts = tokenizer.batch_decode(drawn[i])
        assert len(set(texts)) == 19
        assert tokenizer.batch_decode([target])[0] not in texts


class _Words:
    """A tokenizer for which 3 is nothing, and 10 is white space."""

    def batch_decode(self, many: list[list[int]], skip_special_tokens: bool = True) -> list[str]:
        return ["".join(" " if token == 10 else f"{token}" for token in ids if token != 3).strip() for ids in many]


def test_too_few_answers() -> None:
    with pytest.raises(
        DataError, match=r"hits of 20 candidates needs as many different answers, and `data.eval` has 12"
    ):
        hits(model(), table(12), Rows(64))


def test_a_place_that_is_always_met() -> None:
    with pytest.raises(RecipeError, match="hits@5 of 5 candidates is always met"):
        hits(model(), table(12), Rows(64), candidates=5, k=[1, 5])


@pytest.mark.parametrize(
    ("scores", "place"),
    [([-1.0, -2.0, -3.0], 1), ([-2.0, -1.0, -3.0], 2), ([-1.0, -1.0, -3.0], 2), ([float("nan"), -1.0, -2.0], 3)],
)
def test_places(scores: list[float], place: int) -> None:
    assert rank(np.array(scores)) == place


def test_a_prompt_too_long_for_the_model_loses_its_beginning_for_all_candidates_alike() -> None:
    net = model("gpt2", max_position_embeddings=12).eval()
    examples = TokenTable.from_lists(
        [[*range(10, 20), 30, 31], [40, 41, 42, 43], [50, 51, 52]],
        [[-100] * 10 + [30, 31], [-100, 41, 42, 43], [-100, -100, 52]],
    )
    [score] = hits(net, examples, Rows(64), candidates=3)
    assert "the beginning of 1 prompts cut to fit" in score.note
    prompt = list(range(11, 20))  # 12 positions less the longest candidate's 3
    others = [slow(net, prompt, one) for one in ([41, 42, 43], [52])]
    assert score.per_example[0] == 100.0 * (slow(net, prompt, [30, 31]) > max(others))


def test_real_dialogues(shared_data: Path, tmp_path: Path) -> None:
    """PersonaChat's own last turns, by a model of stories: the figure is that of the slow way, over all rows."""
    net, tokenizer = load_model(shared_data), load_tokenizer(shared_data)
    prepared = prepare_personachat(shared_data / "personachat", tmp_path / "data")
    file = sorted(Path(tmp_path / "data").glob("*.jsonl"))[0]
    rows, labels = [], []
    for row in list(read_rows(file))[:24]:
        *before, answer = (message["content"] for message in row.value["messages"])
        prompt = tokenizer("\n".join(before)).input_ids[:1] + tokenizer("\n".join(before)).input_ids[-60:]
        target = tokenizer(answer, add_special_tokens=False).input_ids[:40]
        rows.append(prompt + target)
        labels.append([-100] * len(prompt) + target)
    examples = TokenTable.from_lists(rows, labels)
    [score] = hits(net, examples, Rows(512), tokenizer=tokenizer)
    pairs = last_answers(examples)
    drawn = distractors(pairs, range(24), examples.ids, 19, 0, tokenizer)
    for i in range(3):
        prompt, target = pairs[i]
        own = slow(net, prompt, target)
        assert score.per_example[i] == 100.0 * all(slow(net, prompt, one) < own for one in drawn[i])
    assert prepared
    assert (score.weights == 1).all()
