"""What transformers, PEFT and TRL print while they work for us, kept to what says something here.

Their bars ("Loading weights", "Writing model shards") are for a terminal: in a log each leaves lines of control
characters. A few of their notices are about what Curricle has settled otherwise; these, and no others, are left out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .progress import someone_watches

SETTLED = {
    # Checkpoints are ordered by their step here, whatever the file system says of times.
    "transformers.trainer_utils": "mtime may not be reliable on this filesystem",
    # Every loss is computed here.
    "transformers.modeling_utils": "`loss_type=None` was set in the config",
    # A head tied to the embeddings is saved once, and is there again once the embeddings are.
    "transformers.trainer": "There were missing keys in the checkpoint model loaded: ['lm_head.weight']",
}
OLD_NAME = ".*is_gradient_checkpointing.*"
"""PEFT and TRL ask transformers by a name that it has renamed."""


def _says_something(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(SETTLED[record.name])


@contextmanager
def calm_libraries() -> Iterator[None]:
    """Inside, other libraries say only what a person needs; also usable as a decorator."""
    from transformers.utils import logging as theirs

    named = [logging.getLogger(name) for name in SETTLED]
    loggers = [logger for logger in named if _says_something not in logger.filters]  # one inside another leaves it be
    hide_bars = theirs.is_progress_bar_enabled() and not someone_watches()
    if hide_bars:
        theirs.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in loggers:
        logger.addFilter(_says_something)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", OLD_NAME, FutureWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_says_something)
        if hide_bars:
            theirs.enable_progress_bar()  # type: ignore[no-untyped-call]
