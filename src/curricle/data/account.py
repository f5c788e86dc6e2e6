"""What encoding did to the data, counted: nothing is cut, split, left out or reshaped without a line about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .schema import Where

_PLACES = 5  # first places kept of each kind


@dataclass
class Account:
    """Counts and first places; those of two parts of the data add up."""

    counts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    leads: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    longest: int = 0

    def add(self, kind: str, number: int = 1) -> None:
        self.counts[kind] += number

    def see(self, kind: str, where: Where) -> None:
        """Count once, and remember the place while there is room."""
        self.counts[kind] += 1
        self._place(kind, str(where))

    def skip(self, reason: str, where: Where) -> None:
        self.skipped[reason] += 1
        self._place(reason, str(where))

    def note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def _place(self, kind: str, place: str) -> None:
        known = self.places.setdefault(kind, [])
        if len(known) < _PLACES:
            known.append(place)

    def merge(self, later: Account) -> None:
        """Take in the account of the examples that came after these."""
        self.counts += later.counts
        self.skipped += later.skipped
        self.leads += later.leads
        self.longest = max(self.longest, later.longest)
        for kind, places in later.places.items():
            for place in places:
                self._place(kind, place)
        for line in later.notes:
            self.note(line)

    def report(self) -> dict[str, Any]:
        """The account as plain values, for a table's report."""
        counts = {name: self.counts[name] for name in _WORDS}
        share = counts["supervised_tokens"] / max(1, counts["tokens"])
        return counts | {
            "longest": self.longest,
            "supervised_share": round(share, 4),
            "skipped": {r: {"count": n, "places": self.places[r]} for r, n in sorted(self.skipped.items())},
            "places": {k: v for k, v in sorted(self.places.items()) if k not in self.skipped},
            "leads": dict(self.leads.most_common()),
            "notes": self.notes,
        }


_WORDS = {
    "rows": "rows read",
    "examples": "examples",
    "tokens": "tokens",
    "supervised_tokens": "learned tokens",
    "windowed": "texts cut into windows",
    "windows": "windows",
    "truncated": "examples truncated",
    "tokens_cut": "tokens cut",
    "answers_cut": "earlier answers cut with them",
    "split": "dialogues made one sample per turn",
    "split_turns": "samples from them",
    "reshaped": "answers written by the template with other white space",
    "special_tokens_as_text": "examples whose messages hold special tokens, taken as text",
    "border_merges": "answers whose first token would join the prompt if both were tokenized together",
    "inexact": "examples with characters the tokenizer cannot write",
}


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The account for a person: what is always worth knowing, then what happened at all."""
    examples, tokens = report["examples"], report["tokens"]
    summary = (
        f"{examples:,} examples, {tokens:,} tokens, {report['supervised_tokens']:,} learned "
        f"({report['supervised_share']:.1%}); longest {report['longest']:,}"
    )
    return [summary, *remarks(report), *report["notes"]]


def remarks(report: Mapping[str, Any]) -> list[str]:
    """What reading and encoding left out, cut, split or wrote otherwise; nothing when they did not."""
    lines = list(report.get("read_remarks", ()))
    said = ("rows", "examples", "tokens", "supervised_tokens")
    for name, words in _WORDS.items():
        if report[name] and name not in said:
            places = report["places"].get(name)
            lines.append(f"{report[name]:,} {words}" + (f" (first: {', '.join(places)})" if places else ""))
    for lead, number in report["leads"].items():
        lines.append(f"{number:,} answers come after {lead!r}, which the template writes before a plain answer")
    for reason, skipped in report["skipped"].items():
        lines.append(f"skipped {skipped['count']:,}: {reason} (first: {', '.join(skipped['places'])})")
    return lines
