"""What becomes of each document of `coaching-redesign`, in plain Python: for the references that have no ledger, and note nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from backtrail.catalog.coaching_redesign.excerpt import HIGHLIGHTS, excerpt
from backtrail.catalog.coaching_redesign.extract import built_in
from backtrail.catalog.coaching_redesign.fields import DESTINATION, ENTRY, PROFILE, missing, same

Document = dict[str, Any]

NOTHING = built_in({})
"""The title of a session that says nothing."""
PROGRESS = ("emoji", "notes", "percentage")
OLD, NEW = "goal_statement", "destination_statement"


def title(session: Mapping[str, Any]) -> str:
    """The session's title, made of no more of it than is needed."""
    for name in HIGHLIGHTS:
        if (value := session.get(name)) and (made := built_in(excerpt({name: value}))) != NOTHING:
            return made
    return built_in(excerpt(session))


def added(session: Mapping[str, Any]) -> Document:
    """The fields that an entry has and its session lacks."""
    new = missing(session, ENTRY)
    if "title" in new:
        new["title"] = title(session)
    return new


def destination(goal: Document) -> Document:
    """The goal's destination."""
    new = missing(goal, DESTINATION)
    if "progress_history" in new:
        new["progress_history"] = _history(goal)
    if NEW not in goal and OLD not in goal:
        new[NEW] = None
    return _renamed(goal) | new


def _renamed(goal: Document) -> Document:
    old, chosen = goal.get(OLD), goal.get(NEW)
    if OLD not in goal or (old is not None and chosen is not None and not same(old, chosen)):
        return goal
    drop = OLD if chosen is not None else NEW
    return {(NEW if name == OLD else name): value for name, value in goal.items() if name != drop}


def _history(goal: Document) -> list[Document]:
    so_far = {name: goal.get(f"progress_{name}") for name in PROGRESS}
    if all(value is None for value in so_far.values()):
        return []
    times = (goal.get(name) for name in ("updated_at", "created_at"))
    return [{**so_far, "timestamp": next(time for time in times if isinstance(time, dt.datetime))}]


def coaches(relationship: Mapping[str, Any]) -> bool:
    """Whether a coach works with the client."""
    return relationship.get("coach_user_id") is not None and relationship.get("status") in (None, "active")


def enhanced(profile: Mapping[str, Any], coached: bool, entries: int) -> Document:
    """What is to be set in a profile, by path."""
    new: Document = {}
    for name, plan in PROFILE.items():
        defaults = {**plan, "has_coach": coached, "entries_count": entries} if name == "freemium_status" else plan
        value = profile.get(name)
        if value is None:
            new[name] = deepcopy(defaults)
        elif isinstance(value, dict):
            new |= {f"{name}.{field}": default for field, default in missing(value, defaults).items()}
    return new
