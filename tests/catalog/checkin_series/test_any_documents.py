"""Documents of any values whatever: no series fails, nothing changes that must not, and a second run changes nothing."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId

from backtrail import Opaque
from backtrail.catalog.checkin_series.migration import CheckinSeries
from backtrail.testing import trial
from tests.catalog.checkin_series.oracle import A, R, will_not

IDS = [ObjectId(f"{at:024x}") for at in range(1, 5)]
LINKS = [*IDS, *map(str, IDS), "x", "y", "z", 3, {"a": 1}, None]
DAY = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
TIMES = [DAY, DAY.replace(month=2), DAY.replace(year=9999, month=12, day=31), "2025-01-01", "2025-01-09T01:02:03Z", "9999-12-30"]
FIELDS: dict[str, list[Any]] = {
    "recurringWeek": [1, 1, 2, 2, 3, 4, 5, 1.0, "2", Decimal(3), 0, -1, 2.5, "x", True, float("inf"), [1], None],
    "totalWeeks": [3, 4, 4, 5.0, "4", 0, 10**9, "x", None],
    "isRecurring": [True, True, True, False, "true", 1, None, {}],
    "dueDate": [*TIMES, DAY, DAY, "x", 5, Opaque("+010000-01-01"), None],
    "submittedAt": [*TIMES, "x", Opaque("+010000-01-01"), 4, None],
    "createdAt": [*TIMES, None],
    "completedAt": [*TIMES, None],
    "score": [1, 2.5, Decimal("1.0"), Decimal("NaN"), Decimal("sNaN"), float("nan"), "2025-01-01", {"a": [1]}, None],
    "status": ["pending", "completed", "overdue", None],
    "responseId": [*LINKS, None, None],
    "assignmentId": LINKS,
}
OF = {A: ("recurringWeek", "totalWeeks", "isRecurring", "dueDate", "score", "status", "responseId", "completedAt", "createdAt"),
      R: ("recurringWeek", "submittedAt", "completedAt", "createdAt", "score", "assignmentId", "status")}  # fmt: skip


def anything(chance: random.Random, name: str) -> list[dict[str, Any]]:
    ids = chance.sample([one for one in LINKS if one is not None and one not in map(str, IDS)], chance.randint(0, 5))
    rows = [{"_id": one, "clientId": "c", "formId": "f"} for one in ids]
    for row in rows:
        row |= {field: chance.choice(FIELDS[field]) for field in OF[name] if chance.random() < 0.85}
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_nothing_fails_and_a_second_run_changes_nothing(seed: int):
    """Some hundred series of chance; together they meet most of what the migration can do."""
    chance = random.Random(seed)
    texts: Counter[str] = Counter()
    created = 0
    for _ in range(60):
        before = {A: anything(chance, A), R: anything(chance, R)}
        if before[A] and chance.random() < 0.5:
            before[A][0] |= {
                "_id": "b",
                "recurringWeek": chance.choice([1, None]),
                "totalWeeks": 4,
                "isRecurring": True,
                "dueDate": DAY,
            }
        keys = {A: ["_id"], R: ["_id"]}
        result = trial(CheckinSeries, before, primary_keys=keys)
        assert result.failures == {}, before
        assert will_not(before, result.tables) == [], before
        again = trial(CheckinSeries, result.tables, primary_keys=keys)
        assert again.failures == {}, before
        assert repr(again.tables) == repr(result.tables), before
        texts.update(note.data.get("text", note.kind) for note in result.notes)
        created += len(result.tables[A]) - len(before[A])
    assert created > 20
    assert len(texts) > 12
