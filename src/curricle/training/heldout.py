"""Held-out loss that does not depend on how the batches fall: the sum over tokens divided by their number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..data.rows import Rows, evaluation_batches
from ..data.table import TokenTable
from ..models.attention import for_model
from ..models.head import HeadTap, supervised_losses
from ..runtime.progress import track
from ..weighting.base import Uniform
from .books import StepBooks, num_tokens


@torch.no_grad()
def heldout_metrics(model: nn.Module, table: TokenTable, rows: Rows, tap: HeadTap, batch_size: int) -> dict[str, Any]:
    """Token-mean loss, perplexity and loss per domain of a table, each example once, over all ranks."""
    device = next(model.parameters()).device
    books, was_training = StepBooks(table.domains, table.domain_names), model.training
    model.eval()
    try:
        batches = evaluation_batches(table, rows, batch_size)
        for batch in track(batches, "held-out loss", total=len(batches)):
            inputs: dict[str, Any] = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
            examples, labels = inputs.pop("example_ids"), inputs.pop("labels")
            with for_model(inputs) as model_inputs:
                result = supervised_losses(model, model_inputs, labels, tap, Uniform())
            books.add(examples, num_tokens(inputs), result.loss_n, result.tokens.doc_n)
    finally:
        model.train(was_training)
    totals = books.close(stop_asked=False)
    loss = totals["loss"]
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "tokens": float(totals["step_supervised_tokens"]),
        "domain_loss": totals["domain_loss"],
    }
