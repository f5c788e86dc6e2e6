"""Everything that Curricle raises on purpose.

CurricleError                 one clear line for the user, exit code 2
├── RecipeError  (ValueError)       a recipe or a flag asks for something that is not there or not allowed
├── DataError    (ValueError)       a file, a row, a mask: says file, line and field
├── ModelError   (ValueError)       a model, tokenizer or template that cannot be used as asked
├── RunError     (RuntimeError)     a run folder: in use, holding another recipe, not writable
├── TrainingError (RuntimeError)    training had to stop: NaN, divergence, out of memory
├── MissingExtra (ImportError)      an optional dependency, and how to install it
└── Interrupted  (RuntimeError)     saved after a signal; exit code 75 (EX_TEMPFAIL: run the same command again)

A message says what was asked, what was found, what is allowed and what to do. A bug is none of these: it keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CurricleError(Exception):
    """Root of the family; the command line prints its text in one line and exits with `exit_code`."""

    exit_code = 2


class RecipeError(CurricleError, ValueError):
    """A recipe, flag or setting that asks for something unknown, missing or contradictory."""


class DataError(CurricleError, ValueError):
    """A data file, row, label mask or split that cannot be used; names file, line and field."""


class ModelError(CurricleError, ValueError):
    """A model, tokenizer or chat template that cannot be used as asked."""


class RunError(CurricleError, RuntimeError):
    """A run folder that is in use, holds something else, or cannot be written."""


class TrainingError(CurricleError, RuntimeError):
    """Training had to stop; names the step, the examples and the last good checkpoint."""


class MissingExtra(CurricleError, ImportError):
    """An optional dependency is absent; the message holds the install command."""


class Interrupted(CurricleError, RuntimeError):
    """The run was asked to stop and has saved; the same command goes on from there."""

    exit_code = 75


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known one, or the list when nothing is close.

    >>> nearest("lerning_rate", ["learning_rate", "seed"])
    'did you mean `learning_rate`?'
    """
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    shown = ", ".join(f"`{k}`" for k in known[:20])
    return f"known: {shown}" + (f" and {len(known) - 20} more" if len(known) > 20 else "")
