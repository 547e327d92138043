"""Invariants before a run: the server plans them, executes nothing, and what it refuses is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from backtrail.errors import UsageError
from backtrail.migration import Invariant
from backtrail.stores.mongo.examined import demand_sound

Data = Database[dict[str, Any]]


@pytest.fixture
def data(mongo: str) -> Iterator[Data]:
    """A database with one document, whose value no refusal may show."""
    with MongoClient[dict[str, Any]](mongo) as client:
        database = client.get_default_database()
        database.people.insert_one({"_id": 1, "name": "secret"})
        yield database


def examine(data: Data, query: Any, collection: str | None = "people") -> None:
    demand_sound(data, Invariant("rule", query, collection), data.list_collection_names(), "m")


SOUND: list[list[dict[str, Any]]] = [
    [],
    [{"$match": {"name": None}}],
    [{"$indexStats": {}}],
    [{"$lookup": {"from": "later", "localField": "a", "foreignField": "b", "as": "c"}}],
    [{"$unionWith": "later"}],
    [{"$project": {"a": {"$toInt": "$name"}}}],
]


@pytest.mark.parametrize("collection", ["people", "later"])
@pytest.mark.parametrize("query", SOUND, ids=str)
def test_sound(data: Data, query: list[dict[str, Any]], collection: str) -> None:
    """What the server can run passes, also over collections that are not there yet, and is not run."""
    examine(data, query, collection)
    assert data.list_collection_names() == ["people"]


REFUSED = {
    "SQL": ("SELECT 1", "is SQL"),
    "a stage": ([{"$mtch": {}}], "Unrecognized pipeline stage name: '$mtch'"),
    "an expression": ([{"$project": {"a": {"$addd": [1]}}}], "Unknown expression $addd"),
    "an operator": ([{"$match": {"a": {"$foo": 1}}}], "unknown operator: $foo"),
    "arguments": ([{"$match": {"$expr": {"$gt": ["$a"]}}}], "takes exactly 2 arguments"),
    "two stages in one": ([{"$match": {}, "$limit": 1}], "exactly one field"),
    "a text for a stage": (["$match"], "no document"),
    "no BSON": ([{"$match": {"a": object()}}], "BSON"),
    "what writes": ([{"$out": "elsewhere"}], "$out can only be the final stage"),
    "a constant": ([{"$project": {"a": {"$toInt": "secret"}}}], "code 241, ConversionFailure"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(data: Data, case: str) -> None:
    """In a line that names the migration, the invariant and the reason; nothing is created."""
    query, words = REFUSED[case]
    with pytest.raises(UsageError) as caught:
        examine(data, query)
    message = str(caught.value)
    assert message.startswith("m: the invariant 'rule' ")
    assert words in message
    assert "secret" not in message
    assert data.list_collection_names() == ["people"]


def test_no_collection(data: Data) -> None:
    """An invariant that names no collection is refused with the mend."""
    with pytest.raises(UsageError, match="collection="):
        examine(data, [{"$match": {}}], None)
