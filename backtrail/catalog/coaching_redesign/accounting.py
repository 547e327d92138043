"""What the plan's validation looks at, found by comparing old documents with new ones.

The migration's own steps are not asked: what they lose, spoil or forget is found here as something that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from backtrail import Entity, Row
from backtrail.catalog.coaching_redesign.fields import DESTINATION, ENTRY, PROFILE, RELATIONSHIP, missing, same

COPIES = (
    ("session_insights", "entries", "client_user_id", ENTRY),
    ("goals", "destinations", "user_id", {**DESTINATION, "destination_statement": None}),
)


def problems(user: Entity) -> Iterator[str]:
    """A message for everything that is wrong about the migrated user."""
    for old, new, owner, fields in COPIES:
        originals = {row["_id"] for row in user.rows(old)}
        copies = user.rows(new)
        lost = len(originals - {row["_id"] for row in copies})
        if lost or len(copies) != len(originals):
            yield f"{len(copies)} {new} for {len(originals)} {old}, {lost} of which have none"
        for row in copies:
            yield from _lacking(new, row, fields)
            if row.get(owner) != user.key:
                yield f"one of the {new} belongs to another user"
    for row in user.rows("relationships"):
        yield from _lacking("relationships", row, RELATIONSHIP)
    for row in user.rows("profiles"):
        for name, fields in PROFILE.items():
            held = row.get(name)
            if held is None:
                yield f"a profile lacks {name}"
            elif isinstance(held, dict):
                yield from _lacking(f"profiles' {name}", held, fields)


def count_documents(user: Entity) -> dict[str, int]:
    """How many documents the user has (`in`), and how many of them had which fate. What is lost is in no fate."""
    counts = {"in": 0, "copied": 0, "enhanced": 0, "left": 0}
    for old, new, _, _ in COPIES:
        copies = {row["_id"]: row for row in user.rows(new)}
        originals = user.rows(old)
        counts["in"] += len(originals)
        counts["copied"] += sum(_holds(copies.get(row["_id"], {}), row) for row in originals)
    for row in user.rows("relationships"):
        counts["in"] += 1
        counts["enhanced"] += not missing(row, RELATIONSHIP)
    for row in user.rows("profiles"):
        counts["in"] += 1
        fate = _fate(row)
        if fate:
            counts[fate] += 1
    return counts


def _lacking(what: str, holder: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    if names := missing(holder, fields):
        yield f"one of the {what} lacks {', '.join(names)}"


def _holds(copy: Mapping[str, Any], row: Row) -> bool:
    """Whether every field of the old document is in the copy, under its own name or the new one; a null may have been filled."""
    return all(_kept(copy, name, row) for name in row)


def _kept(copy: Mapping[str, Any], name: str, row: Row) -> bool:
    names = (name, "destination_statement") if name == "goal_statement" else (name,)
    if isinstance(copy, Row) and any(row.alike(name, copy, place) for place in names):
        return True
    value = row[name]
    if any(place in copy and same(copy[place], value) for place in names):
        return True
    return value is None and any(copy.get(place) is not None for place in names)


def _fate(profile: Row) -> str | None:
    held = [(profile.get(name), fields) for name, fields in PROFILE.items()]
    if any(value is None or (isinstance(value, dict) and missing(value, fields)) for value, fields in held):
        return None
    return "enhanced" if all(isinstance(value, dict) for value, _ in held) else "left"
