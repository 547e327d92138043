"""The plan's Phase 3 for one series: what is wrong after the migration, and what became of each response. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

from backtrail import Entity, Row
from backtrail.catalog.checkin_series.series import Series, new_id
from backtrail.catalog.checkin_series.values import completion, names, same, week_number


def problems(entity: Entity) -> Iterator[str]:
    """Yields a message for everything that is wrong; what the migration leaves and notes is not."""
    if None in entity.key:
        return
    series = Series(entity)
    yield from _weeks(series)
    for week, rows in series.weeks.items():
        yield from _created(entity, series, week, rows)
    for week, answers in series.answers.items():
        yield from _links(series, week, answers)


def count_responses(entity: Entity) -> dict[str, int]:
    """How many responses the series has (`in`), and how many of them had which fate. One that has lost its place is in no fate."""
    series = Series(entity)
    counts = {"in": len(series.responses), "linked": 0, "superseded": 0, "mismatched": 0, "left": 0}
    for response in series.responses:
        week = None if None in entity.key else series.week(response)
        fate = "left" if week is None else _fate(series, week, response)
        if fate is not None:
            counts[fate] += 1
    return counts


def _fate(series: Series, week: int, response: Row) -> str | None:
    rows = series.weeks.get(week)
    if not rows:
        return None if _can_create(series, week) else "left"
    named = [row for row in rows if names(response.get("assignmentId"), row["_id"])]
    if not named:
        return None
    answers = series.answers[week]
    if response["_id"] != answers[-1]["_id"]:
        return "superseded"
    if names(named[0].get("responseId"), response["_id"]):
        return "linked"
    return "mismatched" if _is_mismatched(named[0], answers) else None


def _can_create(series: Series, week: int) -> bool:
    return series.obstacle() is None and week in series.missing() and series.due(week) is not None


def _is_mismatched(row: Row, answers: list[Row]) -> bool:
    """Whether the assignment has a link of its own, to none of its week's responses; such a link stays."""
    link = row.get("responseId")
    return link is not None and not any(names(link, answer["_id"]) for answer in answers)


def _weeks(series: Series) -> Iterator[str]:
    for week in series.missing():
        if _can_create(series, week):
            yield f"week {week} has no assignment"
    if series.is_recurring and series.base is not None and week_number(series.base.get("recurringWeek")) != 1:
        yield "the base assignment is not week 1"


def _created(entity: Entity, series: Series, week: int, rows: list[Row]) -> Iterator[str]:
    """What is wrong about a week that this migration created. Of weeks that were there before nothing is asked."""
    base = series.base
    if base is None:
        return
    made = [row for row in rows if row["_id"] == new_id(entity, week, base["_id"])]
    if made and len(rows) > 1:
        yield f"week {week} has {len(rows)} assignments, of which one was created though another was there"
    for row in made:
        if not same(row.get("dueDate"), series.due(week)):
            yield f"week {week} is not due {week - 1} weeks after the base assignment"
        if row.get("status") == "completed" and row.get("responseId") is None:
            yield f"week {week} is completed without a response"


def _links(series: Series, week: int, answers: list[Row]) -> Iterator[str]:
    rows = series.weeks.get(week)
    if not rows:
        return
    for response in answers:
        if not any(names(response.get("assignmentId"), row["_id"]) for row in rows):
            yield f"a response of week {week} does not name the assignment of that week"
    latest = answers[-1]
    named = [row for row in rows if names(latest.get("assignmentId"), row["_id"])]
    for row in named:
        if names(row.get("responseId"), latest["_id"]):
            yield from _completed(week, row, latest)
        elif not _is_mismatched(row, answers):
            yield f"the assignment of week {week} does not name the week's latest response"


def _completed(week: int, row: Row, latest: Row) -> Iterator[str]:
    if row.get("status") != "completed":
        yield f"week {week} has a response and is not completed"
    for name, told in (("score", latest.get("score")), ("completedAt", completion(latest))):
        if told is not None and not same(row.get(name), told):
            yield f"week {week} has another {name} than its response tells"
