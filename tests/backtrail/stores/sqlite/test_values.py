"""SQLite's values: declared types, affinities, decoders and encoders."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
import uuid
from typing import Any

import pytest

from backtrail.errors import BadValue
from backtrail.stores.cells import RawText
from backtrail.stores.sqlite.values import affinity, decoder, encoder, order
from backtrail.values import Opaque


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        *[("INT", "integer"), ("BIGINT", "integer"), ("CHARINT", "integer"), ("FLOATING POINT", "integer")],
        *[("VARCHAR(9)", "text"), ("CLOB", "text"), ("", "blob"), ("BLOB", "blob")],
        *[
            ("REAL", "real"),
            ("DOUBLE PRECISION", "real"),
            ("DECIMAL(9,2)", "numeric"),
            ("BOOLEAN", "numeric"),
            ("STRING", "numeric"),
        ],
    ],
)
def test_affinity(declared: str, expected: str) -> None:
    """As SQLite itself stores a number and a text there."""
    assert affinity(declared) == expected
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (a {declared})")
    connection.execute("INSERT INTO t VALUES ('1'), (1)")
    classes = [row[0] for row in connection.execute("SELECT typeof(a) FROM t")]
    connection.close()
    expected_classes = {"integer": ["integer", "integer"], "numeric": ["integer", "integer"], "real": ["real", "real"]}
    assert classes == expected_classes.get(expected, ["text", "text"] if expected == "text" else ["text", "integer"])


def test_order_is_sqlites_own() -> None:
    """Values of all classes are sorted as SQLite sorts them."""
    cells: list[Any] = [b"a", "a", 1, None, 1.5, "B", "ä", b"", "", -3, 10, 9, float("inf"), b"\xff", "z"]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a)")
    connection.executemany("INSERT INTO t VALUES (?)", [(cell,) for cell in cells])
    assert sorted(cells, key=order) == [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]
    connection.close()


@pytest.mark.parametrize(
    ("declared", "cell", "value"),
    [
        ("DATETIME", "2020-01-01 10:00:00", dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)),
        ("TIMESTAMP", "2020-01-01T10:00:00+02:00", dt.datetime(2020, 1, 1, 8, tzinfo=dt.UTC)),
        ("DATE", "2020-01-01", dt.date(2020, 1, 1)),
        ("BOOLEAN", 1, True),
        ("BOOLEAN", 2, 2),
        ("JSON", '{"a": [1]}', {"a": [1]}),
        ("TEXT", "x", "x"),
        ("INTEGER", "x", "x"),
    ],
)
def test_decoded(declared: str, cell: Any, value: Any) -> None:
    """What authors get of a cell."""
    assert decoder(declared)(cell) == value


@pytest.mark.parametrize(
    ("declared", "cell"),
    [
        ("DATE", "soon"),
        ("DATETIME", "44 BC"),
        ("JSON", "{"),
        ("JSON", "[" * 5000),
        ("TEXT", RawText(b"\xff")),
        ("DATE", RawText(b"\xff")),
    ],
)
def test_opaque(declared: str, cell: Any) -> None:
    """What Python cannot hold shows as text, and goes back as the very cell."""
    value = decoder(declared)(cell)
    assert isinstance(value, Opaque)
    again = encoder("t", "a", declared)(value)
    assert (again, type(again)) == (cell, type(cell))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (True, 1),
        (dt.datetime(2020, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2020-01-01 10:00:00"),
        (dt.date(2020, 1, 1), "2020-01-01"),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"a": "ü"}, '{"a": "ü"}'),
        (bytearray(b"a"), b"a"),
    ],
)
def test_encoded(value: Any, cell: Any) -> None:
    """Python values as SQLite's own functions and habits have them."""
    assert encoder("t", "a", "")(value) == cell


@pytest.mark.parametrize("value", [float("nan"), 2**63, "\ud800", object(), {1}, {"a": float("inf")}])
def test_refused(value: Any) -> None:
    """What would be changed on the way, or cannot go, is refused by the column's name."""
    with pytest.raises(BadValue, match=r"t\.a cannot hold"):
        encoder("t", "a", "")(value)
