"""The edge cases of the sample: each of them changes an ordinary series into one that has it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bson import Decimal128

Document = dict[str, Any]


@dataclass
class Draft:
    """A series while it is being made: week 1 is answered, the last two weeks are not."""

    base: Document
    assignments: list[Document]
    responses: list[Document]
    new_id: Callable[[], Any]
    time: Callable[[dt.datetime], Any]
    begin: dt.datetime
    total: int

    def week(self, week: int, **fields: Any) -> Document:
        """An assignment of the week that the application has made, with a due date of its own."""
        due = self.time(self.begin + dt.timedelta(weeks=week - 1, hours=2))
        own = {"_id": self.new_id(), "recurringWeek": week, "dueDate": due, "status": "pending", "responseId": None}
        row = {name: value for name, value in self.base.items() if name not in {"score", "completedAt"}} | own | fields
        self.assignments.append(row)
        return row

    def response(self, week: int, **fields: Any) -> Document:
        """One more response, some days after the week's due date."""
        given = self.time(self.begin + dt.timedelta(weeks=week - 1, days=4))
        row = {**self.responses[0], "_id": self.new_id(), "recurringWeek": week, "submittedAt": given, "score": 55, **fields}
        self.responses.append(row)
        return row

    @property
    def first(self) -> Document:
        """The response to week 1."""
        return self.responses[0]

    def open(self) -> None:
        """The base is not answered by the application yet."""
        self.base.update(status="pending", responseId=None)
        for name in ("score", "completedAt"):
            self.base.pop(name, None)


def _base_without_week(draft: Draft) -> None:
    del draft.base["recurringWeek"]


def _base_with_null_week(draft: Draft) -> None:
    draft.base["recurringWeek"] = None
    draft.open()


def _response_beyond_total(draft: Draft) -> None:
    draft.response(draft.total + 2)


def _unlinked(draft: Draft) -> None:
    draft.open()
    for response in draft.responses:
        response["assignmentId"] = None


def _existing_weeks(draft: Draft) -> None:
    draft.week(2, note="moved by the coach")
    draft.week(draft.total, status="overdue")


def _all_weeks_exist(draft: Draft) -> None:
    for week in range(2, draft.total + 1):
        draft.week(week)


def _two_responses(draft: Draft) -> None:
    draft.response(2)
    draft.response(2, submittedAt=draft.time(draft.begin + dt.timedelta(weeks=2)))


def _older_linked(draft: Draft) -> None:
    draft.response(1)


def _names_another_week(draft: Draft) -> None:
    later = draft.response(3)
    draft.base["responseId"] = later["_id"]


def _names_nothing(draft: Draft) -> None:
    draft.week(2, responseId=draft.new_id(), status="completed")
    draft.response(2)


def _leads_nowhere(draft: Draft) -> None:
    draft.first["assignmentId"] = draft.new_id()


def _no_base(draft: Draft) -> None:
    draft.week(2)
    draft.assignments.remove(draft.base)
    draft.response(2)


def _responses_only(draft: Draft) -> None:
    draft.assignments.clear()


def _response_without_week(draft: Draft) -> None:
    del draft.response(2)["recurringWeek"]


def _week_by_link(draft: Draft) -> None:
    row = draft.week(draft.total)
    del draft.response(draft.total, assignmentId=row["_id"])["recurringWeek"]


def _unreadable_week(draft: Draft) -> None:
    draft.response(2, recurringWeek="second")
    draft.response(2, recurringWeek=0)


def _absurd_week(draft: Draft) -> None:
    draft.response(2, recurringWeek=100000)


def _same_week_twice(draft: Draft) -> None:
    draft.week(2)
    draft.week(2)
    draft.response(2)


def _no_due_date(draft: Draft) -> None:
    del draft.base["dueDate"]


def _unreadable_due_date(draft: Draft) -> None:
    draft.base["dueDate"] = "next Monday"


def _plain_due_date(draft: Draft) -> None:
    draft.base["dueDate"] = f"{draft.begin:%Y-%m-%d}"


def _no_total(draft: Draft) -> None:
    del draft.base["totalWeeks"]


def _unreadable_total(draft: Draft) -> None:
    draft.base["totalWeeks"] = "many"


def _absurd_total(draft: Draft) -> None:
    draft.base["totalWeeks"] = 1000000


def _doubles(draft: Draft) -> None:
    for row in (*draft.assignments, *draft.responses):
        row["recurringWeek"] = float(row["recurringWeek"])
    draft.base["totalWeeks"] = float(draft.total)


def _texts(draft: Draft) -> None:
    for row in (*draft.assignments, *draft.responses):
        row["recurringWeek"] = str(row["recurringWeek"])
    draft.base["totalWeeks"] = str(draft.total)


def _once(draft: Draft) -> None:
    draft.base["isRecurring"] = False
    for name in ("totalWeeks", "recurringWeek"):
        del draft.base[name]
    del draft.responses[1:]
    del draft.first["recurringWeek"]


def _no_score(draft: Draft) -> None:
    for response in draft.responses:
        del response["score"]


def _other_score(draft: Draft) -> None:
    draft.base["score"] = draft.first["score"] + 1


def _decimal_score(draft: Draft) -> None:
    draft.open()
    draft.first["score"] = Decimal128("87.50")


def _other_times(draft: Draft) -> None:
    draft.open()
    draft.first["completedAt"] = draft.first.pop("submittedAt")
    later = draft.response(2)
    later["createdAt"] = later.pop("submittedAt")


def _text_links(draft: Draft) -> None:
    draft.base["responseId"] = str(draft.base["responseId"])
    for response in draft.responses:
        response["assignmentId"] = str(response["assignmentId"])


def _completed_alone(draft: Draft) -> None:
    del draft.responses[0]
    draft.base["responseId"] = None


def _no_form(draft: Draft) -> None:
    for row in (*draft.assignments, *draft.responses):
        del row["formId"]


ODDITIES: Final[dict[str, Callable[[Draft], None]]] = {
    "a base without a week": _base_without_week,
    "a base whose week is null": _base_with_null_week,
    "a response after the last week": _response_beyond_total,
    "nothing is linked": _unlinked,
    "some weeks exist": _existing_weeks,
    "all weeks exist": _all_weeks_exist,
    "several responses for one week": _two_responses,
    "an older response is linked": _older_linked,
    "an assignment names another week's response": _names_another_week,
    "an assignment names a response that is not there": _names_nothing,
    "a response names an assignment that is not there": _leads_nowhere,
    "no base": _no_base,
    "no assignment": _responses_only,
    "a response without a week": _response_without_week,
    "a response whose week its link tells": _week_by_link,
    "a week that is no number": _unreadable_week,
    "a week beyond reason": _absurd_week,
    "two assignments for one week": _same_week_twice,
    "no due date": _no_due_date,
    "a due date that is none": _unreadable_due_date,
    "a due date without a time": _plain_due_date,
    "no number of weeks": _no_total,
    "a number of weeks that is none": _unreadable_total,
    "a number of weeks beyond reason": _absurd_total,
    "weeks as doubles": _doubles,
    "weeks as text": _texts,
    "an assignment that does not recur": _once,
    "responses without a score": _no_score,
    "an assignment with another score": _other_score,
    "a decimal score": _decimal_score,
    "responses with other times": _other_times,
    "links as text": _text_links,
    "completed without a response": _completed_alone,
    "no form": _no_form,
}
"""The edge cases by their names, in the order in which they come up."""
