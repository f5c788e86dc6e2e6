"""What preparing a data set of programs is: find the files, write split by split, then what describes them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from ...errors import DataError, RecipeError, nearest
from ...runtime.files import sha256_file, write_json, write_text
from ..code_rows import CodeRow
from .code_writing import Seen, write_split
from .codecontests import missing_shards
from .tasks import CodeDataset, CodeOptions, Files, SplitAccount

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH = frozenset({"tokenizer", "max_length", "chat_template"})


@dataclass
class PreparedCode:
    """What was written; `str` is the account for a person, `manifest.json` the one for programs, `card.md` for both."""

    name: str
    out: Path
    licence: str
    splits: dict[str, SplitAccount]
    notes: list[str]

    @property
    def files(self) -> dict[str, Path]:
        """Split -> its rows."""
        return {split: self.out / f"{split}.jsonl" for split in self.splits}

    @property
    def problems(self) -> dict[str, Path]:
        """Split -> its problems, for pass@k."""
        return {split: self.out / f"{split}_problems.jsonl" for split in self.splits}

    def lines(self) -> list[str]:
        lines = []
        for split, account in self.splits.items():
            lines.append(
                f"{split}.jsonl: {account.rows:,} of {account.programs:,} programs; "
                f"{split}_problems.jsonl: {account.testable:,} of {account.problems:,} problems"
            )
            lines += [f"  {line}" for line in account.lines()]
            if account.rows_apart:
                lines.append(f"  {split}_python2.jsonl: {account.rows_apart:,} programs")
        return lines

    def __str__(self) -> str:
        return "\n".join([f"{self.name} in {self.out}", *self.lines(), *self.notes, f"licence: {self.licence}"])


def options_for(dataset: CodeDataset | None, name: str, asked: dict[str, Any]) -> CodeOptions:
    """The options of a call, each known and of use for this data set."""
    known = {field.name for field in fields(CodeOptions)}
    useful = frozenset() if dataset is None else dataset.uses | _LENGTH
    for option in asked:
        if option not in known:
            raise RecipeError(f"prepare has no option `{option}`; {nearest(option, known)}")
        if option not in useful:
            usable = f"it takes {', '.join(sorted(useful))}" if useful else "it takes none"
            raise RecipeError(f"the option `{option}` means nothing for {name}; {usable}")
    hints = get_type_hints(CodeOptions, localns={"PreTrainedTokenizerBase": Any})
    for option, value in asked.items():
        allowed = get_args(hints[option]) if get_origin(hints[option]) is Literal else None
        if allowed and value not in allowed:
            raise RecipeError(f"prepare {name}: `{option}`: {value} is not known; allowed: {', '.join(allowed)}")
    chosen = CodeOptions(**asked)
    if chosen.max_length < 1:
        raise RecipeError(f"prepare {name}: `max_length`: {chosen.max_length} is no length; it must be 1 or more")
    return chosen


def write_code(dataset: CodeDataset, src: Path, out: Path, options: CodeOptions) -> PreparedCode:
    """All files of a data set of programs; a split's take their names when it is complete, the manifest comes last."""
    found = dataset.find(src)
    read = dataset.open(found, options)
    prepared = PreparedCode(dataset.name, out, dataset.licence, {}, [*dataset.notes, *_about(found, options)])
    seen, paths = Seen(), []
    for split, sources in found.items():
        account = prepared.splits[split] = SplitAccount({path.name: sha256_file(path) for path in sources})
        written, stats = write_split(out, split, read, options, account, seen)
        write_json(out / "stats" / f"{split}.json", stats)
        paths += [*written, out / "stats" / f"{split}.json"]
    if not any(account.rows for account in prepared.splits.values()):
        raise DataError(f"{src}: none of its programs can be used; is it {dataset.name}?")
    write_json(out / "schema.json", CodeRow.model_json_schema())
    write_text(out / "card.md", _card(prepared))
    _write_manifest(prepared, options, [*paths, out / "schema.json", out / "card.md"])
    return prepared


def _about(found: Files, options: CodeOptions) -> list[str]:
    notes = missing_shards(found)
    if options.tokenizer is None:
        notes.append("No tokenizer was given, so no row was left out for its length.")
    else:
        name = options.tokenizer.name_or_path or "a tokenizer in memory"
        notes.append(f"Lengths were counted with {name}: at most {options.max_length:,} tokens with the chat template.")
    return notes


def _write_manifest(prepared: PreparedCode, options: CodeOptions, paths: Iterable[Path]) -> None:
    chosen = {field.name: getattr(options, field.name) for field in fields(CodeOptions)}
    tokenizer = options.tokenizer
    manifest = {
        "name": prepared.name,
        "licence": prepared.licence,
        "options": chosen | {"tokenizer": None if tokenizer is None else str(tokenizer.name_or_path)},
        "splits": {split: account.as_dict() for split, account in prepared.splits.items()},
        "files": {
            path.relative_to(prepared.out).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            for path in paths
        },
        "notes": prepared.notes,
    }
    write_json(prepared.out / "manifest.json", manifest)


def _card(prepared: PreparedCode) -> str:
    """The card: what is here, what was left out and why."""
    sources = [f"- {split}: {', '.join(account.sources)}" for split, account in prepared.splits.items()]
    parts = [
        f"# {prepared.name}, prepared",
        "",
        f"Licence: {prepared.licence}.",
        "",
        "## Read from",
        "",
        *sources,
        "",
        "## Written, and left out",
        "",
        "```",
        *prepared.lines(),
        "```",
        "",
        "## To know",
        "",
        *(f"- {note}" for note in prepared.notes),
    ]
    return "\n".join(parts) + "\n"
