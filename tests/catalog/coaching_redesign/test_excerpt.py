"""Excerpts of sessions: short, plain, and without what reaches a person."""

from __future__ import annotations

import datetime as dt
import json
import time

import pytest

from backtrail.catalog.coaching_redesign import sample
from backtrail.catalog.coaching_redesign.excerpt import HIDDEN, clean, clip, excerpt


def test_an_excerpt_has_what_a_title_is_made_of():
    """A few items of each list by whatever name they go, tags, the transcript and the date; the rest stays behind."""
    session = {
        "_id": 1,
        "celebrations": [
            {"text": "won", "confidence": 0.5},
            {"id": "abc", "whatever": "two words"},
            "plain",
            {"id": "x"},
            None,
            7,
        ],
        "intentions": "one text",
        "client_discoveries": {"insight": "an object"},
        "tags": ["a", "a", "", 5, "x" * 50, "b"],
        "transcript_content": "Coach:  Hello\n\n\tClient: Hi ",
        "session_date": dt.datetime(2025, 5, 3, 23, tzinfo=dt.UTC),
        "metadata": {"secret": 1},
    }
    assert excerpt(session) == {
        "celebrations": ["won", "two words", "plain"],
        "intentions": ["one text"],
        "client_discoveries": ["an object"],
        "tags": ["a", "b"],
        "transcript": "Coach: Hello\nClient: Hi",
        "date": "2025-05-03",
    }


@pytest.mark.parametrize("value", [None, 7, 1.5, b"bytes", [], {}, [[["deep"]]], [None], "", "  \x00 "])
def test_values_of_any_type_are_nothing_to_say(value):
    """A document may hold anything anywhere: no error, and an excerpt that is JSON."""
    names = ("celebrations", "intentions", "client_discoveries", "action_items", "tags", "transcript_content", "session_date")
    assert excerpt(dict.fromkeys(names, value)) == {}


@pytest.mark.parametrize(
    ("value", "date"),
    [("2024-02-29T23:00:00Z", "2024-02-29"), ("2024-02-29", "2024-02-29"), ("soon", None), (dt.datetime(1, 1, 1), "0001-01-01")],
)
def test_dates_may_be_texts(value, date):
    """A time is taken from either type; the creation's stands in for one that is missing."""
    assert excerpt({"session_date": value}).get("date") == date
    assert excerpt({"session_date": "?", "created_at": value}).get("date") == date


@pytest.mark.parametrize(
    "private",
    [
        "ann.b+c@example.org",
        "https://example.org/?q=ann",
        "www.example.org",
        "+44 20 7946 0958",
        "(030) 123-45-67-89",
        "4111 1111 1111 1111",
    ],
)
def test_what_reaches_a_person_is_hidden(private):
    """In every list and in the transcript, wherever it stands."""
    text = f"Write to {private} tomorrow"
    shown = json.dumps(excerpt({"celebrations": [text], "transcript_content": text, "tags": [private]}), ensure_ascii=False)
    assert private not in shown
    assert shown.count(HIDDEN) == 2


def test_ordinary_numbers_stay():
    """Years, percentages and times are no telephone numbers."""
    text = "In 2024 I ran 12.5 km in 55:30, 30 % faster"
    assert excerpt({"intentions": [text]}) == {"intentions": [text]}


def test_large_sessions_are_cut_between_words():
    """However long a transcript is, little of it is looked at, and no word is halved."""
    words = " ".join(f"word{number}" for number in range(200_000))
    began = time.process_time()
    made = excerpt({"transcript_content": words, "celebrations": [words, words, words, words]})
    assert time.process_time() - began < 0.5
    assert len(made["celebrations"]) == 3
    for text in (made["transcript"], *made["celebrations"]):
        assert len(text) <= 800
        assert set(text.split()) <= set(words[:10_000].split())


def test_hostile_texts_take_no_time():
    """Text without blanks, or full of signs that patterns begin with, is searched in linear time."""
    for text in ("a" * 100_000, "@" * 100_000, "1" * 100_000, "a@" * 50_000, "+1 (" * 25_000):
        began = time.process_time()
        excerpt({"transcript_content": text, "celebrations": [text]})
        assert time.process_time() - began < 0.5


def test_marks_that_are_not_seen_are_left_out():
    """Control and direction marks could spoil a page; joined emoji stay whole."""
    assert clean("a\u202eb\x00c\u200b\nd 👩\u200d💻 \ud800") == "abc d 👩\u200d💻"


def test_clip():
    """Up to the last blank, or hard where there is none."""
    assert clip("one two three", 7) == "one two"
    assert clip("one two three", 9) == "one two"
    assert clip("abcdef", 3) == "abc"


def test_the_samples_excerpts_are_json():
    """The arguments of a recall are JSON, of a few hundred characters."""
    sessions = [session for documents in sample.users(80) for session in documents["session_insights"]]
    assert len(sessions) > 200
    for session in sessions:
        made = excerpt(session)
        assert json.loads(json.dumps(made)) == made
        assert len(json.dumps(made)) < 5000
