"""A family's own decoder with a head for each of the next tokens.

    parallel     embed -> layer 1 .. layer L-1 -> h_trunk --+-- layer L -- norm -- unembed    head 1: the plain model
                                                            +-- extra 1 -- norm -- unembed    head 2
                                                            +-- extra 2 -- norm -- unembed    head 3

    sequential   embed -> layer 1 .. layer L -- norm --+-- unembed                            head 1: the plain model
                 embedding, 1 token ahead -- extra 1 --+--+-- unembed                         head 2
                 embedding, 2 tokens ahead -- extra 2 -- -+-- unembed                         head 3

The backbone is transformers' own class, called as its plain model calls it, so head 1 is that model, bit for bit, and
loads and saves under its names. What enters layer L (the state, and all that comes with it: positions, mask, document
lengths, cache) is handed to the extra heads as it is. They run only when they are asked for.

Which token a head at a place means, for the row  a b c d e f:

    place        0 1 2 3 4 5
    head 1       b c d e f .
    head 2       c d e f . .
    head 3       d e f . . .

Suffixes: bt batch x time, bth with hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils.generic import can_return_tuple

from ...errors import ModelError
from .candidates import HeadsCandidateGenerator, cache_for_drafts
from .configuration import MtpConfig, check_heads
from .heads import copy_layer, embedding_ahead, parallel_head, run_parallel, run_sequential, sequential_head

Places = Callable[[Tensor], Tensor]
"""From head 1's logits to the places [B, k] where the other heads are read."""


@dataclass
class MtpOutput(CausalLMOutputWithPast):
    """`logits` are head 1's; [B, S, n, V] where all heads were asked for."""

    mtp_logits: tuple[torch.FloatTensor, ...] | None = None
    """What the output head gave for heads 2 to n, each at its own kept places."""


class MtpForCausalLM(PreTrainedModel, GenerationMixin):
    """Head 1 is the plain model of its family; the extra heads lie in `extra_heads`."""

    config: MtpConfig
    config_class = MtpConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 (declared by transformers)
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MtpConfig) -> None:
        super().__init__(config)
        check_heads(config.family, config.num_future_tokens, config.kind)
        self.model = AutoModel.from_config(config.family)
        self.lm_head = nn.Linear(config.family.hidden_size, config.family.vocab_size, bias=False)
        self.extra_heads = nn.ModuleList(self._new_head(place) for place in range(config.num_extra_heads))
        self.trunk_state = nn.Identity()
        """The state that all heads read passes it once a forward: a place for hooks."""
        self._entries: list[tuple[tuple[Any, ...], dict[str, Any]]] | None = None
        self._listen()
        if config.kind == "sequential":  # how transformers' drafting knows the modules in a saved model
            self._keys_to_ignore_on_load_unexpected = [r"^extra_heads\."]
        self.post_init()

    def _new_head(self, place: int) -> nn.Module:
        make = parallel_head if self.config.kind == "parallel" else sequential_head
        return make(self.model, place)

    def _listen(self) -> None:
        self.model.layers[-1].register_forward_pre_hook(self._note_entry, with_kwargs=True)

    def _note_entry(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._entries is not None:
            self._entries.append((args, kwargs))

    def adopt(self, plain: Any) -> None:
        """Take over the parts of a plain model as head 1; the extra heads start as its last layer."""
        self.model, self.lm_head = plain.model, plain.lm_head
        self._listen()
        device, last = plain.lm_head.weight.device, self.model.layers[-1]
        for place in range(len(self.extra_heads)):
            with device:
                head: Any = self._new_head(place).to(plain.dtype)
            head.apply(self._init_weights)
            copy_layer(last, head if self.config.kind == "parallel" else head.mtp_block)
            self.extra_heads[place] = head
        self.generation_config = plain.generation_config
        self.train(plain.training)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        all_heads: bool = False,
        mtp_keep: Sequence[Tensor] | Places | None = None,
        **kwargs: Any,
    ) -> MtpOutput:
        """Head 1 as of the plain model; `labels` give its loss.

        `all_heads`: the logits of every head, [B, S, n, V], at `logits_to_keep`. `mtp_keep`: a [B, T] mask for each of
        heads 2 to n, beside head 1's as `logits_to_keep`; the output head is called once, with the states that the
        masks keep, one head after the other. Or one function for all of them: drafts are verified with it.
        """
        wanted = all_heads or mtp_keep is not None
        if wanted:
            self._check_request(all_heads, mtp_keep, logits_to_keep, labels)
            past_key_values, use_cache = self._cache_for_heads(past_key_values, use_cache)
        if wanted and self.config.kind == "sequential" and inputs_embeds is None:
            input_ids, inputs_embeds = None, self.model.embed_tokens(input_ids)
        outputs, trunk_bth, given = self._run_trunk(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        first = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        states_of = partial(self._extra_states, trunk_bth, inputs_embeds, given)
        extra: Sequence[Any] = ()
        if isinstance(mtp_keep, Sequence):
            logits, *extra = self._logits_at_once([first, *states_of(mtp_keep)])
        else:
            logits = self.lm_head(first)
        if wanted and not isinstance(mtp_keep, Sequence):
            keep = logits_to_keep if mtp_keep is None else mtp_keep(logits)
            states = states_of([keep] * len(self.extra_heads))
            at_once = mtp_keep is not None and len(self.extra_heads) > 0
            extra = self.lm_head(torch.stack(list(states))).unbind() if at_once else tuple(map(self.lm_head, states))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return MtpOutput(
            loss=loss,
            logits=torch.stack([logits, *extra], dim=-2) if all_heads else logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            mtp_logits=None if mtp_keep is None else tuple(extra),
        )

    def _get_candidate_generator(self, *args: Any, **given: Any) -> Any:
        """Of `generate(use_mtp=True)`: transformers' own drafting knows sequential heads."""
        config, inputs = given["generation_config"], given["model_kwargs"]
        if not config.use_mtp or self.config.kind != "parallel":
            return super()._get_candidate_generator(*args, **given)  # type: ignore[misc]
        inputs["past_key_values"] = cache_for_drafts(inputs["past_key_values"], self.new_cache())
        return HeadsCandidateGenerator(config, given["logits_processor"])

    def new_cache(self) -> DynamicCache:
        """An empty cache with room for every head."""
        return DynamicCache(config=self.config.cached())

    def _run_trunk(self, **inputs: Any) -> tuple[Any, Tensor, dict[str, Any]]:
        """The plain model's outputs, the state that the heads share, and what came with it into the last layer."""
        entries: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._entries = entries
        try:
            outputs = self.model(**inputs)
        finally:
            self._entries = None
        (entered_bth, *_), given = entries[-1]
        trunk_bth = entered_bth if self.config.kind == "parallel" else outputs.last_hidden_state
        return outputs, self.trunk_state(trunk_bth), given

    def _extra_states(
        self, trunk_bth: Tensor, embeds_bth: Tensor | None, given: dict[str, Any], keeps: Sequence[int | Tensor]
    ) -> Iterator[Tensor]:
        """The states of heads 2 to n, each where it is kept, as the unembedding takes them."""
        recompute, before_bth = self.training and torch.is_grad_enabled(), trunk_bth
        for depth, (head, keep) in enumerate(zip(self.extra_heads, keeps, strict=True), start=1):
            if self.config.kind == "parallel":
                states_bth = run_parallel(head, trunk_bth, given, recompute)
                yield self.model.norm(slice_logits_to_keep(states_bth, keep))
            else:
                assert embeds_bth is not None
                before_bth = run_sequential(head, before_bth, embedding_ahead(embeds_bth, depth), given, recompute)
                yield slice_logits_to_keep(before_bth, keep)

    def _logits_at_once(self, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One call of the output head for [N, H] of every head: with FSDP, norm and output head make one pass together,
        and a second one would find their weights gone in backward. A hook may have left no logits at all."""
        ends = list(accumulate(len(each) for each in states[:-1]))
        return torch.tensor_split(self.lm_head(torch.cat(list(states))), ends)

    def _cache_for_heads(self, cache: Any, use_cache: bool | None) -> tuple[Any, bool | None]:
        """Extra heads fill a cache only when one is asked for; the family would make one that has no room for them."""
        if self.config.kind == "sequential" and (use_cache or cache is not None):
            raise ModelError(
                "sequential heads read tokens ahead of their place, so they take no cache: call all_heads with "
                "use_cache=False, or draft with generate(use_mtp=True)"
            )
        return (self.new_cache(), True) if use_cache and cache is None else (cache, use_cache or cache is not None)

    def _check_request(
        self,
        all_heads: bool,
        mtp_keep: Sequence[Tensor] | Places | None,
        logits_to_keep: int | Tensor,
        labels: Tensor | None,
    ) -> None:
        if all_heads and (mtp_keep is not None or labels is not None):
            raise ModelError("all_heads gives the logits of every head: take mtp_keep and labels out of that call")
        if isinstance(mtp_keep, Sequence) and not isinstance(logits_to_keep, Tensor):
            raise ModelError("mtp_keep has masks for heads 2 and on: give head 1's as logits_to_keep")
        if isinstance(mtp_keep, Sequence) and len(mtp_keep) != len(self.extra_heads):
            raise ModelError(
                f"mtp_keep has {len(mtp_keep)} masks, but the model has {len(self.extra_heads)} heads beside the first"
            )


# transformers drafts with sequential modules that it reads from the saved model: generate(use_mtp=True).
register_checkpoint_conversion_mapping(
    "MtpModel",
    [
        WeightRenaming(source_patterns=r"^extra_heads\.(\d+)\.", target_patterns=r"layers.\1."),
        *get_checkpoint_conversion_mapping("MtpModel"),
    ],
    overwrite=True,
)
AutoConfig.register(MtpConfig.model_type, MtpConfig)
AutoModelForCausalLM.register(MtpConfig, MtpForCausalLM)
