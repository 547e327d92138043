"""Check-in series of clients who never were: any number of them, the same ones for the same seed, with every edge case of the plan.

Of every 40 series each edge case has one, and a series has one at the most; the others are ordinary. Every second series has ObjectIds, the
others have texts, as Firestore gave them; every third has its dates as ISO text.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any, Final

from bson import ObjectId

from backtrail.catalog.checkin_series.oddities import ODDITIES, Draft

CHUNK: Final = 500
"""Series in memory at once."""

PERIOD: Final = 40
BEGIN: Final = dt.datetime(2024, 1, 1, 9, 30, tzinfo=dt.UTC)
FORMS: Final = ("Weekly check-in", "Sleep", "Training", "Food diary", "Wellbeing", "Habits")
COLLECTIONS: Final = ("forms", "clients", "check_in_assignments", "formResponses")

Document = dict[str, Any]


def edge_cases(index: int) -> tuple[str, ...]:
    """The names of the edge cases that the series with this index has."""
    at = index % PERIOD
    return (tuple(ODDITIES)[at],) if at < len(ODDITIES) else ()


def documents(series: int, *, seed: int = 1) -> Iterator[dict[str, list[Document]]]:
    """The documents of one series after the other, by collection. The first ones are the same for every number of series."""
    for index in range(series):
        yield _Maker(index, seed).documents()


def create(database: Any, series: int, *, seed: int = 1) -> None:
    """Nothing; pymongo's database holds that many series more, and the indexes that the application would have.

    A second call with the same seed would make the same documents, and fails.
    """
    for name in ("check_in_assignments", "formResponses"):
        database[name].create_index([("clientId", 1), ("formId", 1)])
    pending: dict[str, list[Document]] = {name: [] for name in COLLECTIONS}
    for index, made in enumerate(documents(series, seed=seed), 1):
        for name, rows in made.items():
            pending[name] += rows
        if index % CHUNK == 0 or index == series:
            _insert(database, pending)


def _insert(database: Any, pending: dict[str, list[Document]]) -> None:
    for name, rows in pending.items():
        if rows:
            database[name].insert_many(rows, ordered=False)
            rows.clear()


class _Maker:
    """The documents of one series, of chance that is its own."""

    def __init__(self, index: int, seed: int) -> None:
        self.index = index
        self.random = random.Random(f"{seed}:{index}")  # noqa: S311 -- a sample is not a secret
        self.made = 0
        self.has_object_ids = (index + index // PERIOD) % 2 == 1  # so that every edge case has both, in turn
        self.has_text_dates = index % 3 == 2
        # Two series a client, with forms of their own.
        self.client = f"client-{index // 2:08}"
        self.form = f"form-{index % len(FORMS)}"

    def documents(self) -> dict[str, list[Document]]:
        draft = self._ordinary()
        for name in edge_cases(self.index):
            ODDITIES[name](draft)
        forms = [{"_id": self.form, "title": FORMS[self.index], "isActive": True}] if self.index < len(FORMS) else []
        clients = [{"_id": self.client, "status": "active", "joinedAt": BEGIN}] if self.index % 2 == 0 else []
        return dict(zip(COLLECTIONS, (forms, clients, draft.assignments, draft.responses), strict=True))

    def _ordinary(self) -> Draft:
        """A base for 4 to 12 weeks; some weeks have a response that names the base, as all did before weeks existed."""
        total = self.random.randint(4, 12)
        begin = BEGIN + dt.timedelta(days=self.random.randrange(365))
        base = self._base(begin, total)
        draft = Draft(base=base, assignments=[base], responses=[], new_id=self._id, time=self._time, begin=begin, total=total)
        # The last two weeks are open, and so is every fifth of the others.
        for week in range(1, total - 1):
            if week == 1 or self.random.random() < 0.8:
                draft.responses.append(self._response(base, week, begin))
        self._complete(base, draft.responses[0])
        return draft

    def _base(self, begin: dt.datetime, total: int) -> Document:
        return {
            "_id": self._id(),
            "clientId": self.client,
            "formId": self.form,
            "formTitle": FORMS[self.index % len(FORMS)],
            "coachId": f"coach-{self.index % 7}",
            "checkInWindow": {"enabled": True, "startDay": "monday", "startTime": "09:00", "endDay": "tuesday"},
            "status": "pending",
            "isRecurring": True,
            "recurringWeek": 1,
            "totalWeeks": total,
            "dueDate": self._time(begin),
            "responseId": None,
            "createdAt": self._time(begin - dt.timedelta(days=3)),
        }

    def _response(self, base: Document, week: int, begin: dt.datetime) -> Document:
        given = begin + dt.timedelta(weeks=week - 1, minutes=self.random.randrange(2000))
        return {
            "_id": self._id(),
            "clientId": self.client,
            "formId": self.form,
            "assignmentId": base["_id"],
            "recurringWeek": week,
            "responses": [{"questionId": f"q{at}", "answer": self.random.randint(1, 10)} for at in range(3)],
            "score": self.random.randint(20, 100),
            "submittedAt": self._time(given),
            "status": "completed",
        }

    def _complete(self, base: Document, response: Document) -> None:
        base["status"] = "completed"
        base["responseId"] = response["_id"]
        base["score"] = response["score"]
        base["completedAt"] = response["submittedAt"]

    def _time(self, moment: dt.datetime) -> Any:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z") if self.has_text_dates else moment

    def _id(self) -> Any:
        self.made += 1
        # Time and counter first, as the drivers make them.
        text = f"{int(BEGIN.timestamp()) + self.index:08x}{self.random.getrandbits(40):010x}{self.made:06x}"
        return ObjectId(text) if self.has_object_ids else f"fs{text}"
