"""A first recipe for somebody's own file: what is in it is found out, and said in the comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..data.config import DataConfig
from ..data.schema import Example
from ..data.sources import ExampleSource, read_examples
from ..errors import DataError, RecipeError
from ..runtime.files import write_text
from ..runtime.progress import counted
from .document import Tree, write_document
from .recipe import made_folder_name

HELD_OUT = ("dev", "valid", "validation", "eval", "test")
LOOKED_AT = 50_000
BYTES_PER_TOKEN = 3
"""A guess on the long side, for English and Korean alike; the model's own tokenizer says it exactly."""
TEMPLATE_TOKENS = 48
HANGUL = re.compile("[가-힣]")
ENGLISH_QUESTIONS = {
    "question": "Summarize the dialogue above, which is about {keywords}.",
    "question_without_keywords": "Summarize the dialogue above.",
}


@dataclass(frozen=True)
class Found:
    """What a look at a file gave."""

    path: str
    format: str
    rows: int
    whole: bool
    """Whether the file ended within the rows that were looked at."""
    skipped: list[str]
    columns: list[str]
    references: list[str]
    tokens: list[int]
    """Estimated lengths, sorted."""
    turns: int
    """The most assistant turns of an example."""
    hangul: bool
    """Whether a dialogue holds Korean script."""


def init(data_path: str | Path, output: str | Path | None = None) -> str:
    """A commented recipe for a data file; with `output` it is also written there, never over a file that exists."""
    if output is not None and Path(output).exists():
        raise RecipeError(f"{output} exists already and stays as it is; name another file, or move it away")
    found = look(data_path)
    text = draft(found, _held_out(Path(data_path)))
    if output is not None:
        write_text(output, text)
    return text


def look(data_path: str | Path) -> Found:
    """Read the file's first rows and say what they are."""
    path = str(data_path)
    source = read_examples(DataConfig(train=path, on_bad_row="skip"), "train")
    tokens, turns, hangul = [], 0, False
    try:
        for example in islice(source, LOOKED_AT):
            tokens.append(estimated_tokens(example))
            turns = max(turns, sum(message.role == "assistant" for message in example.messages))
            hangul = hangul or any(HANGUL.search(unit) for unit in example.units or ())
    except DataError:
        _name_the_row(path)
        raise
    report = source.report
    columns = sorted(report.columns)
    return Found(
        path=path,
        format=report.formats[path],
        rows=len(tokens),
        whole=len(tokens) < LOOKED_AT,
        skipped=[
            f"{counted(one.count, 'row')}: {reason} (first: {one.places[0]})" for reason, one in report.skipped.items()
        ],
        columns=columns,
        references=_numbered(columns),
        tokens=sorted(tokens),
        turns=turns,
        hangul=hangul,
    )


def _name_the_row(path: str) -> None:
    """Where no row can be used, the first of them says why better than their number."""
    strict: ExampleSource = read_examples(DataConfig(train=path), "train")
    next(iter(strict))


def estimated_tokens(example: Example) -> int:
    texts = [example.text, example.prompt, example.completion, *(message.content for message in example.messages)]
    num_bytes = sum(len(text.encode()) for text in texts if text)
    return num_bytes // BYTES_PER_TOKEN + (TEMPLATE_TOKENS if example.kind == "chat" else 1)


def _numbered(columns: list[str]) -> list[str]:
    """summary1, summary2, ...: several accepted targets of one row."""
    found = sorted(
        (int(match[1]), column) for column in columns if (match := re.fullmatch(r"(?:summary|reference)(\d+)", column))
    )
    return [column for _, column in found] if len(found) > 1 else []


def _held_out(path: Path) -> str | None:
    """A file beside it that is named like its held-out part."""
    for name in HELD_OUT:
        other = path.with_name(path.name.replace("train", name))
        if other != path and other.exists():
            return str(other)
    return None


def suggested_length(tokens: list[int]) -> int:
    """Room for 99 in 100 examples, in steps of 64."""
    need = tokens[min(len(tokens) - 1, len(tokens) * 99 // 100)]
    return min(8192, max(256, -(-need // 64) * 64))


def draft(found: Found, held_out: str | None) -> str:
    """The recipe's text."""
    half, most, longest = found.tokens[found.rows // 2], found.tokens[found.rows * 99 // 100], found.tokens[-1]
    number = f"{found.rows:,} examples" if found.whole else f"the first {found.rows:,} examples"
    lines = [
        f"# {found.path}: {number}, read as {found.format}",
        f"#   columns: {', '.join(found.columns)}",
        f"#   length: half up to {half:,} tokens, 99 in 100 up to {most:,}, the longest {longest:,}; estimated at",
        f"#   {BYTES_PER_TOKEN} bytes a token, `curricle inspect packing` counts with the model's own tokenizer",
        *(f"#   left out: {reason}" for reason in found.skipped),
        "# All keys: docs/recipes.md. Completion in an editor: `curricle schema`.",
        "",
        f"name: {_name(Path(found.path))}",
        "",
        "model:",
        _line("  name_or_path: nano:llama", "a tiny random model, to try it all; put your own folder here"),
        _line("  # dtype: bfloat16", "weights of a large model, on a GPU"),
        _line("  # adapter: {lora_r: 16}", "train LoRA factors instead of all weights"),
        "",
        *_data(found, held_out),
        "",
        *_training(held_out is not None),
    ]
    return "\n".join(lines) + "\n"


def _name(path: Path) -> str:
    """The file's name; its folder's, where the file's says no more than which part of the data it is."""
    stem = path.name.split(".")[0]
    says_little = stem in ("train", "data", "dataset", *HELD_OUT)
    return made_folder_name(path.resolve().parent.name if says_little else stem)


def _line(setting: str, comment: str) -> str:
    return f"{setting:<34}# {comment}"


def _data(found: Found, held_out: str | None) -> list[str]:
    files: Tree = {"train": found.path, **({"eval": held_out} if held_out else {}), "format": found.format}
    if found.format == "dialogue" and not found.hangul:
        files |= ENGLISH_QUESTIONS
    if found.references:
        files["references"] = found.references
    if found.skipped:
        files["on_bad_row"] = "skip"
    lines = ["data:", *(f"  {line}" for line in write_document(files).splitlines())]
    if held_out is None:
        lines.append(_line("  # eval: held-out.jsonl", "rows kept apart, for the held-out loss"))
    lines.append(_line(f"  max_length: {suggested_length(found.tokens)}", "of the longest example and of a packed row"))
    lines.append(_line("  packing: ordered", "short examples share a row, isolated from each other"))
    if found.turns > 1:
        lines.append(_line("  learn: every_turn", f"up to {found.turns} assistant turns; last_turn learns one"))
    return lines


def _training(evaluates: bool) -> list[str]:
    selection = _line("selection: {metric: loss}", "keep the checkpoint with the best held-out loss")
    return [
        _line("training:", "any TrainingArguments key; see docs/training-arguments.md"),
        "  num_train_epochs: 3",
        _line("  learning_rate: 2.0e-5", "1.0e-4 to 2.0e-4 with an adapter, 5.0e-3 for a nano model"),
        "  lr_scheduler_type: cosine",
        _line("  warmup_steps: 0.03", "below 1: a share of all steps"),
        "  per_device_train_batch_size: 8",
        "  gradient_accumulation_steps: 1",
        "",
        *([selection, "", "evaluation: [{metric: loss}]", ""] if evaluates else []),
        _line("seeds: [0]", "several seeds give intervals: [0, 1, 2]"),
        "",
        _line("# arms:", "variants to compare, each the above with its changes"),
        "#   base: {}",
        "#   faster: {training: {learning_rate: 1.0e-4}}",
    ]
