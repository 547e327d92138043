"""Small series for the tests, and what became of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from backtrail.catalog.checkin_series.migration import CheckinSeries
from backtrail.testing import Trial, trial
from tests.catalog.checkin_series.oracle import A, R, judge, will_not

DUE = dt.datetime(2025, 3, 3, 9, tzinfo=dt.UTC)
GIVEN = dt.datetime(2025, 3, 4, 18, 30, tzinfo=dt.UTC)
WEEK = dt.timedelta(days=7)
ABSENT = object()

Document = dict[str, Any]


def document(fields: Document, **own: Any) -> Document:
    return {name: value for name, value in (fields | own).items() if value is not ABSENT}


def base(**own: Any) -> Document:
    fields = {
        "_id": "a1",
        "clientId": "c",
        "formId": "f",
        "coachId": "k",
        "window": {"start": "mon", "days": [1, 2]},
        "status": "pending",
        "isRecurring": True,
        "recurringWeek": 1,
        "totalWeeks": 3,
        "dueDate": DUE,
        "responseId": None,
    }
    return document(fields, **own)


def week(number: Any, **own: Any) -> Document:
    return base(**{"_id": f"a{number}", "recurringWeek": number, "dueDate": DUE + dt.timedelta(hours=1)} | own)


def response(name: str, number: Any, **own: Any) -> Document:
    fields = {
        "_id": name,
        "clientId": "c",
        "formId": "f",
        "assignmentId": "a1",
        "recurringWeek": number,
        "score": 80,
        "submittedAt": GIVEN,
        "answers": [1, None, 2.5],
    }
    return document(fields, **own)


class Migrated:
    """A trial that went well and changed only what may change, and the same once more, which changed nothing."""

    def __init__(self, assignments: list[Document], responses: list[Document]) -> None:
        before = {A: assignments, R: responses}
        # Tables that are empty must be known to be of documents.
        self.result: Trial = trial(CheckinSeries, before, primary_keys={A: ["_id"], R: ["_id"]})
        assert self.result.failures == {}
        assert will_not(before, self.result.tables) == []
        again = trial(CheckinSeries, self.result.tables, primary_keys={A: ["_id"], R: ["_id"]})
        assert again.failures == {}
        assert again.tables == self.result.tables
        self.same = self.result.tables == before
        self.judged = judge(before, self.result.tables)
        self.assignments = {row["_id"]: row for row in self.result.tables[A]}
        self.created = {row["recurringWeek"]: row for row in self.result.tables[A][len(assignments) :]}
        self.links = {row["_id"]: row.get("assignmentId", ABSENT) for row in self.result.tables[R]}
        self.remarks = [note.data["text"] for note in self.result.notes if note.kind == "remark"]
        self.conflicts = [dict(note.data) for note in self.result.notes if note.kind == "conflict"]

    def remarked(self, part: str) -> bool:
        return any(part in text for text in self.remarks)


def answer(row: Document) -> tuple[Any, ...]:
    return tuple(row.get(name, ABSENT) for name in ("responseId", "status", "score", "completedAt"))


OPEN = (None, "pending", ABSENT, ABSENT)
