"""Made-up data for a first run: short dialogues in English and Korean, each with its summary.

`toy:dialogue#400` in a recipe stands for 400 such rows, `toy:dialogue-eval#40` for 40 that are none of the former. The
rows follow from the name, the number and a seed, so everybody has the same ones. They are learnable: the summary names
who agreed to what, where and when, and whether it was moved or refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.config import DataConfig, Source
from ..errors import RecipeError, nearest
from ..runtime.cache import cached_folder
from ..runtime.files import atomic_file
from ..runtime.fingerprint import fingerprint

PREFIX = "toy:"
TOYS = ("dialogue", "dialogue-eval")
DEFAULT_ROWS = 400
_VERSION = 1

_ENGLISH: dict[str, tuple[str, ...]] = {
    "what": (
        "have lunch",
        "see a film",
        "play tennis",
        "study",
        "go for a walk",
        "meet the client",
        "cook",
        "practise",
    ),
    "where": (
        "the park",
        "the station",
        "the library",
        "the old market",
        "the office",
        "the museum",
        "the lake",
        "home",
    ),
    "when": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "ending": ("yes", "later", "I have a cold", "my train is late", "I must work", "my sister visits me"),
}
_KOREAN: dict[str, tuple[str, ...]] = {
    "what": ("점심 식사", "영화 관람", "테니스", "시험 공부", "산책", "고객 미팅", "요리", "악기 연습"),
    "where": ("공원", "기차역", "도서관", "전통 시장", "사무실", "박물관", "호수", "우리 집"),
    "when": ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"),
    "ending": ("yes", "later", "감기에 걸려서", "기차가 늦어서", "일이 많아서", "동생이 와서"),
}
_HOURS = tuple(range(1, 9))


def toy_rows(name: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """`n` different rows; the training and the held-out set of one seed have none in common."""
    from ..runtime.seeds import numpy_generator

    if name not in TOYS:
        raise RecipeError(f"there is no toy data called `{PREFIX}{name}`; {nearest(name, TOYS)}")
    sizes = [2, *map(len, _ENGLISH.values()), len(_HOURS)]
    held_out = name.endswith("-eval")
    total = 1
    for size in sizes:
        total *= size
    drawn = [k for k in numpy_generator(seed, "toys").permutation(total).tolist() if (k % 5 == 0) == held_out]
    if n > len(drawn):
        raise RecipeError(f"`{PREFIX}{name}` has {len(drawn):,} different rows; {n:,} were asked for")
    return [_row(k, sizes) for k in drawn[:n]]


def _row(number: int, sizes: list[int]) -> dict[str, Any]:
    """The row of one combination; the number's digits in mixed base choose each part."""
    digits = []
    for size in sizes:
        number, digit = divmod(number, size)
        digits.append(digit)
    korean, hour = digits[0], _HOURS[digits[-1]]
    words = _KOREAN if korean else _ENGLISH
    what, where, when, ending = (options[digit] for options, digit in zip(words.values(), digits[1:-1], strict=True))
    lines, summary = (_korean if korean else _english)(what, where, when, ending, hour)
    dialogue = "\n".join(f"#Person{turn % 2 + 1}#: {line}" for turn, line in enumerate(lines))
    return {"dialogue": dialogue, "summary": summary, "keywords": [what]}


def _english(what: str, where: str, when: str, ending: str, hour: int) -> tuple[list[str], str]:
    asked = f"Shall we {what} at {where} on {when} at {hour}?"
    agreed = f"#Person1# and #Person2# will {what} at {where} on {when} at"
    if ending == "yes":
        return [asked, "With pleasure.", "See you then."], f"{agreed} {hour}."
    if ending == "later":
        return [asked, f"Could it be {hour + 1}?", "That is fine with me."], f"{agreed} {hour + 1}."
    refusal = f"#Person1# wants to {what} at {where} on {when}, but #Person2# cannot."
    return [asked, f"I am sorry, but {ending}.", "Another time, then."], refusal


def _korean(what: str, where: str, when: str, ending: str, hour: int) -> tuple[list[str], str]:
    asked = f"{when} {hour}시에 {where}에서 {what} 어때요?"
    agreed = "#Person1#과 #Person2#는"
    if ending == "yes":
        return [asked, "네, 좋아요.", "그때 봐요."], f"{agreed} {when} {hour}시 {where} {what} 약속을 정한다."
    if ending == "later":
        turns = [asked, f"{hour + 1}시는 어때요?", "네, 그렇게 해요."]
        return turns, f"{agreed} {when} {hour + 1}시 {where} {what} 약속을 정한다."
    turns = [asked, f"미안해요. {ending} 안 돼요.", "그럼 다음에 봐요."]
    return turns, f"#Person1#은 {when} {where} {what} 약속을 청하지만 #Person2#는 {ending} 거절한다."


def place_toys(data: DataConfig) -> DataConfig:
    """The section with every toy source written to the cache as a file, and its path in the name's stead."""
    changes = {}
    for which in ("train", "eval"):
        sources = data.sources(which)
        if any(source.path.startswith(PREFIX) for source in sources):
            changes[which] = [_placed(source) for source in sources]
    return data.model_copy(update=changes)


def _placed(source: Source) -> Source:
    if not source.path.startswith(PREFIX):
        return source
    name, n = source.path.removeprefix(PREFIX), source.rows or DEFAULT_ROWS
    rows = toy_rows(name, n)

    def write(folder: Path) -> None:
        import orjson

        with atomic_file(folder / f"{name}.jsonl", "wb") as handle:
            handle.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    folder = cached_folder("toys", fingerprint(_VERSION, rows), write)
    return source.model_copy(update={"path": str(folder / f"{name}.jsonl"), "rows": None})
