"""Foreign script: letters of a writing that nobody asked for, such as Chinese or Cyrillic in a Korean summary.

A letter is what Unicode calls one (general category L); its script is Unicode's Script property. Digits, punctuation,
emoji and marks are no letters, and letters that many scripts share (Common, Inherited) are nobody's. Special tags such
as `#Person1#` and `#PhoneNumber#` are no text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import regex

from ..errors import RecipeError, nearest
from .score import Score, mean_score

TAG = regex.compile(r"#[A-Za-z_]+\d*#")

_NAMES = """
Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo
Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic
Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan
Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Gurung_Khema Han Hangul
Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inscriptional_Pahlavi Inscriptional_Parthian Javanese
Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha
Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi
Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar
Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian
Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage
Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada
Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa
Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Todhri Toto Tulu_Tigalari
Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square
"""
SCRIPTS = _NAMES.split()
"""The scripts of Unicode 16. Which letter belongs to which is the package regex's knowledge."""
LANGUAGES = {"korean": "Hangul", "english": "Latin", "chinese": "Han", "hanja": "Han", "russian": "Cyrillic"}
"""What people write where a script is asked for."""
OTHER = "another"
"""A script that came with a later Unicode."""


@dataclass(frozen=True)
class Offender:
    """A text with foreign letters."""

    index: int
    id: str
    characters: str
    """The foreign letters, each once, in the order they came."""
    scripts: dict[str, int] = field(default_factory=dict)
    """How many letters of each foreign script."""


def foreign_script(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]] = (),
    *,
    allow: Sequence[str] = ("Hangul", "Latin"),
    ignore: Sequence[str] = (),
    count_tags: bool = False,
) -> list[Score]:
    """`samples`: percent of texts with a foreign letter. `characters`: percent of all letters that are foreign.

    `ignore` names words that may occur whatever their script. `count_tags` takes `#Person1#` for text.
    """
    reader = _Reader(allow, ignore, count_tags)
    found = [reader.letters(text) for text in predictions]
    foreign = np.array([len(letters) for letters, _ in found], dtype=np.float64)
    letters = np.array([num for _, num in found], dtype=np.float64)
    note = reader.note(Counter(script_of(letter) for letters, _ in found for letter in letters))
    shares = 100.0 * foreign / np.maximum(letters, 1)
    value = 100.0 * float(foreign.sum() / max(1.0, letters.sum()))
    return [
        mean_score("samples", 100.0 * (foreign > 0), higher_is_better=False, note=note),
        Score("characters", value, shares, letters, higher_is_better=False, note=note),
    ]


def offenders(
    predictions: Sequence[str],
    ids: Sequence[str] | None = None,
    *,
    allow: Sequence[str] = ("Hangul", "Latin"),
    ignore: Sequence[str] = (),
    count_tags: bool = False,
) -> list[Offender]:
    """The texts with foreign letters, and which letters those are."""
    reader = _Reader(allow, ignore, count_tags)
    names = ids if ids is not None else [str(i) for i in range(len(predictions))]
    found = []
    for i, (name, text) in enumerate(zip(names, predictions, strict=True)):
        letters, _ = reader.letters(text)
        if letters:
            scripts = dict(Counter(map(script_of, letters)).most_common())
            found.append(Offender(i, name, "".join(dict.fromkeys(letters)), scripts))
    return found


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """Unicode's Script of a character, one of `SCRIPTS`, `Common` or `Inherited`."""
    names = ("Latin", "Hangul", "Han", "Common", "Inherited", *SCRIPTS)  # the likely ones first
    return next((name for name in names if regex.match(rf"\p{{Script={name}}}", letter)), OTHER)


class _Reader:
    """Finds the letters of a text, and the foreign ones among them."""

    def __init__(self, allow: Sequence[str], ignore: Sequence[str], count_tags: bool) -> None:
        self.allow = [known_script(name) for name in allow]
        homely = "".join(rf"\p{{Script={name}}}" for name in (*self.allow, "Common", "Inherited"))
        self._foreign = regex.compile(rf"[\p{{L}}--[{homely}]]", regex.V1)
        self._letter = regex.compile(r"[\p{L}--[\p{Script=Common}\p{Script=Inherited}]]", regex.V1)
        self._ignored = _any_of(ignore)
        self.num_ignored, self.count_tags = len(ignore), count_tags

    def letters(self, text: str) -> tuple[list[str], int]:
        """The foreign letters of a text, and how many letters it has."""
        text = unicodedata.normalize("NFC", text)
        text = text if self.count_tags else TAG.sub(" ", text)
        text = text if self._ignored is None else self._ignored.sub(" ", text)
        return self._foreign.findall(text), len(self._letter.findall(text))

    def note(self, scripts: Counter[str]) -> str:
        told = ", ".join(f"{name} {num}" for name, num in scripts.most_common()) or "none"
        ignored = f", {self.num_ignored} words ignored" if self.num_ignored else ""
        tags = "tags counted" if self.count_tags else "tags such as #Person1# not counted"
        return f"percent; allowed {', '.join(self.allow) or 'no script'}{ignored}, {tags}; foreign letters: {told}"


def _any_of(words: Iterable[str]) -> Any:
    """A pattern for the words, the longest first; None for no word."""
    longest_first = sorted((unicodedata.normalize("NFC", word) for word in words if word), key=len, reverse=True)
    return regex.compile("|".join(map(regex.escape, longest_first))) if longest_first else None


def known_script(name: str) -> str:
    """A script by its Unicode name, however it is written."""
    plain = {_plain(script): script for script in SCRIPTS}
    if _plain(name) in plain:
        return plain[_plain(name)]
    hint = f"did you mean `{LANGUAGES[_plain(name)]}`?" if _plain(name) in LANGUAGES else nearest(name, SCRIPTS)
    raise RecipeError(f"foreign_script: no Unicode script is called `{name}`; {hint}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")
