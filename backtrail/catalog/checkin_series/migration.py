"""Weeks that were made up on the fly become assignments that exist: one for each week of a series, linked with its response both ways.

Nothing is deleted. Responses change in `assignmentId` alone, existing assignments in `responseId`, `status`, `score`,
`completedAt` and a `recurringWeek` that was missing. Whatever does not fit stays as it is, and is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from backtrail import Entity, Keys, Migration, NewRow, Row, Rows
from backtrail.catalog.checkin_series import checks
from backtrail.catalog.checkin_series.invariants import INVARIANTS
from backtrail.catalog.checkin_series.remarks import remark_oddities
from backtrail.catalog.checkin_series.series import ASSIGNMENTS, RESPONSES, Series, new_id
from backtrail.catalog.checkin_series.values import completion, names, same, week_number

OUTCOME: Final = (
    "score",
    "completedAt",
    "submittedAt",
    "startedAt",
    "reviewedAt",
    "reviewedBy",
    "feedback",
    "coachFeedback",
    "reminderSentAt",
)
"""What came of the base's own check-in. A new week begins without it: nobody has filled, scored or reviewed it."""

Assignment = Row | NewRow


class CheckinSeries(Migration):
    """An assignment for each week of a check-in series, linked with its response."""

    name = "checkin-series"
    keys = (Keys(ASSIGNMENTS, "clientId", "formId"), Keys(RESPONSES, "clientId", "formId"))
    reads = (Rows(ASSIGNMENTS, by=("clientId", "formId")), Rows(RESPONSES, by=("clientId", "formId")))
    writes = (ASSIGNMENTS, RESPONSES)
    invariants = INVARIANTS

    def migrate(self, entity: Entity) -> None:
        """Creates the weeks that are missing, and links every response with the assignment of its week."""
        if None in entity.key:
            entity.remark("the documents name a client or a form, but not both: nothing is done")
            return
        series = Series(entity)
        created = _create_missing(entity, series)
        _number_base(entity, series)
        moved: list[dict[str, Any]] = []
        for week, answers in series.answers.items():
            target = series.target(week) or created.get(week)
            if target is not None:
                moved += _point(entity, week, target, answers)
                _answer(entity, week, target, answers)
        if moved:
            entity.remark("responses named other assignments than their weeks'", responses=moved)
        remark_oddities(entity, series, created.keys())

    def check(self, entity: Entity) -> Iterator[str]:
        """Yields what is not as the plan's Phase 3 wants it, but for what was left as it was and noted."""
        return checks.problems(entity)

    def account(self, entity: Entity) -> Mapping[str, int]:
        """What became of the responses: `in` is the sum of the others, unless one has no place.

        - `linked`: its week's assignment and it name each other,
        - `superseded`: it names its week's assignment, and a later response of that week exists,
        - `mismatched`: it names its week's assignment, whose own link names something else and stayed,
        - `left`: its week is unknown, or has no assignment and could get none.
        """
        return checks.count_responses(entity)


def _create_missing(entity: Entity, series: Series) -> dict[int, NewRow]:
    missing, base = series.missing(), series.base
    if not missing or base is None:  # a series without a base is noted with the other oddities
        return {}
    if obstacle := series.obstacle():
        entity.remark(obstacle, weeks=missing)
        return {}
    created: dict[int, NewRow] = {}
    for week in missing:
        due = series.due(week)
        if due is None:
            entity.remark("the week's due date would be beyond the calendar: it is not created", week=week)
        else:
            created[week] = _create(entity, base, week, due)
    return created


def _create(entity: Entity, base: Row, week: int, due: Any) -> NewRow:
    values = {
        "_id": new_id(entity, week, base["_id"]),
        "recurringWeek": week,
        "dueDate": due,
        "status": "pending",
        "responseId": None,
    }
    # Nulls are copied: they tell nothing about the base's check-in.
    unset = [name for name in OUTCOME if base.get(name) is not None]
    return entity.copy(ASSIGNMENTS, base, set=values, unset=unset)


def _number_base(entity: Entity, series: Series) -> None:
    base = series.base
    if base is None or base.get("recurringWeek") is not None:
        return
    # A single assignment without weeks stays one, unless a response says that it is week 1 (the plan's case 2).
    if series.is_recurring or any(week_number(row.get("recurringWeek")) == 1 for row in series.responses):
        entity.update(base, set={"recurringWeek": 1})


def _point(entity: Entity, week: int, target: Assignment, answers: list[Row]) -> list[dict[str, Any]]:
    """Those of the week's responses that named another assignment; now all of them name this one."""
    moved: list[dict[str, Any]] = []
    for response in answers:
        link = response.get("assignmentId")
        if names(link, target["_id"]):
            continue
        entity.update(response, set={"assignmentId": target["_id"]})
        if link is not None:
            moved.append({"response": response["_id"], "week": week, "before": link})
    return moved


def _answer(entity: Entity, week: int, target: Assignment, answers: list[Row]) -> None:
    """Nothing; the assignment names the week's latest response, unless its own link leads elsewhere: that stays."""
    latest = answers[-1]
    if len(answers) > 1:
        superseded = [row["_id"] for row in answers[:-1]]
        entity.remark("several responses for one week: the latest counts", week=week, latest=latest["_id"], superseded=superseded)
    link = target.get("responseId")
    if link is None or names(link, latest["_id"]):
        _complete(entity, week, target, latest, linked=link is not None)
    elif any(names(link, row["_id"]) for row in answers[:-1]):
        entity.remark("the assignment's link went from an older response to the latest", week=week, before=link)
        _complete(entity, week, target, latest, linked=False)


def _complete(entity: Entity, week: int, target: Assignment, latest: Row, *, linked: bool) -> None:
    """Nothing; the assignment has the response, and what it tells, but for what it does not tell."""
    values: dict[str, Any] = {} if linked else {"responseId": latest["_id"]}
    told = {"score": latest.get("score"), "completedAt": completion(latest)}
    values |= {name: value for name, value in told.items() if value is not None and not same(target.get(name), value)}
    before = {name: target.get(name) for name in ("score", "completedAt") if name in values and target.get(name) is not None}
    for name, value in before.items():
        entity.conflict(name, values=[value, values[name]], chosen=values[name], week=week)
    if target.get("status") != "completed":
        values["status"] = "completed"
    if values:
        entity.update(target, set=values)
