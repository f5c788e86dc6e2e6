"""The order of a run: its labels, found again for every example of the training table, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..curriculum.build import Facts, build_order
from ..curriculum.config import MIXES, CurriculumConfig
from ..curriculum.labels import Floats, Labels, align, label_cost, read_labels
from ..curriculum.order import Order
from ..data.config import DataConfig
from ..data.readers import Row, read_rows
from ..data.sources import read_examples
from ..errors import DataError, RecipeError, nearest
from ..runtime.progress import say
from .layering import layer_order
from .recipe import Settings

if TYPE_CHECKING:
    from .material import Material


def make_order(material: Material, num_steps: int, seed: int, tell: Callable[[str], None] = say) -> Order:
    """The order that the recipe asks for, over this training table."""
    config, table = material.settings.curriculum, material.train
    if config.strategy == "none":
        return Order()
    if config.strategy in MIXES and any(source.weight != 1 for source in material.settings.data.sources("train")):
        raise RecipeError(
            f"curriculum.strategy {config.strategy} says itself how often each group is drawn; take `weight` out of "
            "`data.train`"
        )
    if config.strategy == "layer_specific":
        return layer_order(material, seed)
    difficulty_n = difficulty_of(material)
    return build_order(
        config,
        Facts(
            lengths_n=table.lengths,
            num_steps=num_steps,
            seed=seed,
            difficulty_n=difficulty_n,
            domains_n=table.domains,
            domain_names=table.domain_names,
            tell=tell,
        ),
    )


def difficulty_of(material: Material) -> Floats | None:
    """The score of each example of the training table, as `curriculum.labels` says; None without labels."""
    config, table = material.settings.curriculum, material.train
    if config.labels is None or not config.reads_labels:
        return None
    if config.labels == "length":
        return table.lengths.astype(np.float32)
    labels = _labels_of(config, material.settings.data)
    return align(labels, table.ids, config.score(), allow_unknown=config.strategy in MIXES)


def label_flops(settings: Settings) -> float:
    """What the labels that the arm goes by cost, of a file with others in it those alone. Labels that are dealt out at
    random cost nothing: nobody need have made them."""
    config = settings.curriculum
    if not config.reads_labels or config.labels in (None, "data", "length") or config.control == "random_curriculum":
        return 0.0
    return label_cost(str(config.labels), "layers" if config.strategy == "layer_specific" else config.score())


def _labels_of(config: CurriculumConfig, data: DataConfig) -> Labels:
    return column_of(data, config.score()) if config.labels == "data" else read_labels(str(config.labels))


def column_of(data: DataConfig, column: str) -> Labels:
    """A column of numbers of the training rows, as labels; a row without it has NaN."""
    source = read_examples(data, "train")
    readers: dict[int, Iterator[Row]] = {}
    ids, values, known = [], [], {}
    for example in source:
        if example.source_index not in readers:
            readers[example.source_index] = read_rows(example.where.file)
        row = next(row for row in readers[example.source_index] if row.line == example.where.line)
        assert isinstance(row.value, dict)
        known = row.value
        ids.append(example.id)
        values.append(_number(row.value.get(column), column, str(example.where)))
    if np.isnan(values).all():
        raise DataError(f"curriculum.column: no training row has a number in `{column}`; {nearest(column, known)}")
    return Labels(np.array(ids, dtype=bytes), {column: np.array(values, dtype=np.float32)}, path="the training rows")


def _number(value: Any, column: str, where: str) -> float:
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: `{column}` is {value!r}; a curriculum needs a number there") from None
