"""One optimizer step's sums, kept on the device and reduced over ranks once, when the step closes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..losses.flat import Metrics
from ..runtime.ranks import all_sum, world_size


def num_tokens(inputs: dict[str, Any]) -> int:
    """Real tokens of a batch, padding not counted."""
    mask = inputs.get("attention_mask")
    return int(mask.sum()) if mask is not None else inputs["input_ids"].numel()


def exact(values: torch.Tensor) -> torch.Tensor:
    """In the precision that sums are taken in: float64, which Apple's devices lack."""
    return values.float() if values.device.type == "mps" else values.double()


@dataclass
class StepBooks:
    """Collects what the micro batches of a step report; `close` gives the step's totals over all ranks."""

    domains: np.ndarray | None = None
    domain_names: list[str] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    tokens: int = 0
    supervised: int = 0
    loss_sums: list[torch.Tensor] = field(default_factory=list)
    example_losses: list[torch.Tensor] = field(default_factory=list)
    example_counts: list[torch.Tensor] = field(default_factory=list)
    metrics: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Of each name what is summed, and over how many: numbers, or tensors left on their device."""

    def add_metrics(self, metrics: Metrics, num_tokens: int) -> None:
        """What is told of one micro batch: means over its tokens, or pairs (sum, count)."""
        for name, told in metrics.items():
            total, count = told if isinstance(told, tuple) else (told * num_tokens, num_tokens)
            before, counted = self.metrics.get(name, (0.0, 0))
            self.metrics[name] = before + total, counted + count

    def add(self, examples: list[int], tokens: int, loss_n: torch.Tensor, doc_n: torch.Tensor) -> None:
        """A micro batch: its examples in order; each supervised token's unweighted loss and document number."""
        self.examples += examples
        self.tokens += tokens
        self.supervised += loss_n.numel()
        loss_n = exact(loss_n.detach())
        self.loss_sums.append(loss_n.sum())
        zeros = loss_n.new_zeros(len(examples))
        self.example_losses.append(zeros.index_add(0, doc_n, loss_n))
        self.example_counts.append(zeros.index_add(0, doc_n, torch.ones_like(loss_n)))

    def close(self, stop_asked: bool) -> dict[str, Any]:
        """Totals over ranks: the token-mean loss before weighting, counts, per-domain loss, and whether to stop."""
        names = sorted(self.metrics)
        pairs = [number for name in names for number in self.metrics[name]]
        loss_sum = torch.stack(self.loss_sums).sum()
        numbers = (loss_sum, self.supervised, self.tokens, stop_asked, *pairs)
        head = torch.stack([torch.as_tensor(number, dtype=loss_sum.dtype).to(loss_sum.device) for number in numbers])
        loss, supervised, tokens, stop, *rest = all_sum(torch.cat([head, self._domain_sums()])).tolist()
        sums, counts, domains = rest[: len(pairs) : 2], rest[1 : len(pairs) : 2], rest[len(pairs) :]
        half = len(self.domain_names)
        return {
            "loss": loss / max(1.0, supervised),
            "step_supervised_tokens": int(supervised),
            "step_tokens": int(tokens),
            "stop": stop > 0,
            "domain_loss": {
                name: domains[i] / domains[half + i] for i, name in enumerate(self.domain_names) if domains[half + i]
            },
            **{name: total / num for name, total, num in zip(names, sums, counts, strict=True) if num},
        }

    def _domain_sums(self) -> torch.Tensor:
        losses, counts = torch.cat(self.example_losses), torch.cat(self.example_counts)
        num = len(self.domain_names)
        if self.domains is None or num == 0:
            return losses.new_zeros(0)
        index = torch.as_tensor(self.domains[self.examples], dtype=torch.long, device=losses.device)
        zeros = losses.new_zeros(num)
        return torch.cat([zeros.index_add(0, index, losses), zeros.index_add(0, index, counts)])

    def losses_by_example(self) -> tuple[list[int], list[float]]:
        """Every example of the step with its mean token loss, over all ranks, sorted so that no layout shows."""
        counts = torch.cat(self.example_counts).clamp(min=1)
        mine = list(zip(self.examples, (torch.cat(self.example_losses) / counts).tolist(), strict=True))
        if world_size() > 1:
            gathered: list[Any] = [None] * world_size()
            torch.distributed.all_gather_object(gathered, mine)
            mine = [pair for part in gathered for pair in part]
        mine.sort()
        return [i for i, _ in mine], [loss for _, loss in mine]
