"""Checkpoints that any number of ranks can go on from, sharded or not.

Unsharded ranks (DDP) all hold the same, so the first one writes it as one process would: `optimizer.pt`. Sharded ranks
(FSDP2) write weights and optimizer in torch's distributed format, each its own share, by the parameters' names:

    checkpoint-20/   pytorch_model_fsdp_0/  optimizer_0/    what sharded ranks go on from
                     model.safetensors                      the same weights whole, for everybody else
                     curricle_state.json    rng_state_0.pth ...

Whoever reads takes what is there: any number of sharded ranks, unsharded ranks or one process read shares; sharded
ranks read an unsharded checkpoint before their model is cut up. On another number of ranks dropout draws anew, as its
states belong to ranks; everything else goes on as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import RunError
from ..runtime.files import read_json
from ..runtime.progress import say
from ..runtime.ranks import rank, world_size
from ..runtime.seeds import derive_seed
from .checkpoints import load_state

if TYPE_CHECKING:
    import transformers

    Host = transformers.Trainer
else:
    Host = object

SHARES, WHOLE = "optimizer_0", "optimizer.pt"
"""The folder, and the file, by which a checkpoint is known as sharded or not."""


def is_sharded(checkpoint: str | Path) -> bool:
    return (Path(checkpoint) / SHARES).is_dir()


def is_whole(checkpoint: str | Path) -> bool:
    return (Path(checkpoint) / WHOLE).is_file()


class AnyRanks(Host):
    """Saving and loading for the trainers' mixin; on the host's own rows everything is the host's."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    our_rows: bool

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Whole weights as safetensors, sharded or not: with shares in its checkpoints the host would write none."""
        if self._shards:
            whole = self.accelerator.get_state_dict(self.model)  # every rank joins in; the first one gets it
            self._save(output_dir, state_dict=whole)
        else:
            super().save_model(output_dir, _internal_call)

    @property
    def _shards(self) -> bool:
        return self.our_rows and bool(self.is_fsdp_enabled)

    # ---- loading ----------------------------------------------------------------------------------------------------

    def load_before_sharding(self, checkpoint: str | Path) -> None:
        """Whole weights go into the model while it is whole."""
        if self._shards and is_whole(checkpoint):
            self._refuse_whole_best(checkpoint)
            self.is_fsdp_enabled = False
            try:
                super()._load_from_checkpoint(str(checkpoint))
            finally:
                self.is_fsdp_enabled = True

    def _refuse_whole_best(self, checkpoint: str | Path) -> None:
        """At the end the best weights are read when the model is cut up already."""
        best = read_json(Path(checkpoint) / "trainer_state.json")["best_model_checkpoint"]
        if self.args.load_best_model_at_end and best is not None and is_whole(best):
            raise RunError(
                f"{best}, the best checkpoint so far, was written unsharded, and sharded ranks cannot choose it; go on "
                "with `distributed.enabled: false`, or start under another name"
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._read_into_whole(resume_from_checkpoint):
            self._read_shares("model", resume_from_checkpoint)
        elif not (self._shards and is_whole(resume_from_checkpoint)):  # else it has been done
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _read_into_whole(self, checkpoint: str) -> bool:
        return self.our_rows and not self.is_fsdp_enabled and is_sharded(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self._read_into_whole(checkpoint):
            self._read_shares("optimizer", checkpoint)
            self._read_schedule(checkpoint)
        elif checkpoint is not None and self._shards and is_whole(checkpoint):
            self._share_optimizer(checkpoint)
            self._read_schedule(checkpoint)
        else:
            super()._load_optimizer_and_scheduler(checkpoint)

    def _read_schedule(self, checkpoint: str) -> None:
        scheduler = torch.load(Path(checkpoint) / "scheduler.pt", map_location="cpu", weights_only=True)
        self.lr_scheduler.load_state_dict(scheduler)

    def _read_shares(self, what: str, checkpoint: str) -> None:
        """What sharded ranks have written, by the library that wrote it, into a model or optimizer that is whole."""
        from accelerate.utils import FullyShardedDataParallelPlugin, load_fsdp_model, load_fsdp_optimizer

        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, state_dict_type="SHARDED_STATE_DICT", cpu_ram_efficient_loading=False
        )
        if what == "model":
            load_fsdp_model(plugin, self.accelerator, self.model, checkpoint, adapter_only=True)
        else:
            load_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, checkpoint)

    def _share_optimizer(self, checkpoint: str) -> None:
        """One process numbers its parameters in the optimizer's order, which sharding keeps; shares go by name."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        whole = torch.load(Path(checkpoint) / WHOLE, map_location="cpu", weights_only=True, mmap=True)
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        ordered = [names[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]
        named: dict[str, Any] = {
            "state": {ordered[number]: state for number, state in whole["state"].items()},
            "param_groups": [
                {**group, "params": [ordered[number] for number in group["params"]]} for group in whole["param_groups"]
            ],
        }
        options = StateDictOptions(full_state_dict=True)
        set_optimizer_state_dict(self.model, self.optimizer, named, options=options)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        state = load_state(checkpoint) if checkpoint is not None and self.our_rows else None
        if state is None or state["world_size"] == world_size():
            super()._load_rng_state(checkpoint)
        else:
            say(f"written by {state['world_size']}, read by {world_size()}: the same rows go on, dropout draws anew")
            torch.manual_seed(derive_seed(self.args.seed, "dropout", rank(), world_size(), state["step"]))
