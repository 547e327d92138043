"""The sample's documents: as many users as asked for, every edge case, the same ones for the same seed."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import bson
import pytest
from pymongo import MongoClient

from backtrail.catalog.coaching_redesign import sample
from tests.catalog.coaching_redesign.database import read, stored

USERS = 400


@pytest.fixture(scope="module")
def users() -> list[dict[str, list[dict[str, Any]]]]:
    return list(sample.users(USERS))


def test_forty_users_have_every_edge_case():
    """At a fixed rate from then on."""
    assert len(set(sample.EDGES)) == len(sample.EDGES) == 40
    assert Counter(map(sample.edge_of, range(USERS))) == dict.fromkeys(sample.EDGES, USERS // 40)


def test_the_same_seed_gives_the_same_users_and_more_users_the_same_first_ones(users):
    """Each is made alone."""
    assert list(sample.users(50)) == users[:50]
    assert sample.user(321) == users[321]
    assert sample.user(321, seed=2) != users[321]


def test_documents_belong_to_their_user_or_to_nobody(users):
    """All ids differ, and only ownerless documents have no owner: one of each kind for such a user."""
    ids: Counter[Any] = Counter()
    ownerless: Counter[str] = Counter()
    for number, documents in enumerate(users):
        assert set(documents) == {"profiles", "session_insights", "goals", "coaching_relationships"}
        for name, found in documents.items():
            for document in found:
                ids[name, document["_id"]] += 1
                owner = document.get("client_user_id") or document.get("user_id")
                assert owner in (None, sample.user_id(number))
                ownerless[name] += owner is None
    assert set(ids.values()) == {1}
    assert ownerless == {"profiles": 0, "session_insights": 10, "goals": 10, "coaching_relationships": 10}


def test_coaches_are_users_and_some_are_clients(users):
    """Whoever coaches has a profile; every second coach works with one, too."""
    relationships = [one for documents in users for one in documents["coaching_relationships"]]
    coaches = {one["coach_user_id"] for one in relationships} - {None}
    clients = {one["client_user_id"] for one in relationships}
    assert len(coaches) == USERS // 20
    assert len(coaches & clients) == USERS // 40
    assert coaches <= {profile["user_id"] for documents in users for profile in documents["profiles"]}
    statuses = Counter(one.get("status", "absent") for one in relationships)
    assert set(statuses) == {"active", "absent", "pending", "inactive", "declined", "paused", None}


def test_documents_are_as_large_as_real_ones(users):
    """About two kilobytes a session."""
    sizes = [len(bson.encode(stored(session))) for documents in users for session in documents["session_insights"]]
    assert len(sizes) > 1000
    assert 1500 < sum(sizes) / len(sizes) < 3500


def test_edge_cases_are_what_they_are_called():
    """The documents of those that no other test looks at."""
    by_edge = {sample.edge_of(number): sample.user(number) for number in range(40)}
    assert len(by_edge["many sessions"]["session_insights"]) == sample.MANY
    assert by_edge["no sessions"]["session_insights"] == []
    assert by_edge["no goals"]["goals"] == []
    assert by_edge["no profile"]["profiles"] == []
    assert len(by_edge["two profiles"]["profiles"]) == 2
    assert by_edge["only a coach"]["coaching_relationships"] == []
    assert by_edge["no relationship"]["coaching_relationships"] == []
    assert "status" not in by_edge["no status"]["coaching_relationships"][0]
    assert by_edge["null status"]["coaching_relationships"][0]["status"] is None
    assert by_edge["invited by email"]["coaching_relationships"][0]["coach_user_id"] is None
    assert [one.get("status") for one in by_edge["two coaches"]["coaching_relationships"]] == ["inactive", None]
    assert set(by_edge["bare session"]["session_insights"][0]) == {"_id", "client_user_id", "session_date", "created_at"}
    assert by_edge["failed session"]["session_insights"][0]["celebrations"] is None


def test_many_users_are_made_in_no_time():
    """A thousand in a second, however many come before them."""
    began = time.process_time()
    for number in range(100_000, 101_000):
        sample.user(number)
    assert time.process_time() - began < 2


def test_create_fills_a_database(mongo):
    """All documents, in chunks, with the indexes that such an application has; another seed adds others."""
    with MongoClient[dict[str, Any]](mongo) as client:
        database = client.get_default_database()
        sample.create(database, 60, relationships="coaching_relationship")
        expected: dict[str, list[Any]] = {}
        for documents in sample.users(60):
            for name, found in documents.items():
                expected.setdefault(name.replace("relationships", "relationship"), []).extend(found)
        assert set(database.list_collection_names()) == set(expected)
        for name, found in expected.items():
            assert read(database, name) == sorted(found, key=lambda document: document["_id"])
            assert len(database[name].index_information()) == (2 if name in ("profiles", "goals") else 3)
        sample.create(database, 10, seed=2, relationships="coaching_relationship")
        assert database.profiles.count_documents({}) > len(expected["profiles"])
