"""The command tree as the tests of the house see it."""

from __future__ import annotations

from curricle.cli.reference import commands


def flags() -> dict[str, list[str]]:
    """Every command by full name, with its arguments and options the way they are typed; `--help` is understood."""
    return {
        name: [
            parameter.metavar or parameter.name.upper() if parameter.param_type_name == "argument" else spelling
            for parameter in context.command.params
            for spelling in parameter.opts
        ]
        for name, context in commands()
    }


def is_group(name: str) -> bool:
    return any(other.startswith(f"{name} ") for other in flags())
