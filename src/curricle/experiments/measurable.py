"""What cannot be measured on these rows or with this model is said before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RecipeError
from ..evaluation.answers import last_answers
from ..evaluation.config import Hits, Mmlu, PassAtK, Perplexity
from ..evaluation.measure import refuse_unready
from ..evaluation.ranking import distractors

if TYPE_CHECKING:
    from .material import Material


def refuse_unmeasurable(material: Material) -> None:
    """Packages and names that an entry lacks, too few answers to rank, windows longer than the model, programs and no
    sandbox to run them in, letters that a tokenizer does not tell apart."""
    from ..models.loading import model_settings

    settings, table = material.settings, material.eval
    refuse_unready(settings.evaluation)
    for entry in settings.evaluation:
        if isinstance(entry, Hits) and table is not None:
            pairs = last_answers(table)
            usable = [i for i, (prompt, target) in enumerate(pairs) if prompt and target]
            distractors(pairs, usable, table.ids, entry.candidates - 1, 0, material.tokenizer)
        if isinstance(entry, PassAtK):
            from .code.problems import find_problems
            from .code.runs import bounds_of

            find_problems(entry.problems)
            _ = bounds_of(entry).layers  # says so if programs cannot be run here
        if isinstance(entry, Mmlu):
            from ..evaluation.mmlu import read_letters

            read_letters(material.tokenizer)
        if isinstance(entry, Perplexity) and entry.context is not None:
            config = model_settings(settings.model, material.tokenizer).get_text_config()
            limit = getattr(config, "max_position_embeddings", None)
            if limit is not None and entry.context > limit:
                raise RecipeError(
                    f"{entry.label}: context is {entry.context}, and the model was made for {limit} tokens"
                )
