"""The two collections that get another name: sessions as entries, goals as destinations. The old documents stay."""

from __future__ import annotations

import datetime as dt
from typing import Any

from backtrail import Entity, Row
from backtrail.catalog.coaching_redesign.fields import DESTINATION, ENTRY, misfits, missing, same
from backtrail.catalog.coaching_redesign.recalled import titles

PROGRESS = ("progress_emoji", "progress_notes", "progress_percentage")


def create_entries(user: Entity) -> None:
    """Nothing; every session of the user has its entry."""
    sessions = user.rows("session_insights")
    made = titles(user, [session for session in sessions if session.get("title") is None])
    for session in sessions:
        new = missing(session, ENTRY)
        if "title" in new:
            new["title"] = made[session["_id"]]
        user.copy("entries", session, set=new)
        _note_entry(user, session)


def _note_entry(user: Entity, session: Row) -> None:
    where = {"collection": "session_insights", "id": session["_id"]}
    kind = session.get("entry_type")
    if kind is not None and kind != ENTRY["entry_type"]:
        user.conflict("entry_type", values=[kind, ENTRY["entry_type"]], chosen=kind, **where)
    kept = [name for name in ("title", "detected_goals") if session.get(name) is not None]
    if kept:
        user.remark(f"a session keeps its own {' and '.join(kept)}", **where)
    if odd := misfits(session, ENTRY):
        user.unmapped(odd, **where)


def create_destinations(user: Entity) -> None:
    """Nothing; every goal of the user has its destination."""
    for goal in user.rows("goals"):
        new = missing(goal, DESTINATION)
        if "progress_history" in new:
            new["progress_history"] = _history(user, goal)
        unset, rename = _statement(user, goal, new)
        user.copy("destinations", goal, set=new, unset=unset, rename=rename)
        _note_destination(user, goal)


def _statement(user: Entity, goal: Row, new: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which fields go, and which get another name, so that the destination has its statement."""
    old, chosen = goal.get("goal_statement"), goal.get("destination_statement")
    where = {"collection": "goals", "id": goal["_id"]}
    renamed = {"goal_statement": "destination_statement"} if "goal_statement" in goal else {}
    if old is None and chosen is None:
        user.remark("a goal has no goal_statement: its destination_statement is null", **where)
    if "destination_statement" not in goal:
        if not renamed:
            new["destination_statement"] = None
        return (), renamed
    if chosen is None and renamed:
        return ("destination_statement",), renamed
    if old is not None and not same(old, chosen):
        # Both stay: the old one under its old name, so that nothing is lost.
        user.conflict("destination_statement", values=[chosen, old], chosen=chosen, **where)
        return (), {}
    return (("goal_statement",) if renamed else ()), {}


def _history(user: Entity, goal: Row) -> list[dict[str, Any]]:
    """The history that begins with the progress so far; empty where there was none."""
    emoji, notes, percentage = (goal.get(name) for name in PROGRESS)
    if emoji is None and notes is None and percentage is None:
        return []
    times = (goal.get(name) for name in ("updated_at", "created_at"))
    timestamp = next((time for time in times if isinstance(time, dt.datetime)), user.now)
    return [{"emoji": emoji, "notes": notes, "percentage": percentage, "timestamp": timestamp}]


def _note_destination(user: Entity, goal: Row) -> None:
    where = {"collection": "goals", "id": goal["_id"]}
    if goal.get("success_vision") is None:
        user.remark("a goal has no success_vision: none is made up", **where)
    if odd := misfits(goal, DESTINATION):
        user.unmapped(odd, **where)
