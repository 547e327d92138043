"""What the server's text of a value is in Python, and the text of what an author gives."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.postgres import types as registry

from backtrail.errors import BadValue
from backtrail.jsontext import json_writer
from backtrail.stores.cells import json_reader
from backtrail.stores.postgres.marked import MARKED
from backtrail.stores.postgres.types import (
    BOXES,
    INTERVAL,
    INTERVALS,
    JSON_ARRAY_OIDS,
    JSON_OIDS,
    NAMED_OIDS,
    TEXT_OIDS,
    TIMESTAMP,
    TIMESTAMP_WITH_ZONE,
    TIMESTAMPS,
)
from backtrail.values import Opaque

json_text = json_writer(allow_nan=False)
EMPTY: dict[type, str] = {dict: "{}", list: "[]"}


def decoder(oid: int) -> Callable[[str], Any]:
    """What turns the server's text of a value of that type into a Python value; `Opaque` where Python has none."""
    if oid in TEXT_OIDS:
        return str
    if oid in {20, 21, 23, 26} or oid in NAMED_OIDS:
        return int
    if oid in JSON_OIDS:
        return json_reader(_or_opaque(json.loads))
    if oid == INTERVAL:
        # psycopg makes 30 days of a month, and a day of 24 hours, which are other values.
        load = _loaded(oid)
        return lambda text: value if interval_text(value := load(text)) == text else Opaque(text)
    if oid in {TIMESTAMP, TIMESTAMP_WITH_ZONE}:
        return _time_reader(_loaded(oid))
    if oid == TIMESTAMPS:
        load = _loaded(oid)
        return lambda text: _aware(load(text))
    info = registry.get(oid)
    if info is None:
        return str
    return Opaque if oid == INTERVALS or info.name.endswith(("range", "multirange")) else _loaded(oid)


def interval_text(value: Any) -> str:
    """The server's text of the interval that has these days and this time, both of one sign; empty for what is none."""
    if not isinstance(value, dt.timedelta):
        return ""
    sign, value = ("-", -value) if value < dt.timedelta() else ("", value)
    seconds, fraction = value.seconds, f".{value.microseconds:06d}".rstrip("0").rstrip(".")
    time = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"
    days = f"{sign}{value.days} day{'' if (sign, value.days) == ('', 1) else 's'}" if value.days else ""
    return f"{days} {time}" if days and value - dt.timedelta(value.days) else days or time


def _time_reader(otherwise: Callable[[str], Any]) -> Callable[[str], Any]:
    """What gives the time of a text at once, and what `otherwise` gives where Python's own reader does not find one in UTC."""

    def decode(text: str) -> Any:
        try:
            value = dt.datetime.fromisoformat(text)
        except ValueError:
            return _aware(otherwise(text))
        return value if value.tzinfo is dt.UTC else _aware(value if value.tzinfo is None else otherwise(text))

    return decode


def _aware(value: Any) -> Any:
    # A timestamp without zone is taken as UTC: authors never meet a naive time.
    if isinstance(value, list):
        return [_aware(item) for item in value]
    return value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value


def _loaded(oid: int) -> Callable[[str], Any]:
    loader = Transformer(None).get_loader(oid, pq.Format.TEXT)
    # An array that does not begin at 1 says so before its elements; a list does not.
    return _or_opaque(lambda text: Opaque(text) if text.startswith("[") and "]={" in text else loader.load(text.encode()))


def _or_opaque(load: Callable[[str], Any]) -> Callable[[str], Any]:
    def decode(text: str) -> Any:
        try:
            return load(text)
        except (psycopg.DataError, ValueError, OverflowError, ArithmeticError, RecursionError):
            return Opaque(text)

    return decode


def encoder(table: str, name: str, oid: int, *, marked: bool = False) -> Callable[[Any], str]:
    """What turns Python values into text that the server reads as a value of that type, with a binary form behind it in a marked column alone."""
    is_json = oid in JSON_OIDS
    last: Any = object()
    last_text = ""

    def encode(value: Any) -> str:
        nonlocal last, last_text
        if value is last:
            return last_text
        if isinstance(value, Opaque):
            return str(value.exact) if marked else MARKED.sub("", str(value.exact))
        kind = type(value)
        try:
            if is_json:
                text = EMPTY[kind] if not value and kind in EMPTY else json_text(value)
            else:
                text = value if kind is str else str(value) if kind is int else server_text(value, oid)
            if not text.isascii():
                text.encode()  # a lone surrogate is a ValueError
        except (TypeError, ValueError) as error:
            raise BadValue(f"{table}.{name} cannot hold a value of type {kind.__name__}") from error
        if "\0" in text:
            raise BadValue(f"{table}.{name} cannot hold text with a NUL character")
        if kind is dt.datetime:
            last, last_text = value, text  # the time of the job stands in all rows of a batch
        return text

    return encode


def server_text(value: Any, oid: int = 0) -> str:
    """The value as text for the server's input functions.

    Raises:
        TypeError: no type of PostgreSQL takes it.
    """
    match value:
        case enum.Enum():
            return server_text(value.value, oid)
        case str():
            return str(value)
        case bool():
            return "t" if value else "f"
        case int() | decimal.Decimal() | uuid.UUID():
            return str(value)
        case float():
            return repr(value).replace("inf", "Infinity").replace("nan", "NaN")
        case dt.datetime():
            # A timestamp without zone drops the offset of its text, so the time goes there as UTC.
            return str(value.astimezone(dt.UTC).replace(tzinfo=None)) if value.tzinfo and oid == TIMESTAMP else value.isoformat()
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return interval_text(value)
        case bytes() | bytearray() | memoryview():
            return "\\x" + bytes(value).hex()
        case list() | tuple():
            return "{" + (";" if oid == BOXES else ",").join(_element(item, oid) for item in value) + "}"
        case dict() | set() | frozenset():
            raise TypeError
    if type(value).__module__ not in {"ipaddress", "fractions"}:
        raise TypeError  # the text of an unknown object is its address, or worse, looks like a value
    return str(value)


def array(column: Sequence[Any]) -> str:
    """An array of texts or numbers as the server reads it; psycopg's own takes as long as finding the rows."""
    if str in map(type, column):
        texts = ["NULL" if cell is None else '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"' for cell in column]
    else:
        texts = ["NULL" if cell is None else str(cell) for cell in column]
    return "{" + ",".join(texts) + "}"


def _element(value: Any, oid: int) -> str:
    if value is None:
        return "NULL"
    as_json = oid in JSON_ARRAY_OIDS
    if isinstance(value, (list, tuple)) and not as_json:
        return server_text(value, oid)
    text = (
        json.dumps(value, ensure_ascii=False, allow_nan=False)
        if as_json
        else server_text(value, TIMESTAMP if oid == TIMESTAMPS else 0)
    )
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
