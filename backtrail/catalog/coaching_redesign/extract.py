"""The built-in generator of titles: the most telling words of a session, as they were said. It works offline, and always the same."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backtrail.catalog.coaching_redesign.excerpt import HIDDEN, HIGHLIGHTS, clean

LENGTH: Final = 60
"""Characters of the longest title."""

MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEAK: Final = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "because", "been", "but", "by", "for", "from", "had", "has"),
        *("have", "her", "his", "i", "if", "in", "into", "is", "it", "its", "just", "my", "of", "on", "or", "our", "so"),
        *("than", "that", "the", "their", "then", "these", "they", "this", "those", "to", "was", "we", "were", "when"),
        *("where", "which", "while", "who", "will", "with", "would", "you", "your", "about", "not", "very"),
    )
)
"""Words that a title does not end with."""

QUOTES: Final = "\"'`\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e"
AROUND: Final = " \t*_#-.,;:\u00b7\u2013\u2014\u2022\u3001\u3002\uff0c\uff1b"
"""Blanks, bullets and stops, with which a title neither begins nor ends."""

_SPEAKER = re.compile(r"^[\[(]?(?:\d{1,2}:)?\d{1,2}:\d{2}[\])]?\s*[-\u2013]?\s*|^(?P<name>[^\W\d_][\w .'\u2019-]{0,30}):\s+")
_GREETING = re.compile(
    r"(?:(?:so|well|okay|ok|yeah|yes|um+|uh+),? )*(?:hi|hello|hey|thanks|thank you|welcome|good (?:morning|afternoon|evening|to see)"
    r"|how (?:are|have|is|was)|great to see|nice to see|can you hear)\b",
    re.IGNORECASE,
)
_FILLER = re.compile(r"^(?:(?:so|well|okay|ok|yeah|yes|um+|uh+|you know|i mean|like)[,.…]*\s+)+", re.IGNORECASE)
# Not behind the dot of a shortened word.
_SENTENCE_END = re.compile(
    r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!e\.g\.)(?<!i\.e\.)(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f])"
)
_STOP = re.compile("[.!?…\u3002\uff01\uff1f]")  # which texts without any need not be searched for at each of their letters
_BREAK = re.compile(r"[,;:](?=\s)|[\uff0c\u3001\uff1b]|\s[\u2013\u2014-]\s")


def built_in(session: Mapping[str, Any]) -> str:
    """A title of at most 60 characters for the excerpt of a session; "Session on 3 May 2025" where it says nothing."""
    return next(_candidates(session), None) or _dated(session.get("date"))


def fitting(text: str) -> str | None:
    """The text as a title: cut where a clause or a word ends; None where nothing of it can stand alone."""
    text = text.strip(AROUND)
    while len(text) > 1 and text[0] in QUOTES and text[-1] in QUOTES:
        text = text[1:-1].strip(AROUND)
    if not text or HIDDEN in text or not any(character.isalpha() for character in text):
        return None
    if len(text) > LENGTH:
        text = _cut(text)
    return text[0].upper() + text[1:] if text and len(text[0].upper()) == 1 else text or None


def _candidates(session: Mapping[str, Any]) -> Iterator[str]:
    for name in HIGHLIGHTS:
        for item in session.get(name, ()):
            yield from _first(item, words=2)
    if tags := _listed(session.get("tags", ())):
        yield tags
    lines = [_spoken(line) for line in session.get("transcript", "").split("\n")]
    # What the client said tells more than what the coach asked.
    for ask in (False, True):
        for coach, line in lines:
            if coach is ask:
                yield from _first(line, words=5)


def _first(text: str, *, words: int) -> Iterator[str]:
    """The title that the text's first telling sentence gives, if there is one."""
    for sentence in _SENTENCE_END.split(text) if _STOP.search(text) else (text,):
        told = _FILLER.sub("", clean(sentence))
        if _GREETING.match(told) or (len(told.split()) < words and not _unspaced(told)):
            continue
        title = fitting(told)
        if title is not None:
            yield title
            return


def _unspaced(text: str) -> bool:
    """Whether the script writes no blanks between words, so that counting them tells nothing."""
    return len(text) >= 4 and any("\u2e80" <= character <= "\u9fff" or "\u0e00" <= character <= "\u0e7f" for character in text)


def _spoken(line: str) -> tuple[bool, str]:
    """Whether the coach says the line, and the line without who says it and when."""
    coach = False
    while match := _SPEAKER.match(line):
        coach = coach or (match["name"] or "").casefold().startswith("coach")
        line = line[match.end() :]
    return coach, line


def _cut(text: str) -> str:
    breaks = [match.start() for match in _BREAK.finditer(text) if LENGTH // 3 <= match.start() <= LENGTH]
    if breaks:
        return text[: breaks[-1]].rstrip(AROUND)
    words = text[:LENGTH].rpartition(" ")[0].split()
    while words and words[-1].strip(".,;:").casefold() in WEAK:
        words.pop()
    return " ".join(words).rstrip(AROUND) + "…" if words else ""


def _listed(tags: Any) -> str | None:
    """As many of the tags as there is room for: "Delegation, trust and focus"."""
    for number in range(len(tags), 0, -1):
        *most, last = (tag.replace("_", " ") for tag in tags[:number])
        text = f"{', '.join(most)} and {last}" if most else last
        if len(text) <= LENGTH:
            return fitting(text)
    return None


def _dated(date: str | None) -> str:
    if date is None:
        return "Session"
    day = dt.date.fromisoformat(date)
    return f"Session on {day.day} {MONTHS[day.month - 1]} {day.year}"
