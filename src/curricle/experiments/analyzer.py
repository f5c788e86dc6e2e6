"""The source's name for scoring a whole data set: `score`, with the models given once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..curriculum.difficulties import Difficulties
from ..curriculum.difficulties import load_difficulties as load
from .labels.score import Scored, score


class MetaTokenDifferenceAnalyzer:
    """Labels of every row of a file: how far apart the cloud and the edge model see it.

    `settings` are those of `curricle.score`.

    >>> analyzer = MetaTokenDifferenceAnalyzer("models/8b", "models/1b")                    # doctest: +SKIP
    >>> print(analyzer.analyze_dataset("train.jsonl", "labels.parquet"))                    # doctest: +SKIP
    """

    def __init__(
        self, cloud_model_name: str, edge_model_name: str, system_prompt: str | None = None, **settings: Any
    ) -> None:
        self.cloud, self.edge = cloud_model_name, edge_model_name
        self.system_prompt, self.settings = system_prompt, settings

    def analyze_dataset(self, data_path: str | Path, output_path: str | Path, **settings: Any) -> Scored:
        """Score every row and write a label file, `.parquet` or `.json`; the result prints what was found."""
        overrides = [*self.settings.get("overrides", ()), *settings.pop("overrides", ())]
        if self.system_prompt is not None:
            overrides.append(f"data.system_prompt={json.dumps(self.system_prompt, ensure_ascii=False)}")
        settings = {**self.settings, **settings, "overrides": overrides}
        return score(data_path, cloud=self.cloud, edge=self.edge, output=output_path, **settings)

    @staticmethod
    def load_difficulties(path: str | Path) -> Difficulties:
        """Read a label file (Parquet), our JSON of it, or the source's JSON, which is keyed by row number."""
        return load(path)
