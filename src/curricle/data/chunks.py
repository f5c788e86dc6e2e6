"""A chunk of examples to samples of tokens: drafted, tokenized in one call, made to fit, proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .account import Account
from .brought import token_weights_of
from .config import DataConfig
from .drafts import Draft, Drafter
from .masks import Masked, assemble, learned_runs, prove
from .readers import BadRow
from .schema import Example
from .table import EncodedExample
from .tokens import Piece, TextEncoder
from .truncation import fit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NEAR = 16  # characters on either side of a border that could join into one token


class ChunkEncoder:
    """Everything one process needs to encode examples."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> None:
        self.config = config
        self.encoder = TextEncoder(tokenizer)
        self.drafter = Drafter(self.encoder, config.learn, config.rewritten_turns == "split")

    def encode(self, examples: Sequence[Example]) -> tuple[list[EncodedExample], Account]:
        """The samples of a chunk, in order, and the account of what was done to them."""
        account = Account()
        drafts = list(chain.from_iterable(self._drafts(example, account) for example in examples))
        samples = self._masked(drafts)
        fitted = [self._fit(draft, sample, account) for draft, sample in zip(drafts, samples, strict=True)]
        kept = [pair for pair in fitted if pair is not None]
        self._prove(kept, account)
        encoded = [one for draft, sample in kept for one in self._windows(draft, sample, account)]
        for one in encoded:
            account.add("tokens", len(one.tokens))
            account.add("supervised_tokens", int(one.supervised.sum()))
            account.longest = max(account.longest, len(one.tokens))
        account.add("examples", len(encoded))
        return encoded, account

    def _drafts(self, example: Example, account: Account) -> list[Draft]:
        account.add("rows")
        if example.kind != "text" and example.target is None:
            account.skip("no target to learn", example.where)
            return []
        try:
            drafts = self.drafter.drafts(example)
        except BadRow as bad:
            self._refuse(example, bad, account)
            return []
        if drafts[0].split and isinstance(example.weights, list):
            raise DataError(
                f"{example.where}: a list of weights for one sample, but the chat template rewrites earlier turns, so "
                "each turn becomes a sample; give one number, or set data.learn to last_turn"
            )
        if drafts[0].split:
            account.see("split", example.where)
            account.add("split_turns", len(drafts))
        if drafts[0].marked:
            account.see("special_tokens_as_text", example.where)
        return drafts

    def _refuse(self, example: Example, bad: BadRow, account: Account) -> None:
        if self.config.on_bad_row == "error":
            raise DataError(f"{example.where}: {bad} (data.on_bad_row: skip would leave such rows out)") from bad
        account.skip(bad.kind, example.where)

    def _masked(self, drafts: Sequence[Draft]) -> list[Masked]:
        """All pieces of all drafts in one call of the tokenizer, which works on them in parallel."""
        ids = iter(self.encoder.encode([piece for draft in drafts for piece in draft.pieces]))
        return [assemble(draft.pieces, list(islice(ids, len(draft.pieces)))) for draft in drafts]

    # --- length ---------------------------------------------------------------------------------------

    def _fit(self, draft: Draft, sample: Masked, account: Account) -> tuple[Draft, Masked] | None:
        length, limit = len(sample.tokens), self.config.max_length
        if length <= limit:
            return draft, sample
        example = draft.example
        action = self.config.on_long or ("window" if example.kind == "text" else "truncate")
        if action == "error":
            raise DataError(
                f"{example.where}: {length} tokens, and data.max_length allows {limit} (data.on_long: truncate or "
                "window would make it fit)"
            )
        if example.kind == "text":
            return (draft, sample) if action == "window" else (draft, self._cut_text(example, sample, account))
        if action == "window":
            raise DataError(
                f"{example.where}: {length} tokens, and data.max_length allows {limit}; windows are for "
                "raw text, where no prompt is lost: set data.on_long to truncate"
            )
        return self._truncate(draft, sample, account)

    def _cut_text(self, example: Example, sample: Masked, account: Account) -> Masked:
        limit = self.config.max_length
        account.see("truncated", example.where)
        account.add("tokens_cut", len(sample.tokens) - limit)
        return Masked(sample.tokens[:limit], sample.supervised[:limit])

    def _truncate(self, draft: Draft, sample: Masked, account: Account) -> tuple[Draft, Masked] | None:
        length, example = len(sample.tokens), draft.example

        def measure(candidate: Example) -> int:
            return len(self._masked([self.drafter.again(draft, candidate)])[0].tokens)

        try:
            fitted = fit(example, length, self.config.max_length, self.encoder, measure)
        except BadRow as bad:
            self._refuse(example, bad, account)
            return None
        shorter = self.drafter.again(draft, fitted.example)
        sample = self._masked([shorter])[0]
        account.see("truncated", example.where)
        account.add("tokens_cut", length - len(sample.tokens))
        if self.config.learn == "every_turn" and not draft.split:
            account.add("answers_cut", fitted.answers_cut)
        return shorter, sample

    def _windows(self, draft: Draft, sample: Masked, account: Account) -> Iterator[EncodedExample]:
        """The sample itself, or its windows.

        Windows overlap by one token, so that every token but the first of the text is learned once:

            tokens       a b c d e f g        max_length 4
            windows      a b c d | d e f g    learned  b c d | e f g
        """
        example, limit = draft.example, self.config.max_length
        weights, ends = self._weights(draft, sample), draft.pieces[-1].end == tuple(sample.tokens[-1:])
        whole = EncodedExample(
            example.id, sample.tokens, sample.supervised, example.domain, example.source_index, example.reward
        )
        if len(sample.tokens) <= limit:
            yield replace(whole, token_weights=weights, truncated=not ends)
            return
        starts = range(0, len(sample.tokens) - 1, limit - 1)
        account.see("windowed", example.where)
        account.add("windows", len(starts))
        for number, start in enumerate(starts):
            tokens = sample.tokens[start : start + limit]
            yield replace(
                whole,
                id=f"{example.id}-{number}",
                tokens=tokens,
                supervised=np.arange(len(tokens)) > 0,
                token_weights=None if weights is None else weights[start : start + limit],
                truncated=number < len(starts) - 1,
            )

    def _weights(self, draft: Draft, sample: Masked) -> npt.NDArray[np.float32] | None:
        example = draft.example
        if example.weights is None:
            return None
        return token_weights_of(example.weights, sample.supervised, str(example.where))

    # --- proof ----------------------------------------------------------------------------------------

    def _prove(self, kept: Sequence[tuple[Draft, Masked]], account: Account) -> None:
        """Every sample's learned tokens are read back and compared with its answers."""
        runs = [learned_runs(sample) if not draft.pieces[0].learned else [] for draft, sample in kept]
        texts = iter(self.encoder.decode(list(chain.from_iterable(runs))))
        for (draft, sample), own in zip(kept, runs, strict=True):
            try:
                inexact = prove(self.encoder, draft.pieces, sample, list(islice(texts, len(own))), draft.end_text)
            except DataError as error:
                raise DataError(f"{draft.example.where}: {error}") from error
            if inexact:
                account.see("inexact", draft.example.where)
            if any(turn.reshaped for turn in draft.turns):
                account.see("reshaped", draft.example.where)
            account.leads.update(turn.lead for turn in draft.turns if turn.lead)
        account.add("border_merges", self._border_merges([draft for draft, _ in kept]))

    def _border_merges(self, drafts: Sequence[Draft]) -> int:
        """How many answers would begin with another token if prompt and answer were tokenized together."""
        borders = [border for draft in drafts for border in _borders(draft.pieces)]
        texts = [text for before, after in borders for text in (before + after, before, after)]
        ids = self.encoder.encode([Piece(text) for text in texts])
        return sum(whole != before + after for whole, before, after in zip(ids[::3], ids[1::3], ids[2::3], strict=True))

    def about_template(self) -> tuple[str | None, list[str]]:
        """The end of turn of the chat template, and what a person should know of it, once it has been used."""
        if "template" not in vars(self.drafter):
            return None, []
        end, lines = self.drafter.template.facts.end_text, []
        if self.drafter.template.facts.eos_added:
            lines.append(f"the chat template ends answers with no token of the vocabulary, so {end} is added to each")
        return end, lines


def _borders(pieces: Sequence[Piece]) -> Iterator[tuple[str, str]]:
    """The characters around each border between a prompt and an answer."""
    for before, after in pairwise(pieces):
        if after.learned and not before.learned:
            yield before.text[-_NEAR:], after.text[:_NEAR]
