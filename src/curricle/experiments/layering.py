"""The depth of a run: which layers its recipe opens when, and the labels of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..curriculum.labels import align_layers, read_labels
from ..curriculum.layer_specific import AnyLayer, LayerPace, LayerSpecific, layer_ranks
from ..curriculum.layers import Depth, StagedLayers
from ..curriculum.order import Order
from ..curriculum.ranks import under_control
from ..errors import RecipeError

if TYPE_CHECKING:
    from .material import Material


def layer_order(material: Material, seed: int) -> AnyLayer:
    """The order of `layer_specific`, over this training table."""
    config, adapter = material.settings.curriculum, material.settings.model.adapter
    generates = material.settings.model.lora_gen is not None
    if not generates and (adapter is None or adapter.use_dora):
        found = "there is none" if adapter is None else "it has use_dora"
        raise RecipeError(
            f"curriculum.strategy layer_specific needs a plain LoRA in model.adapter, and {found}; set it, or take "
            "layer_wise_progressive, which opens layers in any kind of training"
        )
    labels = read_labels(str(config.labels))
    layers_nl = under_control(align_layers(labels, material.train.ids), config.control, seed)
    return AnyLayer(layer_ranks(layers_nl), LayerPace(config.percentiles(), config.layer_delay))


def make_depth(material: Material, order: Order) -> Depth:
    """The depth that the recipe asks for; layer by layer it goes by the labels of its order."""
    config = material.settings.curriculum
    layers = config.opened_layers()
    opened = Depth() if layers == "all" else StagedLayers(layers, config.num_stages)  # type: ignore[arg-type]
    return LayerSpecific(order.easier_nl, order.pace, opened) if isinstance(order, AnyLayer) else opened
