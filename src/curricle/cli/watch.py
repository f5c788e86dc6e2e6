"""`curricle watch`: how far an experiment is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The experiment's folder, runs/NAME, or an arm in it.")],
    once: Annotated[bool, typer.Option("--once", help="Print the table as it is now, and stop.")] = False,
    every: Annotated[
        float | None,
        typer.Option("--every", min=0.1, metavar="SECONDS", help="Look so often; 2 in a terminal, 30 elsewhere."),
    ] = None,
) -> None:
    """Show how far an experiment is, with the time left.

    Reads files only, so it may run anywhere the folder can be seen, over ssh too, and does not disturb the training.
    Ends when every run is finished; exits 2 when no process works on one that is not.

    \b
    Example:
      curricle watch runs/quickstart
      ssh machine curricle watch runs/quickstart --once

    In Python: curricle.experiments.watch.watch("runs/quickstart")
    """
    from ..experiments.watch import watch as show

    show(run, once=once, every=every)
