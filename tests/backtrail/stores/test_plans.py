"""Decisions as writes: each value by its own class, whatever stood in its column in the row before."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from backtrail.changes import Create, Decision, Note
from backtrail.errors import BadValue
from backtrail.row import NewRow
from backtrail.stores import plans
from backtrail.stores.base import Store
from tests.engine import Engine

TABLES = "CREATE TABLE t (id integer PRIMARY KEY, a text, b json, c timestamp)"
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
ID = uuid.UUID(int=7)


def new(number: int, **values: Any) -> Create:
    row = NewRow("t", values, number)
    row.change = Create("t", values, row)
    return row.change


@pytest.fixture(params=[2000, 2])
def store(request: pytest.FixtureRequest, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that remembers many combinations of classes, and one that forgets them at once."""
    monkeypatch.setattr(plans, "WAYS", request.param)
    with closing(Engine(database)) as engine:
        engine.script(TABLES)
        yield engine.store


def test_each_value_is_encoded_by_its_class(store: Store) -> None:
    """Rows with the same columns and other classes of values do not take each other's way, in any order."""
    number = {"postgres": str, "sqlite": int}[store.kind]
    at = {"postgres": "2026-01-02 03:04:05.678000", "sqlite": "2026-01-02 03:04:05.678000"}[store.kind]
    first = new(0, id=1, a="text", b={"k": [1, None]}, c=AT)
    rows = [
        (first, [number(1), "text", '{"k": [1, null]}', at]),
        (new(1, id=2, a=None, b=None, c=None), [number(2), None, None, None]),
        (new(2, id=3, a=ID, b=[], c="2026-01-02"), [number(3), str(ID), "[]", "2026-01-02"]),
        (new(3, id=first.row, a=5, b="text", c=None), [first.row, number(5), '"text"', None]),
        (new(4, id=5, a="other", b={"k": 2}, c=AT), [number(5), "other", '{"k": 2}', at]),
    ]
    for _ in range(2):
        for change, cells in [*rows, *reversed(rows)]:
            (write,) = store.plan(Decision([change])).writes
            assert write.cells == cells
            assert list(map(type, write.cells)) == list(map(type, cells))
            assert write.waits == (change is rows[3][0])


def test_equal_decisions_have_one_mark_and_others_another(store: Store) -> None:
    """Every value, every column and every note counts."""
    decisions = [
        Decision([new(0, id=1, a="text")]),
        Decision([new(0, id=1, a="texts")]),
        Decision([new(0, id=1, a=None)]),
        Decision([new(0, id=1, a="n")]),
        Decision([new(0, id=1)]),
        Decision([new(0, id=1, a="text"), new(1, id=2)]),
        Decision([new(0, id=1, a="text")], [Note("remark", {"text": "one"})]),
        Decision([new(0, id=1, a="text")], [Note("remark", {"text": "two"})]),
        Decision([]),
    ]
    marks = [store.plan(decision).mark for decision in decisions]
    assert len(set(marks)) == len(decisions)
    assert marks == [store.plan(decision).mark for decision in decisions]


@pytest.mark.parametrize("text", ["a lone \ud800", "\ud800"])
def test_a_text_that_is_no_text_is_refused_by_the_name_of_its_column(store: Store, text: str) -> None:
    """Also where it stands beside others that are."""
    with pytest.raises(BadValue, match=r"t\.a cannot hold"):
        store.plan(Decision([new(0, id=1, a="text"), new(1, id=2, a=text, b=["x"])]))
