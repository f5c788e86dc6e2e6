"""A model that learned something: llama2.c's stories260K with its tokenizer, converted, is what its makers measured.

Golden figures: the greedy sample of llama2.c's doc/stories260K.md; nats a token as measured with an independent forward
pass in numpy. A model trained for a while is also what shows that a file was written across.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from curricle.errors import ModelError
from curricle.models.conversion import Target, convert, verify_model
from models.conversion.files import ATTENTION, FEED, logits, write_llama2c, write_meta

SAMPLE = """\
Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, \
red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with \
your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she said, "I'm sorry, mom. I didn't know what to do." Her mom said, "Don't worry, \
Lily. We can help you."""


@pytest.fixture(scope="module")
def source(shared_data: Path) -> Path:
    return shared_data / "tiny_weights" / "stories260K" / "stories260K.bin"


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(source, tmp_path_factory.mktemp("stories") / "model").folder


@pytest.fixture(scope="module")
def with_heads(folder: Path) -> Path:
    return convert(folder, folder.parent / "mtp", Target(num_future_tokens=3)).folder


@pytest.fixture(scope="module", params=["plain", "heads"])
def model(request: pytest.FixtureRequest, folder: Path, with_heads: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(with_heads if request.param == "heads" else folder).eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def nats(model: Any, tokenizer: Any, texts: list[str]) -> tuple[int, float]:
    """Tokens that were predicted, and the mean loss of one; a text is cut at 512 tokens."""
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer(text)["input_ids"][:512]
        losses = torch.nn.functional.cross_entropy(logits(model, ids)[:-1], torch.tensor(ids[1:]), reduction="sum")
        total, count = total + losses.item(), count + len(ids) - 1
    return count, total / count


def test_the_prompt_has_its_tokens(tokenizer: Any) -> None:
    assert tokenizer("Once upon a time")["input_ids"] == [1, 403, 407, 261, 378]


def test_the_greedy_sample_is_that_of_the_makers(model: Any, tokenizer: Any) -> None:
    out = model.generate(torch.tensor([[1]]), do_sample=False, max_new_tokens=256, pad_token_id=0)
    text = tokenizer.decode(out[0], skip_special_tokens=True)
    assert len(SAMPLE) == 565
    assert text == SAMPLE


def test_both_golden_perplexities(model: Any, tokenizer: Any, shared_data: Path) -> None:
    folder = shared_data / "tinystories_sample"
    stories = (folder / "ts_valid_head.txt").read_text(encoding="utf-8").splitlines()
    count, loss = nats(model, tokenizer, [story[:1500] for story in stories if story])
    assert (count, round(loss, 5)) == (9136, 1.64378)
    with gzip.open(folder / "tinystories_197k.txt.gz", "rt", encoding="utf-8") as file:
        paragraphs = [part for part in file.read().split("\n\n") if len(part.strip()) >= 40]
    count, loss = nats(model, tokenizer, paragraphs[:40])
    assert (count, round(loss, 5)) == (4062, 1.51385)


def test_head_1_has_the_same_logits_bit_for_bit(folder: Path, with_heads: Path) -> None:
    plain, heads = (AutoModelForCausalLM.from_pretrained(path).eval() for path in (folder, with_heads))
    ids = torch.randint(512, (200,), generator=torch.Generator().manual_seed(3)).tolist()
    assert torch.equal(logits(heads, ids), logits(plain, ids))


@pytest.mark.parametrize("across", [(*ATTENTION, *FEED), ("attention.wq",), ("feed_forward.w2",)])
def test_a_file_with_transposed_layers_is_noticed(folder: Path, tmp_path: Path, across: tuple[str, ...]) -> None:
    """Same size, same header, and everything but the numbers' order as it should be."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    path = write_llama2c(tmp_path / "model.bin", model, across=across)
    what = "its layers' matrices" if len(across) > 1 else f"`{across[0]}`"
    with pytest.raises(ModelError, match=rf"{what}.* written across \(transposed\)"):
        convert(path, tmp_path / "out", tokenizer=folder)
    assert not (tmp_path / "out").exists()


def test_square_matrices_across_are_noticed_where_shapes_cannot_tell(folder: Path, tmp_path: Path) -> None:
    meta = write_meta(tmp_path / "meta", AutoModelForCausalLM.from_pretrained(folder))
    tensors = torch.load(meta / "consolidated.pth", weights_only=True)
    turned = {name: tensor.T.clone() if ".wo." in name else tensor for name, tensor in tensors.items()}
    torch.save(turned, meta / "consolidated.pth")
    with pytest.raises(ModelError, match=r"`attention\.wo` of its layers are written across"):
        convert(meta, tmp_path / "out", tokenizer=folder)


@pytest.mark.parametrize("heads", [False, True])
def test_a_folder_of_transformers_with_a_square_matrix_across_is_noticed(
    folder: Path, with_heads: Path, tmp_path: Path, heads: bool
) -> None:
    source = with_heads if heads else folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    said = str(verify_model(tmp_path / "model"))
    assert "rows       no better the other way round (transposed), in 2 kinds of square matrices" in said
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data = layer.self_attn.o_proj.weight.data.T.contiguous()
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match=r"`self_attn\.o_proj` of its layers are written across"):
        verify_model(tmp_path / "model")
    with pytest.raises(ModelError, match=r"`self_attn\.o_proj` of its layers are written across"):
        convert(tmp_path / "model", tmp_path / "out")
