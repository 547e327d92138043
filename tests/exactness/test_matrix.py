"""The exactness matrix itself: its oracle finds what is wrong, and its printing says so."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.engine import Engine
from tests.exactness import __main__ as program
from tests.exactness.matrix import BEGIN, END, Cell, Matrix, placed
from tests.exactness.postgres import prepare, travel, uncovered
from tests.exactness.postgres_kinds import Kind
from tests.exactness.postgres_oracle import Observer, Trip, judge
from tests.exactness.postgres_tables import Part, make

GOOD = Cell("sqlite", "INTEGER", "created", 3)
BAD = Cell("sqlite", "REAL", "deleted", 2, ("-0.0 came back as 0.0",))


def test_printing() -> None:
    """The tables have a row for each kind, `-` for a case that does not exist, and totals per store and in all."""
    matrix = Matrix([GOOD, GOOD, BAD, Cell("mongodb", "a|b", "copied", 1)])
    lines = matrix.text().splitlines()
    assert lines[0].split() == ["sqlite", "created", "updated", "deleted", "copied", "untouched"]
    assert lines[1].split() == ["INTEGER", "6", "-", "-", "-", "-"]
    assert lines[2].split() == ["REAL", "-", "-", "2,", "1", "WRONG", "-", "-"]
    assert matrix.totals() == [
        "sqlite: 8 values tried, 1 wrong (2 kinds)",
        "mongodb: 1 values tried, 0 wrong (1 kinds)",
        "in all: 9 values tried, 1 wrong",
    ]
    assert r"| `a\|b` | - | - | - | 1 | - |" in matrix.markdown().splitlines()


def test_what_is_wrong_is_a_problem() -> None:
    """A value that is wrong, a kind without values and an empty matrix are problems; a good cell is none."""
    assert Matrix([GOOD]).problems() == []
    assert Matrix([GOOD, BAD]).problems() == ["sqlite, REAL, deleted: -0.0 came back as 0.0"]
    assert Matrix([Cell("sqlite", "BLOB", "copied", 0)]).problems() == ["sqlite, BLOB, copied: no values"]
    assert Matrix([]).problems() == ["nothing was tried"]
    with pytest.raises(ValueError, match="invented"):
        Cell("sqlite", "BLOB", "invented", 1)


def test_the_table_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The program writes the table between the markers, leaves the rest of the page alone, and fails if a value is wrong."""
    page = tmp_path / "exactness.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(program, "cells", lambda stores: iter([GOOD]))
    assert program.main(["--markdown", str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "| `INTEGER` | 3 |" in text
    assert "old" not in text
    monkeypatch.setattr(program, "cells", lambda stores: iter([GOOD, BAD]))
    assert program.main([]) == 1
    assert "came back as" in capsys.readouterr().err
    with pytest.raises(ValueError, match="lacks the lines"):
        placed("no markers", "table")


KINDS = (Kind("numeric", "numeric", ("1.10", "'NaN'")), Kind("json", "json", ("'[1,  2]'",), by_value=False))


@pytest.fixture
def part(postgres: str) -> Part:
    part = Part("old", "new", KINDS)
    with psycopg.connect(postgres, autocommit=True) as connection:
        prepare(connection)
        make(connection, part)
    return part


SPOILT = {
    "deleted": ("back", "UPDATE old SET c0 = 1.1 WHERE role = 'deleted' AND m = 0"),
    "updated": ("redone", "UPDATE old SET c0 = 1.1 WHERE role = 'noted' AND m = 0"),
    "copied": ("migrated", "UPDATE new SET c1 = '[1, 2]' WHERE role = 'copied' AND m = 0"),
    "created": ("back", "INSERT INTO new (id, m, role) VALUES (99, 0, 'created')"),
    "untouched": ("back", "UPDATE old SET c0 = c0 WHERE role = 'untouched' AND m = 0"),
}
"""For each case, when somebody does what to a value; equal values that are not identical, and a row that was only written again."""


def test_the_oracle_can_fail(postgres: str, part: Part) -> None:
    """A trip is right, and for each case one value that somebody exchanges for an equal one at a later moment is found and named."""
    with closing(Engine(postgres)) as engine, psycopg.connect(postgres, autocommit=True) as connection:
        observer = Observer(connection)
        trip = travel(engine, observer, [part], "trial")
        assert isinstance(trip, Trip), trip
        assert _wrong(part, trip) == []
        assert len(trip.before) == 6 * part.length
        for case, (moment, sql) in SPOILT.items():
            connection.execute("BEGIN")
            connection.execute({"back": TO_BACK, "migrated": "SELECT", "redone": "SELECT"}[moment])
            connection.execute(sql)
            spoilt = Trip(**{**vars(trip), moment: observer.look([part])})
            connection.execute("ROLLBACK")
            assert {len(cell.wrong) for cell in _wrong(part, spoilt) if cell.case == case} == {1}, case


TO_BACK = """
DELETE FROM new; INSERT INTO old (id, m, n, role, note, c0, c1)
SELECT id + 4000, m, n, 'deleted', note, c0, c1 FROM old WHERE role = 'source'
"""
"""Brings rows that were deleted, and takes new ones: as after a rollback."""


def _wrong(part: Part, trip: Trip) -> list[Cell]:
    return [cell for column, kind in part.named for cell in judge(part, column, kind, trip) if cell.wrong]


def test_a_type_without_values_is_named(postgres: str) -> None:
    """A built-in type that no kind has values of is a hole."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        missing = uncovered(connection, [Kind("int", "int", ("1",)), Kind("int[]", "int[]", ("'{}'",))])
    assert "numeric" in missing
    assert "_numeric" in missing
    assert not {"int4", "_int4", "pg_node_tree"} & set(missing)
