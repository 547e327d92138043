"""What a person should look at in a series: everything that the migration leaves as it is because it does not fit."""

from __future__ import annotations

from collections.abc import Collection

from backtrail import Entity
from backtrail.catalog.checkin_series.series import Series
from backtrail.catalog.checkin_series.values import MOST_WEEKS, completion, flag, names, text


def remark_oddities(entity: Entity, series: Series, created: Collection[int]) -> None:
    """Nothing; the oddities are noted.

    Args:
        entity: takes the notes.
        series: as it was.
        created: the weeks that got an assignment.
    """
    _remark_base(entity, series)
    _remark_weeks(entity, series)
    _remark_links(entity, series)
    _remark_responses(entity, series, created)


def _remark_base(entity: Entity, series: Series) -> None:
    base = series.base
    if base is None:
        entity.remark("the series has no base assignment: no weeks are created")
        return
    total = base.get("totalWeeks")
    if series.is_recurring and series.total is None:
        entity.remark(f"totalWeeks is missing or no number from 1 to {MOST_WEEKS}: no weeks are counted from it", total=total)
    elif flag(base.get("isRecurring")) is False and (series.total or 1) > 1:
        entity.remark("the base assignment has totalWeeks, and says that it does not recur: no weeks are created", total=total)


def _remark_weeks(entity: Entity, series: Series) -> None:
    for week, rows in sorted(series.weeks.items()):
        if len(rows) > 1:
            ids = [row["_id"] for row in rows]
            entity.remark("several assignments have the same week: all stay", week=week, assignments=ids)
    known = {text(row["_id"]) for rows in series.weeks.values() for row in rows}
    for row in series.assignments:
        if text(row["_id"]) not in known:
            week = row.get("recurringWeek")
            entity.remark("an assignment beside the base tells no week: it stays as it is", assignment=row["_id"], week=week)


def _remark_links(entity: Entity, series: Series) -> None:
    answered = {text(row["_id"]): answers for week, answers in series.answers.items() if (row := series.target(week)) is not None}
    for row in series.assignments:
        link = row.get("responseId")
        if link is None:
            if row.get("status") == "completed" and text(row["_id"]) not in answered:
                entity.remark("an assignment is completed, and no response to it is known", assignment=row["_id"])
        elif not any(names(link, answer["_id"]) for answer in answered.get(text(row["_id"]), ())):
            entity.remark("an assignment's responseId is no response of its week: it stays", assignment=row["_id"], link=link)


def _remark_responses(entity: Entity, series: Series, created: Collection[int]) -> None:
    for response in series.responses:
        if series.week(response) is None:
            week = response.get("recurringWeek")
            entity.remark("a response tells no week: it stays as it is", response=response["_id"], week=week)
    for week, answers in series.answers.items():
        ids = [answer["_id"] for answer in answers]
        if week not in series.weeks and week not in created:
            entity.remark("a week has responses but no assignment: they stay as they are", week=week, responses=ids)
        elif series.total is not None and series.is_recurring and week > series.total:
            entity.remark("a response is of a week after the last", week=week, total=series.total, responses=ids)
        if completion(answers[-1]) is None:
            entity.remark("a week's latest response has no time that can be read", week=week, response=ids[-1])
