"""The plan's edge cases of sessions and goals on plain documents; the trial decides twice, undoes, applies again and accounts for all."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pytest

from backtrail.testing import NOW
from tests.catalog.coaching_redesign.cases import (
    ANN,
    DAY,
    destination_of,
    entry_of,
    goal,
    notes,
    oid,
    profile,
    session,
    texts,
    tried,
)

# -- sessions -----------------------------------------------------------------------------------------------------------------------


def test_a_session_becomes_an_entry():
    """The same id, the new fields last, everything else as it was."""
    before = session(metadata={"a": {"b": decimal.Decimal("1.10")}}, nothing=None)
    entry, result = entry_of(**before)
    assert list(entry.items()) == [
        *before.items(),
        ("entry_type", "session"),
        ("title", "Ran five kilometres"),
        ("detected_goals", []),
    ]
    assert not result.notes


@pytest.mark.parametrize("own", ["Mine", "", "x" * 500])
def test_a_sessions_own_title_stays(own):
    """It is what the client wrote; a remark says that it is not ours."""
    entry, result = entry_of(title=own)
    assert entry["title"] == own
    assert texts(result) == ["a session keeps its own title"]


def test_a_null_is_no_title():
    """A field that the plan does not let be null gets the value that it would have if it were not there."""
    entry, result = entry_of(title=None, entry_type=None, detected_goals=None)
    assert (entry["title"], entry["entry_type"], entry["detected_goals"]) == ("Ran five kilometres", "session", [])
    assert not result.notes


def test_another_entry_type_stays_and_is_a_conflict():
    """What is there is kept, and somebody should look at it."""
    entry, result = entry_of(entry_type="fresh_thought")
    assert entry["entry_type"] == "fresh_thought"
    (note,) = notes(result, "conflict")
    assert (note["field"], note["values"], note["chosen"]) == ("entry_type", ["fresh_thought", "session"], "fresh_thought")


def test_a_title_that_is_no_text_stays_and_is_noted():
    """A value of another type is kept as it is, and named as unmapped."""
    entry, result = entry_of(title=42, detected_goals={"a": 1})
    assert (entry["title"], entry["detected_goals"]) == (42, {"a": 1})
    assert notes(result, "unmapped")[0]["fields"] == {"title": 42, "detected_goals": {"a": 1}}


def test_many_sessions_are_recalled_in_parts():
    """One recall holds 100 sessions: another one later asks only for the last part anew."""
    asked: dict[str, int] = {}

    def counting(label: str) -> Any:
        def called(sessions: list[Any]) -> list[Any]:
            asked[label] = len(sessions)
            return [{"title": label} for _ in sessions]

        return called

    sessions = [session(_id=oid(1000 + number)) for number in range(210)]
    result = tried(
        {"session_insights": sessions}, recalls={f"title:{number}": counting(f"title:{number}") for number in range(1, 5)}
    )
    assert asked == {"title:1": 100, "title:2": 100, "title:3": 10}
    assert [entry["title"] for entry in result.tables["entries"]][99:101] == ["title:1", "title:2"]


def test_why_the_endpoint_was_not_used_is_a_remark():
    """In the recall's own words, once, with the number of titles."""

    def failing(sessions: list[Any]) -> list[Any]:
        return [{"title": "t", "by": "built-in", "why": "the endpoint answered with status 500"} for _ in sessions]

    result = tried(
        {"profiles": [profile()], "session_insights": [session(), session(_id=oid(201))]}, recalls={"title:1": failing}
    )
    (note,) = notes(result, "remark")
    assert note == {"text": "titles come from the built-in generator: the endpoint answered with status 500", "titles": 2}


# -- goals ---------------------------------------------------------------------------------------------------------------------------


def test_a_goal_becomes_a_destination():
    """The statement's name changes in its place, and the plan's defaults follow."""
    destination, result = destination_of(goal())
    assert list(destination.items()) == [
        ("_id", oid(300)),
        ("user_id", ANN),
        ("destination_statement", "Write"),
        ("success_vision", "A book"),
        ("created_at", DAY),
        ("is_big_idea", False),
        ("big_idea_rank", None),
        ("progress_notes", None),
        ("progress_history", []),
        ("priority", "medium"),
        ("category", "personal"),
        ("ai_suggested", False),
        ("source_documents", []),
        ("source_entries", []),
    ]
    assert not result.notes


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"updated_at": DAY + dt.timedelta(days=1)}, DAY + dt.timedelta(days=1)),
        ({"updated_at": None}, DAY),
        ({"updated_at": "yesterday", "created_at": None}, NOW),
    ],
)
def test_the_history_begins_with_the_progress_so_far(times, expected):
    """At the time when it was last changed, as far as that is known."""
    destination, _ = destination_of(goal(progress_percentage=decimal.Decimal("33.30"), progress_emoji="🌱", **times))
    assert destination["progress_history"] == [
        {"emoji": "🌱", "notes": None, "percentage": decimal.Decimal("33.30"), "timestamp": expected}
    ]


@pytest.mark.parametrize("history", [[], [{"emoji": "🚀"}], "none so far", {"a": 1}])
def test_a_history_that_is_there_stays(history):
    """Whatever it is; of another type than a list, it is noted."""
    destination, result = destination_of(goal(progress_history=history, progress_percentage=50))
    assert destination["progress_history"] == history
    assert len(notes(result, "unmapped")) == (not isinstance(history, list))


def test_values_that_are_there_win_over_defaults():
    """Also those that are false or empty."""
    own = {
        "is_big_idea": True,
        "big_idea_rank": 2,
        "priority": "high",
        "category": "",
        "ai_suggested": True,
        "source_entries": [oid(1)],
    }
    destination, result = destination_of(goal(**own))
    assert {name: destination[name] for name in own} == own
    assert not result.notes


@pytest.mark.parametrize(
    ("statements", "after", "conflicts"),
    [
        ({"goal_statement": "a", "destination_statement": "b"}, {"goal_statement": "a", "destination_statement": "b"}, 1),
        ({"goal_statement": "a", "destination_statement": "a"}, {"destination_statement": "a"}, 0),
        ({"goal_statement": "a", "destination_statement": None}, {"destination_statement": "a"}, 0),
        ({"goal_statement": None, "destination_statement": "b"}, {"destination_statement": "b"}, 0),
        ({"goal_statement": None, "destination_statement": None}, {"destination_statement": None}, 0),
        ({"destination_statement": "b"}, {"destination_statement": "b"}, 0),
        ({"destination_statement": None}, {"destination_statement": None}, 0),
        ({"goal_statement": None}, {"destination_statement": None}, 0),
        ({"goal_statement": 7}, {"destination_statement": 7}, 0),
        ({}, {"destination_statement": None}, 0),
    ],
)
def test_statements(statements, after, conflicts):
    """Nothing of two statements is lost, and where there is none, a remark says so."""
    document = {name: value for name, value in goal().items() if name != "goal_statement"} | statements
    destination, result = destination_of(document)
    assert {name: value for name, value in destination.items() if name.endswith("_statement")} == after
    assert len(notes(result, "conflict")) == conflicts
    assert ("a goal has no goal_statement: its destination_statement is null" in texts(result)) == (
        after["destination_statement"] is None
    )
    assert result.accounts[ANN] == {"in": 2, "copied": 1, "enhanced": 1, "left": 0}


@pytest.mark.parametrize("goal_without", [goal(success_vision=None), {"_id": oid(300), "user_id": ANN, "goal_statement": "a"}])
def test_no_vision_is_made_up(goal_without):
    """The field stays null or absent, with a remark."""
    destination, result = destination_of(goal_without)
    assert destination.get("success_vision") is None
    assert ("success_vision" in destination) == ("success_vision" in goal_without)
    assert texts(result) == ["a goal has no success_vision: none is made up"]
