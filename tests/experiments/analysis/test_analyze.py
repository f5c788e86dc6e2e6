"""An analysis whole: what it finds in labels whose truth is known, what it writes, and what it refuses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import curricle
from curricle.curriculum.labels import read_labels, write_labels
from curricle.errors import DataError, RecipeError, RunError
from curricle.experiments.analysis.describe import SHOWN
from curricle.experiments.analysis.shape import Analysis
from experiments.analysis.made_labels import NUM, made_columns, write_made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_made(folder)
    return folder


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Analysis:
    return curricle.analyze(folder / "labels.parquet", against=folder / "probe.parquet", output=folder / "out")


def test_layers(analysis: Analysis) -> None:
    _, layers_nl, target = made_columns()
    [layers] = analysis.layers
    assert layers.most == [2, 3, 1]
    for layer, values in zip(layers.layers, layers_nl.astype(np.float32).T, strict=True):
        assert layer.raw.mean == pytest.approx(values.mean(), rel=1e-5)
        assert layer.raw.quantiles["0.95"] == pytest.approx(np.quantile(values, 0.95), rel=1e-5)
        assert layer.standardised.mean == pytest.approx(0, abs=1e-6)
        assert layer.standardised.sd == pytest.approx(1)
        assert layer.rho.mean == pytest.approx(stats.spearmanr(values, target).statistic, abs=1e-6)
    assert sum(layer.largest_in for layer in layers.layers) == pytest.approx(1)


def test_columns_and_agreement(analysis: Analysis) -> None:
    scores, _, target = made_columns()
    kinds = {column.name: column.kind for column in analysis.columns}
    baselines = dict.fromkeys(("length", "loss", "quality"), "baseline")
    assert kinds == {"mean": "meta token", "max": "meta token", **baselines}
    for column in analysis.columns:
        assert sum(column.counts) == NUM == column.spread.num
        assert column.spread.skew == pytest.approx(stats.skew(scores[column.name]), abs=1e-4)
    assert analysis.agreement.names == [*scores, "probe"]
    expected = stats.spearmanr(np.stack([*scores.values(), target], axis=1)).statistic
    np.testing.assert_allclose(np.array(analysis.agreement.rho), expected, atol=1e-6)


def test_the_ends_are_readable(analysis: Analysis) -> None:
    values = made_columns()[0]["mean"]
    ends = analysis.extremes
    assert (ends.by, len(ends.hardest), len(ends.easiest)) == ("mean", SHOWN, SHOWN)
    for samples, order in ((ends.hardest, np.argsort(-values)), (ends.easiest, np.argsort(values))):
        for sample, row in zip(samples, order[:SHOWN], strict=True):
            assert sample.text == [("prompt", f"question {row} <b>"), ("completion", f"answer {row}")]
            assert sample.scores["mean"] == pytest.approx(values[row], rel=1e-5)
            assert "probe" in sample.scores


def test_against_real_difficulty(analysis: Analysis) -> None:
    scores, _, target = made_columns()
    found = {column.column: column for column in analysis.foresight.columns}
    assert next(iter(found)) == "loss"
    strengths = [abs(column.rho.mean) for column in analysis.foresight.columns]
    assert strengths == sorted(strengths, reverse=True)
    for name, column in found.items():
        assert column.rho.mean == pytest.approx(stats.spearmanr(scores[name], target).statistic, abs=1e-6)
        right = (scores[name] > np.median(scores[name])) == (target > np.median(target))
        assert column.accuracy.mean == pytest.approx(right.mean())
    assert found["length"].partial is None
    assert set(found["length"].lines) == {"r > 0.5", "accuracy > 70%"}
    assert set(found["loss"].lines.values()) == {"met"}
    assert set(found["quality"].lines.values()) == {"not met"}  # as it is, not turned
    assert found["quality"].auc.high < 0.5
    assert "falls where `probe` grows: quality" in str(analysis)


def test_the_best_score_with_the_best_baseline(analysis: Analysis) -> None:
    [pair] = analysis.foresight.paired
    assert (pair.column, pair.baseline, pair.verdict) == ("mean", "loss", "worse")
    assert pair.difference.high < 0


def test_several_metrics_stand_in_one_table(tmp_path: Path) -> None:
    paths = [write_made(tmp_path, f"{name}.parquet") for name in ("l2", "kl")]
    other = made_columns(seed=5)
    write_labels(paths[1], read_labels(paths[0]).ids, {**other[0], "length": made_columns()[0]["length"]}, other[1])
    found = curricle.analyze(paths, against=tmp_path / "probe.parquet")
    assert next(each.column for each in found.foresight.columns if each.kind == "meta token") == "l2.mean"
    assert {"l2.loss", "kl.loss", "length"} < set(found.agreement.names)
    assert [layers.file for layers in found.layers] == ["l2", "kl"]
    assert {pair.column for pair in found.foresight.paired} == {"l2.mean", "kl.mean"}
    assert found.foresight.length == "length"


def test_labels_alone(folder: Path) -> None:
    found = curricle.analyze(folder / "labels.parquet")
    assert found.foresight is None
    assert found.report is None
    assert "--against names a file that has it" in str(found)
    with pytest.raises(RecipeError, match="--target hardness: the labels have no such column"):
        curricle.analyze(folder / "labels.parquet", target="hardness")
    assert curricle.analyze(folder / "labels.parquet", target="loss").foresight.target == "loss"


def test_unknown_and_constant_columns_are_said(tmp_path: Path) -> None:
    gaps = np.where(np.arange(NUM) % 4 == 0, np.nan, np.arange(NUM, dtype=float))
    more = {"ifd": gaps, "mtld": np.full(NUM, np.nan), "compression": np.ones(NUM)}
    labels, probe = write_made(tmp_path, **more), tmp_path / "probe.parquet"
    found = curricle.analyze(labels, against=probe, output=tmp_path / "out")
    foreseen = {column.column: column for column in found.foresight.columns}
    assert (foreseen["ifd"].num, foreseen["mtld"].num, foreseen["mtld"].rho) == (NUM * 3 // 4, 0, None)
    assert foreseen["compression"].rho is None
    assert "the same for all examples, or unknown: mtld, compression" in str(found)
    assert "no example has a value" in found.report.read_text(encoding="utf-8")
    tree = json.loads((tmp_path / "out" / "analysis.json").read_text(encoding="utf-8"))
    assert next(column for column in tree["columns"] if column["name"] == "mtld")["spread"]["mean"] is None


def test_examples_with_an_unknown_layer_are_left_out_of_the_layers(tmp_path: Path) -> None:
    read = read_labels(write_made(tmp_path))
    layers = read.layers.copy()
    layers[:50, 1] = np.nan
    write_labels(tmp_path / "gaps.parquet", read.ids, read.columns, layers)
    [found] = curricle.analyze(tmp_path / "gaps.parquet").layers
    assert [layer.raw.num for layer in found.layers] == [NUM - 50] * 3
    write_labels(tmp_path / "none.parquet", read.ids, read.columns, np.full_like(layers, np.nan))
    assert curricle.analyze(tmp_path / "none.parquet").layers == []


def test_where_many_are_alike_chance_is_no_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ids = [f"{i:016x}" for i in range(NUM)]
    rare, target = (rng.permutation(NUM) < NUM // 10 for _ in range(2))  # 9 of 10 alike in both, and they are strangers
    columns = {"mean": rare * (1.0 + np.arange(NUM)), "loss": rng.normal(size=NUM), "probe": target * 2.0 + 1}
    write_labels(tmp_path / "tied.parquet", ids, columns)
    found = curricle.analyze(tmp_path / "tied.parquet", output=tmp_path / "out")
    mean, loss = (next(each for each in found.foresight.columns if each.column == name) for name in ("mean", "loss"))
    assert mean.chance == pytest.approx(0.1 * 0.1 + 0.9 * 0.9)
    assert mean.accuracy.low > 0.7  # a line that took chance for a half would be met
    assert mean.lines["accuracy > 70%"] == "not decidable"
    assert loss.chance == pytest.approx(0.5)
    assert loss.lines["accuracy > 70%"] == "not met"
    assert "as many values of the score and of `probe` are alike; by chance: mean (82%)" in str(found)
    assert "(by chance 82.0%)" in str(found)
    assert "the table says what is chance" in found.report.read_text(encoding="utf-8")


def test_a_probe_alone_is_described(folder: Path, tmp_path: Path) -> None:
    found = curricle.analyze(folder / "probe.parquet", output=tmp_path / "out", data=folder / "rows.jsonl")
    target = made_columns()[2]
    assert (found.foresight, found.alone, found.extremes.by) == (None, "probe", "probe")
    assert [column.name for column in found.columns] == ["probe", "probe_tokens"]
    assert found.extremes.hardest[0].text[0] == ("prompt", f"question {np.argmax(target)} <b>")
    assert "only real difficulty is here, `probe`" in str(found)
    assert "no real difficulty" not in str(found)
    with pytest.raises(DataError, match="has no score to hold against"):
        curricle.analyze(folder / "probe.parquet", against=folder / "probe.parquet")


def test_a_probe_with_lengths_is_ordered_by_the_probe(tmp_path: Path) -> None:
    columns = {"length": np.arange(40.0) % 7 + 1, "probe": np.arange(40.0)}
    write_labels(tmp_path / "p.parquet", [f"{i:016x}" for i in range(40)], columns)
    found = curricle.analyze(tmp_path / "p.parquet")
    assert (found.extremes.by, found.extremes.hardest[0].id) == ("probe", f"{39:016x}")
    assert [column.column for column in found.foresight.columns] == ["length"]


def test_columns_of_the_same_numbers_are_shown_once(tmp_path: Path) -> None:
    mean = made_columns()[0]["mean"]
    labels = write_made(tmp_path, topk_mean=mean * (1 + 1e-7), weighted_mean=mean + 0.01 * np.arange(NUM))
    found = curricle.analyze(labels, against=tmp_path / "probe.parquet")
    names = [column.name for column in found.columns]
    assert "topk_mean" not in names
    assert {"mean", "weighted_mean"} < set(names)
    assert "topk_mean is mean here: 3 layers" in found.notes
    assert all("topk_mean" not in column.column for column in found.foresight.columns)


def test_the_layers_that_differ_most_are_named_where_there_are_others(tmp_path: Path) -> None:
    read = read_labels(write_made(tmp_path))
    assert "layers that differ most" not in str(curricle.analyze(tmp_path / "labels.parquet"))
    four = np.concatenate([read.layers, read.layers[:, :1] - 1], axis=1)
    write_labels(tmp_path / "four.parquet", read.ids, read.columns, four)
    assert "layers that differ most: 2, 3, 1 of 4" in str(curricle.analyze(tmp_path / "four.parquet"))


# ---- what is written ------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags, and whether they are closed in order."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(analysis: Analysis) -> None:
    text = analysis.report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.seen}
    assert not any("style" in attributes or "src" in attributes for _, attributes in page.seen)
    assert "default-src 'none'" in text
    targets = [attributes["href"] for tag, attributes in page.seen if tag == "a"]
    assert targets
    assert all(target[1:] in ids for target in targets)


def test_the_page_shows_what_was_found(analysis: Analysis) -> None:
    text = analysis.report.read_text(encoding="utf-8")
    assert "question" in text
    assert "&lt;b&gt;" in text
    assert "question 5 <b>" not in text
    for column in analysis.foresight.columns:
        assert f"{column.rho.mean:.3f} [" in text
    assert len(re.findall(r'<figure class="chart"', text)) == 1 + 4 + 2 + len(analysis.columns)


def test_the_json_has_all_numbers(analysis: Analysis) -> None:
    tree = json.loads((analysis.folder / "analysis.json").read_text(encoding="utf-8"))
    assert tree == json.loads(json.dumps(analysis.as_dict()))
    assert tree["foresight"]["columns"][0]["rho"]["mean"] == analysis.foresight.columns[0].rho.mean


def test_a_notebook_shows_tables_and_no_markup_of_the_rows(analysis: Analysis) -> None:
    text = analysis._repr_markdown_()
    assert "| loss | baseline |" in text
    assert "<b>" not in text.replace("\\<b\\>", "")


def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    labels = folder / "labels.parquet"
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is not empty, and holds no analysis"):
        curricle.analyze(labels, output=tmp_path)
    with pytest.raises(RunError, match="is a file"):
        curricle.analyze(labels, output=tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    curricle.analyze(labels, output=tmp_path, force=True)
    curricle.analyze(labels, output=tmp_path)  # an analysis gives way to a new one
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "analysis.json", "report.html"}
