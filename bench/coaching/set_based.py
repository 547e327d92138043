"""The migration as aggregation pipelines inside MongoDB, two at a time. What they leave out stands in docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from backtrail.catalog.coaching_redesign.fields import DESTINATION, ENTRY, PROFILE, RELATIONSHIP

Stage = dict[str, Any]

OWNED = {"client_user_id": {"$ne": None}}
# Words and blanks cannot be told apart as the title's rules ask for: the begin of the first celebration has to do.
TITLE = {
    "$substrCP": [
        {
            "$ifNull": [
                {"$cond": [{"$isArray": "$celebrations"}, {"$first": "$celebrations.text"}, None]},
                {
                    "$concat": [
                        "Session on ",
                        {"$dateToString": {"date": "$session_date", "format": "%Y-%m-%d", "onNull": "no day"}},
                    ]
                },
            ]
        },
        0,
        60,
    ]
}
PROGRESS = {name: {"$ifNull": [f"$progress_{name}", None]} for name in ("emoji", "notes", "percentage")}
HISTORY = {
    "$cond": [
        {"$and": [{"$eq": [value, None]} for value in PROGRESS.values()]},
        [],
        [{**PROGRESS, "timestamp": {"$ifNull": ["$updated_at", "$created_at"]}}],
    ]
}
OLD, NEW = "$goal_statement", "$destination_statement"
BOTH = {"$and": [{"$ne": [{"$ifNull": [value, None]}, None]} for value in (OLD, NEW)] + [{"$ne": [OLD, NEW]}]}


def _filled(defaults: Mapping[str, Any], holder: str = "$") -> Stage:
    return {name: {"$ifNull": [f"{holder}{name}", {"$literal": default}]} for name, default in defaults.items()}


def _sessions(database: Database[Any]) -> None:
    new = _filled(ENTRY) | {"title": {"$ifNull": ["$title", TITLE]}}
    database["session_insights"].aggregate([{"$match": OWNED}, {"$set": new}, _into("entries")])


def _goals(database: Database[Any]) -> None:
    new = _filled(DESTINATION) | {"progress_history": {"$ifNull": ["$progress_history", HISTORY]}}
    new |= {"destination_statement": {"$ifNull": [NEW, OLD, None]}, "goal_statement": {"$cond": [BOTH, OLD, "$$REMOVE"]}}
    database["goals"].aggregate([{"$match": {"user_id": {"$ne": None}}}, {"$set": new}, _into("destinations")])


def _into(collection: str) -> Stage:
    return {"$merge": {"into": collection, "whenMatched": "fail"}}


def _people(database: Database[Any]) -> None:
    database["coaching_relationships"].update_many(OWNED, [{"$set": _filled(RELATIONSHIP)}])
    active = {"coach_user_id": {"$ne": None}, "status": "active"}
    stages: list[Stage] = [
        {"$match": {"user_id": {"$ne": None}}},
        _looked_up("session_insights", [{"$count": "number"}], "sessions"),
        _looked_up("coaching_relationships", [{"$match": active}, {"$limit": 1}, {"$project": {"_id": 1}}], "coaches"),
        {"$set": {name: _sub_document(name, plan) for name, plan in PROFILE.items()}},
        {"$unset": ["sessions", "coaches"]},
        {"$merge": {"into": "profiles", "whenMatched": "replace", "whenNotMatched": "discard"}},
    ]
    database["profiles"].aggregate(stages)


def _looked_up(collection: str, pipeline: list[Stage], name: str) -> Stage:
    found = {"localField": "user_id", "foreignField": "client_user_id", "pipeline": pipeline}
    return {"$lookup": {"from": collection, "as": name, **found}}


def _sub_document(name: str, plan: Mapping[str, Any]) -> Stage:
    derived = {
        "has_coach": {"$ne": ["$coaches", []]},
        "entries_count": {"$ifNull": [{"$first": "$sessions.number"}, 0]},
    }
    known = {field: value for field, value in derived.items() if field in plan}
    fields = _filled(plan, f"${name}.") | {field: {"$ifNull": [f"${name}.{field}", value]} for field, value in known.items()}
    whole = {field: {"$literal": default} for field, default in plan.items()} | known
    kept = {"$cond": [{"$eq": [{"$type": f"${name}"}, "object"]}, {"$mergeObjects": [f"${name}", fields]}, f"${name}"]}
    return {"$cond": [{"$eq": [{"$ifNull": [f"${name}", None]}, None]}, whole, kept]}


def migrate(url: str) -> None:
    """All users are migrated; sessions in one connection, everything else in another."""

    def rest() -> None:
        _goals(database)
        _people(database)

    with MongoClient[Any](url) as client, ThreadPoolExecutor(2) as pool:
        database = client.get_default_database()
        for part in [pool.submit(_sessions, database), pool.submit(rest)]:
            part.result()
