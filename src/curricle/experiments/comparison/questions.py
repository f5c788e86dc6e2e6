"""What a comparison must admit: what could not be concluded, and what makes it less than fair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .facts import ArmFacts, RunFacts
from .shape import Cell

NAMED = 3
"""Figures named in a line; the rest are counted."""


def open_questions(cells: Sequence[Cell], arms: Sequence[ArmFacts], base: ArmFacts) -> list[str]:
    """A line for each thing that stays open, and what would settle it."""
    if len(arms) == 1:
        return []
    lines = []
    compared = [cell for cell in cells if cell.difference is not None]
    if not compared:
        return ["No figure was measured in two arms, so nothing is compared; add entries to `evaluation`."]
    fewest = min((len(cell.difference.seeds) for cell in compared if cell.difference), default=0)
    if fewest == 1 and any(arm.trained for arm in arms):
        lines.append(
            "With one seed nobody knows what another seed would have given, so no arm is called better or worse: the "
            "intervals are about these very models on other examples. Run more seeds, such as --seeds 0,1,2."
        )
    elif fewest == 2:
        lines.append(
            "With two seeds an interval is 12.7 standard errors wide on either side, so only huge differences show; "
            "a third seed makes it 4.3, a fifth 2.8."
        )
    for arm in arms:
        lines += _of_arm(arm.name, base.name, [cell for cell in compared if cell.arm == arm.name])
    return lines


def _of_arm(arm: str, base: str, cells: Sequence[Cell]) -> list[str]:
    lines = []
    silent = [cell for cell in cells if cell.difference and cell.difference.verdict == "no difference shown"]
    told = [part for cell in silent if (part := _missed(cell))]
    if told:
        more = f", and {len(told) - NAMED} more figures" if len(told) > NAMED else ""
        lines.append(
            f"{arm}: no difference from {base} is shown in {', '.join(told[:NAMED])}{more}. That is no proof that "
            "there is none: the intervals say how large it may be. More seeds narrow them."
        )
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if cell.difference and cell.difference.verdict == "not decidable" and not _is_one_seed(cell):
            reasons.setdefault(cell.difference.why, []).append(cell.metric)
    for why, metrics in reasons.items():
        more = f" and {len(metrics) - NAMED} more" if len(metrics) > NAMED else ""
        lines.append(f"{arm}: {', '.join(metrics[:NAMED])}{more} cannot be judged: {why}.")
    return lines


def _missed(cell: Cell) -> str:
    found = cell.difference.interval if cell.difference else None
    if found is None or found.low is None or found.high is None:
        return ""
    return f"{cell.metric} ({found.low:+.3g} to {found.high:+.3g})"


def _is_one_seed(cell: Cell) -> bool:
    return cell.difference is not None and len(cell.difference.seeds) == 1


def unfair(arms: Sequence[ArmFacts], base: ArmFacts) -> list[str]:
    """Other seeds, other data, other measuring, other versions, files that changed between runs."""
    others = [arm for arm in arms if arm is not base]
    lines = [line for arm in others for line in (_seeds(arm, base), _data(arm, base), _measuring(arm, base)) if line]
    lines += [line for arm in arms if (line := _mixed(arm))]
    lines += [line for arm in others if (line := _trained_on(arm, base))]
    runs = [run for arm in arms for run in arm.runs.values()]
    return [*lines, *_versions(runs)]


def _seeds(arm: ArmFacts, base: ArmFacts) -> str:
    if arm.fixed or base.fixed or arm.seeds == base.seeds:
        return ""
    common = [seed for seed in arm.seeds if seed in base.seeds]
    on = f"only {_listed(common)} are compared" if common else "none is common, so nothing can be compared"
    return f"{arm.name} has the seeds {_listed(arm.seeds)} and {base.name} {_listed(base.seeds)}: {on}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _data(arm: ArmFacts, base: ArmFacts) -> str:
    ours, theirs = ({name for run in side.runs.values() for name in run.places} for side in (arm, base))
    if ours and theirs and ours != theirs:
        return (
            f"{arm.name} was measured on {len(ours):,} examples and {base.name} on {len(theirs):,}, of which "
            f"{len(ours & theirs):,} are common: differences are taken on those alone"
        )
    return ""


def _measuring(arm: ArmFacts, base: ArmFacts) -> str:
    ours, theirs = ({run.results.get("measured") for run in side.runs.values()} for side in (arm, base))
    if ours == theirs:
        return ""
    return (
        f"{arm.name} and {base.name} were measured by other settings of `evaluation` or `generation`: figures of one "
        "name may not be the same figure"
    )


def _mixed(arm: ArmFacts) -> str:
    hashes = {run.results.get("recipe_hash") for run in arm.runs.values()}
    if len(hashes) > 1:
        return f"the runs of {arm.name} come from {len(hashes)} different recipes"
    if arm.trained and len(_train_rows(arm)) > 1:
        return f"the runs of {arm.name} were trained on different rows: its data changed between them"
    return ""


def _trained_on(arm: ArmFacts, base: ArmFacts) -> str:
    """By the same settings, other rows: somebody changed the file. Other settings are what an arm is about."""
    if not (arm.trained and base.trained) or arm.settings.get("data") != base.settings.get("data"):
        return ""
    if _train_rows(arm) == _train_rows(base):
        return ""
    return f"{arm.name} and {base.name} name the same data, but were trained on other rows: it changed between the runs"


def _train_rows(arm: ArmFacts) -> set[Any]:
    return {((run.results.get("data") or {}).get("train") or {}).get("ids_hash") for run in arm.runs.values()}


def _versions(runs: Sequence[RunFacts]) -> list[str]:
    lines = []
    found: dict[str, set[Any]] = {}
    for run in runs:
        for package, version in (run.results.get("versions") or {}).items():
            found.setdefault(package, set()).add(version)
    several = [f"{package} {' and '.join(sorted(map(str, each)))}" for package, each in found.items() if len(each) > 1]
    if several:
        lines.append(f"the runs were made with other versions: {'; '.join(several)}")
    if len({run.results.get("git") for run in runs}) > 1:
        lines.append("the runs were started at different git revisions")
    return lines
