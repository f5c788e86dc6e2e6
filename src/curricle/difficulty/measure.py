"""The difference between two models at each layer, for every sample, and the simpler measures beside it.

The cloud model reads everything first and is let go; then the edge model reads, and differences are made as it goes:

    cloud   calibration states -> its side of the common space -> features of all samples, in parts on disk
    edge    calibration states -> its side, fitted to the cloud's -> features -> differences, in parts on disk

Calibration samples that are rows of the data are read once: their states are at hand when they are scored. One model is
in memory at a time, with the states of one part of the samples; a part that is there is not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..runtime.progress import say
from .config import DifficultyConfig, Space
from .lens import Lens, kl, kl_bytes
from .matching import by_depth, by_likeness
from .parts import Arrays, Parts
from .reader import Reader
from .samples import Reading, Role, Samples
from .scores import SCORES, refuse_unknown, scores
from .spaces import Side, differences, fit_cloud, fit_edge, refuse_other_width

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """What was found for each sample."""

    layers: Floats
    """`[n, edge layers]`: the differences, as the metric gives them."""
    columns: dict[str, Floats]
    """The scores, and the simpler measures."""
    matched: list[int]
    """The cloud layer that each edge layer was held against."""
    flops: float
    """Of all of it."""
    column_flops: dict[str, float]
    """Of what each column goes by; two that go by the same forwards are charged the same."""
    seconds: float


def measure(samples: Samples, readers: dict[Role, Reader], config: DifficultyConfig, folder: Path) -> Measured:
    """Everything `config` asks for; `folder` keeps parts of the work."""
    warn_if_smaller(readers["cloud"].num_parameters, readers["edge"].num_parameters)
    work = _Work(samples, readers, config, folder)
    work.cloud_turn()
    readers["cloud"].let_go()
    work.edge_turn()
    readers["edge"].let_go()
    layers = work.layers.column("layers")
    refuse_unknown(layers, samples.ids)
    found = scores(layers, samples.ids, top_k=config.top_k, normalize=config.normalize)
    cost = work.flops()
    return Measured(
        layers, found | work.columns(), work.matched, sum(cost.values()), work.column_flops(cost), work.seconds()
    )


class _Work:
    def __init__(self, samples: Samples, readers: dict[Role, Reader], config: DifficultyConfig, folder: Path) -> None:
        self.samples, self.config, self.folder = samples, config, folder
        self.cloud, self.edge = readers["cloud"], readers["edge"]
        self.matched = by_depth(self.edge.num_layers, self.cloud.num_layers)
        likeness = config.match == "cka" and not config.lens
        self.cloud_layers = list(range(1, self.cloud.num_layers + 1)) if likeness else sorted(set(self.matched))
        self.edge_layers = list(range(1, self.edge.num_layers + 1))
        self.features = self._parts("cloud")
        self.layers = self._parts("layers")
        self.losses = {role: self._parts(f"losses-{role}") for role in self._loss_roles()}
        self.ifd = self._parts("ifd") if "ifd" in config.baselines else None
        self.sides: list[Side] = []
        self.cloud_lens: Lens | None = None
        self.known: dict[Role, dict[int, torch.Tensor]] = {"cloud": {}, "edge": {}}
        """The states of calibration samples that are rows as well, by their place in the table."""
        if self.space == "none":
            refuse_other_width(self.edge.width, self.cloud.width)

    @property
    def space(self) -> Space | None:
        return None if self.config.lens else self.config.space or "rsa"

    def _parts(self, name: str) -> Parts:
        return Parts(self.folder, name, len(self.samples))

    def _loss_roles(self) -> list[Role]:
        wanted = self.config.baselines
        return [role for role in ("cloud", "edge") if "gap" in wanted or (role == "edge" and "loss" in wanted)]

    # ---- turns

    def cloud_turn(self) -> None:
        if self.space is not None:
            states = self._calibration("cloud", self.cloud, self.cloud_layers)
            self.sides = [fit_cloud(self.space, part, self.config.standardize) for part in self._sets(states)]
        elif self.layers.missing:
            self.cloud_lens = self.cloud.lens()
        if self.layers.missing:
            self.features.fill(self._cloud_features, "cloud model reads prompts")
        self._likelihoods("cloud", self.cloud)

    def edge_turn(self) -> None:
        if self.space is not None:
            cloud = self._calibration("cloud", self.cloud, self.cloud_layers)
            edge = self._calibration("edge", self.edge, self.edge_layers)
            if self.config.match == "cka":
                self.matched = by_likeness(edge, cloud)
            self._fill_layers(self._fit(edge, cloud))
        else:
            self._fill_layers([])
        self._likelihoods("edge", self.edge)
        if self.ifd is not None:
            reading = self.samples.readings["edge"]
            self.ifd.fill(lambda rows: self.edge.ifd(reading, rows), "edge model reads answers alone", together=True)

    def _fit(self, edge: torch.Tensor, cloud: torch.Tensor) -> list[Side]:
        """The edge's side of each calibration set."""
        assert self.space is not None
        at = self._columns_of_matched()
        return [
            fit_edge(self.space, edge_nld, cloud_nld[:, at], _at(side, at), self.config.ridge, self.config.standardize)
            for edge_nld, cloud_nld, side in zip(self._sets(edge), self._sets(cloud), self.sides, strict=True)
        ]

    def _fill_layers(self, edge_sides: Sequence[Side]) -> None:
        if not self.layers.missing:
            return
        lens = self.edge.lens() if self.config.lens else None
        at = self._columns_of_matched()

        def make(rows: range) -> Arrays:
            states = self._states("edge", self.edge, rows, self.edge_layers)
            held = torch.from_numpy(self.features.load(rows.start // self.features.size)["features"])[:, at]
            if self.config.metric == "kl":
                assert self.cloud_lens is not None
                assert lens is not None
                found = kl(self.cloud_lens, lens, held, states)
            elif lens is not None:
                found = kl_bytes(held, lens.byte_log_probs(states))
            else:
                found = differences(self.config.metric, self._into_space(edge_sides, states, rows), held)
            return {"layers": found.float().numpy()}

        self.layers.fill(make, "edge model reads prompts")
        self.cloud_lens = None

    def _cloud_features(self, rows: range) -> Arrays:
        states = self._states("cloud", self.cloud, rows, self.cloud_layers)
        if self.config.metric == "kl_bytes":
            assert self.cloud_lens is not None
            states = self.cloud_lens.byte_log_probs(states)
        elif self.space is not None:
            states = self._into_space(self.sides, states, rows)
        return {"features": states.numpy()}

    def _states(self, role: Role, reader: Reader, rows: range, layers: Sequence[int]) -> torch.Tensor:
        """`[n, l, d]` of these rows; only what is not known is read."""
        reading, known = self.samples.readings[role], self.known[role]
        places: list[int] = reading.places[rows.start : rows.stop].tolist()
        unknown = [row for row, place in zip(rows, places, strict=True) if place not in known]
        read = reader.states(reading, unknown, layers)
        if len(read) == len(rows):
            return read
        following = iter(read)
        return torch.stack([known[place] if place in known else next(following) for place in places])

    def _likelihoods(self, role: Role, reader: Reader) -> None:
        if role in self.losses:
            reading = self.samples.readings[role]
            label = f"{role} model reads answers"
            self.losses[role].fill(lambda rows: reader.losses(reading, rows), label, together=True)

    # ---- calibration

    def _calibration(self, role: Role, reader: Reader, layers: Sequence[int]) -> torch.Tensor:
        reading: Reading = self.samples.calibration[role]
        parts = Parts(self.folder, f"calibration-{role}", len(reading))
        parts.fill(lambda rows: {"states": reader.states(reading, rows, layers).numpy()}, f"{role} model: calibration")
        states = torch.from_numpy(parts.column("states"))
        if self._among_rows(role):
            self.known[role] = dict(zip(reading.places.tolist(), states, strict=True))
        return states

    def _among_rows(self, role: Role) -> bool:
        return self.samples.calibration[role].table is self.samples.readings[role].table

    def _sets(self, states_nld: torch.Tensor) -> list[torch.Tensor]:
        return list(states_nld.chunk(self.samples.sets))

    def _into_space(self, sides: Sequence[Side], states_nld: torch.Tensor, rows: range) -> torch.Tensor:
        """Each sample by the fit of the calibration set that it is not in."""
        own = torch.from_numpy(self.samples.set_of[rows.start : rows.stop])
        found = sides[0].features(states_nld)
        for number, side in enumerate(sides[1:], start=1):
            if (chosen := own == number).any():
                found[chosen] = side.features(states_nld[chosen])
        return found

    def _columns_of_matched(self) -> list[int]:
        return [self.cloud_layers.index(layer) for layer in self.matched]

    # ---- results

    def columns(self) -> dict[str, Floats]:
        found: dict[str, Any] = dict(self.samples.columns)
        wanted = self.config.baselines
        if "length" in wanted:
            found["length"] = self.samples.readings["edge"].lengths
        sums = {role: parts.column("sums") for role, parts in self.losses.items()}
        if "loss" in wanted:
            found["loss"] = sums["edge"] / np.maximum(1, self.losses["edge"].column("counts"))
        if "gap" in wanted:
            found["gap"] = (sums["edge"] - sums["cloud"]) / np.maximum(1, self.samples.answer_bytes)
        if self.ifd is not None:
            found["ifd"] = self.ifd.column("ifd")
        return {name: np.asarray(found[name], dtype=np.float32) for name in wanted}

    def flops(self) -> dict[str, float]:
        """Of each kind of forward, by formula; those of an interrupted part are not counted."""
        total = {"states": 0.0, "edge": 0.0, "cloud": 0.0, "ifd": 0.0}
        roles: tuple[tuple[Role, Reader, list[int]], ...] = (
            ("cloud", self.cloud, self.cloud_layers),
            ("edge", self.edge, self.edge_layers),
        )
        for role, reader, layers in roles:
            reading = self.samples.readings[role]
            answers = int(reading.table.num_supervised[reading.places].sum())
            prompts_n, mean = _prompt_lengths(reading), _mean_length(reading.lengths)
            if not self._among_rows(role):
                prompts_n = np.concatenate([prompts_n, _prompt_lengths(self.samples.calibration[role])])
            tokens, lens = int(reading.lengths.sum()), len(reading) * len(layers) if self.config.lens else 0
            total["states"] += reader.flops(int(prompts_n.sum()), lens, _mean_length(prompts_n))
            if role in self.losses:
                total[role] = reader.flops(tokens, answers, mean)
            if role == "edge" and self.ifd is not None:
                total["ifd"] = reader.flops(tokens + answers, 2 * answers, mean)
        return total

    def column_flops(self, cost: dict[str, float]) -> dict[str, float]:
        states = dict.fromkeys(("layers", *SCORES), cost["states"])
        answers = {"loss": cost["edge"], "gap": cost["edge"] + cost["cloud"], "ifd": cost["ifd"]}
        return states | {name: answers.get(name, 0.0) for name in self.config.baselines}

    def seconds(self) -> float:
        made = [self.features, self.layers, *self.losses.values(), *([self.ifd] if self.ifd else [])]
        roles: tuple[Role, Role] = ("cloud", "edge")
        made += [Parts(self.folder, f"calibration-{role}", len(self.samples.calibration[role])) for role in roles]
        return sum(parts.seconds for parts in made)


def _prompt_lengths(reading: Reading) -> npt.NDArray[np.int64]:
    """Of raw text all tokens are prompt."""
    answers_n = reading.table.num_supervised[reading.places]
    lengths_n: npt.NDArray[np.int64] = reading.lengths - np.where(reading.raw, 0, answers_n)
    return lengths_n


def _mean_length(lengths_n: npt.NDArray[Any]) -> float:
    """Of what a token lies in, as attention goes by that: E[T^2] / E[T], as training is charged."""
    return float((lengths_n.astype(np.float64) ** 2).sum() / max(1, lengths_n.sum()))


def _at(side: Side, layers: Sequence[int]) -> Side:
    """A side with these of its layers."""
    at = list(layers)
    map_ldk = None if side.map_ldk is None else side.map_ldk[at]
    return Side(side.mean_ld[at], side.scale_ld[at], map_ldk, side.ranks)


def warn_if_smaller(cloud: int, edge: int) -> None:
    """A cloud model below the edge model measures something else."""
    if cloud < edge:
        say(
            f"warning: the cloud model has {cloud:,} weights and the edge model {edge:,}; a difference then does not "
            "say what the edge model still has to learn, as it may be the cloud model that lacks it"
        )
