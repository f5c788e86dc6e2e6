"""What counts as a word when two texts are compared. The choice moves ROUGE more than most models do, so each way of
cutting carries a note of what must be known to cut the same way again.

The usual tokenizer of English keeps [a-z0-9] and deletes every other letter: two identical Korean texts have nothing in
common under it. The four others normalise to NFC first, since the same syllable may be one code point or three.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from ..errors import MissingExtra, RecipeError, nearest

# Every byte that is no ASCII letter or digit is a gap; the bytes of all other letters are above 127.
_GAPS = bytes(byte if byte < 128 and chr(byte).isalnum() else ord(" ") for byte in range(256))


@dataclass(frozen=True)
class Words:
    """A way to cut a text into words."""

    name: str
    cut: Callable[[str], list[str]]
    note: str
    """The name, and the version of the analyser where there is one."""

    def __call__(self, text: str) -> list[str]:
        return self.cut(text)


def english(text: str) -> list[str]:
    """Lower case, [a-z0-9] only: the default of rouge-score, without its stemmer.

    >>> english("She's at No. 7!")
    ['she', 's', 'at', 'no', '7']
    """
    return text.lower().encode("utf-8", "replace").translate(_GAPS).decode("ascii").split()


def eojeol(text: str) -> list[str]:
    """What stands between spaces: a Korean word with its particles."""
    return _composed(text).split()


def character(text: str) -> list[str]:
    """Every character that is no white space."""
    return list("".join(_composed(text).split()))


def syllable_bigram(text: str) -> list[str]:
    """Neighbouring characters two by two, within a word; a word of one character stays whole.

    >>> syllable_bigram("밥을 다 먹었다")
    ['밥을', '다', '먹었', '었다']
    """
    return [pair for word in _composed(text).split() for pair in _pairs(word)]


def morpheme(text: str) -> list[str]:
    """Morphemes by Kiwi, each text analysed once."""
    return list(_morphemes(_composed(text)))


def words(name: str) -> Words:
    """The way to cut of that name."""
    if name == "morpheme":
        _need_kiwi()  # says now what is missing, not in the midst of a set
        analyser = f"kiwipiepy {version('kiwipiepy')}, model {version('kiwipiepy_model')}, hashtags cut"
        return Words(name, morpheme, f"morpheme ({analyser})")
    if name not in _CUTS:
        known = [*_CUTS, "morpheme"]
        raise RecipeError(f"tokenizer `{name}` is no way to cut a text; {nearest(name, known)}")
    return Words(name, _CUTS[name], name)


def _need_kiwi() -> None:
    try:
        import kiwipiepy  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "tokenizer `morpheme` needs Kiwi, which is not installed: "
            "pip install 'curricle[korean]', or take `character`, which needs nothing"
        ) from error


@cache
def _kiwi() -> Any:
    """The analyser, loaded once: a second or two."""
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1)


@lru_cache(maxsize=1 << 16)
def _morphemes(text: str) -> tuple[str, ...]:
    from kiwipiepy import Match

    # As a hashtag the particle after a speaker's tag would be part of the tag: #Person1#은 -> "#Person1", "#은".
    whole = text.encode("utf-8", "replace").decode("utf-8")  # Kiwi refuses half a character, which JSON can hold
    tokens = _kiwi().tokenize(whole, match_options=Match.ALL & ~Match.HASHTAG)
    return tuple(token.form for token in tokens)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _pairs(word: str) -> list[str]:
    return [word[i : i + 2] for i in range(len(word) - 1)] or [word]


_CUTS = {"english": english, "eojeol": eojeol, "character": character, "syllable-bigram": syllable_bigram}
