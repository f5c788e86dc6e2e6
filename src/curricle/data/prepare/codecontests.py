"""CodeContests (Li et al., 2022, arXiv 2203.07814), from the Parquet files of its public release.

One row there is a problem with its tests and hundreds of programs, right and wrong, in four languages; only Python is
taken. Enumerations, as its card gives them: source 1 CodeChef, 2 Codeforces, 3 HackerEarth, 4 Code Jam, 5 AtCoder,
6 Aizu; language 1 is Python 2, 2 C++, 3 Python 3, 4 Java; for difficulty see `levels`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..problems import Cases, Problem
from ..readers import BadRow
from ..schema import Where
from .levels import Levels, read_levels
from .tasks import CodeDataset, CodeOptions, Files, ReadSplit, Solution, SplitAccount, Task, shown_tests

SITES = ("unknown", "codechef", "codeforces", "hackerearth", "codejam", "atcoder", "aizu")
LANGUAGES = ("unknown", "python2", "cpp", "python3", "java")
_SPLITS = ("test", "valid", "train")
_SHARD = re.compile(r"-\d+-of-(\d+)")
_BATCH = 4  # problems decoded at a time; one may hold tens of megabytes of tests

# Names that Python 3 does not have. A program that uses one parses, and fails when it runs.
_GONE = frozenset(
    {"apply", "basestring", "buffer", "cmp", "coerce", "execfile", "file", "intern"}
    | {"long", "raw_input", "reduce", "reload", "unichr", "unicode", "xrange"}
)
_SUSPECT = re.compile(rf"\b(?:{'|'.join(sorted(_GONE))}|input)\b|/")
_COLUMNS = (
    *("name", "description", "public_tests", "private_tests", "solutions", "incorrect_solutions"),
    *("source", "difficulty", "cf_contest_id", "cf_index", "cf_rating", "cf_tags", "is_description_translated"),
    *("time_limit", "memory_limit_bytes", "input_file", "output_file"),
)


def _find(src: Path) -> Files:
    """`train-*.parquet` and the like, in the folder or in its `data`."""
    folders = [src, src / "data"]
    files = {split: sorted(chain.from_iterable(f.glob(f"{split}*.parquet") for f in folders)) for split in _SPLITS}
    found = {split: paths for split, paths in files.items() if paths}
    if not found:
        state = "holds no Parquet file of a split" if src.is_dir() else "is no folder"
        raise DataError(
            f"{src} {state}; prepare codecontests reads the release's own files, such as train-00000-of-00039.parquet, "
            "valid-00000-of-00001.parquet and test-00000-of-00001.parquet, there or in its `data`"
        )
    return found


def _open(files: Files, options: CodeOptions) -> ReadSplit:
    every = list(chain.from_iterable(files.values()))
    for path in every:
        _check_columns(path, options)
    levels = read_levels(every)

    def read(split: str, account: SplitAccount) -> Iterator[tuple[Where, Task | BadRow]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of the programs that are parsed
            warnings.simplefilter("ignore", DeprecationWarning)
            for path in files[split]:
                for where, row in _rows(path, _wanted(options)):
                    try:
                        yield where, _task(row, where, options, levels, account)
                    except BadRow as bad:
                        yield where, bad

    return read


def _wanted(options: CodeOptions) -> list[str]:
    return [*_COLUMNS, "generated_tests"] if options.tests == "all" else list(_COLUMNS)


def _check_columns(path: Path, options: CodeOptions) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}; fetch it again") from error
    if lacking := [name for name in _wanted(options) if name not in names]:
        raise DataError(f"{path} has no column {', '.join(f'`{name}`' for name in lacking)}; is it of code_contests?")


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[Where, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns), use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield Where(path.name, number), row
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: broken after problem {number}: {str(error).splitlines()[0]}; fetch it again"
        ) from error


def _task(row: dict[str, Any], where: Where, options: CodeOptions, levels: Levels, account: SplitAccount) -> Task:
    name, description = row["name"], row["description"]
    if not name or not name.strip():
        raise BadRow("no name")
    if not description or not description.strip():
        raise BadRow("no description")
    public = _pairs(row["public_tests"])
    code, rating = row["difficulty"] or 0, row["cf_rating"] or 0
    level = levels.level(code, rating)
    tests = public + _pairs(row["private_tests"]) + _pairs(row.get("generated_tests"))
    metadata = {
        "source": "code_contests",
        "difficulty": level if options.difficulty == "rating" else code,
        "has_tests": bool(tests),
        "published_difficulty": code,
        "rating": rating or None,
        "site": _named(SITES, row["source"]),
    }
    solutions = [*_solutions(row["solutions"], True), *_solutions(row["incorrect_solutions"], False)]
    account.programs += len(solutions)
    kept = [one for one in solutions if _is_taken(one, where, options, account)]
    problem = _problem(row, tests, metadata, kept, where, account)
    return Task(name, description, shown_tests(public), metadata, kept, problem)


def _pairs(tests: dict[str, list[str]] | None) -> list[tuple[str, str]]:
    if not tests:
        return []
    given, asked = tests["input"] or [], tests["output"] or []
    if len(given) != len(asked):
        raise BadRow("tests that do not pair", f"{len(given)} inputs, {len(asked)} outputs")
    return list(zip(given, asked, strict=True))


def _solutions(found: dict[str, list[Any]] | None, is_correct: bool) -> list[Solution]:
    if not found:
        return []
    codes, texts = found["language"] or [], found["solution"] or []
    if len(codes) != len(texts):
        raise BadRow("programs without a language", f"{len(texts)} programs, {len(codes)} languages")
    return [
        Solution(number, text or "", is_correct, _named(LANGUAGES, code))
        for number, (code, text) in enumerate(zip(codes, texts, strict=True))
    ]


def _named(names: Sequence[str], code: int | None) -> str:
    return names[code] if code is not None and 0 <= code < len(names) else "unknown"


def _is_taken(one: Solution, where: Where, options: CodeOptions, account: SplitAccount) -> bool:
    reason = None
    if one.language not in ("python2", "python3"):
        reason = f"another language ({one.language})"
    elif one.language == "python2" and options.python2 == "drop":
        reason = "Python 2"
    elif one.language == "python2" and options.python2 == "parse":
        reason = why_not_python3(one.text)
        reason = reason and f"Python 2 that {reason}"
    elif one.language == "python3" and one.is_correct and not _tree(one.text):
        reason = "labelled correct Python 3, but Python 3 cannot parse it"
    if reason:
        account.drop(reason, where)
    return not reason


def why_not_python3(program: str) -> str | None:
    """Why a Python 2 program does not mean the same in Python 3; None when nothing speaks against it.

    >>> why_not_python3("print 1"), why_not_python3("print(1 / 2)"), why_not_python3("print(int(3))")
    ('Python 3 cannot parse', 'may mean something else in Python 3 (/)', None)
    """
    tree = _tree(program)
    if tree is None:
        return "Python 3 cannot parse"
    if not _SUSPECT.search(program):  # the rule, and much quicker than looking at every node
        return None
    nodes = list(ast.walk(tree))
    given = {name for node in nodes for name in _defines(node)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in _GONE - given:
            return f"uses a name that Python 3 lacks ({node.id})"
        if isinstance(node, ast.Name) and node.id == "input" and "input" not in given:
            return "may mean something else in Python 3 (input)"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            return "may mean something else in Python 3 (/)"
    return None


def _defines(node: ast.AST) -> list[str]:
    """The names that a node gives a meaning of the program's own."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
    return []


def _tree(program: str) -> ast.Module | None:
    try:
        return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _problem(
    row: dict[str, Any],
    tests: Sequence[tuple[str, str]],
    metadata: dict[str, Any],
    kept: Sequence[Solution],
    where: Where,
    account: SplitAccount,
) -> Problem | None:
    if not tests:
        account.not_run("it has none", where)
        return None
    if row["input_file"] or row["output_file"]:
        account.not_run("it reads or writes a named file, not standard input and output", where)
        return None
    limit = row["time_limit"] or {}
    seconds = (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9
    known = {
        "site": metadata["site"],
        "contest": row["cf_contest_id"],
        "index": row["cf_index"],
        "rating": metadata["rating"],
        "tags": [tag for tag in row["cf_tags"] or [] if tag],
        "seconds": seconds,
        "memory_bytes": row["memory_limit_bytes"],
        "translated": row["is_description_translated"],
    }
    return Problem(
        task_id=row["name"],
        prompt=row["description"],
        tests=Cases(tuple(tests)),
        reference=next((one.text for one in kept if one.is_correct and one.language == "python3"), ""),
        difficulty=metadata["difficulty"],
        metadata={name: value for name, value in known.items() if value},
    )


CODECONTESTS = CodeDataset(
    name="codecontests",
    licence="CC BY 4.0; Codeforces materials from codeforces.com, Description2Code under MIT, CodeNet under Apache 2.0",
    find=_find,
    open=_open,
    notes=(
        "`difficulty` is one scale from 1 (easiest) to 11, 0 unknown: from Codeforces ratings (800 is 1, 3500 is 11), "
        "for letters without a rating from the median rating of that letter here, for EASY to HARDEST 2, 4, 6, 8, 10. "
        "`published_difficulty` is the release's own code, which mixes letters with EASY to HARDEST.",
        "Language 1 of the release is Python 2: its labels were given under Python 2 and were not tried again.",
        "The labels of incorrect programs that no longer parse stay: a program that does not run is wrong.",
    ),
    uses=frozenset({"python2", "difficulty", "tests"}),
)


def missing_shards(files: Files) -> list[str]:
    """One line a split whose files say that there are more of them."""
    lines = []
    for split, paths in files.items():
        whole = {int(found[1]) for path in paths if (found := _SHARD.search(path.name))}
        if whole and max(whole) != len(paths):
            lines.append(f"{split}: {len(paths)} of {max(whole)} files were there")
    return lines
