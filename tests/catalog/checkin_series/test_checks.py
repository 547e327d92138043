"""The plan's Phase 3 finds what is wrong: whatever is spoiled in a migrated series is named, and nothing else is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from backtrail import Entity
from backtrail.catalog.checkin_series.migration import CheckinSeries
from backtrail.stores.memory import MemoryTables
from backtrail.testing import NOW, trial
from tests.catalog.checkin_series.oracle import A, R, Tables
from tests.catalog.checkin_series.scene import base, response, week


def migrated() -> Tables:
    """Weeks 1, 2 (there before), 3 and 4; responses to 1, 2 (two of them) and 3; week 4 is open."""
    assignments = [base(totalWeeks=4, recurringWeek=None), week(2)]
    responses = [response("r1", 1), response("r2", 2), response("s2", 2), response("r3", 3)]
    return trial(CheckinSeries, {A: assignments, R: responses}).tables


def entity(tables: Tables) -> Entity:
    rows = MemoryTables(tables, primary_keys={A: ["_id"], R: ["_id"]}).read(CheckinSeries.reads, ("c", "f"))
    return Entity(("c", "f"), migration=CheckinSeries.name, now=NOW, rows=rows, writes=(), tables={})


def rows_by_week(tables: Tables) -> dict[int, dict[str, Any]]:
    return {row["recurringWeek"]: row for row in tables[A]}


def test_a_migrated_series_has_no_problem_and_all_its_responses_have_a_place():
    """Checked as it is after the migration."""
    tables = migrated()
    assert set(rows_by_week(tables)) == {1, 2, 3, 4}
    assert list(CheckinSeries().check(entity(tables))) == []
    assert CheckinSeries().account(entity(tables)) == {"in": 4, "linked": 3, "superseded": 1, "mismatched": 0, "left": 0}


SPOILED: dict[str, tuple[Callable[[Tables], Any], str]] = {
    "a week is gone": (lambda t: t[A].remove(rows_by_week(t)[4]), "week 4 has no assignment"),
    "an answered week is gone": (lambda t: t[A].remove(rows_by_week(t)[3]), "week 3 has no assignment"),
    "the base lost its week": (lambda t: t[A][0].update(recurringWeek=None), "the base assignment is not week 1"),
    "a week is there twice": (lambda t: t[A].append({**rows_by_week(t)[4], "_id": "z"}), "though another was there"),
    "a due date": (lambda t: rows_by_week(t)[3].update(dueDate=t[A][0]["dueDate"]), "week 3 is not due 2 weeks after"),
    "completed alone": (lambda t: rows_by_week(t)[4].update(status="completed"), "week 4 is completed without a response"),
    "a link to the base": (lambda t: t[R][3].update(assignmentId="a1"), "week 3 does not name the assignment"),
    "a link of a superseded one": (lambda t: t[R][1].update(assignmentId="a1"), "week 2 does not name the assignment"),
    "no link back": (
        lambda t: rows_by_week(t)[3].update(responseId=None, status="pending"),
        "does not name the week's latest response",
    ),
    "a link to the older one": (lambda t: rows_by_week(t)[2].update(responseId="r2"), "does not name the week's latest response"),
    "a status": (lambda t: rows_by_week(t)[2].update(status="pending"), "week 2 has a response and is not completed"),
    "a score": (lambda t: rows_by_week(t)[1].update(score=3), "week 1 has another score than its response tells"),
    "a time": (lambda t: rows_by_week(t)[1].update(completedAt=None), "week 1 has another completedAt"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_is_spoiled_is_named(case: str):
    """One message for one fault, with no id of anybody in it."""
    spoil, message = SPOILED[case]
    tables = copy.deepcopy(migrated())
    spoil(tables)
    (found,) = CheckinSeries().check(entity(tables))
    assert message in found


@pytest.mark.parametrize("case", ["an answered week is gone", "a link to the base", "no link back"])
def test_a_response_that_lost_its_place_is_not_accounted_for(case: str):
    """The sum is less than what came in."""
    tables = copy.deepcopy(migrated())
    SPOILED[case][0](tables)
    account = dict(CheckinSeries().account(entity(tables)))
    assert account.pop("in") == sum(account.values()) + 1
