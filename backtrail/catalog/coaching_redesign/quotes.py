"""The first quotes: of authors who died, and in works that were published, before 1929, each with the place where it can be read."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, NamedTuple

from backtrail.ids import new_object_id

MIGRATION = "coaching-redesign"
SINCE: Final = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
"""The time in the quotes: they are the same wherever and whenever they are added."""


class Quote(NamedTuple):
    """A quote, where it stands, and what it is for."""

    label: str
    category: str
    text: str
    author: str
    source: str
    tags: tuple[str, ...]


QUOTES: Final = (
    Quote(
        "castles",
        "motivation",
        "If you have built castles in the air, your work need not be lost; that is where they should be. Now put the foundations under them.",
        "Henry David Thoreau",
        "Walden (Boston: Ticknor and Fields, 1854), Conclusion",
        ("dreams", "action"),
    ),
    Quote(
        "single-step",
        "motivation",
        "The journey of a thousand li commenced with a single step.",
        "Lao-tzu",
        "Tao Te Ching, chapter 64, translated by James Legge (Sacred Books of the East 39, 1891)",
        ("beginning", "patience"),
    ),
    Quote(
        "obstacles",
        "motivation",
        "I have learned that success is to be measured not so much by the position that one has reached in life as by the obstacles "
        "which he has overcome while trying to succeed.",
        "Booker T. Washington",
        "Up from Slavery (New York: Doubleday, Page, 1901), chapter 2",
        ("success", "perseverance"),
    ),
    Quote(
        "be-such",
        "leadership",
        "No longer talk at all about the kind of man that a good man ought to be, but be such.",
        "Marcus Aurelius",
        "Meditations, book 10, section 16, translated by George Long (1862)",
        ("example", "integrity"),
    ),
    Quote(
        "think-anew",
        "leadership",
        "As our case is new, so we must think anew, and act anew.",
        "Abraham Lincoln",
        "Annual Message to Congress, 1 December 1862",
        ("change", "decision"),
    ),
    Quote(
        "less-difficult",
        "leadership",
        "What do we live for, if it is not to make life less difficult to each other?",
        "George Eliot",
        "Middlemarch (Edinburgh: Blackwood, 1871-72), chapter 72",
        ("service", "kindness"),
    ),
    Quote(
        "conscious-endeavor",
        "growth",
        "I know of no more encouraging fact than the unquestionable ability of man to elevate his life by a conscious endeavor.",
        "Henry David Thoreau",
        "Walden (Boston: Ticknor and Fields, 1854), chapter 2, Where I Lived, and What I Lived For",
        ("effort", "awareness"),
    ),
    Quote(
        "views-of-things",
        "growth",
        "Men are disturbed not by things, but by the views which they take of things.",
        "Epictetus",
        "The Enchiridion, section 5, translated by Thomas Wentworth Higginson (The Works of Epictetus, Boston: Little, Brown, 1865)",
        ("perspective", "calm"),
    ),
    Quote(
        "faculty-of-effort",
        "growth",
        "Keep the faculty of effort alive in you by a little gratuitous exercise every day.",
        "William James",
        "The Principles of Psychology (New York: Henry Holt, 1890), volume 1, chapter 4, Habit",
        ("habit", "practice"),
    ),
    Quote(
        "struggle",
        "courage",
        "If there is no struggle there is no progress.",
        "Frederick Douglass",
        "Speech on West India Emancipation, Canandaigua, New York, August 1857, in Two Speeches by Frederick Douglass (Rochester: Dewey, 1857)",
        ("struggle", "progress"),
    ),
    Quote(
        "doubts",
        "courage",
        "Our doubts are traitors, and make us lose the good we oft might win, by fearing to attempt.",
        "William Shakespeare",
        "Measure for Measure, act 1, scene 4 (Lucio), First Folio, 1623",
        ("doubt", "risk"),
    ),
    Quote(
        "trust-thyself",
        "courage",
        "Trust thyself: every heart vibrates to that iron string.",
        "Ralph Waldo Emerson",
        "Self-Reliance, in Essays: First Series (Boston: James Munroe, 1841)",
        ("self-trust",),
    ),
)


def documents() -> list[dict[str, Any]]:
    """The quotes as documents of `quotes`, with the same ids everywhere."""
    return [
        {
            "_id": new_object_id(MIGRATION, "quotes", (quote.label,)),
            "quote_text": quote.text,
            "author": quote.author,
            "source": quote.source,
            "category": quote.category,
            "tags": list(quote.tags),
            "display_count": 0,
            "like_count": 0,
            "active": True,
            "created_by": "backtrail",
            "created_at": SINCE,
            "updated_at": SINCE,
        }
        for quote in QUOTES
    ]
