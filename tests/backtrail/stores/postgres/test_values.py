"""PostgreSQL's values as Python's and back; a real server says what is right."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import ipaddress
import uuid
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtrail.errors import BadValue
from backtrail.stores.postgres.values import decoder, encoder, interval_text, server_text
from backtrail.values import Opaque

INTERVAL = 1186
TIMESTAMP, TIMESTAMPTZ = 1114, 1184


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("text", "a\\N\t'", "a\\N\t'"),
        ("boolean", True, "true"),
        ("int", 5, "5"),
        ("numeric", decimal.Decimal("1E-7"), "0.0000001"),
        ("float8", -0.0, "-0"),
        ("float8", float("-inf"), "-Infinity"),
        ("float8", float("nan"), "NaN"),
        ("uuid", uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("bytea", memoryview(b"\0\xff"), "\\x00ff"),
        ("timestamptz", dt.datetime(2020, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2020-01-01 10:00:00+00"),
        ("date", dt.date(1, 1, 1), "0001-01-01"),
        ("time", dt.time(1, 2, 3, 4), "01:02:03.000004"),
        ("timetz", dt.time(1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-5))), "01:02:00-05"),
        ("interval", dt.timedelta(days=-1, hours=2), "-22:00:00"),
        ("interval", dt.timedelta(days=40, microseconds=1), "40 days 00:00:00.000001"),
        ("inet", ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
        ("text", Colour.RED, "red"),
        ("int[]", [1, None, 2], "{1,NULL,2}"),
        ("int[]", [[1, 2], [3, 4]], "{{1,2},{3,4}}"),
        ("text[]", ["a,b", 'c"d', "e\\f", None, "NULL", ""], '{"a,b","c\\"d","e\\\\f",NULL,"NULL",""}'),
        ("bytea[]", [b"\xff"], '{"\\\\xff"}'),
    ],
)
def test_python_values_as_text(postgres_url: str, kind: str, value: Any, text: str) -> None:
    """The server reads the text of a Python value as the value that is meant."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert connection.execute(f"SELECT %s::text::{kind}::text", [server_text(value)]).fetchone() == (text,)


def test_times_without_zone() -> None:
    """A timestamp without zone is in UTC, alone and in an array."""
    noon = dt.datetime(2020, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert encoder("t", "a", 1114)(noon) == "2020-01-01 10:00:00"
    assert encoder("t", "a", 1115)([noon]) == '{"2020-01-01 10:00:00"}'
    assert decoder(1115)('{"2020-01-01 10:00:00"}') == [noon]


@given(st.timedeltas(dt.timedelta(days=-100_000), dt.timedelta(days=100_000)))
def test_intervals_there_and_back(value: dt.timedelta) -> None:
    """What Python can hold of an interval comes back as the same text, and so is exact."""
    assert decoder(INTERVAL)(interval_text(value)) == value


@settings(max_examples=40)
@given(st.integers(-13, 13), st.integers(-40, 40), st.integers(-(10**11), 10**11))
def test_intervals_of_the_server(postgres_url: str, months: int, days: int, microseconds: int) -> None:
    """An interval is a timedelta where that gives back the very same, and opaque where not: 30 days are no month, 24 hours no day."""
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "SELECT make_interval(months => %s, days => %s, secs => %s)::text", [months, days, microseconds / 1e6]
        ).fetchone()
    assert row is not None
    value = decoder(INTERVAL)(row[0])
    assert encoder("t", "a", INTERVAL)(value) == row[0]
    if months:
        assert isinstance(value, Opaque)


@pytest.mark.parametrize(
    ("oid", "text"),
    [
        (1082, "infinity"),
        (1082, "0044-03-15 BC"),
        (1114, "-infinity"),
        (1184, "10000-01-01 00:00:00+00"),
        (1266, "24:00:00-12"),
        (1007, "[2:3]={1,2}"),
        (3904, "[1,5)"),
        (114, "[" * 5000),
    ],
)
def test_opaque(oid: int, text: str) -> None:
    """What Python cannot hold shows its text, and goes back as that."""
    value = decoder(oid)(text)
    assert isinstance(value, Opaque)
    assert (str(value), encoder("t", "a", oid)(value)) == (text, text)


@pytest.mark.parametrize("value", [object(), {1}, {"a": 1}, "nul\0", "\ud800", lambda: 1])
def test_refused(value: Any) -> None:
    """What no column could take is refused by the column's name, before the server sees it."""
    with pytest.raises(BadValue, match=r"t\.a cannot hold"):
        encoder("t", "a", 25)(value)


@given(st.datetimes())
def test_times_are_read_in_utc(value: dt.datetime) -> None:
    """As the server writes them: to the microsecond, with an offset of none where the type has a zone."""
    text = str(value)
    expected = value.replace(tzinfo=dt.UTC)
    for found in (decoder(TIMESTAMP)(text), decoder(TIMESTAMPTZ)(text + "+00")):
        assert (found, found.tzinfo) == (expected, dt.UTC)


@pytest.mark.parametrize("oid", [TIMESTAMP, TIMESTAMPTZ])
@pytest.mark.parametrize(
    "text", ["infinity", "-infinity", "0044-03-15 01:02:03 BC", "10000-01-01 00:00:00", "111112-05-01 00:00:00"]
)
def test_times_that_python_has_not_keep_their_text(oid: int, text: str) -> None:
    """Years before Christ and after 9999, and infinity, are passed on as they are."""
    if oid == TIMESTAMPTZ and text[0].isdigit():
        text = text.replace(":03", ":03+00").replace(":00:00", ":00:00+00")
    assert decoder(oid)(text) == Opaque(text)


def test_times_of_another_zone_are_told_in_utc() -> None:
    """One moment is one value, whatever offset its text has."""
    found = decoder(TIMESTAMPTZ)("2024-05-01 10:00:00+02")
    assert (found.hour, found.tzinfo) == (8, dt.UTC)
