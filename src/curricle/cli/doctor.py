"""`curricle doctor`: what works on this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for a program or a bug report.")
    ] = False,
) -> None:
    """Say what works on this machine, and what extras add.

    Versions, devices, threads, memory, attention back ends over packed rows, extras, the cache folder.

    \b
    Example:
      curricle doctor
      curricle doctor --json > doctor.json

    In Python: curricle.experiments.doctor.doctor()
    """
    from ..experiments.doctor import doctor as look

    health = look()
    if as_json:
        import json

        typer.echo(json.dumps(health.as_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo(str(health))
