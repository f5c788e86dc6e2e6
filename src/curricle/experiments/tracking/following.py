"""A run is told to MLflow while it trains, from a thread of its own, so that a slow server holds nothing up.

A server that cannot be reached is said once, and training goes on: everything is in the run's folder anyway, and
`curricle export mlflow` sends it later.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import Interrupted, MissingExtra, RunError
from ...runtime.progress import counted, say
from ...runtime.ranks import is_main
from ...training.arguments import MLFLOW, reporters
from .mlflow_store import URI, MlflowStore, shown, store_uri, without_password
from .reading import ABOUT

EVERY = 2.0
"""Seconds between two looks at the folder."""
_unreachable: set[str] = set()
"""Stores that have failed in this process, each said once and not tried again."""


def asked_for(training: Mapping[str, Any]) -> bool:
    """Whether `training.report_to` names MLflow."""
    return MLFLOW in reporters(training.get("report_to"))


@contextmanager
def followed(run: Path, training: Mapping[str, Any]) -> Iterator[None]:
    """As long as the block lasts, MLflow is told what the run's folder holds; nothing where it was not asked for."""
    if not (is_main() and asked_for(training)):
        yield
        return
    follower = _Follower(run)
    follower.start()
    status = "RUNNING"  # it is measured next
    try:
        yield
    except BaseException as error:
        status = "KILLED" if isinstance(error, Interrupted | KeyboardInterrupt) else "FAILED"
        raise
    finally:
        follower.stop(status)


class _Follower(threading.Thread):
    def __init__(self, run: Path) -> None:
        super().__init__(name="mlflow", daemon=True)
        self.run_folder, self.uri = run, store_uri(run)
        self._ended, self._status = threading.Event(), "RUNNING"

    def run(self) -> None:
        monitor = store = None
        try:
            while not self._ended.wait(EVERY):
                if not (self.run_folder / "metrics.jsonl").exists():
                    continue  # a run that is refused before its first step leaves nothing
                store = store or MlflowStore(self.uri)
                store.send(self.run_folder)
                monitor = monitor or self._watch_machine(store)
            if (self.run_folder / "metrics.jsonl").exists():
                store = store or MlflowStore(self.uri)
                store.send(self.run_folder)
                if self._status != "RUNNING":
                    store.end(self.run_folder, self._status)
        except Exception as error:
            tell_unreachable(self.run_folder, self.uri, error)
        finally:
            if monitor is not None:
                monitor.finish()

    def _watch_machine(self, store: MlflowStore) -> Any:
        """MLflow's own monitor: processor, memory, disk, network, and GPUs where nvidia-ml-py is there."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        number = store.begin(self.run_folder)
        store.end(self.run_folder, "RUNNING")  # it may have been stopped and go on now
        monitor: Any = SystemMetricsMonitor  # it has no types
        monitor = monitor(number, resume_logging=True, tracking_uri=self.uri)
        monitor.start()
        return monitor

    def stop(self, status: str) -> None:
        self._status = status
        self._ended.set()
        self.join(timeout=60)


def tell_unreachable(run: Path, uri: str, error: Exception) -> None:
    """One line for a store, however many runs and however often."""
    if uri not in _unreachable:
        _unreachable.add(uri)
        say(
            f"MLflow at {shown(uri)} cannot be told ({_reason(error, uri)[:200]}); training goes on, and everything is "
            f"kept in {run}: `curricle export mlflow {run}` sends it later"
        )


def _reason(error: Exception, uri: str) -> str:
    return without_password(f"{type(error).__name__}: {' '.join(str(error).split())}", uri)


def tell_finished(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    """Results, report and recipe of the runs that are done, to where each was told of."""
    for run, training in runs:
        uri = store_uri(run)
        if is_main() and asked_for(training) and uri not in _unreachable and (run / "results.json").exists():
            try:
                MlflowStore(uri).finish(run)
            except Exception as error:
                tell_unreachable(run, uri, error)


def export_mlflow(path: str | Path, to: str | None = None) -> str:
    """Send finished runs to an MLflow store: `path` is one run, or a folder of runs; `to` names the store.

    Without `to` it is MLFLOW_TRACKING_URI, else a file beside the runs. What the store has already is not sent again.
    """
    path = Path(path)
    found = sorted({about.parent for depth in ("", "*/", "*/*/") for about in path.glob(f"{depth}{ABOUT}")})
    finished = [run for run in found if (run / "results.json").exists()]
    if not finished:
        raise RunError(
            f"{path} holds no finished run: looked for results.json beside arm.json, down to runs/NAME/ARM/seed-K"
        )
    uri = to or store_uri(finished[0])
    try:
        store = MlflowStore(uri)
        for run in finished:
            store.finish(run)
    except MissingExtra:
        raise
    except Exception as error:
        raise RunError(f"MLflow at {shown(uri)} cannot be told: {_reason(error, uri)}") from error
    news = "" if store.told else ", nothing new"
    beside = "" if os.environ.get(URI) or to else "; set MLFLOW_TRACKING_URI to use a server instead"
    return f"{counted(len(finished), 'run')} in MLflow at {shown(uri)}{news}{beside}"
