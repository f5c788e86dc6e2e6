"""What an experiment will take, before anything is trained: steps, tokens, packing, repeats, memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..planning.memory import MemoryEstimate, ModelShape, estimate_memory, mamba2_block, mamba_block
from ..runtime.devices import rank_device
from ..runtime.progress import counted
from ..runtime.quiet import calm_libraries
from ..runtime.ranks import world_size
from ..training.arguments import uses_bf16
from ..training.batches import pool_of, rows_per_step
from .labels.making import labelled, request, row_ids
from .material import Material, gather, layout_of, plan_rows, rows_of
from .ordering import make_order
from .references import check_reference
from .resolve import Arm, Experiment
from .results import render
from .share.validation import check_search


@dataclass(frozen=True)
class ArmPlan:
    """One arm's run, foretold."""

    arm: str
    row: dict[str, Any]
    memory: MemoryEstimate
    notes: list[str]


@dataclass(frozen=True)
class Plan:
    """All arms; prints itself as two tables."""

    name: str
    seeds: tuple[int, ...]
    arms: list[ArmPlan]

    def __str__(self) -> str:
        arms, seeds = len(self.arms), len(self.seeds)
        unit, size = _unit(max(plan.memory.total for plan in self.arms))
        memory = [{"arm": plan.arm, **_memory_row(plan.memory, size)} for plan in self.arms]
        notes: dict[str, list[str]] = {}
        for plan in self.arms:
            for note in plan.notes:
                notes.setdefault(note, []).append(plan.arm)
        parts = [
            f"{self.name}: {_count(arms, 'arm')} x {_count(seeds, 'seed')} = {_count(arms * seeds, 'run')}",
            render([plan.row for plan in self.arms]),
            f"memory by formula, {unit} (a probe before the first step finds what really fits)\n{render(memory)}",
            "\n".join(note if len(of) == arms else f"{', '.join(of)}: {note}" for note, of in notes.items()),
        ]
        return "\n\n".join(part for part in parts if part)


@calm_libraries()
def plan_experiment(experiment: Experiment) -> Plan:
    """Encode the data and count. No model of the recipe is loaded and none is trained; only a toy model that the cache
    lacks is pretrained, as its weights are part of what labels are known by, and its tokenizer reads the rows."""
    return Plan(
        experiment.name,
        experiment.seeds,
        [_plan_arm(arm, experiment.seeds[0], experiment.folder) for arm in experiment.arms.values()],
    )


def _plan_arm(arm: Arm, seed: int, folder: Path) -> ArmPlan:
    material = gather(arm.settings)
    check_reference(material)
    if not arm.settings.trains:
        return _plan_untrained(arm, material)
    training, table = arm.settings.training, material.train
    plan = plan_rows(material, seed)
    steps = training["max_steps"] if training["max_steps"] > 0 else plan.steps
    documents = steps * rows_per_step(layout_of(material, seed)) * plan.documents_per_row
    epochs = documents / plan.documents_per_pass
    tokens = steps * plan.tokens_per_step
    row = {
        "arm": arm.name,
        "examples": len(table),
        "steps": steps,
        "epochs": epochs,
        "tokens": round(tokens),
        "learned": plan.supervised_per_step / plan.tokens_per_step,
        "fill": plan.fill,
        "waste": plan.waste,
        "documents/row": plan.documents_per_row,
        "repeats": max(0, round(documents - pool_of(table, rows_of(material), seed).num_distinct(epochs))),
    }
    return ArmPlan(
        arm.name, row, _memory(material, plan.fill), [*material.remarks(), *_labels(material, folder, steps, seed)]
    )


def _plan_untrained(arm: Arm, material: Material) -> ArmPlan:
    """An arm without steps: its memory is the model's own, and what is measured."""
    check_search(material)
    merge, row = arm.settings.merge, {"arm": arm.name, "examples": 0, "steps": 0, "epochs": 0.0, "tokens": 0}
    if merge is None:
        note = "nothing is trained; the model is measured as it is"
    else:
        tried = f", found by {counted(merge.search.budget, 'evaluation')} at most" if merge.searches else ""
        note = f"merged out of {', '.join(merge.arms)} ({merge.method}, normalize {merge.normalize}){tried}"
    row |= dict.fromkeys(("learned", "fill", "waste", "documents/row"), 0.0) | {"repeats": 0}
    whole = _memory(material, 0.0)
    return ArmPlan(arm.name, row, MemoryEstimate(whole.parameters, 0, 0, 0, 0), [note])


def _labels(material: Material, folder: Path, steps: int, seed: int) -> list[str]:
    """What the run scores before it trains. Labels that are there, or should be, are refused as the run would."""
    asked = request(material.settings, folder)
    if asked is None or asked.there:
        make_order(labelled(material, asked), steps, seed, tell=lambda line: None)
    if asked is None:
        return []
    difficulty = material.settings.difficulty
    folds = difficulty.probe_folds if difficulty.analyze else 0
    probed = [f"labels are held against real difficulty, which takes {folds} more trainings"] if folds else []
    if asked.there:
        return [f"labels: {asked.path}, which is there", *probed]
    return [f"labels are made first: {counted(len(row_ids(material)), 'row')} scored by {asked}", *probed]


def _memory(material: Material, fill: float) -> MemoryEstimate:
    settings = material.settings
    training, data = settings.training, settings.data
    rows = training["per_device_train_batch_size"]
    if data.packing == "ordered":
        tokens = round(rows * data.max_length * fill)
    else:
        tokens = rows * int(material.train.lengths.max())
    return estimate_memory(
        model_shape(material),
        tokens,
        weight_bytes={"bfloat16": 2, "float16": 2}.get(settings.model.dtype, 4),
        activation_bytes=2 if uses_bf16(training) or training.get("fp16") else 4,
        nf4=settings.model.quantization is not None,
        shards=world_size() if settings.distributed.sharded is not None else 1,
        checkpointed=bool(training.get("activation_checkpointing")),
    )


def model_shape(material: Material) -> ModelShape:
    """Counted on a model without memory (torch's meta device): every shape is there, no number is."""
    import torch
    from transformers import AutoModelForCausalLM

    from ..models.choose import refuse_running_state
    from ..models.loading import model_settings

    model_config = material.settings.model
    config = model_settings(model_config, material.tokenizer)
    if material.settings.data.packing == "ordered":
        refuse_running_state(config, rank_device(bool(material.settings.training.get("use_cpu"))))
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    total, head = model.num_parameters(), model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    adapter = model_config.adapter
    if adapter is not None:
        from ..models.loading import add_adapter

        with torch.device("meta"):
            model = add_adapter(model, adapter)
    added = sum(p.numel() for p in model.parameters()) - total
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if material.settings.generator is not None:
        from .generator import added_numbers

        added, trainable = added_numbers(model, material.settings.generator)
    return ModelShape(
        num_parameters=total,
        num_linear=linear,
        num_added=added,
        num_trainable=trainable,
        num_layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        kv_width=_kv_width(config),
        vocab=config.vocab_size,
        block_per_token=_block_per_token(config),
    )


def _kv_width(config: Any) -> int:
    num_heads = getattr(config, "num_attention_heads", None)
    if num_heads is None:  # a model without attention
        return 0
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // num_heads
    return int((getattr(config, "num_key_value_heads", None) or num_heads) * head_dim)


def _block_per_token(config: Any) -> int:
    if config.model_type in ("mamba", "falcon_mamba"):
        return mamba_block(config.hidden_size, config.intermediate_size, config.state_size)
    if config.model_type == "mamba2":
        inner = config.num_heads * config.head_dim
        return mamba2_block(inner, config.state_size, config.num_heads, config.chunk_size)
    return 0


def _memory_row(memory: MemoryEstimate, size: int) -> dict[str, float]:
    parts = ("parameters", "gradients", "optimizer", "activations", "logits", "total")
    return {name: round(getattr(memory, name) / size, 1) for name in parts}


def _unit(num_bytes: int) -> tuple[str, int]:
    """The largest unit in which the number is at least ten."""
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    return next(((name, size) for name, size in units if num_bytes >= 10 * size), units[-1])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
