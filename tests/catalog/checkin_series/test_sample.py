"""The sample has every edge case of the plan, is the same every time, and comes out of the migration as the plan wants it."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from typing import Any

import pytest
from bson import Decimal128, ObjectId, encode

from backtrail.catalog.checkin_series import sample
from backtrail.catalog.checkin_series.migration import CheckinSeries
from backtrail.catalog.checkin_series.oddities import ODDITIES
from backtrail.testing import Trial, trial
from tests.catalog.checkin_series.oracle import A, R, Tables, judge, whole

SERIES = 80


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """The document as an author meets it."""
    return {name: value.to_decimal() if isinstance(value, Decimal128) else value for name, value in row.items()}


@pytest.fixture(scope="module")
def before() -> Tables:
    tables: Tables = {name: [] for name in sample.COLLECTIONS}
    for made in sample.documents(SERIES):
        for name, rows in made.items():
            tables[name] += map(plain, rows)
    return tables


@pytest.fixture(scope="module")
def result(before: Tables) -> Trial:
    return trial(CheckinSeries, before)


def test_a_series_has_the_edge_case_that_its_index_says():
    """The first 40 series have every edge case once, and each of them is a change of the ordinary series."""
    cases = [sample.edge_cases(index) for index in range(40)]
    assert Counter(itertools.chain(*cases)) == dict.fromkeys(ODDITIES, 1)
    assert () in cases
    for index, case in enumerate(cases):
        maker = sample._Maker(index, 1)
        ordinary = maker._ordinary()
        made = sample._Maker(index, 1).documents()
        same = repr((ordinary.assignments, ordinary.responses)) == repr((made[A], made[R]))  # 1 == 1.0
        assert same == (case == ()), case


def test_the_first_series_are_the_same_however_many_there_are_and_others_for_another_seed():
    """Any size can be made again, and grown."""
    few, many, other = (list(sample.documents(number, seed=seed)) for number, seed in ((50, 1), (90, 1), (50, 2)))
    assert few == many[:50]
    assert few != other


def test_documents_are_of_both_kinds_of_ids_and_dates_and_can_be_stored():
    """ObjectIds and texts, dates and ISO texts, for every edge case in turn; all of it is BSON."""
    kinds = Counter()
    for made in sample.documents(80):
        for row in itertools.chain(*made.values()):
            encode(row)
        kinds.update((type(row["_id"]), type(row.get("submittedAt"))) for row in made[R])
    assert {kind for kind, _ in kinds} == {ObjectId, str}
    assert len({kind for _, kind in kinds}) == 3  # dates, texts, and none at all


def test_no_id_comes_twice():
    """Ids are unique in a collection, over many series."""
    seen = Counter((name, str(row["_id"])) for made in sample.documents(2000) for name, rows in made.items() for row in rows)
    assert len(seen) > 10000
    assert max(seen.values()) == 1


def test_the_migration_does_with_the_whole_sample_what_the_plan_says(before: Tables, result: Trial):
    """The oracle finds nothing wrong, and no series fails."""
    assert not result.failures
    assert len(result.migrated) == SERIES
    assert len(result.tables[A]) > 4 * len(before[A])
    assert judge(before, result.tables) == []


def test_the_oracle_sees_what_is_wrong(before: Tables, result: Trial):
    """A migration that did nothing, lost a document, changed a score, or linked a week wrongly would be found out."""
    assert judge(before, before)
    for name, spoil in (
        (R, lambda rows: rows.pop()),
        (R, lambda rows: rows[5].update(score=-1)),
        (R, lambda rows: rows[5].update(assignmentId="elsewhere")),
        (A, lambda rows: rows.pop()),
        (A, lambda rows: rows[-1].update(formTitle="another")),
        (A, lambda rows: rows[-1].update(dueDate=rows[0]["dueDate"])),
        (A, lambda rows: rows[-1].update(status="completed")),
    ):
        spoiled = copy.deepcopy(result.tables)
        spoil(spoiled[name])
        assert judge(before, spoiled), name


@pytest.mark.long
def test_a_second_run_on_what_the_first_one_made_changes_nothing(result: Trial):
    """The migration is idempotent on every edge case, and accounts for all responses again."""
    again = trial(CheckinSeries, result.tables)
    assert not again.failures
    assert again.tables == result.tables
    assert all(list(row) == list(other) for row, other in zip(again.tables[A], result.tables[A], strict=True))


def test_every_response_is_accounted_for(before: Tables, result: Trial):
    """Each response of a series is linked, superseded, mismatched or left; most of them are linked."""
    total = sum((Counter(account) for account in result.accounts.values()), Counter())
    assert total["in"] == len(before[R])
    assert min(total.values()) > 0
    assert total["linked"] > 0.8 * total["in"]


def test_series_without_an_edge_case_get_no_note_but_where_their_links_went(result: Trial):
    """What is as the application made it needs no person to look at it."""
    ordinary = {
        (row["clientId"], row["formId"])
        for index, made in enumerate(sample.documents(SERIES))
        if not sample.edge_cases(index)
        for row in made[A]
    }
    assert len(ordinary) > 10
    texts = {note.data["text"] for note in result.notes if note.key in ordinary}
    assert texts == {"responses named other assignments than their weeks'"}


def test_every_edge_case_leaves_each_week_at_most_where_it_was(before: Tables, result: Trial):
    """No (client, form, week) has more assignments than before, unless it had none."""
    counts = [
        Counter((row["clientId"], row.get("formId"), whole(row.get("recurringWeek"))) for row in rows)
        for rows in (before[A], result.tables[A])
    ]
    assert max(counts[0].values()) > 1
    assert all(number <= max(1, counts[0][week]) for week, number in counts[1].items() if week[2])
