"""The source's names for difficulty: meta tokens of one dialogue, their differences, and scores of those.

`curricle.score` does the same for a whole file, in batches and with fits that no scored row has seen. These are for
looking at a few dialogues, and for scripts that were written against the source. Layers are counted from 0, as there.

Suffixes: n samples, l layers, d width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.config import DataConfig
from ..data.prompts import make_prompts
from ..data.schema import Example, Message, Where
from ..data.tokens import Piece, TextEncoder
from ..errors import DataError, ModelError, nearest
from ..models.config import ModelConfig
from ..models.head_plan import base_model
from ..models.likelihood import max_positions
from ..models.loading import load_model, load_tokenizer
from ..runtime.devices import rank_device
from ..runtime.progress import say
from .calibration import DIALOGUES
from .config import FEWEST, DifficultyConfig, Space
from .lens import Lens, kl, kl_bytes, refuse_other_vocabulary
from .matching import by_depth, by_likeness
from .measure import warn_if_smaller
from .scores import ROUNDING, SCORES, scores
from .spaces import Side, differences, fit_cloud, fit_edge
from .states import StateReader, num_layers

METRICS = ("l2", "cosine", "kl", "kl_bytes")
UNLIMITED = 1 << 20


class MetaTokenExtractor:
    """Reads the meta tokens of a large and a small model: the state behind each layer at a dialogue's last token.

    `settings` are keys of `DifficultyConfig` (pool, probe_text, space, match, ridge, dtype). A dialogue is one message
    of the user, a turn a line, behind the system prompt, through each model's own chat template; a model without one
    reads plain text. `fit` makes states of unlike widths comparable; without it a built-in text is taken for that.

    >>> extractor = MetaTokenExtractor("models/8b", "models/1b", "Analyze the dialogue...")       # doctest: +SKIP
    """

    def __init__(
        self,
        cloud_model_name: str,
        edge_model_name: str,
        system_prompt: str | None = None,
        *,
        use_cpu: bool = False,
        **settings: Any,
    ) -> None:
        self.config, self.system_prompt = _settings(settings), system_prompt
        self.cloud, self.edge = (_Model(name, self.config, use_cpu) for name in (cloud_model_name, edge_model_name))
        warn_if_smaller(self.cloud.num_parameters, self.edge.num_parameters)
        self.matched = by_depth(self.edge.num_layers, self.cloud.num_layers)
        """The cloud layer, from 1, that each edge layer is held against."""
        self._sides: tuple[Side, Side] | None = None

    def extract_meta_tokens(self, dialogue_history: Sequence[str], current_utterance: str) -> tuple[Tensor, Tensor]:
        """(cloud, edge), `[layers, width]` each."""
        turns = [[*dialogue_history, current_utterance]]
        return self.cloud.read(turns, self.system_prompt)[0], self.edge.read(turns, self.system_prompt)[0]

    def compute_layer_differences(
        self, cloud_tokens: Tensor, edge_tokens: Tensor, metric: str | None = None
    ) -> dict[int, float]:
        """How far apart the two are at each layer of the edge model, by the metric of the settings or this one."""
        metric = metric or self.config.metric
        if metric not in METRICS:
            raise DataError(f"metric `{metric}` is not known; {nearest(metric, METRICS)}")
        edge_nld, cloud_nld = edge_tokens[None], cloud_tokens[None]
        if metric in ("kl", "kl_bytes"):
            found_nl = self._lens_difference(metric, edge_nld, cloud_nld)
        else:
            cloud, edge = self._fitted()
            matched_nld = self._at(cloud_nld)
            found_nl = differences(metric, edge.features(edge_nld), cloud.features(matched_nld))
        return dict(enumerate(found_nl[0].tolist()))

    def fit(self, dialogues: Sequence[Sequence[str]]) -> MetaTokenExtractor:
        """Learn how to compare the two models' states from these dialogues, each a sequence of turns. They should be
        like those that are measured, but others."""
        if len(dialogues) < FEWEST:
            raise DataError(f"{len(dialogues)} dialogues are too few to compare two models by; give {FEWEST} or more")
        edge_nld = self.edge.read(dialogues, self.system_prompt)
        cloud_nld = self.cloud.read(dialogues, self.system_prompt)
        if self.config.match == "cka":
            self.matched = by_likeness(edge_nld, cloud_nld)
        matched_nld = self._at(cloud_nld)
        space: Space = self.config.space or "rsa"
        how = self.config.standardize
        cloud = fit_cloud(space, matched_nld, how)
        self._sides = cloud, fit_edge(space, edge_nld, matched_nld, cloud, self.config.ridge, how)
        return self

    def _fitted(self) -> tuple[Side, Side]:
        if self._sides is None and (self._alike and self.config.space is None and self.config.match == "depth"):
            return _AS_THEY_ARE, _AS_THEY_ARE
        if self._sides is None:
            self.fit(DIALOGUES)
            say(
                f"the two models' states are made comparable by {len(DIALOGUES)} built-in dialogues; `fit` with "
                "dialogues like yours is better"
            )
        assert self._sides is not None
        return self._sides

    @property
    def _alike(self) -> bool:
        return self.cloud.width == self.edge.width

    def _at(self, cloud_nld: Tensor) -> Tensor:
        """The cloud's layers that are held against the edge's, in that order."""
        return cloud_nld[:, [layer - 1 for layer in self.matched]]

    def _lens_difference(self, metric: str, edge_nld: Tensor, cloud_nld: Tensor) -> Tensor:
        matched_nld = self._at(cloud_nld)
        if metric == "kl":
            refuse_other_vocabulary(self.cloud.tokenizer, self.edge.tokenizer)
            return kl(self.cloud.lens, self.edge.lens, matched_nld, edge_nld)
        return kl_bytes(self.cloud.lens.byte_log_probs(matched_nld), self.edge.lens.byte_log_probs(edge_nld))


class _Model:
    """One of the two, with its tokenizer."""

    def __init__(self, name: str, config: DifficultyConfig, use_cpu: bool) -> None:
        self.config = config
        settings = ModelConfig(name_or_path=str(name), dtype=config.dtype)
        self.tokenizer = load_tokenizer(settings, need_pad=False)
        model: Any = load_model(settings)
        self.model = model.to(rank_device(use_cpu)).eval()
        self.num_layers = num_layers(self.model)
        self.num_parameters = sum(one.numel() for one in self.model.parameters())
        self.width = int(base_model(self.model).config.get_text_config().hidden_size)

    def read(self, dialogues: Sequence[Sequence[str]], system_prompt: str | None) -> Tensor:
        """`[n, l, d]` on the CPU."""
        chat = bool(self.tokenizer.chat_template)
        examples = [_example(turns, system_prompt, chat, place) for place, turns in enumerate(dialogues, start=1)]
        room = max_positions(self.model) or UNLIMITED
        data = DataConfig(train="dialogues", max_length=room - len(self._probe))
        prompts = make_prompts(examples, self.tokenizer, data, max_new_tokens=1)
        reader = StateReader(self.model, self.config.pool, None, self._probe, self.config.token_budget, packed=False)
        return reader.read([prompt.tokens for prompt in prompts])

    @cached_property
    def _probe(self) -> list[int]:
        if self.config.pool != "probe":
            return []
        return TextEncoder(self.tokenizer).encode([Piece(self.config.probe_text)])[0]

    @cached_property
    def lens(self) -> Lens:
        return Lens(self.model, self.tokenizer)


_AS_THEY_ARE = Side(torch.zeros(1), torch.ones(1), None)
"""For two models of one width that are not to be fitted."""


def _settings(given: Mapping[str, Any]) -> DifficultyConfig:
    from pydantic import ValidationError

    for name in given:
        if name not in DifficultyConfig.model_fields:
            raise ModelError(
                f"MetaTokenExtractor has no setting `{name}`; {nearest(name, DifficultyConfig.model_fields)}"
            )
    try:
        return DifficultyConfig(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "settings"
        raise ModelError(f"MetaTokenExtractor: `{name}`: {first['msg'].removeprefix('Value error, ')}") from error


def _example(turns: Sequence[str], system_prompt: str | None, chat: bool, place: int) -> Example:
    """A dialogue that awaits an answer."""
    if isinstance(turns, str):
        raise DataError(f"dialogue {place} is one string; give its turns as a list of strings")
    text, where = "\n".join(turns), Where("dialogues", place)
    if not chat:
        whole = text if system_prompt is None else f"{system_prompt}\n\n{text}"
        return Example("plain", f"{place:016x}", where, prompt=whole)
    system = () if system_prompt is None else (Message("system", system_prompt),)
    return Example("chat", f"{place:016x}", where, messages=(*system, Message("user", text)))


class DifficultyScorer:
    """From the differences at each layer to the source's four scores: mean, max, topk_mean, weighted_mean.

    `fit` on the differences of a data set puts layers on one scale first. Without it the scores are those of the
    differences as they are, where a layer with large states outweighs the others.

    >>> DifficultyScorer(num_layers=3, top_k=2).compute_difficulty_scores({0: 1.0, 1: 2.0, 2: 6.0})["topk_mean"]
    4.0
    """

    def __init__(self, num_layers: int, top_k: int = 3) -> None:
        if num_layers < 1 or top_k < 1:
            raise DataError(f"num_layers is {num_layers} and top_k {top_k}; both are 1 or more")
        self.num_layers, self.top_k = num_layers, top_k
        self._scale: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None

    def fit(self, many: Sequence[Mapping[int, float]]) -> DifficultyScorer:
        """Standardise each layer by these differences, one mapping a sample."""
        layers_nl = np.stack([self._row(one) for one in many])
        spread_l = layers_nl.std(0)
        self._scale = layers_nl.mean(0), np.where(spread_l > ROUNDING, spread_l, 1.0)
        return self

    def compute_difficulty_scores(self, layer_diffs: Mapping[int, float]) -> dict[str, float]:
        row_l = self._row(layer_diffs)
        if self._scale is not None:
            mean_l, spread_l = self._scale
            row_l = (row_l - mean_l) / spread_l
        found = scores(row_l[None].astype(np.float32), ["the sample"], top_k=self.top_k, normalize="none")
        return {name: float(found[name][0]) for name in SCORES}

    def _row(self, layer_diffs: Mapping[int, float]) -> np.ndarray[Any, Any]:
        """The differences in the order of the layers. Models of unlike depth have as many as the edge model."""
        if not layer_diffs:
            raise DataError("no layer differences to score; `compute_layer_differences` gives them")
        if len(layer_diffs) != self.num_layers:
            say(
                f"num_layers is {self.num_layers}, and differences of {len(layer_diffs)} layers are given (the edge "
                f"model's): those {len(layer_diffs)} are scored"
            )
            self.num_layers = len(layer_diffs)
        return np.array([layer_diffs[layer] for layer in sorted(layer_diffs)], dtype=np.float64)
