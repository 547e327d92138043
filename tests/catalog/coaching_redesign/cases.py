"""Documents by hand, and their trial."""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

from bson import ObjectId

from backtrail.catalog.coaching_redesign.migration import CoachingRedesign
from backtrail.testing import Trial, trial

Tables = dict[str, list[dict[str, Any]]]
OLD = ("session_insights", "goals")
DAY = dt.datetime(2025, 5, 3, 9, 30, tzinfo=dt.UTC)
ANN, BEA, COACH = (ObjectId(bytes([number]) * 12) for number in (1, 2, 3))


def oid(number: int) -> Any:
    return ObjectId(number.to_bytes(12, "big"))


def tried(tables: Tables, **options: Any) -> Trial:
    """The trial of these documents, in which nobody fails and the backups stay as they are."""
    given = copy.deepcopy(tables)
    everything: Tables = {"profiles": [], "session_insights": [], "goals": [], "coaching_relationships": [], **tables}
    if "params" in options:
        del everything["coaching_relationships"]
    result = trial(
        CoachingRedesign, everything, primary_keys=dict.fromkeys((*everything, "entries", "destinations"), ("_id",)), **options
    )
    assert not result.failures
    for name in OLD:
        assert result.tables[name] == given.get(name, [])
    return result


def notes(result: Trial, kind: str) -> list[dict[str, Any]]:
    return [dict(note.data) for note in result.notes if note.kind == kind]


def texts(result: Trial) -> list[str]:
    return [note["text"] for note in notes(result, "remark")]


def profile(**more: Any) -> dict[str, Any]:
    return {"_id": oid(100), "user_id": ANN, "name": "Ann", **more}


def session(**more: Any) -> dict[str, Any]:
    return {"_id": oid(200), "client_user_id": ANN, "celebrations": ["Ran five kilometres"], "session_date": DAY, **more}


def goal(**more: Any) -> dict[str, Any]:
    return {"_id": oid(300), "user_id": ANN, "goal_statement": "Write", "success_vision": "A book", "created_at": DAY, **more}


def relationship(**more: Any) -> dict[str, Any]:
    return {"_id": oid(400), "client_user_id": ANN, "coach_user_id": COACH, **more}


def entry_of(**more: Any) -> tuple[dict[str, Any], Trial]:
    result = tried({"profiles": [profile()], "session_insights": [session(**more)]})
    (entry,) = result.tables["entries"]
    return entry, result


def destination_of(document: dict[str, Any]) -> tuple[dict[str, Any], Trial]:
    result = tried({"profiles": [profile()], "goals": [document]})
    (destination,) = result.tables["destinations"]
    return destination, result


def profile_of(**more: Any) -> tuple[dict[str, Any], Trial]:
    result = tried({"profiles": [profile(**more)], "session_insights": [session()], "coaching_relationships": [relationship()]})
    (after,) = result.tables["profiles"]
    return after, result
