"""Edge, generator and cloud as one model that a trainer takes: what is trained and saved is the generator alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ...runtime.files import read_json, write_json
from ..config import LoraGenConfig
from .cloud import Cloud
from .edge import GeneratedLora, find_targets, widths_of
from .generator import LoraGenerator

ABOUT = "lora_gen.json"
WEIGHTS = "model.safetensors"
_PREFIX, _EDGE = "generator.", "edge."


class LoraGenModel(nn.Module):
    """The edge model, with factors that the cloud's reading of a system prompt gives.

    A batch says in `prompt_ids` which of `prompts` each document belongs to. Without it the edge is as it came.
    """

    def __init__(self, edge: Any, generator: LoraGenerator, cloud: Cloud, prompts: Sequence[str]) -> None:
        super().__init__()
        self.edge = edge.requires_grad_(False)
        self.generator = generator
        self.lora = GeneratedLora(edge, generator)
        self.cloud, self.prompts = cloud, list(prompts)
        self.gates_ple: Tensor | None = None
        """Of the last batch, for the balance of the experts."""
        self.register_state_dict_post_hook(_without_edge)
        self.register_load_state_dict_post_hook(_never_missing)

    @classmethod
    def fresh(cls, edge: Any, cloud: Cloud, prompts: Sequence[str], config: LoraGenConfig) -> LoraGenModel:
        """With a generator that nothing has trained; what it draws follows from torch's random state."""
        layers = widths_of(edge, find_targets(edge, config.targets))
        return cls(edge, LoraGenerator(layers, cloud.width, config), cloud, prompts)

    def gates_of(self, prompts: Sequence[str]) -> Tensor:
        """`[P, L, E]`, one cloud pass for each prompt."""
        meta_lc = self.generator.meta_lc
        return self.generator.gates(torch.stack([self.cloud.read(prompt, meta_lc) for prompt in prompts]))

    def forward(self, prompt_ids: Sequence[int] | None = None, **inputs: Any) -> Any:
        if prompt_ids is None:
            self.lora.use(None)
            return self.edge(**inputs)
        distinct = sorted(set(prompt_ids))
        place = {prompt: i for i, prompt in enumerate(distinct)}
        self.gates_ple = self.gates_of([self.prompts[prompt] for prompt in distinct])
        of_document = torch.tensor([place[prompt] for prompt in prompt_ids], device=self.gates_ple.device)
        documents_bt = inputs.get("seq_idx")  # packed rows; otherwise a row is a document
        prompt_bt = of_document[:, None] if documents_bt is None else of_document[documents_bt.long()]
        self.lora.use(self.gates_ple, None if len(distinct) == 1 else prompt_bt)
        outputs = self.edge(**inputs)
        if not torch.is_grad_enabled():  # no backward pass will run a layer again: the edge is as it came
            self.lora.use(None)
        return outputs

    # ---- what trainers and probes ask of a model --------------------------------------------------------------------

    @property
    def config(self) -> Any:
        return self.edge.config

    def get_base_model(self) -> Any:
        return self.edge

    def get_input_embeddings(self) -> nn.Module:
        return self.edge.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.edge.get_output_embeddings()

    def activation_checkpointing_enable(self, **kwargs: Any) -> None:
        self.edge.activation_checkpointing_enable(**kwargs)

    def gradient_checkpointing_enable(self, **kwargs: Any) -> None:
        self.edge.gradient_checkpointing_enable(**kwargs)


def _without_edge(model: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}{_EDGE}")]:
        del state[name]


def _never_missing(model: nn.Module, keys: Any) -> None:
    """The edge's weights are not in a checkpoint, and not missed."""
    keys.missing_keys[:] = [name for name in keys.missing_keys if f".{_EDGE}" not in f".{name}"]


def describe(generator: LoraGenerator) -> dict[str, Any]:
    """What it takes to make an empty generator of the same shape."""
    return {
        "version": 1,
        "settings": generator.config.model_dump(mode="json"),
        "cloud_width": generator.cloud_width,
        "layers": generator.layers,
    }


def save_generator(generator: LoraGenerator, folder: str | Path) -> None:
    """Settings and weights, as a run saves them."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {_PREFIX + name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
    save_file(weights, str(folder / WEIGHTS), metadata={"format": "pt"})
    write_json(folder / ABOUT, describe(generator))


def load_generator(folder: str | Path) -> LoraGenerator:
    """What `save_generator`, or a trainer's checkpoint, has written."""
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise ModelError(f"{folder} holds no {ABOUT}, so no LoRA generator was saved there; name a run of one")
    about = read_json(folder / ABOUT)
    layers = [{target: (of[0], of[1]) for target, of in layer.items()} for layer in about["layers"]]
    generator = LoraGenerator(layers, about["cloud_width"], LoraGenConfig(**about["settings"]))
    weights = load_file(str(folder / WEIGHTS))
    generator.load_state_dict({name.removeprefix(_PREFIX): value for name, value in weights.items()})
    return generator
