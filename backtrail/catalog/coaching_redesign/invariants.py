"""The plan's validation that must hold at every moment: before, during and after a campaign, and while the application writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from backtrail import Invariant
from backtrail.catalog.coaching_redesign.schema import INDEXES, VALIDATORS

Stage = dict[str, Any]


def _required(collection: str) -> Invariant:
    """Nobody lacks a field that the collection's validator requires: validators do not look at what was there before."""
    names = VALIDATORS[collection]["required"]
    lacking: Stage = {"$match": {"$or": [{name: {"$exists": False}} for name in names]}}
    return Invariant(f"{collection} have the required fields", [lacking, {"$project": {"_id": 1}}], collection=collection)


def _same_owner(collection: str, backup: str, owner: str) -> Invariant:
    """A copy belongs to whom its original belongs."""
    # Without $unwind, which would have the server look up each document in a pipeline of its own, at three times the cost.
    another = {"$let": {"vars": {"old": {"$arrayElemAt": ["$original", 0]}}, "in": {"$ne": [f"${owner}", f"$$old.{owner}"]}}}
    pipeline: list[Stage] = [
        {"$project": {owner: 1}},
        {"$lookup": {"from": backup, "localField": "_id", "foreignField": "_id", "as": "original"}},
        {"$match": {"original": {"$ne": []}}},
        {"$match": {"$expr": another}},
        {"$project": {"_id": 1}},
    ]
    return Invariant(f"{collection} belong to the owners of their {backup}", pipeline, collection=collection)


def _reference(collection: str, field: str, to: str) -> Invariant:
    """What a document refers to is there."""
    pipeline: list[Stage] = [
        {"$match": {field: {"$ne": None}}},
        {"$lookup": {"from": to, "localField": field, "foreignField": "_id", "as": "found"}},
        {"$match": {"found": []}},
        {"$project": {"_id": 1}},
    ]
    return Invariant(f"{field} of {collection} exists in {to}", pipeline, collection=collection)


def _indexes(collection: str, names: Iterable[str]) -> Invariant:
    """The collection has its indexes; one that is not there at all has none to miss, and `coverage` says the rest."""
    pipeline: list[Stage] = [
        {"$indexStats": {}},
        {"$group": {"_id": None, "names": {"$addToSet": "$name"}}},
        {"$project": {"_id": 0, "missing": {"$setDifference": [sorted(names), "$names"]}}},
        {"$match": {"missing": {"$ne": []}}},
    ]
    return Invariant(f"{collection} has its indexes", pipeline, collection=collection)


INVARIANTS: Final = (
    _required("entries"),
    _required("destinations"),
    _same_owner("entries", "session_insights", "client_user_id"),
    _same_owner("destinations", "goals", "user_id"),
    _reference("user_quote_likes", "quote_id", "quotes"),
    _reference("small_steps", "source_entry_id", "entries"),
    _reference("small_steps", "related_destination_id", "destinations"),
    *(_indexes(collection, [index["name"] for index in indexes]) for collection, indexes in INDEXES.items()),
)
