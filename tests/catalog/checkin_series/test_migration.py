"""The weeks of a series, and the plan's four edge cases, on plain dicts."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId

from tests.catalog.checkin_series.scene import ABSENT, DUE, GIVEN, OPEN, WEEK, Document, Migrated, answer, base, response, week

# -- the weeks --------------------------------------------------------------------------------------------------------


def test_missing_weeks_are_copies_of_the_base_a_week_apart():
    """Every field is the base's, in its place, but for the id, week, due date, status and link."""
    done = Migrated([base(note=None)], [])
    assert list(done.created) == [2, 3]
    for number, row in done.created.items():
        assert row == base(
            _id=row["_id"], note=None, recurringWeek=number, dueDate=DUE + (number - 1) * WEEK, status="pending", responseId=None
        )
        assert list(row) == list(base(note=None))
    assert done.assignments["a1"] == base(note=None)
    assert done.remarks == []


def test_weeks_that_exist_stay_as_they_are():
    """Only the missing one is created."""
    two = week(2, status="overdue", dueDate=DUE, note="moved")
    done = Migrated([base(), two], [])
    assert list(done.created) == [3]
    assert done.assignments["a2"] == two


def test_what_came_of_the_base_is_not_copied():
    """A week that nobody has filled has no score, time or review, though the base has; nulls are copied."""
    outcome = {"score": 91, "completedAt": GIVEN, "startedAt": GIVEN, "reviewedBy": "k", "coachFeedback": "well done"}
    done = Migrated([base(status="completed", responseId="r1", feedback=None, **outcome)], [response("r1", 1, score=91)])
    assert len(done.created) == 2
    for row in done.created.values():
        assert answer(row) == OPEN
        assert not outcome.keys() & row.keys()
        assert row["feedback"] is None
    assert outcome.items() <= done.assignments["a1"].items()


@pytest.mark.parametrize("kind", [str, ObjectId])
def test_new_ids_are_of_the_type_that_the_bases_id_has(kind: type):
    """Text stays text, and an ObjectId an ObjectId, also where the client's and form's ids are ObjectIds."""
    ids = {"clientId": ObjectId(), "formId": ObjectId()}
    first, given = ObjectId(), ObjectId()
    row = base(_id=kind(first), **ids)
    done = Migrated([row], [response("r", 2, _id=kind(given), assignmentId=kind(first), **ids)])
    assert {type(one["_id"]) for one in done.created.values()} == {kind}
    assert answer(done.created[2])[0] == kind(given)
    assert done.links == {kind(given): done.created[2]["_id"]}
    assert done.judged == []


def test_an_id_of_another_type_cannot_be_made():
    """A base whose id is a number gets no weeks; a remark says so."""
    done = Migrated([base(_id=7)], [response("r", 1, assignmentId=7)])
    assert not done.created
    assert done.remarked("neither an ObjectId nor a text")


@pytest.mark.parametrize(
    ("due", "second"),
    [
        (DUE, DUE + WEEK),
        ("2025-03-03", "2025-03-10"),
        ("2025-12-29T09:00:00.000Z", "2026-01-05T09:00:00.000Z"),
        ("2025-03-27T09:00:00+01:00", "2025-04-03T09:00:00+01:00"),
    ],
)
def test_due_dates_keep_their_form(due: Any, second: Any):
    """Dates stay dates, and texts texts with the same time and zone."""
    assert Migrated([base(dueDate=due, totalWeeks=2)], []).created[2]["dueDate"] == second


@pytest.mark.parametrize("due", [ABSENT, None, "next Monday", "2025-02-30", 1741000000000, {"seconds": 1}])
def test_no_week_is_created_without_a_date_to_count_from(due: Any):
    """The base is still linked; its response for week 2 stays as it was."""
    done = Migrated([base(dueDate=due)], [response("r1", 1), response("r2", 2)])
    assert not done.created
    assert answer(done.assignments["a1"]) == ("r1", "completed", 80, GIVEN)
    assert done.links == {"r1": "a1", "r2": "a1"}
    assert done.remarked("dueDate is missing or no date")
    assert done.remarked("no assignment: they stay")


def test_a_due_date_beyond_the_calendar_is_left_out():
    """Weeks before the end of year 9999 are created, those after are not."""
    done = Migrated([base(dueDate=dt.datetime(9999, 12, 20, tzinfo=dt.UTC))], [])
    assert list(done.created) == [2]
    assert done.remarked("beyond the calendar")


@pytest.mark.parametrize("total", [3.0, "3", " 3.0 ", Decimal("3")])
def test_the_number_of_weeks_may_be_a_double_or_a_text(total: Any):
    """2.0 and "2" are weeks as well as 2, in the total and in documents; new weeks are numbers."""
    done = Migrated([base(totalWeeks=total, recurringWeek=1.0), week("2"), week(7.0)], [response("r", "2"), response("s", 3.0)])
    assert [type(number) for number in done.created] == [int]
    assert list(done.created) == [3]
    assert answer(done.assignments["a2"])[0] == "r"
    assert answer(done.created[3])[0] == "s"


@pytest.mark.parametrize(
    "total", [ABSENT, None, 0, -4, 2.5, "many", True, 521, 1e300, float("nan"), Decimal("NaN"), Decimal("1E+6000")]
)
def test_a_total_that_cannot_be_believed_creates_nothing_but_weeks_with_a_response(total: Any):
    """Week 4 has a response, and so it is created; nothing is counted up to the total."""
    done = Migrated([base(totalWeeks=total)], [response("r", 4)])
    assert list(done.created) == [4]
    assert done.remarked("totalWeeks is missing or no number")


def test_ten_years_are_believed():
    """520 weeks are the most."""
    assert len(Migrated([base(totalWeeks=520)], []).created) == 519


@pytest.mark.parametrize("says", [{"isRecurring": False}, {"isRecurring": ABSENT}, {"isRecurring": "false"}])
def test_an_assignment_that_does_not_recur_is_only_linked(says: Document):
    """No week is created, and none is written into it, though its response is linked."""
    row = base(totalWeeks=ABSENT, recurringWeek=ABSENT, **says)
    done = Migrated([row], [response("r", ABSENT)])
    assert not done.created
    assert done.assignments["a1"] == row | {"responseId": "r", "status": "completed", "score": 80, "completedAt": GIVEN}


def test_an_assignment_that_does_not_recur_and_has_a_total_gets_no_weeks():
    """What contradicts itself is noted."""
    done = Migrated([base(isRecurring=False)], [])
    assert done.same
    assert done.remarked("says that it does not recur")


def test_a_total_alone_makes_a_series():
    """A base that does not say whether it recurs has as many weeks as it says."""
    assert list(Migrated([base(isRecurring=ABSENT)], []).created) == [2, 3]


def test_a_series_without_a_base_creates_nothing_and_links_what_is_there():
    """Week 2 exists and gets its response; week 3 does not, and its response stays."""
    done = Migrated([week(2)], [response("r2", 2), response("r3", 3)])
    assert not done.created
    assert answer(done.assignments["a2"])[0] == "r2"
    assert done.links == {"r2": "a2", "r3": "a1"}
    assert done.remarked("no base assignment")
    assert Migrated([], [response("r", 1)]).same


def test_of_several_assignments_without_a_week_the_one_that_recurs_is_the_base():
    """The other one stays as it is, and is noted."""
    single = base(_id="a0", isRecurring=False, totalWeeks=ABSENT, recurringWeek=ABSENT)
    done = Migrated([single, base(recurringWeek=None)], [])
    assert done.assignments["a0"] == single
    assert done.assignments["a1"]["recurringWeek"] == 1
    assert done.remarked("beside the base tells no week")


@pytest.mark.parametrize("gone", ["clientId", "formId"])
@pytest.mark.parametrize("value", [None, ABSENT])
def test_half_a_key_is_no_series(gone: str, value: Any):
    """Documents that name a client but no form, or a form but no client, stay as they are."""
    done = Migrated([base(**{gone: value})], [response("r", 2, **{gone: value})])
    assert done.same
    assert done.remarks == ["the documents name a client or a form, but not both: nothing is done"]


# -- the plan's four cases --------------------------------------------------------------------------------------------


def test_case_1_a_response_whose_week_has_no_assignment_gets_one():
    """Also after the last week, which is noted."""
    done = Migrated([base()], [response("r2", 2), response("r9", 9)])
    assert list(done.created) == [2, 3, 9]
    assert done.created[9]["dueDate"] == DUE + 8 * WEEK
    assert answer(done.created[9]) == ("r9", "completed", 80, GIVEN)
    assert done.links == {"r2": done.created[2]["_id"], "r9": done.created[9]["_id"]}
    assert done.remarked("after the last")
    assert done.judged == []


@pytest.mark.parametrize("missing", [ABSENT, None])
def test_case_2_a_base_without_a_week_becomes_week_1(missing: Any):
    """It is linked with the response of week 1."""
    done = Migrated([base(recurringWeek=missing)], [response("r1", 1)])
    row = done.assignments["a1"]
    assert row["recurringWeek"] == 1
    assert answer(row) == ("r1", "completed", 80, GIVEN)
    assert list(done.created) == [2, 3]


def test_case_2_a_response_of_week_1_makes_a_single_assignment_week_1():
    """Even one that does not recur."""
    done = Migrated([base(isRecurring=False, totalWeeks=ABSENT, recurringWeek=ABSENT)], [response("r1", 1)])
    assert done.assignments["a1"]["recurringWeek"] == 1
    assert not done.created


def test_case_3_an_assignment_without_a_response_is_linked():
    """Both directions, and the status, score and time with it."""
    done = Migrated([base(), week(2, status="overdue")], [response("r2", 2, assignmentId=None)])
    assert done.assignments["a2"] == week(2) | {"responseId": "r2", "status": "completed", "score": 80, "completedAt": GIVEN}
    assert done.links == {"r2": "a2"}


def test_case_4_of_several_responses_the_latest_is_linked():
    """By the moment and not by the text or order; the others name the week's assignment too, and are noted."""
    rows = [
        response("r1", 2, submittedAt="2025-03-11T09:00:00.000+02:00", score=1),
        response("r2", 2, submittedAt="2025-03-11T08:00:00.000Z", score=2),
        response("r3", 2, submittedAt=ABSENT, score=3),
    ]
    done = Migrated([base()], rows)
    row = done.created[2]
    assert answer(row) == ("r2", "completed", 2, "2025-03-11T08:00:00.000Z")
    assert set(done.links.values()) == {row["_id"]}
    assert done.remarked("several responses for one week")
    assert done.result.accounts["c", "f"] == {"in": 3, "linked": 1, "superseded": 2, "mismatched": 0, "left": 0}


def test_case_4_of_one_moment_the_last_id_counts():
    """The same on every run."""
    done = Migrated([base()], [response("r2", 1), response("r1", 1)])
    assert answer(done.assignments["a1"])[0] == "r2"
