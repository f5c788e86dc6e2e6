"""Made-up data for a first run: dialogues in English and Korean with their summaries, and solutions of small problems.

`toy:dialogue#400` in a recipe stands for 400 dialogues of five difficulties, `toy:dialogue-eval#40` for 40 that are
none of the former, and `toy:text#400` for plain text of the same world, without a summary in it. The rows follow from
the name, the number and a seed, so everybody has the same ones; the first rows of many are the few. They are learnable:
a summary says who agreed to what, where and when in the end, and whether it was refused (`world` has the rules).

`toy:contest#400` stands for 400 solutions of small programming problems, right and wrong ones in turn,
`toy:contest-mixed` for those of the four easiest grades and `toy:contest-easy` for the right ones of them (`contest`
has the rules); with `-eval` they are of held-out problems. Where a file of problems is asked for,
`toy:contest-problems#110` stands for 110 of those, of all grades, `toy:contest-problems-easy#100` for easy ones.
`toy:domain-code#400` stands for 400 rows of one of five domains (`domains`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

from ...data.config import DataConfig, Source
from ...data.problems import write_problems
from ...errors import DataError, RecipeError, nearest
from ...runtime.cache import cache_root, cached_folder
from ...runtime.files import atomic_file
from ...runtime.fingerprint import fingerprint
from ..contest import contest_problems, contest_rows, problem_row
from ..contest.grades import GRADES
from .domains import CODE_ROWS, DOMAINS, domain_rows
from .world import DIFFICULTIES, Scene, dialogue_of, draw_scene, story_of, summary_of

PREFIX = "toy:"
TOYS = {"dialogue": 20_000, "dialogue-eval": 4_000, "text": 40_000}
TOYS |= {"contest": 200_000, "contest-eval": 20_000, "contest-easy": 3_000, "contest-easy-eval": 400}
TOYS |= {"contest-mixed": 6_000, "contest-mixed-eval": 800}
TOYS |= {f"domain-{name}": CODE_ROWS if name == "code" else 20_000 for name in DOMAINS}
"""Each with the most rows it can give."""
EASY = (1, 2, 3, 4)
PROBLEMS = {"contest-problems": GRADES, "contest-problems-easy": EASY}
"""Held-out problems, by their grades."""
DEFAULT_ROWS = 400
SMALL: dict[Literal["train", "eval"], int] = {"train": 100, "eval": 32}
"""Rows of toy data where the small files are asked for."""
VERSION = 2
"""Changes with the rows."""
_HELD_OUT = 5
"""One dialogue in so many is held out, by its own words: it can be in one set only, whatever the seed."""


def toy_rows(name: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """`n` different rows; no dialogue is both in the training and in the held-out set."""
    if name not in TOYS:
        raise RecipeError(f"there is no toy data called `{PREFIX}{name}`; {nearest(name, TOYS)}")
    if n > TOYS[name]:
        raise RecipeError(f"`{PREFIX}{name}` has {TOYS[name]:,} different rows; {n:,} were asked for")
    if name.startswith("contest"):
        split = "valid" if name.endswith("-eval") else "train"
        grades = EASY if "easy" in name or "mixed" in name else GRADES
        return contest_rows(split, n, seed, 1.0 if "easy" in name else 0.5, grades)
    if name.startswith("domain-"):
        return list(islice(domain_rows(name.removeprefix("domain-"), seed), n))
    return list(islice(_texts(seed) if name == "text" else _dialogues(name, seed), n))


def _dialogues(name: str, seed: int) -> Iterator[dict[str, Any]]:
    for scene, dialogue in _scenes(name, seed):
        yield {
            "dialogue": dialogue,
            "summary": summary_of(scene),
            "keywords": scene.keywords,
            "difficulty": scene.difficulty,
            "language": scene.language,
            "domain": scene.domain,
        }


def _texts(seed: int) -> Iterator[dict[str, Any]]:
    """Stories and transcripts in turn."""
    for place, (scene, dialogue) in enumerate(_scenes("text", seed)):
        text = dialogue if place // len(DIFFICULTIES) % 2 else story_of(scene)
        yield {"text": text, "language": scene.language, "domain": scene.domain}


def _scenes(name: str, seed: int) -> Iterator[tuple[Scene, str]]:
    """Scenes with their dialogues, the difficulties in turn, none twice."""
    from ...runtime.seeds import numpy_generator

    chance, seen = numpy_generator(seed, f"toys/{name}"), set()
    for difficulty in cycle(DIFFICULTIES):
        while True:
            scene = draw_scene(chance, difficulty)
            dialogue = dialogue_of(scene)
            held_out = int(fingerprint(dialogue)[:8], 16) % _HELD_OUT == 0
            if dialogue not in seen and held_out == name.endswith("-eval"):
                break
        seen.add(dialogue)
        yield scene, dialogue


def place_sources(data: DataConfig) -> DataConfig:
    """The section with files in place of what stands for one: the small file where `dataset_suffix` asks for it, and
    of toy data a file in the cache."""
    changes: dict[str, Any] = {}
    for which in SMALL:
        sources = data.sources(which)
        placed = [_placed(_small(source, data.dataset_suffix, SMALL[which])) for source in sources]
        if placed != sources:
            changes[which] = placed
    if data.dataset_suffix is not None:
        changes["dataset_suffix"] = None
    return data.model_copy(update=changes)


def place_given(given: str | Source | list[str | Source] | None) -> list[str | Source]:
    """Sources in any form, in their full form, toy data as files."""
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return [_placed(Source.of(one)) for one in listed]


def _small(source: Source, suffix: str | None, most: int) -> Source:
    """`train.jsonl` with the suffix `small` is `train_small.jsonl`; of toy data it is the first rows."""
    if suffix is None:
        return source
    if source.path.startswith(PREFIX):
        return source.model_copy(update={"rows": min(source.rows or DEFAULT_ROWS, most)})
    path = Path(source.path)
    stems = ("valid", "validation") if path.stem in ("valid", "validation") else (path.stem,)
    others = [path.with_name(f"{stem}_{suffix}{path.suffix}") for stem in stems]
    found = next((other for other in others if other.exists()), None)
    if found is None:
        raise DataError(
            f"`data.dataset_suffix` is {suffix}, and there is no {others[0]}; write it (`curricle prepare` "
            "and `curricle select` do), or set data.limit for the first rows of the whole file"
        )
    return source.model_copy(update={"path": str(found)})


def _placed(source: Source) -> Source:
    if not source.path.startswith(PREFIX):
        return source
    file = _toy_file(cache_root(), source.path.removeprefix(PREFIX), source.rows or DEFAULT_ROWS)
    return source.model_copy(update={"path": str(file), "rows": None})


@lru_cache(maxsize=256)
def _toy_file(root: Path, name: str, n: int) -> Path:
    """In the cache below `root`. Arms share their rows, which take a while to make up, so they are made up once."""
    rows = toy_rows(name, n)

    def write(folder: Path) -> None:
        import orjson

        with atomic_file(folder / f"{name}.jsonl", "wb") as handle:
            handle.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    return cached_folder("toys", fingerprint(VERSION, rows), write) / f"{name}.jsonl"


def place_problems(asked: str) -> Path:
    """`toy:contest-problems#110` as a file in the cache."""
    source = Source.of(asked)
    name = source.path.removeprefix(PREFIX)
    if name not in PROBLEMS:
        raise RecipeError(f"there are no toy problems called `{source.path}`; {nearest(name, PROBLEMS)}")
    found = contest_problems("valid", grades=PROBLEMS[name])
    problems = [problem_row(one) for one in islice(found, source.rows or DEFAULT_ROWS)]

    def write(folder: Path) -> None:
        write_problems(folder / f"{name}.jsonl", problems)

    return cached_folder("toys", fingerprint(VERSION, problems), write) / f"{name}.jsonl"
