"""Runs in an MLflow store: sent once, never twice, whenever it is asked.

A store is a server (MLFLOW_TRACKING_URI) or, by default, a file beside the runs: `runs/NAME/mlflow.db`. `send` brings
the store up to the folder: what the store has already is not sent again, so that it can be called every few seconds
while a run trains, after a resume (whose steps are the unbroken run's), and once more at the end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...errors import MissingExtra
from ...runtime.files import read_json, sha256_file, write_json
from .reading import LOGS, figures, files, parameters, results, title

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
LINK = "mlflow.json"
"""In a run's folder: the store it is in, and its number there."""
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
"""MLflow's own variables where the user has not set them: its defaults wait a quarter of an hour for a dead server."""
_AT_ONCE = {"metrics": 1000, "params": 100}
_LONGEST = 6000


Item = TypeVar("Item")


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def shown(uri: str) -> str:
    """A store's name without a password.

    >>> shown("https://me:secret@host:5000")
    'https://...@host:5000'
    """
    return without_password(uri, uri)


def without_password(text: str, uri: str) -> str:
    """What a library says of a store, which may hold its address."""
    secret, at, _ = uri.partition("//")[2].rpartition("@")
    return text.replace(secret + at, "...@") if at else text


def store_uri(run: Path) -> str:
    """Where a run is kept: the server of the environment, else a file beside the experiment's runs."""
    return os.environ.get(URI) or f"sqlite:///{(run.parent.parent / 'mlflow.db').resolve()}"


class MlflowStore:
    """One store, and what it has of the runs that this process has sent."""

    def __init__(self, uri: str) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingExtra("MLflow is not installed: pip install 'curricle[mlflow]'") from error
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):  # what matters of it is said by us, once
            logging.getLogger(name).setLevel(logging.ERROR)
        self.uri = uri
        self.client: Any = MlflowClient(uri)
        self.told = False
        """Whether the store has been sent anything that it did not have."""
        self._numbers: dict[Path, str] = {}
        self._sent: dict[tuple[str, str], int] = {}

    def begin(self, run: Path) -> str:
        """The run's number in the store: a new one, or the one it had."""
        if run not in self._numbers:
            number = self._link(run).get("run_id")
            self._numbers[run] = number if number is not None and self._has(number) else self._make(run)
        return self._numbers[run]

    def _link(self, run: Path) -> dict[str, Any]:
        held = read_json(run / LINK) if (run / LINK).exists() else {}
        link: dict[str, Any] = held.get(shown(self.uri), {})
        return link

    def _write_link(self, run: Path, link: dict[str, Any]) -> None:
        held = read_json(run / LINK) if (run / LINK).exists() else {}
        write_json(run / LINK, held | {shown(self.uri): link})

    def _has(self, number: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_run(number)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the store was begun anew
                return False
            raise
        return True

    def _make(self, run: Path) -> str:
        self.told = True
        made = self.client.create_run(self._experiment(run), run_name="/".join(run.resolve().parts[-2:]))
        number: str = made.info.run_id
        self.client.set_tag(number, "curricle.run", title(run))
        for part in _parts(list(parameters(run).items()), _AT_ONCE["params"]):
            self._log_params(number, part)
        self._write_link(run, {"run_id": number, "files": {}})
        return number

    def _experiment(self, run: Path) -> str:
        name = os.environ.get(EXPERIMENT) or run.resolve().parent.parent.name
        held = self.client.get_experiment_by_name(name)
        if held is not None:
            return str(held.experiment_id)
        beside = run.resolve().parent.parent / "mlflow-artifacts"
        where = str(beside) if self.uri.startswith("sqlite:") else None
        return str(self.client.create_experiment(name, artifact_location=where))

    def _log_params(self, number: str, part: Sequence[tuple[str, str]]) -> None:
        from mlflow.entities import Param

        self.client.log_batch(number, params=[Param(name, text[:_LONGEST]) for name, text in part])

    def send(self, run: Path) -> str:
        """Everything that the folder has and the store lacks; the run's number there."""
        from mlflow.entities import Metric

        number = self.begin(run)
        for log, prefix in LOGS.items():
            new = figures(run, log, self._last_step(number, log, prefix))
            for part in _parts(new, _AT_ONCE["metrics"]):
                metrics = [Metric(each.name, each.value, each.time_ms, each.step) for each in part]
                self.client.log_batch(number, metrics=metrics)
            if new:
                self.told = True
                self._sent[number, log] = new[-1].step
        return number

    def _last_step(self, number: str, log: str, prefix: str) -> int:
        """Steps come in order and whole, so that the last one of the loss is the last one of all."""
        if (number, log) not in self._sent:
            history = self.client.get_metric_history(number, f"{prefix}loss")
            self._sent[number, log] = max((metric.step for metric in history), default=0)
        return self._sent[number, log]

    def finish(self, run: Path) -> str:
        """The same, and of a finished run its results and files, as they are now."""
        number = self.send(run)
        held = self.client.get_run(number).data.metrics
        step = self._last_step(number, "metrics", LOGS["metrics"])
        for name, value in results(run).items():
            if held.get(name) != value:
                self.client.log_metric(number, name, value, step=step)
                self.told = True
        self._send_files(run, number)
        self.end(run, "FINISHED")
        return number

    def _send_files(self, run: Path, number: str) -> None:
        link = self._link(run)
        for path in files(run):
            if link["files"].get(path.name) != (now := sha256_file(path)):
                self.client.log_artifact(number, str(path))
                self.told = True
                link["files"][path.name] = now
        self._write_link(run, link)

    def end(self, run: Path, status: str) -> None:
        """How the run stands: RUNNING, FINISHED, KILLED (asked to stop, to go on later) or FAILED."""
        number = self.begin(run)
        if status == "RUNNING":
            self.client.update_run(number, status=status)
        elif self.client.get_run(number).info.status != status:
            self.client.set_terminated(number, status)
            self.told = True
