"""Meta's files: one shard or several, with and without further heads; everything that does not fit is named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from curricle.errors import ModelError
from curricle.models.conversion.meta import load_pickle, read_meta
from curricle.models.conversion.reference import reference_logits
from curricle.models.conversion.sources import build, read_source
from models.conversion.files import llama, logits, tokens, write_meta


def rewrite(folder: Path, change: Any, file: str = "consolidated.pth") -> None:
    tensors = torch.load(folder / file, weights_only=True)
    change(tensors)
    torch.save(tensors, folder / file)


@pytest.mark.parametrize("shards", [1, 2])
def test_the_model_comes_back(tmp_path: Path, shards: int) -> None:
    model = llama()
    source = read_source(write_meta(tmp_path / "meta", model, shards=shards))
    assert torch.equal(logits(source.model, tokens()), logits(model, tokens()))
    assert [path.name for path in source.files][-2:] == ["params.json", "tokenizer.model"]
    assert len(source.files) == shards + 2


def test_an_embedding_cut_by_tokens_is_joined_too(tmp_path: Path) -> None:
    """Llama 3 cuts the embedding along the vocabulary, its elders along the width."""
    model = llama()
    folder = write_meta(tmp_path / "meta", model, shards=2, vocab_size=320)
    for shard, rows in enumerate(model.model.embed_tokens.weight.detach().chunk(2)):
        rewrite(
            folder, lambda tensors, rows=rows: tensors.update({"tok_embeddings.weight": rows.clone()}),
            f"consolidated.{shard:02}.pth",
        )  # fmt: skip
    assert torch.equal(logits(read_source(folder).model, tokens()), logits(model, tokens()))


@pytest.mark.parametrize("shards", [1, 2])
def test_further_heads_come_along(tmp_path: Path, shards: int) -> None:
    """n_layers 4 and 2 heads: three layers, of which the last is head 1, and one more beside it."""
    plain, other = llama(), llama(seed=5)
    heads = [other.model.layers[0], other.model.layers[1]]
    folder = write_meta(tmp_path / "meta", plain, heads, shards)
    assert json.loads((folder / "params.json").read_text())["n_layers"] == 5
    weights = read_meta(folder)
    model, ids = build(weights), tokens()
    assert (model.config.num_future_tokens, model.config.num_hidden_layers) == (3, 3)
    found = logits(model, ids, all_heads=True)
    torch.testing.assert_close(found, reference_logits(weights, ids), atol=1e-5, rtol=1e-5)
    assert torch.equal(found[:, 0], logits(plain, ids))
    plain.model.layers[2] = heads[1]
    heads[1].self_attn.layer_idx = 2
    torch.testing.assert_close(found[:, 2], logits(plain, ids), atol=1e-5, rtol=1e-5)


def test_the_width_between_follows_metas_rule(tmp_path: Path) -> None:
    """2/3 of four times 32 is 85, and a multiple of 32 from there 96."""
    model = llama(intermediate_size=96)
    folder = write_meta(tmp_path / "meta", model, multiple_of=32)
    assert read_meta(folder).shape.hidden_dim == 96
    write_meta(folder, model, multiple_of=32, ffn_dim_multiplier=0.5)
    with pytest.raises(
        ModelError, match=r"`layers\.0\.feed_forward\.w1\.weight` is \[96, 32\], which makes no \[64, 32\]"
    ):
        read_meta(folder)


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "meta", llama(), multiple_of=16, ffn_dim_multiplier=0.5)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["layers.1.attention.wq.weight"], tensors["norm.weight"]
        tensors["layers.7.attention.wq.weight"] = torch.zeros(2, 2)
        tensors["layers.2.feed_forward.w2.weight"] = tensors["layers.2.feed_forward.w2.weight"].T.clone()

    rewrite(folder, change)
    with pytest.raises(ModelError) as caught:
        read_meta(folder)
    for part in (
        "`layers.1.attention.wq.weight` is missing",
        "`norm.weight` is missing",
        "`layers.7.attention.wq.weight` belongs to no such model",
        "`layers.2.feed_forward.w2.weight` is [48, 32], which makes no [32, 48]",
    ):
        assert part in str(caught.value)


def test_a_tensor_missing_in_one_shard_is_named_with_it(tmp_path: Path) -> None:
    folder = write_meta(tmp_path / "meta", llama(), shards=2)
    rewrite(folder, lambda tensors: tensors.pop("layers.0.attention.wo.weight"), "consolidated.01.pth")
    with pytest.raises(ModelError, match=r"`layers\.0\.attention\.wo\.weight` is missing in consolidated\.01\.pth"):
        read_meta(folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"use_scaled_rope": True}, "use_scaled_rope, whose factors are not in the file"),
        ({"moe": {"num_experts": 8}}, r"has \['moe'\]"),
        ({"dim": "4096"}, "has dim '4096'; a whole number"),
        ({"norm_eps": 0}, "has norm_eps 0; a number above 0"),
        ({"multiple_of": 0}, "has multiple_of 0; a whole number"),
        ({"n_heads": 5}, "describes no Llama"),
        ({"n_layers": 3, "n_future_tokens": 3}, "leaves no trunk"),
    ],
)
def test_parameters_that_are_not_known_are_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        read_meta(write_meta(tmp_path / "meta", llama(), **changes))


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("harm.txt", "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Harm()}, "model.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="unpickling it would run code"):
        load_pickle(Path("model.pth"))
    assert not Path("harm.txt").exists()


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError):
        load_pickle(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(ModelError, match="no table of tensors by name"):
        load_pickle(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModelError):
        load_pickle(path)


def test_a_format_of_before_zip_files_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_pickle(tmp_path / "old.pth")["a"], torch.ones(3))
