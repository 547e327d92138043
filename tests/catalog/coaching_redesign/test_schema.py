"""The new collections and the invariants on a real database: what is accepted, refused and found."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, WriteError
from pymongo.read_concern import ReadConcern

from backtrail.catalog.coaching_redesign import quotes, sample
from backtrail.catalog.coaching_redesign.migration import CoachingRedesign
from backtrail.testing import trial
from tests.catalog.coaching_redesign.database import PlainSchema, read, write

USERS = 40
NOW = dt.datetime(2025, 5, 3, tzinfo=dt.UTC)
ONE, OTHER = ObjectId(b"a" * 12), ObjectId(b"b" * 12)
TIMES = {"created_at": NOW, "updated_at": NOW}
NEW = ("entries", "destinations", "quotes", "user_quote_likes", "small_steps", "coach_resources", "coach_client_notes")

LIKE = {"user_id": ONE, "quote_id": OTHER, "liked_at": NOW}
STEP = {"user_id": ONE, "step_text": "Call", "completed": False, "source_entry_id": OTHER, "ai_confidence": 0.5, **TIMES}
RESOURCE = {
    **{"coach_user_id": ONE, "title": "Wheel of life", "resource_url": "https://example.org", "resource_type": "tool"},
    **{"is_template": False, "client_specific": False, "category": "exercise", "tags": ["a"], "active": True},
    **TIMES,
}
NOTE = {"coach_user_id": ONE, "client_user_id": OTHER, **TIMES}
QUOTE = {
    **{"quote_text": "q", "author": "a", "category": "growth", "tags": [], "display_count": 0, "like_count": 0},
    **{"active": True, "created_by": "admin"},
    **TIMES,
}


@pytest.fixture
def empty(mongo: str) -> Iterator[Database[dict[str, Any]]]:
    """A fresh database."""
    with MongoClient[dict[str, Any]](mongo) as client:
        yield client.get_default_database()


@pytest.fixture
def expanded(empty: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    """With the new collections."""
    CoachingRedesign().expand(PlainSchema(empty))
    return empty


def violations(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """What the invariants find, as one moment's view of the database."""
    found = {}
    for one in CoachingRedesign.invariants:
        collection = database.get_collection(one.collection, read_concern=ReadConcern("snapshot"))
        if rows := list(collection.aggregate(one.query)):
            found[one.name] = rows
    return found


def migrate(database: Database[dict[str, Any]]) -> None:
    """What the migration does, written by pymongo."""
    old = {name: read(database, name) for name in sample.INDEXED}
    result = trial(CoachingRedesign, old)
    assert not result.failures
    for name in ("entries", "destinations"):
        write(database, name, result.tables[name])
    for name in ("profiles", "coaching_relationships"):
        database[name].delete_many({})
        write(database, name, result.tables[name])


def test_seven_collections_are_created_and_nothing_else(empty):
    """The old ones are not touched, and none is made in passing."""
    sample.create(empty, 3)
    before = {name: read(empty, name) for name in empty.list_collection_names()}
    assert len(before) == 4
    CoachingRedesign().expand(PlainSchema(empty))
    assert set(empty.list_collection_names()) == {*before, *NEW}
    assert {name: read(empty, name) for name in before} == before
    assert {name: empty[name].count_documents({}) for name in NEW} == {**dict.fromkeys(NEW, 0), "quotes": 12}


@pytest.mark.long
def test_the_invariants_hold_at_every_moment(empty):
    """Before anything, with the old documents, with the new collections, and when all are migrated."""
    assert violations(empty) == {}
    sample.create(empty, USERS)
    assert violations(empty) == {}
    CoachingRedesign().expand(PlainSchema(empty))
    assert violations(empty) == {}
    migrate(empty)
    assert empty.entries.count_documents({}) > 100
    assert empty.destinations.count_documents({}) > 50
    assert violations(empty) == {}


@pytest.mark.long
def test_validators_accept_every_copy(expanded):
    """A copy keeps whatever its original had; of the sample's edge cases, and of values of any type, none is refused."""
    sample.create(expanded, USERS)
    odd = {
        "_id": ONE,
        "client_user_id": ONE,
        "title": 4,
        "entry_type": [],
        "detected_goals": "x",
        "tags": 1,
        "session_date": "soon",
    }
    expanded.session_insights.insert_one(odd)
    expanded.goals.insert_one({"_id": ONE, "user_id": ONE, "priority": 5, "is_big_idea": "yes", "progress_history": {}})
    migrate(expanded)
    assert expanded.entries.find_one(ONE) == odd
    assert expanded.destinations.find_one(ONE)["priority"] == 5


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("user_quote_likes", LIKE),
        ("small_steps", STEP),
        ("coach_resources", RESOURCE),
        ("coach_client_notes", NOTE),
        ("quotes", QUOTE),
    ],
)
def test_validators_demand_what_the_plan_does(expanded, name, document):
    """A document of the plan is accepted; without any one of its required fields, or with one of another type, it is refused."""
    expanded[name].insert_one(dict(document))
    expanded[name].delete_many({"_id": {"$exists": True}})
    for field in document:
        with pytest.raises(WriteError):
            expanded[name].insert_one({key: value for key, value in document.items() if key != field})
        with pytest.raises(WriteError):
            expanded[name].insert_one({**document, field: {"of": "another type"}})


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("quotes", {**QUOTE, "category": "love"}),
        ("quotes", {**QUOTE, "like_count": -1}),
        ("small_steps", {**STEP, "ai_confidence": 1.5}),
        ("small_steps", {**STEP, "related_destination_id": "x"}),
        ("coach_resources", {**RESOURCE, "resource_type": "song"}),
        ("coach_resources", {**RESOURCE, "category": "other"}),
        ("coach_client_notes", {**NOTE, "about_me": 1}),
        ("entries", {"client_user_id": ONE, "title": "t", "detected_goals": []}),
        ("entries", {"client_user_id": ONE, "entry_type": "session", "detected_goals": []}),
        ("destinations", {"user_id": ONE, "destination_statement": "d"}),
    ],
)
def test_what_the_validators_refuse(expanded, name, document):
    """Values outside of the plan's lists and limits, and copies without their new fields."""
    with pytest.raises(WriteError):
        expanded[name].insert_one(dict(document))


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("small_steps", {**STEP, "completed_at": None, "related_destination_id": None, "ai_confidence": 1}),
        ("coach_resources", {**RESOURCE, "description": None, "target_client_id": OTHER}),
        ("coach_client_notes", {**NOTE, "about_me": None, "about_me_template_id": None, "note_of_moment": "n"}),
        ("quotes", {**QUOTE, "source": None}),
    ],
)
def test_what_may_be_null_or_absent(expanded, name, document):
    """What the plan marks with a question mark."""
    expanded[name].insert_one(dict(document))
    assert expanded[name].count_documents({}) >= 1


@pytest.mark.parametrize(("name", "document"), [("user_quote_likes", LIKE), ("coach_client_notes", NOTE)])
def test_pairs_are_unique(expanded, name, document):
    """One like for a user and quote, one page of notes for a coach and client."""
    expanded[name].insert_one(dict(document))
    with pytest.raises(DuplicateKeyError):
        expanded[name].insert_one(dict(document))


@pytest.mark.parametrize(
    ("name", "query", "sort"),
    [
        ("entries", {"client_user_id": ONE}, [("created_at", -1)]),
        ("entries", {"client_user_id": ONE, "entry_type": "session"}, [("created_at", -1)]),
        ("entries", {"coach_user_id": ONE}, [("session_date", -1)]),
        ("destinations", {"user_id": ONE}, None),
        ("destinations", {"user_id": ONE, "status": "active"}, [("created_at", -1)]),
        ("destinations", {"user_id": ONE, "is_big_idea": True}, [("big_idea_rank", 1)]),
        ("quotes", {"active": True, "category": "growth"}, [("display_count", 1)]),
        ("user_quote_likes", {"user_id": ONE, "quote_id": OTHER}, None),
        ("user_quote_likes", {"user_id": ONE}, [("liked_at", -1)]),
        ("small_steps", {"user_id": ONE, "completed": False}, [("created_at", -1)]),
        ("coach_resources", {"coach_user_id": ONE, "active": True}, None),
        ("coach_client_notes", {"coach_user_id": ONE, "client_user_id": OTHER}, None),
    ],
)
def test_the_services_queries_use_an_index(expanded, name, query, sort):
    """Neither a scan of the collection nor a sort in memory."""
    found = expanded[name].find(query)
    plan = str((found.sort(sort) if sort else found).explain()["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in plan
    assert "COLLSCAN" not in plan
    assert "'SORT'" not in plan


def test_invariants_find_what_is_wrong(expanded):
    """Each of them, where there is something to find."""
    sample.create(expanded, 5)
    migrate(expanded)
    expanded.user_quote_likes.insert_one({**LIKE})
    expanded.small_steps.insert_one({**STEP, "related_destination_id": OTHER})
    assert expanded.entries.count_documents({}) > 2
    for name in NEW[:2]:
        expanded.command("collMod", name, validationLevel="off")
        first, second = (document["_id"] for document in expanded[name].find().limit(2))
        expanded[name].update_one({"_id": first}, {"$unset": {"title": 1, "priority": 1}})
        expanded[name].update_one({"_id": second}, {"$set": {"user_id": OTHER, "client_user_id": OTHER}})
    dropped = {}
    for name in NEW:
        dropped[name] = [index for index in expanded[name].index_information() if index != "_id_"][-1]
        expanded[name].drop_index(dropped[name])
    found = violations(expanded)
    assert set(found) == {one.name for one in CoachingRedesign.invariants}
    assert len(found) == 14
    for name in NEW:
        assert found[f"{name} has its indexes"] == [{"missing": [dropped[name]]}]


def test_quotes_can_be_checked():
    """A dozen, in the plan's four categories, by authors of before 1929, each with a year and the same id everywhere."""
    documents = quotes.documents()
    assert documents == quotes.documents()
    assert len({document["_id"] for document in documents}) == len({document["quote_text"] for document in documents}) == 12
    assert Counter(document["category"] for document in documents) == dict.fromkeys(
        ("motivation", "leadership", "growth", "courage"), 3
    )
    for document in documents:
        years = [int(year) for year in re.findall(r"\b\d{4}\b", document["source"])]
        assert years
        assert max(years) < 1929
        assert document["tags"]
    assert documents[0]["_id"] == ObjectId(str(documents[0]["_id"]))
