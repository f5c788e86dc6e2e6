"""Hidden states of a model at the meta-token positions of prompts, in batches without waste.

A meta token of a model at layer l is the state of its residual stream behind block l, pooled over a span of positions.
Blocks are counted from 1; the embeddings are no layer. The states are taken by a hook behind each block, so that none
of them, the last included, has gone through the final norm (transformers' `hidden_states[-1]` has).

Prompts a b c and d e with a probe of one token, packed into one row:

    tokens       a b c ?   d e ?
    place        0 1 2 3   4 5 6
    last         2         5          state of the last prompt token
    mean         0 1 2     4 5        mean over the prompt
    probe              3       6      mean over what was put behind

Suffixes: n samples, l layers, d width, p places in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..models.attention import for_model
from ..models.head_plan import base_model
from ..models.likelihood import max_positions
from .config import Pool


@dataclass(frozen=True)
class StateReader:
    """Reads pooled states of prompts at chosen layers."""

    model: Any
    pool: Pool = "last"
    layers: Sequence[int] | None = None
    """Numbers of blocks, from 1, in the order wanted; all of them by default."""
    probe: Sequence[int] = ()
    """Tokens put behind each prompt with pool `probe`."""
    token_budget: int = 4096
    packed: bool = True
    """Prompts share a row, isolated by their lengths; otherwise they are padded, and sorted by length."""
    wanted: list[int] = field(init=False)

    def __post_init__(self) -> None:
        count = num_layers(self.model)
        object.__setattr__(self, "wanted", list(range(1, count + 1)) if self.layers is None else list(self.layers))

    @torch.no_grad()
    def read(self, prompts: Sequence[Any]) -> Tensor:
        """`[n, l, d]` in float32 on the CPU, in the order of the prompts."""
        lengths = [len(prompt) + self._num_probes for prompt in prompts]
        self._refuse_too_long(lengths)
        width = base_model(self.model).config.get_text_config().hidden_size
        out_nld = torch.empty(len(prompts), len(self.wanted), width)
        was_training = self.model.training
        self.model.eval()
        try:
            for batch in batches(lengths, self.token_budget, self.packed):
                places = _Places.of(lengths, batch, self.packed)
                pooled_nld = torch.empty(len(batch), *out_nld.shape[1:], device=self._device)
                with _taps(self.model, self.wanted, self._spans(places), pooled_nld):
                    self._forward([prompts[i] for i in batch], places)
                out_nld[batch] = pooled_nld.cpu()
        finally:
            self.model.train(was_training)
        return out_nld

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def _num_probes(self) -> int:
        return len(self.probe) if self.pool == "probe" else 0

    def _forward(self, prompts: Sequence[Any], places: _Places) -> None:
        tokens = np.zeros(places.rows * places.width, dtype=np.int64)
        for prompt, begin, length in zip(prompts, places.begins, places.lengths, strict=True):
            tokens[begin : begin + length] = [*prompt, *(self.probe if self.pool == "probe" else ())]
        device = self._device
        ids_bt = torch.from_numpy(tokens).view(places.rows, places.width).to(device)
        inputs: dict[str, Any] = {"input_ids": ids_bt, "use_cache": False}
        if self.packed:
            positions = np.concatenate([np.arange(length) for length in places.lengths])
            inputs["position_ids"] = torch.from_numpy(positions)[None].to(device)
            inputs["doc_lens"] = places.lengths
        else:
            lengths_b = torch.tensor(places.lengths, device=device)
            inputs["attention_mask"] = (torch.arange(places.width, device=device) < lengths_b[:, None]).long()
        with for_model(inputs) as model_inputs:
            base_model(self.model).base_model(**model_inputs)

    def _spans(self, places: _Places) -> list[tuple[int, int]]:
        spans = []
        for begin, length in zip(places.begins, places.lengths, strict=True):
            end = begin + length
            first = {"last": end - 1, "mean": begin, "probe": end - self._num_probes}[self.pool]
            spans.append((first, end))
        return spans

    def _refuse_too_long(self, lengths: Sequence[int]) -> None:
        limit = max_positions(self.model)
        if min(lengths, default=1) < 1:
            raise ModelError("a prompt without tokens has no state; take such rows out")
        if limit is not None and max(lengths, default=0) > limit:
            raise ModelError(
                f"a prompt has {max(lengths)} tokens, and {base_model(self.model).config.name_or_path or 'this model'} "
                f"was made for {limit} at most; set data.max_length to {limit - self._num_probes}"
            )


@dataclass(frozen=True)
class _Places:
    """Where the prompts of a batch lie in its flattened tokens."""

    rows: int
    width: int
    begins: list[int]
    lengths: list[int]

    @classmethod
    def of(cls, lengths: Sequence[int], batch: Sequence[int], packed: bool) -> _Places:
        own = [lengths[i] for i in batch]
        if packed:
            return cls(1, sum(own), [0, *np.cumsum(own)[:-1].tolist()], own)
        width = max(own)
        return cls(len(own), width, [width * row for row in range(len(own))], own)


def batches(lengths: Sequence[int], token_budget: int, packed: bool) -> Iterator[list[int]]:
    """The samples in batches of at most `token_budget` tokens, padding counted; a longer sample is alone. Sorted by
    length, longest first: padding is least, and what needs the most memory fails at once."""
    batch: list[int] = []
    used = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        grown = used + lengths[i] if packed else lengths[batch[0] if batch else i] * (len(batch) + 1)
        if batch and grown > token_budget:
            yield batch
            batch, grown = [], lengths[i]
        batch.append(i)
        used = grown
    if batch:
        yield batch


def pool(state_btd: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """`[n, d]` in float32: the mean of the state over each span of flattened places."""
    state_pd = state_btd.reshape(-1, state_btd.shape[-1])
    if all(end - begin == 1 for begin, end in spans):
        return state_pd[torch.tensor([begin for begin, _ in spans], device=state_pd.device)].float()
    places = torch.cat([torch.arange(begin, end) for begin, end in spans]).to(state_pd.device)
    counts = torch.tensor([end - begin for begin, end in spans])
    owners = torch.repeat_interleave(torch.arange(len(spans)), counts).to(state_pd.device)
    sums_nd = torch.zeros(len(spans), state_pd.shape[1], device=state_pd.device)
    sums_nd.index_add_(0, owners, state_pd[places].float())
    return sums_nd / counts.to(sums_nd)[:, None]


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The blocks of a model: its list of as many modules as the config counts layers."""
    base = base_model(model)
    count = base.config.get_text_config().num_hidden_layers
    for module in base.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"{type(base).__name__} has no list of its {count} layers, so their states cannot be read")


def num_layers(model: nn.Module) -> int:
    return len(blocks_of(model))


@contextmanager
def _taps(
    model: nn.Module, layers: Sequence[int], spans: Sequence[tuple[int, int]], pooled_nld: Tensor
) -> Iterator[None]:
    """Each of these blocks leaves its pooled state in a place made before the forward: no states outlive the next
    block, and nothing small that stays comes to lie amid the large buffers that go."""

    def take(place: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            pooled_nld[:, place] = pool(output if isinstance(output, Tensor) else output[0], spans)

        return hook

    blocks = blocks_of(model)
    handles = [blocks[layer - 1].register_forward_hook(take(place)) for place, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
