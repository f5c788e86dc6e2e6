"""One of the two models, loaded only when something is missing that it must make, and let go after its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.rows import Rows
from ..data.table import TokenTable
from ..data.tokens import Piece, TextEncoder
from ..errors import ModelError
from ..models.choose import choose_attention
from ..models.config import ModelConfig
from ..models.head_plan import base_model
from ..models.ifd import answer_head, ifd_ratios
from ..models.likelihood import token_losses_of
from ..models.loading import load_model, model_settings
from ..models.probe import verify_packing
from ..runtime.devices import rank_device
from ..runtime.files import read_json, write_json
from ..runtime.progress import say
from ..runtime.ranks import is_main
from .config import DifficultyConfig
from .lens import Lens
from .parts import Arrays
from .samples import Reading, Role
from .states import StateReader

PADDED_BATCH = 8


class Reader:
    """What one model makes of samples."""

    def __init__(
        self,
        role: Role,
        model: ModelConfig,
        tokenizer: Any,
        config: DifficultyConfig,
        folder: Path,
        use_cpu: bool = False,
    ) -> None:
        self.role, self.model_config, self.tokenizer, self.config = role, model, tokenizer, config
        self.device = rank_device(use_cpu)
        self._about = folder / f"{role}.json"
        self._model: Any = None
        self._packed = True
        self._whole_settings = model_settings(model)
        self.settings = self._whole_settings.get_text_config()

    @property
    def num_layers(self) -> int:
        return int(self.settings.num_hidden_layers)

    @property
    def width(self) -> int:
        return int(self.settings.hidden_size)

    def states(self, reading: Reading, rows: Sequence[int], layers: Sequence[int]) -> torch.Tensor:
        """`[n, l, d]` of these samples' prompts."""
        prompts = [reading.prompt(i) for i in rows]
        model = self.model
        budget = self.config.token_budget
        return StateReader(model, self.config.pool, layers, self._probe(), budget, self._packed).read(prompts)

    def losses(self, reading: Reading, rows: range) -> Arrays:
        """Summed loss and number of tokens of each sample's answer."""
        model, shape = self.model, self._rows(reading, rows)
        found = token_losses_of(model, TokenTable.from_examples(reading.examples(rows)), shape, batch_size=self._batch)
        return {"sums": found.sums(), "counts": found.counts}

    def ifd(self, reading: Reading, rows: range) -> Arrays:
        model, shape = self.model, self._rows(reading, rows)
        pairs = [(list(map(int, prompt)), list(map(int, answer))) for prompt, answer in map(reading.pair, rows)]
        head = answer_head(self.tokenizer, chat=bool(reading.table.report.get("end_of_turn")))
        ratios = ifd_ratios(model, pairs, shape, head=head, batch_size=self._batch)
        return {"ifd": np.where(reading.raw[rows.start : rows.stop], np.nan, ratios)}

    def lens(self) -> Lens:
        return Lens(self.model, self.tokenizer)

    def flops(self, tokens: int, answers: int, mean_length: float) -> float:
        """Of forwards over so many tokens, with the head at so many of them: 2 a weight, and 2 L H T for attention."""
        size = read_json(self._about)
        body = 2.0 * size["body"] + 2.0 * size["layers"] * size["hidden"] * mean_length
        return float(tokens * body + answers * 2.0 * size["hidden"] * size["vocab"])

    # ---- the model

    @property
    def model(self) -> Any:
        if self._model is None:
            self._model = self._load()
        return self._model

    def let_go(self) -> None:
        self._model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self) -> Any:
        dtype = getattr(torch, self.config.dtype, torch.float32)
        choice = choose_attention(self.settings, self.device, dtype, "ordered", self.model_config.attn_implementation)
        model: Any = load_model(self.model_config, attn=choice.name).to(self.device).eval()  # type: ignore[arg-type]
        try:
            self._packed = verify_packing(model, choice).name == choice.name
        except ModelError:
            self._packed = False
        if not self._packed:
            say(f"the {self.role} model cannot isolate packed prompts; they are padded")
        self._write_size(model)
        return model

    def _write_size(self, model: Any) -> None:
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        outside = {id(one): one.numel() for one in (embedding, head)}
        total = sum(one.numel() for one in base_model(model).parameters())
        size = {"parameters": total, "body": total - sum(outside.values()), "layers": self.num_layers,
                "hidden": self.width, "vocab": head.shape[0]}  # fmt: skip
        if is_main():
            write_json(self._about, size)

    @property
    def num_parameters(self) -> int:
        """Counted on a model without weights, before any is loaded."""
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            return sum(one.numel() for one in AutoModelForCausalLM.from_config(self._whole_settings).parameters())

    @property
    def _batch(self) -> int:
        return 1 if self._packed else PADDED_BATCH

    def _rows(self, reading: Reading, rows: range) -> Rows:
        longest = int(reading.lengths[rows.start : rows.stop].max())
        shape = Rows(max_length=max(longest, self.config.token_budget), pad_id=self.tokenizer.pad_token_id or 0)
        return shape if self._packed else replace(shape, packing="none")

    def _probe(self) -> list[int]:
        return TextEncoder(self.tokenizer).encode([Piece(self.config.probe_text)])[0]
