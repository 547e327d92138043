"""Links and responses as old documents may hold them, on plain dicts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId

from backtrail.catalog.checkin_series.migration import CheckinSeries
from backtrail.testing import trial
from tests.catalog.checkin_series.oracle import A, R
from tests.catalog.checkin_series.scene import ABSENT, GIVEN, OPEN, WEEK, Document, Migrated, answer, base, response, week

# -- links that exist -------------------------------------------------------------------------------------------------


def test_a_link_to_an_older_response_of_the_week_goes_to_the_latest():
    """That is case 4: the old link is noted, and so is the old score."""
    row = base(responseId="r1", status="completed", score=70, completedAt=GIVEN)
    done = Migrated([row], [response("r1", 1, score=70), response("r2", 1, submittedAt=GIVEN + WEEK)])
    assert answer(done.assignments["a1"]) == ("r2", "completed", 80, GIVEN + WEEK)
    assert done.remarked("from an older response to the latest")
    assert {"field": "score", "values": [70, 80], "chosen": 80, "week": 1} in done.conflicts


@pytest.mark.parametrize("link", ["ghost", "r3", 5, {"path": "r1"}])
def test_a_mismatching_link_stays(link: Any):
    """Whether what it names exists or not: nothing of the assignment changes, and its week's response names it."""
    row = base(responseId=link, status="completed", score=12)
    done = Migrated([row], [response("r1", 1, assignmentId=None), response("r3", 3)])
    assert done.assignments["a1"] == row
    assert done.links == {"r1": "a1", "r3": done.created[3]["_id"]}
    assert done.remarked("is no response of its week: it stays")
    assert done.result.accounts["c", "f"]["mismatched"] == 1


@pytest.mark.parametrize("time", ["2025-03-04T18:30:00Z", "2025-03-04T19:30:00+01:00", "2025-03-04T18:30:00"])
def test_a_link_that_is_right_changes_nothing(time: str):
    """Also where it is kept as the text of an ObjectId, a score as a double, a time as a text (without a zone: UTC)."""
    ids = [ObjectId() for _ in range(2)]
    row = base(
        _id=ids[0], responseId=str(ids[1]), status="completed", score=80.0, completedAt="2025-03-04T18:30:00Z", totalWeeks=1
    )
    done = Migrated([row], [response("r", 1, _id=ids[1], assignmentId=str(ids[0]))])
    assert done.same
    assert not done.result.notes


def test_a_response_that_named_another_assignment_is_noted_with_the_old_link():
    """A null link is no news."""
    done = Migrated([base(), week(2), week(3)], [response("r2", 2), response("r3", 3, assignmentId=None)])
    (note,) = done.result.notes
    assert note.data["responses"] == [{"response": "r2", "week": 2, "before": "a1"}]
    assert done.links == {"r2": "a2", "r3": "a3"}


def test_of_two_assignments_of_one_week_the_linked_one_is_taken():
    """Both stay; the one that nothing speaks for is not touched."""
    rows = [base(totalWeeks=2), week(2), week(2, _id="b2", responseId="r2")]
    done = Migrated(rows, [response("r2", 2, assignmentId="a2")])
    assert done.assignments["a2"] == rows[1]
    assert answer(done.assignments["b2"]) == ("r2", "completed", 80, GIVEN)
    assert done.links == {"r2": "b2"}
    assert done.remarked("several assignments have the same week")


def test_of_two_assignments_of_one_week_one_with_a_strange_link_comes_last():
    """The response goes where it can be linked both ways."""
    done = Migrated([base(), week(2, responseId="ghost"), week(2, _id="b2")], [response("r2", 2, assignmentId=None)])
    assert answer(done.assignments["b2"])[0] == "r2"
    assert done.assignments["a2"] == week(2, responseId="ghost")


def test_a_completed_assignment_without_a_response_is_noted():
    """It stays completed."""
    row = base(status="completed", totalWeeks=1)
    done = Migrated([row], [])
    assert done.same
    assert done.remarked("no response to it is known")


# -- responses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [ABSENT, None, 0, -1, 2.5, "second", True, [2]])
def test_a_response_without_a_week_stays(number: Any):
    """All weeks used to name the base, so that this link tells no week."""
    done = Migrated([base()], [response("r", number)])
    assert done.links == {"r": "a1"}
    assert answer(done.assignments["a1"]) == OPEN
    assert done.remarked("tells no week")
    assert done.result.accounts["c", "f"]["left"] == 1


@pytest.mark.parametrize(("link", "back"), [("a2", None), (None, "r"), ("a2", "r"), ("a1", "r")])
def test_a_response_without_a_week_has_the_one_that_its_links_tell(link: Any, back: Any):
    """By the week's assignment that it names, or that names it."""
    done = Migrated([base(), week(2, responseId=back)], [response("r", ABSENT, assignmentId=link)])
    assert answer(done.assignments["a2"]) == ("r", "completed", 80, GIVEN)
    assert done.links == {"r": "a2"}


def test_a_week_beyond_reason_is_not_created():
    """A response of week 100000 stays as it is."""
    done = Migrated([base()], [response("r", 100000)])
    assert list(done.created) == [2, 3]
    assert done.links == {"r": "a1"}
    assert done.remarked("no assignment: they stay")


@pytest.mark.parametrize(
    ("times", "completed"),
    [
        ({"completedAt": GIVEN + WEEK, "createdAt": GIVEN + 2 * WEEK}, GIVEN),
        ({"submittedAt": None, "completedAt": "2025-03-05", "createdAt": GIVEN}, "2025-03-05"),
        ({"submittedAt": "yesterday", "createdAt": GIVEN}, GIVEN),
        ({"submittedAt": ABSENT}, ABSENT),
    ],
)
def test_the_completion_time_is_the_first_that_can_be_read(times: Document, completed: Any):
    """submittedAt, or else completedAt, or else createdAt, as it stands there; without one the assignment gets none."""
    done = Migrated([base(totalWeeks=1)], [response("r", 1, **times)])
    assert answer(done.assignments["a1"]) == ("r", "completed", 80, completed)
    assert done.remarked("no time") == (completed is ABSENT)


@pytest.mark.parametrize("score", [ABSENT, None])
def test_a_response_without_a_score_leaves_the_assignments_alone(score: Any):
    """Nothing is taken away."""
    done = Migrated([base(score=66, totalWeeks=1)], [response("r", 1, score=score)])
    assert answer(done.assignments["a1"]) == ("r", "completed", 66, GIVEN)
    assert done.conflicts == []


@pytest.mark.parametrize("score", [Decimal("87.50"), Decimal("sNaN"), float("nan"), {"total": 4}, -0.0])
def test_scores_of_any_type_are_copied_as_they_are(score: Any):
    """Decimals, NaN and objects too."""
    before = {A: [base(totalWeeks=1)], R: [response("r", 1, score=score)]}
    result = trial(CheckinSeries, before)
    assert not result.failures
    assert repr(result.tables[A][0]["score"]) == repr(score)
    assert repr(trial(CheckinSeries, result.tables).tables) == repr(result.tables)
