"""What of a session a title is made of: short, plain JSON, without addresses and numbers that reach a person."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

HIGHLIGHTS: Final = ("celebrations", "intentions", "client_discoveries", "action_items")
"""The lists of a session's analysis that say what it was about, the most telling first."""
TELLING: Final = (
    "title",
    "text",
    "summary",
    "celebration",
    "intention",
    "discovery",
    "insight",
    "action",
    "description",
    "content",
    "statement",
)
"""Names under which an item of such a list holds its words, the shortest form first."""
HIDDEN: Final = "[…]"
"""Stands where something was that reaches a person."""

ITEMS, ITEM_LENGTH, TAGS, TAG_LENGTH, TRANSCRIPT = 3, 200, 5, 40, 800

_REACHES = re.compile(
    r"[^\s@]{1,64}@[^\s@]{1,255}|(?:https?://|www\.)\S+|\+?\d(?:[\s().\-/]{0,2}\d){6,}",  # mail, web, and the numbers of telephones and cards
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d(?:[\s().\-/]{0,2}\d){6}")


def excerpt(session: Mapping[str, Any]) -> dict[str, Any]:
    """The session in little: some words of each list, tags, the transcript's begin and the date; what is empty is left out."""
    found = {
        **{name: _items(session.get(name)) for name in HIGHLIGHTS},
        "tags": _tags(session.get("tags")),
        "transcript": _transcript(session.get("transcript_content")),
        "date": _date(session.get("session_date")) or _date(session.get("created_at")),
    }
    return {name: value for name, value in found.items() if value}


def clean(text: str) -> str:
    """The text on one line: no control or direction marks, no surrogates, single blanks."""
    if text.isprintable():
        if "  " not in text and text.strip() == text:
            return text  # as most are
    else:
        text = text.translate(
            {ord(one): None for one in set(text) if not one.isprintable() and not one.isspace() and _unseen(one)}
        )
    return " ".join(text.split())


def clip(text: str, limit: int) -> str:
    """The text's begin, up to the last blank within the limit, so that no word is halved."""
    if len(text) <= limit:
        return text
    return text[: limit + 1].rpartition(" ")[0] or text[:limit]


def _unseen(character: str) -> bool:
    # The joiners hold emoji and the letters of some scripts together.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} and character not in "\u200c\u200d"


def _items(value: Any) -> list[str]:
    items: list[str] = []
    for item in value[: 4 * ITEMS] if isinstance(value, list) else [value]:
        if text := clip(_private(clean(_told(item)[: 4 * ITEM_LENGTH])), ITEM_LENGTH):
            items.append(text)
            if len(items) == ITEMS:
                break
    return items


def _told(item: Any) -> str:
    """The words of an item, as they are there."""
    if isinstance(item, str):
        return item
    if not isinstance(item, (dict, Mapping)):
        return ""
    for name in TELLING:
        if isinstance(words := item.get(name), str) and words.strip():
            return words
    # Unknown names: whatever reads as words, which an id or a category does not.
    return next((words for words in item.values() if isinstance(words, str) and " " in words.strip()), "")


def _tags(value: Any) -> list[str]:
    tags = [clean(tag[:200]) for tag in value if isinstance(tag, str)] if isinstance(value, list) else []
    return [tag for tag in dict.fromkeys(tags) if 0 < len(tag) <= TAG_LENGTH and _private(tag) == tag][:TAGS]


def _transcript(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    lines = value[: 4 * TRANSCRIPT].splitlines()
    text = _joined(lines, clean)
    if _reaches(text):
        text = _joined(lines, lambda line: _private(clean(line)))
    if len(text) > TRANSCRIPT:
        return _whole_words(text[: TRANSCRIPT + 1])
    # Where only the begin was looked at, its last word may be half of one.
    return text if len(value) <= 4 * TRANSCRIPT else _whole_words(text)


def _joined(lines: Iterable[str], made: Callable[[str], str]) -> str:
    """What is made of the lines, those that say something, as far as is needed."""
    kept: list[str] = []
    left = TRANSCRIPT + 1
    for line in filter(None, map(made, lines)):
        kept.append(line)
        left -= len(line) + 1
        if left < 0:
            break
    return "\n".join(kept)


def _whole_words(text: str) -> str:
    """The text, whose blanks are single, without what follows the last of them."""
    return text[: max(text.rfind(" "), text.rfind("\n"), 0)]


def _private(text: str) -> str:
    return _REACHES.sub(HIDDEN, text) if _reaches(text) else text


def _reaches(text: str) -> bool:
    """Whether there may be something in the text that reaches a person: most texts have none of its marks."""
    web = "://" in text or (("w." in text or "W." in text) and "www." in text.lower())
    return web or "@" in text or _NUMBER.search(text) is not None


def _date(value: Any) -> str | None:
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    if not isinstance(value, str):
        return None
    try:
        return dt.datetime.fromisoformat(value.strip()).date().isoformat()
    except ValueError:
        return None
