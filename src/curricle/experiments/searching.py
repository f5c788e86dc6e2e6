"""Weights of experts looked for outside of any run: a base, experts and held-out rows, named by where they lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.account import remarks
from ..data.encode import encode
from ..data.sources import read_examples
from ..errors import DataError, ModelError, RecipeError
from ..experts.naming import Named, read_experts
from ..experts.search.config import SearchConfig
from ..runtime.devices import computing
from ..runtime.progress import say
from ..runtime.quiet import calm_libraries
from ..runtime.rundir import hold
from .document import Place, Places
from .resolve import check

if TYPE_CHECKING:
    from ..data.table import TokenTable
    from ..experts.search.found import Found
    from .material import Material
    from .subject import Subject

GIVEN = "given"
"""The starting point of weights that were named with the experts."""

Files = str | Path | Mapping[str, str | Path] | Sequence[str]
Experts = Mapping[str, str | Path] | Sequence[str]


@calm_libraries()
def search_weights(
    base: str | Path,
    experts: Experts,
    data: Files,
    output: str | Path,
    *,
    test: Files | None = None,
    domain_field: str | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    **settings: Any,
) -> Found:
    """The weights of base + sum of w_i * (expert_i - base) with the smallest held-out loss of all domains.

    `experts` are folders by name, or texts `NAME=PATH` and `NAME=PATH@WEIGHT`, whose weights are tried first. `data` is
    a file of validation rows whose domain stands in `domain_field`, or a file for each domain, as `{name: path}` or
    texts `NAME=FILE`; `test` are rows of the same forms that must not be among them. `settings` are those of
    `SearchConfig`: method, budget, normalize, objective, shares, bounds, first_rows, seed. All is written to the folder
    `output`, and a search that was cut off goes on there.

    >>> curricle.search_weights("base", {"law": "runs/law", "news": "runs/news"},
    ...                         {"law": "law.jsonl", "news": "news.jsonl"}, "search")   # doctest: +SKIP
    """
    from ..experts.search.evaluations import lines_there
    from ..experts.search.starts import check_budget

    config, named, folder = read_settings(settings), _named(experts), Path(output)
    check_budget(config, [one.name for one in named], _given(named))
    lines_there(folder)
    with hold(folder):  # nobody else searches there
        pass
    subject = _subject(base, data, domain_field, recipe, overrides)
    tokenizer = subject.tokenizer()
    table = _table(subject, tokenizer, "data")
    other = _subject(base, test, domain_field, recipe, overrides) if test is not None else None
    kept = None if other is None else _table(other, tokenizer, "test")
    return _searched(subject, subject.material(tokenizer, table), kept, named, config, folder)


def _searched(
    subject: Subject,
    material: Material,
    test: TokenTable | None,
    named: Sequence[Named],
    config: SearchConfig,
    folder: Path,
) -> Found:
    """Whatever needs no model is looked at before it is loaded."""
    from ..experts.checkpoint import Checkpoint
    from ..experts.reading import read_difference
    from ..experts.search.objective import HeldOut
    from ..experts.search.search import check_bases, check_search
    from ..experts.search.search import search_weights as search
    from .assemble import load_saved
    from .material import half_of, rows_of

    table, rows = material.eval, rows_of(material)
    assert table is not None
    batch_size = int(subject.settings.training["per_device_eval_batch_size"])
    names, starts = [one.name for one in named], _given(named)
    check_search(HeldOut(table, rows, batch_size), names, config, folder, test=test, starts=starts)
    checkpoint = Checkpoint(subject.folder or subject.settings.model.name_or_path)
    differences = {one.name: read_difference(one.path, checkpoint, name=one.name) for one in named}
    check_bases(differences, checkpoint.fingerprint())
    model: Any = load_saved(material, subject.seed, subject.folder or Path("."))
    if hasattr(model, "peft_config"):
        raise ModelError(
            f"the base {subject.label} is an adapter beside a model; name the model itself, or write a whole one with "
            "`curricle export`"
        )
    with computing(next(model.parameters()).device, half_of(subject.settings)):
        return search(
            model,
            differences,
            table,
            rows,
            config,
            folder,
            batch_size=batch_size,
            test=test,
            base=checkpoint.fingerprint(),
            starts=starts,
        )


def _given(named: Sequence[Named]) -> dict[str, dict[str, float]]:
    """Weights that were named with the experts, as a starting point."""
    weights = {one.name: one.weight for one in named if one.weight is not None}
    return {GIVEN: weights} if weights else {}


def read_settings(settings: Mapping[str, Any]) -> SearchConfig:
    """A mistake is named by its flag."""
    places: Places = {(): Place("the search", None, "")}
    for key in settings:
        places[(key,)] = Place("", None, f"--{key.replace('_', '-')}")
    return check(SearchConfig, dict(settings), places)


def _named(experts: Experts) -> list[Named]:
    if isinstance(experts, Mapping):
        named = [Named(name, str(path)) for name, path in experts.items()]
    else:
        named = read_experts(experts)
    if not named:
        raise RecipeError("no expert is named; add --expert NAME=PATH, once for each")
    return named


def _subject(
    base: str | Path,
    data: Files,
    domain_field: str | None,
    recipe: str | Path | None,
    overrides: Sequence[str],
) -> Subject:
    """The base with these rows as its held-out ones."""
    from .subject import find_subject

    sets = [*overrides, f"data.eval={json.dumps(sources_of(data))}"]
    if domain_field is not None:
        sets.append(f"data.domain_field={json.dumps(domain_field)}")
    subject = find_subject(base, recipe, sets)
    made_up = subject.folder is None and subject.settings.model.nano_type
    if made_up or subject.settings.generator is not None:
        raise ModelError(f"the base is `{base}`; a search needs a model folder, a run or a name on the hub")
    return subject


def sources_of(data: Files) -> list[dict[str, str]]:
    """`law.jsonl`, `["law=law.jsonl", ...]` or `{"law": "law.jsonl", ...}` as entries of `data.eval`."""
    if isinstance(data, Mapping):
        return [{"path": str(path), "domain": name} for name, path in data.items()]
    given = [str(data)] if isinstance(data, str | Path) else list(data)
    if not given:
        raise RecipeError("no validation rows are named; add --data FILE, or --data NAME=FILE for each domain")
    sources = []
    for text in given:
        name, equals, path = text.partition("=")
        of_domain = bool(equals and name and path) and not Path(text).exists()
        sources.append({"path": path, "domain": name} if of_domain else {"path": text})
    return sources


def _table(subject: Subject, tokenizer: Any, what: str) -> TokenTable:
    settings = subject.settings
    table = encode(read_examples(settings.data, "eval"), tokenizer, settings.data)
    for line in remarks(table.report):
        say(f"{what}: {line}")
    if not len(table):
        raise DataError(f"the {what} hold no row that a loss can be taken of")
    return table
