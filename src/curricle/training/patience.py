"""Early stopping whose memory is in the checkpoint, so that a resumed run stops where the unbroken one does.

transformers' own callback forgets its count on resume unless all callbacks are replaced by saved ones.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from ..runtime.progress import say


class Patience(TrainerCallback):
    """Stops training after `patience` evaluations in a row without a value better by `min_delta`."""

    def __init__(self, metric: str, higher_is_better: bool, patience: int, min_delta: float = 0.0) -> None:
        self.metric, self.sign, self.patience, self.min_delta = (
            metric,
            1 if higher_is_better else -1,
            patience,
            min_delta,
        )
        self.best: float | None = None
        self.waited = 0

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        value = kwargs["metrics"][self.metric]
        if self.best is None or self.sign * (value - self.best) > self.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.spent:
            say(
                f"step {state.global_step}: {self.metric} has not bettered {self.best:.4g} in {self.waited} evaluations"
            )
            control.should_training_stop = True

    @property
    def spent(self) -> bool:
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]
