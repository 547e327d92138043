"""The invariants on a real server: they hold on the sample before and after, and find what breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from backtrail.catalog.checkin_series import sample
from backtrail.catalog.checkin_series.migration import CheckinSeries
from backtrail.testing import trial
from tests.catalog.checkin_series.oracle import A, R
from tests.catalog.checkin_series.test_sample import plain


@pytest.fixture
def database(mongo: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo, tz_aware=True) as client:
        yield client.get_default_database()


def violations(database: Database[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = {
        one.name: list(database[one.collection or ""].aggregate(list(one.query)))  # type: ignore[arg-type]
        for one in CheckinSeries.invariants
    }
    assert found
    return {name: rows for name, rows in found.items() if rows}


@pytest.mark.long
def test_they_hold_on_the_sample_before_and_after(database: Database[dict[str, Any]]):
    """With every edge case; the sample is stored with the application's indexes."""
    sample.create(database, 80)
    assert all("clientId_1_formId_1" in database[name].index_information() for name in (A, R))
    before = {name: list(database[name].find()) for name in sample.COLLECTIONS}
    assert {name: len(rows) for name, rows in before.items()} == {
        name: sum(len(made[name]) for made in sample.documents(80)) for name in sample.COLLECTIONS
    }
    assert violations(database) == {}
    result = trial(CheckinSeries, {name: [plain(row) for row in rows] for name, rows in before.items()})
    assert len(result.tables[A]) > len(before[A])
    for name in (A, R):
        database[name].delete_many({})
        rows = [
            {key: Decimal128(v) if type(v).__name__ == "Decimal" else v for key, v in row.items()} for row in result.tables[name]
        ]
        database[name].insert_many(rows)
    assert violations(database) == {}


@pytest.mark.parametrize("as_text", [False, True])
def test_a_pair_of_two_clients_is_found(database: Database[dict[str, Any]], as_text: bool):
    """Also where the links are texts of ObjectIds; one that is not mutual, or has no client, is none."""
    kind = str if as_text else ObjectId
    ids = [ObjectId() for _ in range(6)]
    database[A].insert_many(
        [
            {"_id": ids[0], "clientId": "a", "formId": "f", "responseId": kind(ids[1])},
            {"_id": ids[2], "clientId": "a", "formId": "f", "responseId": kind(ids[3])},
            {"_id": ids[4], "clientId": "a", "formId": "f", "responseId": kind(ids[5])},
            {"_id": {"odd": 1}, "clientId": "a", "formId": "f", "responseId": kind(ids[1])},
        ]
    )
    database[R].insert_many(
        [
            {"_id": ids[1], "clientId": "b", "formId": "f", "assignmentId": kind(ids[0])},
            {"_id": ids[3], "clientId": "b", "formId": "f", "assignmentId": {"odd": 2}},
            {"_id": ids[5], "clientId": None, "formId": "f", "assignmentId": kind(ids[4])},
        ]
    )
    assert violations(database) == {CheckinSeries.invariants[0].name: [{"_id": ids[0]}]}
