"""`curricle lora-gen train|export`: LoRA that a cloud model makes out of system prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overrides, RecipePath, help_when_bare, integers, names, show
from .train import Arms, Force, Plan, Seeds, Smoke

group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@group.callback()
def lora_gen(context: typer.Context) -> None:
    """LoRA that a cloud model makes of system prompts.

    \b
    Example:
      curricle lora-gen train recipe.yaml
      curricle lora-gen export runs/tasks --system-prompt "Answer in one word." -o adapter
    """
    help_when_bare(context)


@group.command()
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    arms: Arms = None,
    seeds: Seeds = None,
    plan: Plan = False,
    smoke: Smoke = False,
    force: Force = False,
) -> None:
    """Train a recipe that has `model.lora_gen`.

    As `curricle train` does; a recipe without a generator is refused.

    \b
    Example:
      curricle lora-gen train recipe.yaml
      curricle lora-gen train recipe.yaml --set model.lora_gen.top_k=1

    In Python: curricle.experiments.lora_gen.train("recipe.yaml")
    """
    from ..experiments.lora_gen import train as train_generators

    chosen = {"arms": names(arms), "seeds": integers(seeds)}
    show(train_generators(recipe, overrides=overrides or [], **chosen, plan=plan, smoke=smoke, force=force))


@group.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run: runs/NAME/ARM/seed-K, or runs/NAME if it holds one.")
    ],
    system_prompt: Annotated[
        str, typer.Option("--system-prompt", metavar="TEXT", help="What the cloud model reads; new ones will do.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the whole edge model with the factors merged, not an adapter.")
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="The edge model, if it has been moved.")
    ] = None,
    cloud: Annotated[
        str | None, typer.Option("--cloud", metavar="MODEL", help="The cloud model, if it has been moved.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Write what a system prompt gives, as a PEFT adapter.

    PEFT loads it by itself, without Curricle; with --merge transformers does.

    \b
    Example:
      curricle lora-gen export runs/tasks --system-prompt "Answer in one word." -o adapter
      curricle lora-gen export runs/tasks --system-prompt "Answer in one word." -o model --merge

    In Python: curricle.experiments.lora_gen.export("runs/tasks", "Answer in one word.", "adapter")
    """
    from ..experiments.lora_gen import export as export_adapter

    typer.echo(str(export_adapter(run, system_prompt, output, merge=merge, base=base, cloud=cloud, force=force)))
