"""From values that authors write to bytes."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import struct
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from backtrail.errors import BadValue
from backtrail.row import NewRow, Row
from backtrail.stores.mongo.codec import BEYOND, OPTIONS
from backtrail.stores.mongo.decimal128 import Unfit, to_decimal128
from backtrail.stores.mongo.document import ARRAY, DOCUMENT, EMPTY_DOCUMENT, NULL, Element, join
from backtrail.values import Opaque

KeyOf = Callable[[object], Element | None]
"""Gives the primary key that a row stands for; None where it is not known."""

_element = tuple.__new__  # as in document.py
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_int32, _int64, _double, _stamp = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<d"), struct.Struct("<II")


def encode(value: Any, key_of: KeyOf = lambda _: None, name: str = "") -> Element:
    """The field of that name that holds the value; rows in it, at any depth, are their primary keys.

    Raises:
        BadValue: no document can hold it. The message names the field and the Python type.
    """
    try:
        return _element(Element, (name, *_encoded(value, key_of)))
    except Unfit as error:
        path = ".".join((*([name] if name else ()), *reversed(error.path))) or "the value"
        raise BadValue(f"{path.encode('utf-8', 'backslashreplace').decode()}: no document can hold {error.why}") from None
    except RecursionError:
        raise BadValue(
            f"{name or 'the value'}: no document can hold values that are nested so deep, or hold themselves"
        ) from None


def _encoded(value: Any, key_of: KeyOf) -> tuple[int, bytes]:
    write = _WRITE.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, (dict, list)):
        if not value:
            return DOCUMENT if isinstance(value, dict) else ARRAY, EMPTY_DOCUMENT
        if _is_plain(value):
            try:
                raw = bson.encode({"": value}, codec_options=OPTIONS)
                return raw[4], raw[6:-1]
            except BEYOND:
                pass  # what is wrong, and where, is found on the walk
    elif isinstance(value, (Row, NewRow)):
        return _key(value, key_of)
    elif isinstance(value, RawBSONDocument):
        return DOCUMENT, bytes(value.raw)
    if isinstance(value, Mapping):
        return DOCUMENT, _walked(value.items(), key_of)
    if isinstance(value, (list, tuple)):
        return ARRAY, _walked(((str(at), item) for at, item in enumerate(value)), key_of)
    return _of_base(value)


def _of_base(value: Any) -> tuple[int, bytes]:
    """What the value is as one of the type that its own is derived from."""
    for base, write in _WRITE.items():
        if isinstance(value, base):
            return write(value)
    raise Unfit(f"a value of Python type {type(value).__name__}")


def _key(row: Row | NewRow, key_of: KeyOf) -> tuple[int, bytes]:
    element = key_of(row)
    if element is None:
        raise Unfit("a row whose primary key is not known")
    return element.kind, element.data


def _walked(items: Iterable[tuple[Any, Any]], key_of: KeyOf) -> bytes:
    elements = []
    for name, item in items:
        if not isinstance(name, str) or "\0" in name:
            raise Unfit(f"a field name of Python type {type(name).__name__}, or with NUL in it")
        try:
            elements.append(Element(name, *_encoded(item, key_of)))
        except Unfit as error:
            error.path.append(name)
            raise
    try:
        return join(elements)
    except UnicodeEncodeError:
        raise Unfit("a field name with half a surrogate pair") from None


def _is_plain(value: Any) -> bool:
    """Whether the codec may have it: it would take a row for a document, and knows no opaque value."""
    named = isinstance(value, dict)
    kinds = set(map(type, value.values() if named else value))
    if not kinds <= _PLAIN or (named and set(map(type, value)) - {str}):
        return False
    return kinds.isdisjoint(_NESTED) or all(
        map(_is_plain, (item for item in (value.values() if named else value) if type(item) in _NESTED))
    )


def _int(value: int) -> tuple[int, bytes]:
    if -(2**31) <= value < 2**31:
        return 0x10, _int32.pack(value)
    return _long(value)


def _long(value: int) -> tuple[int, bytes]:
    if not -(2**63) <= value < 2**63:
        raise Unfit("an integer beyond 64 bits")
    return 0x12, _int64.pack(value)


def _text_data(value: str) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise Unfit("text with half a surrogate pair") from None
    return b"%b%b\0" % (_int32.pack(len(encoded) + 1), encoded)


def _code(value: bson.Code) -> tuple[int, bytes]:
    if value.scope is not None:
        raise Unfit("code that has a scope")
    return 0x0D, _text_data(value)


def binary_data(value: bytes) -> bytes:
    """The data of a binary value, of subtype 0 where it has none."""
    subtype = getattr(value, "subtype", 0)
    inner = _int32.pack(len(value)) if subtype == 2 else b""
    return b"%b%c%b%b" % (_int32.pack(len(inner) + len(value)), subtype, inner, value)


def regex_data(value: bson.Regex[Any]) -> bytes:
    """The data of a regular expression, its flags in the order that BSON asks for."""
    if not isinstance(value.pattern, str) or "\0" in value.pattern:
        raise Unfit("a pattern that is no text, or with NUL in it")
    flags = "".join(name for name, flag in _FLAGS.items() if value.flags & flag)
    return b"%b\0%b\0" % (value.pattern.encode(), flags.encode())


_FLAGS = {"i": re.I, "l": re.L, "m": re.M, "s": re.S, "u": re.U, "x": re.X}


def _date(value: dt.datetime) -> bytes:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    return _int64.pack((aware - _EPOCH) // _MILLISECOND)


def _opaque(value: Opaque) -> tuple[int, bytes]:
    if not isinstance(value.exact, tuple):
        raise Unfit("an opaque value of another database")
    kind, data = value.exact
    return kind, data


_WRITE: dict[type, Callable[[Any], tuple[int, bytes]]] = {
    bool: lambda value: (0x08, b"\1" if value else b"\0"),
    bson.Int64: _long,
    int: _int,
    float: lambda value: (0x01, _double.pack(value)),
    bson.Code: _code,
    str: lambda value: (0x02, _text_data(value)),
    type(None): lambda _: (NULL, b""),
    bson.ObjectId: lambda value: (0x07, value.binary),
    dt.datetime: lambda value: (0x09, _date(value)),
    uuid.UUID: lambda value: (0x05, binary_data(bson.Binary(value.bytes, 4))),
    bytes: lambda value: (0x05, binary_data(value)),
    decimal.Decimal: lambda value: (0x13, to_decimal128(value)),
    bson.Decimal128: lambda value: (0x13, value.bid),
    bson.Regex: lambda value: (0x0B, regex_data(value)),
    bson.Timestamp: lambda value: (0x11, _stamp.pack(value.inc, value.time)),
    bson.MinKey: lambda _: (0xFF, b""),
    bson.MaxKey: lambda _: (0x7F, b""),
    Opaque: _opaque,
}
"""What writes a value, by its type; derived types are looked up in this order, so bool comes before int."""

SIMPLE = frozenset(_WRITE)
"""Types whose values hold no others."""

_NESTED = {dict, list, tuple}
_PLAIN = {*_NESTED, *_WRITE} - {Opaque, bson.Code, bson.Regex}
"""Types that the codec writes just as `_WRITE` would."""
