"""The made-up world of the toy data: two people arrange to meet, in English or in Korean, more or less simply.

A scene is drawn first; the dialogue, its summary and a plain story are three ways of telling it, so a summary always
follows from its dialogue. How hard a scene is:

    difficulty   meetings   changes of mind   small talk
        1           1              -               -
        2           1              1               -
        3           1              1               1
        4           2              1               1        the second is proposed by the other person
        5           3              2, one twice    2

A change of mind moves the hour, or the day, or refuses. Small talk names hours of its own, which belong in no summary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from numpy.random import Generator

Language = Literal["en", "ko"]
Domain = Literal["leisure", "work"]
Outcome = Literal["agreed", "later", "twice", "moved", "refused"]

DIFFICULTIES = (1, 2, 3, 4, 5)
_MEETINGS = (1, 1, 1, 2, 3)
_CHANGES = (0, 1, 1, 1, 2)
_SMALL_TALK = (0, 0, 1, 1, 2)
_HOURS = range(1, 10)

_ACTIVITIES: dict[tuple[Language, Domain], tuple[str, ...]] = {
    ("en", "leisure"): ("have lunch", "see a film", "play tennis", "go for a walk", "cook", "practise the song"),
    ("en", "work"): (
        "meet the client",
        "study",
        "plan the trip",
        "read the report",
        "test the machine",
        "clean the hall",
    ),
    ("ko", "leisure"): ("점심 식사", "영화 관람", "테니스", "산책", "요리", "악기 연습"),
    ("ko", "work"): ("고객 미팅", "시험 공부", "출장 준비", "보고서 검토", "기계 점검", "신입 교육"),
}
_PLACES: dict[Language, tuple[str, ...]] = {
    "en": ("the park", "the station", "the library", "the market", "the office", "the museum", "the lake", "home"),
    "ko": ("공원", "기차역", "도서관", "시장", "사무실", "박물관", "호수", "우리 집"),
}
_DAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "ko": ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"),
}
_REASONS: dict[Language, tuple[str, ...]] = {
    "en": ("I have a cold", "my train is late", "I must work", "my sister visits me"),
    "ko": ("감기에 걸려서", "기차가 늦어서", "일이 많아서", "동생이 와서"),
}
_YES: dict[Language, tuple[str, ...]] = {
    "en": ("With pleasure.", "Yes, gladly.", "That suits me."),
    "ko": ("네, 좋아요.", "그럼요, 좋아요.", "네, 괜찮아요."),
}
_SMALL: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (
        ("The weather is lovely today.", "Yes, it is warm at last."),
        ("I was awake at {hour} this morning.", "You should sleep more."),
        ("My bus came at {hour} yesterday.", "It is never on time."),
        ("How is your brother?", "He is well, thank you."),
    ),
    "ko": (
        ("오늘 날씨가 참 좋네요.", "네, 이제 따뜻해요."),
        ("오늘 아침 {hour}시에 깼어요.", "더 푹 자야 해요."),
        ("어제 버스가 {hour}시에 왔어요.", "늘 늦게 와요."),
        ("형은 잘 지내요?", "네, 잘 지내요."),
    ),
}


@dataclass(frozen=True)
class Meeting:
    """What one person proposes to the other, and what comes of it."""

    proposer: int
    what: str
    where: str
    day: str
    hour: int
    outcome: Outcome
    other_day: str
    other_hour: int
    third_hour: int
    words: str
    """How the other person says yes, or why not."""

    @property
    def answerer(self) -> int:
        return 3 - self.proposer

    @property
    def final(self) -> tuple[str, int]:
        """Day and hour in the end."""
        hour = {"later": self.other_hour, "twice": self.third_hour}.get(self.outcome, self.hour)
        return (self.other_day if self.outcome == "moved" else self.day), hour


@dataclass(frozen=True)
class Scene:
    """A whole conversation before it is put into words."""

    language: Language
    domain: Domain
    difficulty: int
    meetings: tuple[Meeting, ...]
    small_talk: tuple[tuple[str, str], ...]

    @property
    def keywords(self) -> list[str]:
        return list(dict.fromkeys(meeting.what for meeting in self.meetings))


def draw_scene(chance: Generator, difficulty: int) -> Scene:
    """A scene of this difficulty; everything else about it is left to chance."""
    language: Language = ("en", "ko")[chance.integers(2)]
    domain: Domain = ("leisure", "work")[chance.integers(2)]
    level = difficulty - 1
    count, changes = _MEETINGS[level], _CHANGES[level]
    outcomes: list[Outcome] = ["agreed"] * (count - changes)
    changed: Outcome = ("later", "moved", "refused")[chance.integers(3)]
    outcomes += ([], [changed], [changed, "twice"])[changes]
    chance.shuffle(outcomes)
    meetings = tuple(
        _draw_meeting(chance, language, domain, outcome, proposer=1 + place % 2)
        for place, outcome in enumerate(outcomes)
    )
    chosen = chance.choice(len(_SMALL[language]), _SMALL_TALK[level], replace=False)
    small_talk = tuple(
        (_SMALL[language][k][0].format(hour=chance.choice(_HOURS)), _SMALL[language][k][1]) for k in chosen
    )
    return Scene(language, domain, difficulty, meetings, small_talk)


def _draw_meeting(chance: Generator, language: Language, domain: Domain, outcome: Outcome, proposer: int) -> Meeting:
    def pick(options: tuple[str, ...]) -> str:
        return options[chance.integers(len(options))]

    day, other_day = chance.choice(_DAYS[language], 2, replace=False).tolist()
    hour, other_hour, third_hour = chance.choice(_HOURS, 3, replace=False).tolist()
    words = pick(_REASONS[language] if outcome == "refused" else _YES[language])
    what, where = pick(_ACTIVITIES[language, domain]), pick(_PLACES[language])
    return Meeting(proposer, what, where, day, hour, outcome, other_day, other_hour, third_hour, words)


# --- as a dialogue


def dialogue_of(scene: Scene) -> str:
    """A transcript: meetings one after the other, small talk before each but the last."""
    turns: list[tuple[int, str]] = []
    for place, meeting in enumerate(scene.meetings):
        turns += list(enumerate(scene.small_talk[place], 1)) if place < len(scene.small_talk) else []
        turns += _english_turns(meeting) if scene.language == "en" else _korean_turns(meeting)
    return "\n".join(f"#Person{speaker}#: {line}" for speaker, line in turns)


def _english_turns(m: Meeting) -> list[tuple[int, str]]:
    a, b = m.proposer, m.answerer
    asked = (a, f"Shall we {m.what} at {m.where} on {m.day} at {m.hour}?")
    return {
        "agreed": [asked, (b, m.words), (a, "See you then.")],
        "later": [asked, (b, f"Could it be at {m.other_hour}?"), (a, "That is fine with me.")],
        "twice": [
            asked,
            (b, f"Could it be at {m.other_hour}?"),
            (a, f"At {m.third_hour} would be better."),
            (b, m.words),
        ],
        "moved": [asked, (b, f"Could it be on {m.other_day}?"), (a, "That is fine with me.")],
        "refused": [asked, (b, f"I am sorry, but {m.words}."), (a, "Another time, then.")],
    }[m.outcome]


def _korean_turns(m: Meeting) -> list[tuple[int, str]]:
    a, b = m.proposer, m.answerer
    asked = (a, f"{m.day} {m.hour}시에 {m.where}에서 {m.what} 어때요?")
    return {
        "agreed": [asked, (b, m.words), (a, "그때 봐요.")],
        "later": [asked, (b, f"{m.other_hour}시는 어때요?"), (a, "네, 그렇게 해요.")],
        "twice": [asked, (b, f"{m.other_hour}시는 어때요?"), (a, f"{m.third_hour}시가 더 좋아요."), (b, m.words)],
        "moved": [asked, (b, f"{m.other_day}은 어때요?"), (a, "네, 그렇게 해요.")],
        "refused": [asked, (b, f"미안해요. {m.words} 안 돼요."), (a, "그럼 다음에 봐요.")],
    }[m.outcome]


# --- as a summary


def summary_of(scene: Scene) -> str:
    """A sentence for each meeting: what was agreed in the end, or who refused whom."""
    tell = _english_summary if scene.language == "en" else _korean_summary
    return " ".join(tell(meeting) for meeting in scene.meetings)


def _english_summary(m: Meeting) -> str:
    day, hour = m.final
    if m.outcome == "refused":
        return f"#Person{m.proposer}# wants to {m.what} at {m.where} on {day}, but #Person{m.answerer}# cannot."
    return f"#Person1# and #Person2# will {m.what} at {m.where} on {day} at {hour}."


def _korean_summary(m: Meeting) -> str:
    day, hour = m.final
    if m.outcome == "refused":
        asked, refused = (_topic(person) for person in (m.proposer, m.answerer))
        return f"{asked} {day} {m.where} {m.what} 약속을 청하지만 {refused} 거절한다."
    return f"#Person1#과 #Person2#는 {day} {hour}시 {m.where} {m.what} 약속을 정한다."


def _topic(person: int) -> str:
    """With the particle that the spoken number asks for."""
    return "#Person1#은" if person == 1 else "#Person2#는"


# --- as a story


def story_of(scene: Scene) -> str:
    """Plain prose of the same world, from which a base model can learn its words and how details are taken up again."""
    tell = _english_story if scene.language == "en" else _korean_story
    parts = [tell(meeting) for meeting in scene.meetings]
    return " ".join([*(line for line, _ in scene.small_talk), *parts])


def _english_story(m: Meeting) -> str:
    day, hour = m.final
    asked = f"#Person{m.proposer}# asks to {m.what} at {m.where} on {m.day} at {m.hour}."
    if m.outcome == "refused":
        return f"{asked} #Person{m.answerer}# says no: {m.words}. Nobody is at {m.where} on {day}."
    middle = {
        "agreed": "says yes.",
        "later": f"comes at {m.other_hour} only.",
        "twice": f"would come at {m.other_hour}, and they settle for {m.third_hour}.",
        "moved": f"comes on {m.other_day} only.",
    }[m.outcome]
    return f"{asked} #Person{m.answerer}# {middle} On {day} at {hour} they {m.what} at {m.where}."


def _korean_story(m: Meeting) -> str:
    day, hour = m.final
    asked = f"{_topic(m.proposer)} {m.day} {m.hour}시에 {m.where}에서 {m.what} 하자고 한다."
    other = _topic(m.answerer)
    if m.outcome == "refused":
        return f"{asked} {other} {m.words} 안 된다고 한다. {day} {m.where}에는 아무도 없다."
    middle = {
        "agreed": "좋다고 한다.",
        "later": f"{m.other_hour}시만 된다고 한다.",
        "twice": f"{m.other_hour}시를 말하고 결국 {m.third_hour}시로 한다.",
        "moved": f"{m.other_day}만 된다고 한다.",
    }[m.outcome]
    return f"{asked} {other} {middle} {day} {hour}시에 {m.where}에서 {m.what} 시간을 가진다."
