"""The toy base: made once, a model folder like any other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from curricle.errors import CurricleError
from curricle.experiments.material import gather
from curricle.experiments.resolve import resolve
from curricle.experiments.toys.base import TOY_MODELS, make_base, place_base, toy_name
from curricle.models.config import ModelConfig
from curricle.models.loading import load_model, load_tokenizer

TOY = ModelConfig(name_or_path="toy:base")
HOW: dict[str, Any] = {
    "model": {
        "name_or_path": "nano:llama",
        "shape": {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
    },
    "data": {"train": "toy:text#20", "format": "text", "max_length": 256},
    "training": {"max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "use_cpu": True},
}
QUICK = {"base": HOW}


def test_named_by_what_it_is_made_of_and_not_made_by_asking() -> None:
    folder = Path(place_base(TOY, QUICK).name_or_path)
    assert not folder.exists()
    assert place_base(TOY, QUICK) == place_base(TOY, QUICK)
    slower = {"base": {**HOW, "training": {**HOW["training"], "max_steps": 3}}}
    assert len({place_base(TOY, how).name_or_path for how in (QUICK, slower)} | {place_base(TOY).name_or_path}) == 3
    other = ModelConfig(name_or_path="nano:llama")
    assert place_base(other) is other
    with pytest.raises(CurricleError, match="no toy model called `toy:bass`; did you mean `base`"):
        place_base(ModelConfig(name_or_path="toy:bass"))


def test_a_recipe_keeps_the_name_and_its_runs_the_folder() -> None:
    whole = resolve({"model": {"name_or_path": "toy:base"}, "data": {"train": "toy:dialogue#5"}})
    assert whole.shared["model"]["name_or_path"] == "toy:base"
    assert whole.base.model == whole.arms["base"].settings.model == place_base(TOY)


@pytest.mark.usefixtures("libraries")
def test_of_two_that_want_it_one_makes_it(capsys: pytest.CaptureFixture[str]) -> None:
    placed = place_base(TOY, QUICK)
    both = [threading.Thread(target=make_base, args=(placed, QUICK)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert capsys.readouterr().err.count("toy:base: a small Llama reads") == 1
    folder = Path(placed.name_or_path)
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not [path for path in folder.iterdir() if path.is_dir() or path.suffix == ".bin"]
    tokenizer = load_tokenizer(placed)
    assert tokenizer.chat_template
    assert tokenizer.eos_token == "<|im_end|>"
    assert load_model(placed).config.vocab_size == len(tokenizer)
    settings = resolve({"model": {"name_or_path": str(folder)}, "data": {"train": "toy:dialogue#5"}}).base
    assert len(gather(settings).train) == 5


@pytest.mark.usefixtures("libraries")
def test_the_cloud_has_the_tokenizer_of_the_base() -> None:
    """So that their next-token distributions can be compared."""
    small = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    brief = {"max_steps": 1, "per_device_train_batch_size": 1}
    hows: dict[str, Any] = {
        name: {
            **how,
            "model": {**how["model"], "shape": how["model"]["shape"] | small},
            "data": {**how["data"], "train": how["data"]["train"].replace("#4000", "#60")},
            "training": how["training"] | brief,
        }
        for name, how in TOY_MODELS.items()
        if name in ("base", "cloud")
    }
    made = [place_base(ModelConfig(name_or_path=f"toy:{name}"), hows) for name in ("base", "cloud")]
    for each in made:
        make_base(each, hows)
    one, other = (load_tokenizer(each) for each in made)
    assert one.get_vocab() == other.get_vocab()
    assert one.chat_template == other.chat_template
    assert [load_model(each).config.num_hidden_layers for each in made] == [3, 5]
    assert [toy_name(each.name_or_path, hows) for each in made] == ["base", "cloud"]
    assert toy_name("somewhere/else", hows) is None


def test_several_processes_are_told_to_make_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = place_base(TOY)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CurricleError, match="cannot make it together"):
        make_base(placed)
    assert not Path(placed.name_or_path).exists()
