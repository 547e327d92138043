"""The built-in titles: short, whole words, the session's own, always the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail.catalog.coaching_redesign import sample
from backtrail.catalog.coaching_redesign.excerpt import excerpt
from backtrail.catalog.coaching_redesign.extract import built_in, fitting


@pytest.mark.parametrize(
    ("session", "title"),
    [
        ({"celebrations": [{"text": "led the review."}]}, "Led the review"),
        ({"celebrations": ["Won"], "intentions": ["Sleep seven hours"]}, "Sleep seven hours"),
        ({"tags": ["leadership", "work_life balance", "trust"]}, "Leadership, work life balance and trust"),
        ({"tags": ["x" * 39, "y" * 39, "z"]}, "X" + "x" * 38),
        (
            {"transcript_content": "Coach: How are you today?\nAnn: So, um, I finally told my manager everything."},
            "I finally told my manager everything",
        ),
        (
            {"transcript_content": "[00:01:02] Coach: What did you notice in yourself then?"},
            "What did you notice in yourself then?",
        ),
        ({"transcript_content": "Client: I talked to Dr. Smith about my sleep. More."}, "I talked to Dr. Smith about my sleep"),
        ({"celebrations": ["我终于和经理谈了我的职业发展计划。他很支持我。"]}, "我终于和经理谈了我的职业发展计划"),
        ({"celebrations": ["Mail a@example.org now. Decide on the budget"]}, "Decide on the budget"),
        ({"session_date": "2025-05-03"}, "Session on 3 May 2025"),
        ({"celebrations": ["!!!", "123 456"], "created_at": "2024-12-31"}, "Session on 31 December 2024"),
        ({}, "Session"),
    ],
)
def test_titles(session, title):
    """The most telling list first, then tags, the transcript (the client before the coach), and the date."""
    assert built_in(excerpt(session)) == title


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (
            "I keep saying yes to every meeting, and then there is no time left for the work that I am proud of",
            "I keep saying yes to every meeting",
        ),
        (
            "I noticed that I apologise before I have said anything at all to the people",
            "I noticed that I apologise before I have said anything…",
        ),
        ("x" * 61, None),
        ("我" * 61, None),
        ("“Quoted”, really", "“Quoted”, really"),
        (" “ *Quoted.* ”", "Quoted"),
        ("ß is kept", "ß is kept"),
        ("", None),
        ("- * -", None),
    ],
)
def test_cuts(text, title):
    """Behind a clause if there is one late enough, else behind a word, never inside of one."""
    assert fitting(text) == title


@given(st.text(max_size=300))
def test_any_text_gives_a_title_that_fits(text):
    """At most 60 characters on one line, of words that the text has."""
    title = built_in(excerpt({"celebrations": [text], "transcript_content": text, "session_date": "2025-05-03"}))
    assert 0 < len(title) <= 60
    assert len(title.splitlines()) == 1
    assert title == title.strip()


@given(st.lists(st.from_regex(r"\A[a-z]{1,14}[,.]?\Z"), min_size=1, max_size=60))
def test_no_word_is_halved(words):
    """Every word of a title is one of the session's."""
    title = built_in(excerpt({"intentions": [" ".join(words)], "session_date": "2025-05-03"}))
    said = {re.sub(r"\W", "", word) for word in words} | {"session", "on", "3", "may", "2025"}
    assert {re.sub(r"\W", "", word).lower() for word in title.split()} <= said


def test_the_samples_titles():
    """They are mostly the session's own words, and the same on every run."""
    sessions = [session for documents in sample.users(80) for session in documents["session_insights"]]
    titles = [built_in(excerpt(session)) for session in sessions]
    assert titles == [built_in(excerpt(session)) for session in sessions]
    dated = sum(title.startswith("Session") for title in titles)
    assert len(titles) > 200
    assert 0 < dated < len(titles) / 10
