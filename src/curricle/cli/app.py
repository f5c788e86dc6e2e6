"""The `curricle` command: what it offers, and how an error becomes one line and an exit code.

Nothing here, nor in the command modules beside it, imports a heavy library before a command runs, so `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ..errors import CurricleError
from ..runtime.ranks import rank, stay_at_exit, tell_launcher, world_size
from . import (
    analyze,
    compare,
    data,
    diff,
    doctor,
    evaluate,
    inspect,
    lora_gen,
    merge,
    model,
    model_files,
    plan,
    probe,
    prompts,
    recipe,
    score,
    search_weights,
    store,
    sync,
    train,
    use,
    watch,
)
from .options import help_when_bare

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C

WIDTH = 100
HELP_OPTIONS = ["-h", "--help"]

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,  # plain text: quick to render, and the same in a terminal, a log and the docs
    pretty_exceptions_enable=False,  # a bug keeps its own traceback
    add_completion=False,
    context_settings={"help_option_names": HELP_OPTIONS, "max_content_width": WIDTH},
)
for command in (
    train.run,
    train.train,
    watch.watch,
    compare.compare,
    score.score,
    analyze.analyze,
    probe.probe,
    evaluate.evaluate,
    use.predict,
    use.chat,
    recipe.init,
    recipe.schema,
    store.index,
    store.select,
    data.prepare,
    data.validate,
    diff.diff,
    search_weights.search_weights,
    merge.merge,
    model.export,
    sync.sync,
    doctor.doctor,
):
    app.command()(command)
app.add_typer(inspect.group, name="inspect")
app.add_typer(lora_gen.group, name="lora-gen")
app.add_typer(model_files.group, name="model")
app.add_typer(plan.group, name="plan")
app.add_typer(prompts.group, name="prompts")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"curricle {version('curricle')}")
        raise typer.Exit


@app.callback()
def curricle(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Four dials of data efficiency for language models (order, weight, depth, share), each measured.

    \b
    Example:
      curricle init data/train.jsonl -o recipe.yaml
      curricle run recipe.yaml --plan
      curricle run recipe.yaml
    """
    help_when_bare(context)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code: 0 done, 2 a mistake, 75 interrupted but saved, 130 Ctrl-C."""
    _wait_politely()
    try:
        code = app(args=arguments, prog_name="curricle", standalone_mode=False) or 0
        sys.stdout.flush()
    except CurricleError as error:
        return _one_line(str(error), error.exit_code)
    except typer.TyperException as error:
        return _one_line(_usage_message(error), error.exit_code)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        tell_launcher(error)
        raise
    if code == INTERRUPTED:
        return _one_line("interrupted", INTERRUPTED)
    return int(code)


def _wait_politely() -> None:
    """Threads that wait for each other spin for a while by default, which is wasted where cores are shared: beside
    other work a run on two threads took up to ten times as long. Read when torch is loaded; the user's own stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _usage_message(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context is not None else ""
    return error.format_message().rstrip(".") + hint


def _one_line(message: str, exit_code: int) -> int:
    stay_at_exit()
    who = "error" if world_size() == 1 else f"error (rank {rank()})"
    print(f"{who}:", " ".join(message.split()), file=sys.stderr)
    return exit_code
