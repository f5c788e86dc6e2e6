"""The snippets of the source run as written, on small models under the names it uses.

Only the imports differ, and what the source leaves to its reader is there: models, rows, an optimizer.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from difficulty.nano_pair import WORDS, save_model

EXTRACT = """
# Cloud/Edge 모델 로드
extractor = MetaTokenExtractor(
    cloud_model_name="meta-llama/Meta-Llama-3-8B",
    edge_model_name="Qwen/Qwen2.5-1.5B",
    system_prompt="Analyze the dialogue...",
)

# 메타토큰 추출
cloud_tokens, edge_tokens = extractor.extract_meta_tokens(
    dialogue_history=["Turn 1", "Turn 2"],
    current_utterance="Current turn",
)

# 레이어별 차이 계산
layer_diffs = extractor.compute_layer_differences(
    cloud_tokens, edge_tokens, metric="l2"
)
# → {0: 0.23, 1: 0.31, ..., 31: 0.89}
"""

SCORE = """
scorer = DifficultyScorer(num_layers=32, top_k=3)

# 여러 난이도 메트릭 계산
difficulty_scores = scorer.compute_difficulty_scores(layer_diffs)
"""

CONFIGS = {
    "easy_to_hard": 'config = CurriculumConfig(strategy="easy_to_hard")',
    "layer_wise_progressive": """
config = CurriculumConfig(
    strategy="layer_wise_progressive",
    num_stages=3,
    stage_percentiles=[0.33, 0.66, 1.0],
)
""",
    "dynamic_pacing": """
config = CurriculumConfig(
    strategy="dynamic_pacing",
    loss_threshold=2.0,
    difficulty_step_up=0.05,
)
""",
    "hybrid": 'config = CurriculumConfig(strategy="hybrid")',
}

TRAIN = '''
# 난이도 레이블 로드
difficulties = MetaTokenDifferenceAnalyzer.load_difficulties(
    'curriculum/data/difficulty_labels.json'
)

# 학습 루프
for epoch in range(num_epochs):
    # 커리큘럼 DataLoader 생성
    train_loader = create_curriculum_dataloader(
        base_dataset=train_dataset,
        difficulties=difficulties,
        config=curriculum_config,
        epoch=epoch,
        current_loss=avg_loss,
        batch_size=4,
        num_layers=32,
    )
    
    # 학습
    for batch in train_loader:
        # batch['difficulty_info'] 포함
        loss = model(batch)
        loss.backward()
        optimizer.step()
'''  # fmt: skip  # noqa: W293

INTEGRATE = """
# Phase 3 학습 부분 수정
if args.use_curriculum:
    train_loader = create_curriculum_dataloader(
        base_dataset=train_dataset,
        difficulties=difficulties,  # 사전 계산된 난이도
        config=curriculum_config,
        epoch=epoch,
        current_loss=avg_loss,
        batch_size=args.batch_size,
        num_layers=model.target_num_layers,
    )
else:
    train_loader = DataLoader(train_dataset, batch_size=args.batch_size)
"""


def run(snippet: str, **known: Any) -> dict[str, Any]:
    import curricle

    names = {name: getattr(curricle, name) for name in curricle.__all__ if name in snippet} | known
    exec(compile(snippet, "the source", "exec"), names)
    return names


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where both models lie under their names: of the depths of the real ones, and tiny otherwise."""
    folder = tmp_path_factory.mktemp("source")
    small = {"intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    save_model(
        folder / "meta-llama/Meta-Llama-3-8B", "llama", 0, WORDS * 4, num_hidden_layers=32, hidden_size=24, **small
    )
    save_model(
        folder / "Qwen/Qwen2.5-1.5B", "qwen2", 1, ["xyz cat"] * 9, 290, num_hidden_layers=28, hidden_size=16, **small
    )
    return folder


def test_meta_tokens_and_scores(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names = run(EXTRACT)
    assert list(names["layer_diffs"]) == list(range(28))  # the edge model's, where the source shows the cloud's 32
    scores = run(SCORE, layer_diffs=names["layer_diffs"])["difficulty_scores"]
    assert list(scores) == ["mean", "max", "topk_mean", "weighted_mean"]
    assert scores["mean"] <= scores["topk_mean"] <= scores["max"]


def write_rows(path: Path, num: int) -> None:
    import json

    draw = np.random.default_rng(0)
    rows = [{"prompt": f"{i} " + " ".join(draw.choice(WORDS, 3 + i % 9)), "completion": "a cat."} for i in range(num)]
    path.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture(scope="module")
def labelled(place: Path) -> Path:
    """The source's labelling step: every row of a file, into JSON."""
    from curricle import MetaTokenDifferenceAnalyzer

    write_rows(place / "train.jsonl", 40)
    (place / "curriculum/data").mkdir(parents=True)
    models = [str(place / name) for name in ("meta-llama/Meta-Llama-3-8B", "Qwen/Qwen2.5-1.5B")]
    analyzer = MetaTokenDifferenceAnalyzer(*models, use_cpu=True, baselines=("length",))
    scored = analyzer.analyze_dataset(place / "train.jsonl", place / "curriculum/data/difficulty_labels.json")
    assert len(scored.labels) == 40
    return place


@pytest.mark.parametrize("strategy", CONFIGS)
def test_the_training_loop(labelled: Path, monkeypatch: pytest.MonkeyPatch, strategy: str) -> None:
    from curricle import MetaTokenDifferenceAnalyzer

    monkeypatch.chdir(labelled)
    known = MetaTokenDifferenceAnalyzer.load_difficulties("curriculum/data/difficulty_labels.json").labels
    dataset = [
        {"id": name.decode(), "x": torch.randn(3, generator=torch.Generator().manual_seed(row))}
        for row, name in enumerate(known.ids)
    ]
    weights = torch.nn.Linear(3, 1)
    seen: list[dict[str, Any]] = []

    def model(batch: dict[str, Any]) -> torch.Tensor:
        seen.append(batch)
        loss: torch.Tensor = weights(batch["x"]).square().mean()
        return loss

    config = run(CONFIGS[strategy])["config"]
    optimizer = torch.optim.SGD(weights.parameters(), lr=0.1)
    run(
        TRAIN,
        num_epochs=3,
        train_dataset=dataset,
        curriculum_config=config,
        avg_loss=1.0,
        model=model,
        optimizer=optimizer,
    )
    for batch in seen:
        info = batch["difficulty_info"]
        assert len(batch["x"]) == len(info["difficulty"]) == len(batch["id"])
        assert info["layers"].shape == (len(batch["x"]), 28)
        assert info["teaches"].shape == (len(batch["x"]), 32)
    first = seen[0]["difficulty_info"]
    if strategy in ("layer_wise_progressive", "hybrid"):
        assert first["percentile"].max() < 0.34
        assert first["teaches"].sum(1).tolist() == [11] * 4
    paced = 3 + 3 + 4  # a share of 0.25, 0.30, 0.35 of 40 rows, in batches of 4: the loss is always below 2
    batches = {"easy_to_hard": 30, "layer_wise_progressive": 4 + 7 + 10, "dynamic_pacing": paced, "hybrid": paced}
    assert len(seen) == batches[strategy]


@pytest.mark.parametrize("use_curriculum", [True, False])
def test_a_script_that_had_a_loader(labelled: Path, monkeypatch: pytest.MonkeyPatch, use_curriculum: bool) -> None:
    """`train_dialogue_lora.py`, which the source says to change here; what `...` stands for is a batch size."""
    from curricle import CurriculumConfig, MetaTokenDifferenceAnalyzer

    monkeypatch.chdir(labelled)
    names = run(
        INTEGRATE,
        DataLoader=torch.utils.data.DataLoader,
        args=SimpleNamespace(use_curriculum=use_curriculum, batch_size=5),
        model=SimpleNamespace(target_num_layers=28),
        train_dataset=[{"x": float(row)} for row in range(40)],
        difficulties=MetaTokenDifferenceAnalyzer.load_difficulties("curriculum/data/difficulty_labels.json"),
        curriculum_config=CurriculumConfig(strategy="layer_wise_progressive"),
        epoch=0,
        avg_loss=None,
    )
    batches = list(names["train_loader"])
    assert sum(len(batch["x"]) for batch in batches) == (14 if use_curriculum else 40)
    assert all(("difficulty_info" in batch) == use_curriculum for batch in batches)
    if use_curriculum:
        assert batches[0]["difficulty_info"]["teaches"].sum(1).tolist() == [10] * 5  # ceil(28 / 3)
