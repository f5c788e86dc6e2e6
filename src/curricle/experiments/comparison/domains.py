"""The held-out loss of each domain by itself: what is better over all rows may be worse on those of one domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .cells import figure_cells
from .config import ComparisonConfig
from .facts import ArmFacts, RunFacts
from .shape import DomainLoss, MetricInfo

LOSS = MetricInfo("loss", higher_is_better=False)


def domain_losses(arms: Sequence[ArmFacts], base: ArmFacts, config: ComparisonConfig) -> list[DomainLoss]:
    """Compared as any figure is, the arms corrected together in each domain; none where there are fewer than two."""
    names = _names(arms)
    if len(names) < 2:
        return []
    found = []
    for name in names:
        parts = {arm.name: replace(arm, runs=_runs(arm, name)) for arm in arms}
        cells = figure_cells(list(parts.values()), parts[base.name], LOSS, config)
        found.append(DomainLoss(name, cells))
    return found


def _names(arms: Sequence[ArmFacts]) -> list[str]:
    """As the held-out sources name them, then by their names."""
    runs = [run for arm in arms for run in arm.runs.values()]
    measured = {name for run in runs for name in run.results.get("domain_loss") or {}}
    sources = (arms[0].settings.get("data") or {}).get("eval")
    listed = sources if isinstance(sources, list) else []
    first = [each["domain"] for each in listed if isinstance(each, dict) and each.get("domain") in measured]
    return list(dict.fromkeys([*first, *sorted(measured)]))


def _runs(arm: ArmFacts, domain: str) -> dict[int, RunFacts]:
    """Those that were measured on rows of the domain; runs of before each row's was kept have the loss of them all."""
    found = {}
    for seed, run in arm.runs.items():
        if (loss := (run.results.get("domain_loss") or {}).get(domain)) is not None:
            part = run.of_domain(domain, only=LOSS.name)
            whole = part if part.metrics else replace(part, results=part.results | {"metrics": {LOSS.name: loss}})
            found[seed] = whole
    return found
