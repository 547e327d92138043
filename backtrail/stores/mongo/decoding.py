"""From bytes to the values that authors meet, opaque ones where Python has none."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import bson

from backtrail.stores.mongo.codec import BEYOND, at_once
from backtrail.stores.mongo.decimal128 import from_decimal128
from backtrail.stores.mongo.document import ARRAY, DOCUMENT, EMPTY_DOCUMENT, NULL, Element, split
from backtrail.stores.mongo.encoding import binary_data, regex_data
from backtrail.values import Opaque

MAX_WALK = 64
"""Levels of documents that are walked through; what is deeper, and not exact in the codec's hands, stays opaque as a whole."""

_Value = TypeVar("_Value")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_int32, _int64, _double, _stamp = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<d"), struct.Struct("<II")


def decode(element: Element) -> Any:
    """The value as authors meet it; `encode` makes the same bytes of it."""
    return decoded(element.kind, element.data, 0)


def decoded(kind: int, data: bytes, depth: int) -> Any:
    """The value of a type byte and its bytes, inside so many documents."""
    try:
        if kind in {DOCUMENT, ARRAY}:
            return _container(kind, data, depth)
        return _READ[kind](data)
    except (*BEYOND, KeyError):
        return Opaque(opaque_text(kind, data), (kind, data))


def _container(kind: int, data: bytes, depth: int) -> Any:
    if data == EMPTY_DOCUMENT:
        return [] if kind == ARRAY else {}
    try:
        return at_once(kind, data)
    except ValueError:
        if depth >= MAX_WALK:
            raise
    elements = split(data)
    if kind == ARRAY:
        if any(element.name != str(at) for at, element in enumerate(elements)):
            raise ValueError("a list whose places are not counted")
        return [decoded(element.kind, element.data, depth + 1) for element in elements]
    if len({element.name for element in elements}) < len(elements):
        raise ValueError("a document that has a name twice")
    return {element.name: decoded(element.kind, element.data, depth + 1) for element in elements}


def _kept(value: _Value, data: bytes, again: bytes) -> _Value:
    if data != again:
        raise ValueError("not what Python makes of it")
    return value


def _read_double(data: bytes) -> float:
    value: float = _double.unpack(data)[0]
    return value if value == value else _kept(value, data, _double.pack(value))  # noqa: PLR0124 -- NaN alone is unequal to itself


def _read_text(data: bytes) -> str:
    return data[4:-1].decode()


def _read_bool(data: bytes) -> bool:
    return _kept(data == b"\1", data, b"\1" if data == b"\1" else b"\0")


def _read_date(data: bytes) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=_int64.unpack(data)[0])


def _read_binary(data: bytes) -> Any:
    if not data[4]:
        return data[5:]
    if data[4] == 4:
        return uuid.UUID(bytes=data[5:])
    value = bson.Binary(data[9:] if data[4] == 2 else data[5:], data[4])  # subtype 2 states its length a second time
    return _kept(value, data, binary_data(value))


def _read_regex(data: bytes) -> bson.Regex[str]:
    pattern, flags, _ = data.split(b"\0")
    value = bson.Regex(pattern.decode(), flags.decode())
    return _kept(value, data, regex_data(value))


def _read_stamp(data: bytes) -> bson.Timestamp:
    increment, time = _stamp.unpack(data)
    return bson.Timestamp(time, increment)


_READ: dict[int, Callable[[bytes], Any]] = {
    0x01: _read_double,
    0x02: _read_text,
    0x05: _read_binary,
    0x07: bson.ObjectId,
    0x08: _read_bool,
    0x09: _read_date,
    NULL: lambda _: None,
    0x0B: _read_regex,
    0x0D: lambda data: bson.Code(_read_text(data)),
    0x10: lambda data: _int32.unpack(data)[0],
    0x11: _read_stamp,
    0x12: lambda data: bson.Int64(_int64.unpack(data)[0]),
    0x13: from_decimal128,
    0x7F: lambda _: bson.MaxKey(),
    0xFF: lambda _: bson.MinKey(),
}


def opaque_text(kind: int, data: bytes) -> str:
    """A value that Python does not have as short text."""
    if kind == 0x09:
        return _date_text(_int64.unpack(data)[0])
    if kind in {0x02, 0x0E}:
        return ("symbol " if kind == 0x0E else "") + _short(data[4:-1])
    if kind == 0x0B:
        pattern, flags, _ = data.split(b"\0")
        return f"/{_short(pattern)}/{_short(flags)}"
    if kind == 0x0C:
        return f"DBPointer {_short(data[4:-13])} {data[-12:].hex()}"
    if kind in {DOCUMENT, ARRAY, 0x05, 0x0F}:
        return f"{NAMES[kind]} of {len(data)} bytes"
    return f"{NAMES.get(kind, f'type {kind:#04x}')} {data[::-1].hex()}".strip()


def _short(raw: bytes) -> str:
    text = raw.decode("utf-8", "backslashreplace")
    return text if len(text) <= 80 else f"{text[:79]}…"


def _date_text(milliseconds: int) -> str:
    days, rest = divmod(milliseconds, 86_400_000)
    # The Gregorian calendar repeats every 400 years, which are 146 097 days: the date is looked up in a cycle that Python has.
    cycles, days = divmod(days, 146_097)
    day = dt.date(1970, 1, 1) + dt.timedelta(days)
    time = (dt.datetime.min + dt.timedelta(milliseconds=rest)).time()
    return f"{day.year + 400 * cycles:+07d}-{day:%m-%d}T{time.isoformat('milliseconds' if rest % 1000 else 'seconds')}Z"


NAMES = {
    0x01: "double",
    0x02: "text",
    DOCUMENT: "document",
    ARRAY: "list",
    0x05: "binary data",
    0x06: "undefined",
    0x07: "ObjectId",
    0x08: "bool",
    0x09: "date",
    0x0A: "null",
    0x0B: "regular expression",
    0x0C: "DBPointer",
    0x0D: "code",
    0x0E: "symbol",
    0x0F: "code with scope",
    0x10: "int32",
    0x11: "timestamp",
    0x12: "int64",
    0x13: "Decimal128",
    0x7F: "max key",
    0xFF: "min key",
}
