"""The critic in an arm: what is refused before a model is opened, and the value head that its model needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ModelError
from ..training.config import DistributedConfig
from .recipe import Settings

if TYPE_CHECKING:
    from ..models.value_head import Kind
    from .material import Material


def check_critic(material: Material) -> None:
    """Refuse rewards that teach nothing, and a model without the head that its stage goes on with."""
    from ..models.loading import weights_folder
    from ..models.value_head import saved_kind
    from ..training.critic import check_rewards, no_head

    settings = material.settings
    config, name = settings.critic, settings.model.name_or_path
    assert config is not None
    check_rewards(material.train)
    if settings.model.from_arm is not None:  # that arm's critic is its head
        return
    folder = None if settings.model.nano_type else weights_folder(settings.model)
    found = None if folder is None else saved_kind(folder)
    if found is None and config.makes_head is None:
        raise no_head(f"`{name}`")
    if found not in (None, config.kind):
        raise ModelError(f"critic.kind is {config.kind}, but `{name}` has a {found} value head; set it to {found}")


def head_to_make(settings: Settings) -> Kind | None:
    """Of which kind a new head is, where the model has none."""
    config = settings.critic
    return None if config is None or not settings.trains or config.makes_head is None else config.kind


def spread(settings: Settings) -> DistributedConfig:
    """How the run is spread; where the layers to shard are listed, the head is one of them."""
    from ..models.value_head import ValueHead

    distributed = settings.distributed
    if settings.critic is None or distributed.fsdp is None or distributed.fsdp.layers is None:
        return distributed
    layers = [*distributed.fsdp.layers, ValueHead.__name__]
    return distributed.model_copy(update={"fsdp": distributed.fsdp.model_copy(update={"layers": layers})})
