"""The analysis of labels that a recipe asks for: beside them, once for all arms that go by them.

Real difficulty, where it is asked for, is that of the first arm of the recipe that goes by the labels, with the
recipe's first seed, whichever arms and seeds a call is for. It is set up, and refused where it cannot be, before labels
are made, which may take hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..curriculum.labels import read_about
from ..errors import CurricleError, RecipeError
from ..runtime.progress import say
from ..runtime.ranks import barrier, is_main, shared
from .labels.making import Request, request

if TYPE_CHECKING:
    from .labels.probe import Probing
    from .recipe import Settings
    from .resolve import Arm, Experiment

KEY = "`difficulty.probe_folds`"


@dataclass(frozen=True)
class Look:
    """What is to be found out about a label file."""

    labels: Path
    probing: Probing | None
    """What real difficulty is, if it is asked for."""

    @property
    def probe(self) -> Path:
        return _beside(self.labels, "probe.parquet")


def foreseen(whole: Experiment, asked: Iterable[tuple[str, Request | None]]) -> list[Look]:
    """The analyses that these arms ask for, one a label file."""
    looks: dict[Path, Look] = {}
    for name, one in asked:
        arm = whole.arms[name]
        if one is not None and arm.settings.difficulty.analyze and one.path not in looks:
            looks[one.path] = Look(one.path, _probing(whole, arm, one))
    return list(looks.values())


def kept(finished: Iterable[Arm], folder: Path) -> list[tuple[str, Request]]:
    """The labels of finished arms that are there, and whose analysis is not. None are made again for that."""
    found = []
    for arm in {arm.name: arm for arm in finished if arm.settings.difficulty.analyze}.values():
        try:
            asked = request(arm.settings, folder)
            if asked is not None and shared(asked.there and not _looked_into(asked.path, arm.settings)):
                found.append((arm.name, asked))
        except CurricleError as error:  # its models may be gone; the run is finished for all that
            say(f"{arm.name}: its labels are not looked into: {error}")
    return found


def look_into(looks: Sequence[Look], force: bool = False) -> None:
    """Make what is missing of them."""
    for look in looks:
        probing, probe = look.probing, None
        if probing is not None:
            probe = look.probe
            if force or shared(_fingerprint(probe)) != probing.fingerprint:
                probing.tell()
                probing.write(probe)
        _analyze(look.labels, probe, force)


def _probing(whole: Experiment, arm: Arm, asked: Request) -> Probing | None:
    folds = arm.settings.difficulty.probe_folds
    if not folds:
        return None
    from .labels.probe import Probing

    probing = Probing.of(_first_like(whole, arm), whole.seeds[:1], folds)
    probing.study.refuse_small(KEY)
    path = _beside(asked.path, "probe.parquet")
    if shared(_fingerprint(path)) not in (None, probing.fingerprint) and asked.named:  # perhaps somebody's work of days
        held = read_about(path).get("folds")
        how = f"with {held}" if held != folds else "of another model, training, seed or other data"
        raise RecipeError(
            f"{KEY} is {folds}, but {path} is there {how}, and is not written over; put it elsewhere, or leave "
            "`difficulty.probe_folds` out and hold the labels against it with `curricle analyze`"
        )
    return probing


def _first_like(whole: Experiment, arm: Arm) -> Arm:
    """The first arm of the recipe that goes by the same labels."""
    return next(one for one in whole.arms.values() if _goes_by(one.settings) == _goes_by(arm.settings))


def _goes_by(settings: Settings) -> tuple[object, ...]:
    labels = settings.curriculum.labels if settings.makes_labels else None
    return labels, settings.difficulty, settings.data, settings.model.name_or_path


def _fingerprint(probe: Path) -> str | None:
    """Of a probe that is there; empty where it does not say."""
    return str(read_about(probe).get("fingerprint", "")) if probe.is_file() else None


def _looked_into(labels: Path, settings: Settings) -> bool:
    """Whether all is there that is asked for."""
    folds, probe = settings.difficulty.probe_folds, _beside(labels, "probe.parquet")
    if folds and not (probe.is_file() and read_about(probe).get("folds") == folds):
        return False
    return _is_newer(_beside(labels, "analysis") / "analysis.json", labels, probe if folds else None)


def _analyze(labels: Path, probe: Path | None, force: bool) -> None:
    folder = _beside(labels, "analysis")
    if is_main() and (force or not _is_newer(folder / "analysis.json", labels, probe)):
        from .analysis.analyze import analyze

        analyze(labels, against=probe, output=folder)
        say(f"labels: {folder / 'report.html'} has their analysis")
    barrier()


def _beside(labels: Path, what: str) -> Path:
    return labels.with_name(f"{labels.stem}-{what}")


def _is_newer(made: Path, *sources: Path | None) -> bool:
    return made.is_file() and all(made.stat().st_mtime >= one.stat().st_mtime for one in sources if one is not None)
