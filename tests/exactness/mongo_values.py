"""Values, primary keys and documents for MongoDB, by the type that the matrix shows them under."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tests import hard_bson as hard

TYPES = {
    0x01: "double",
    0x02: "string",
    0x03: "document",
    0x04: "array",
    0x05: "binary",
    0x06: "undefined",
    0x07: "ObjectId",
    0x08: "bool",
    0x09: "date",
    0x0A: "null",
    0x0B: "regex",
    0x0C: "DBPointer",
    0x0D: "code",
    0x0E: "symbol",
    0x0F: "code with scope",
    0x10: "int32",
    0x11: "timestamp",
    0x12: "int64",
    0x13: "Decimal128",
    0xFF: "MinKey",
    0x7F: "MaxKey",
}
"""BSON's types by their byte (https://bsonspec.org/spec.html)."""

MORE: dict[str, bytes] = {
    "double, zero": hard.double(0.0),
    "double, minus smallest subnormal": hard.double(-5e-324),
    "double, 2**53 + 2": hard.double(2.0**53 + 2),
    "double, quiet NaN with another payload": hard.double_bits(0x7FF8_0000_DEAD_BEEE),
    "int32, zero": hard.int32(0),
    "int32, one": hard.int32(1),
    "int32, greatest": hard.int32(2**31 - 1),
    "int64, zero": hard.int64(0),
    "int64, 2**53 + 1": hard.int64(2**53 + 1),
    "double that is an integer": hard.double(1.0),
    "decimal that is an integer": hard.decimal(1, 0),
    "decimal 0": hard.decimal(0, 0),
    "decimal 0E-6176": hard.decimal(0, -6176),
    "decimal 0E+6111": hard.decimal(0, 6111),
    "decimal 1E+1": hard.decimal(1, 1),
    "decimal 10": hard.decimal(10, 0),
    "decimal, least": hard.decimal(10**34 - 1, 6111, negative=True),
    "decimal, signaling NaN with payload": hard.decimal_bits(0x7E00_0000_0000_0000, 7),
    "text that is a number": hard.text("1"),
    "text, composed": hard.text("\u00e9"),
    "text, decomposed": hard.text("e\u0301"),
    "text of 100 KB": hard.text("Zoë " * 20_000),
    "symbol, empty": hard.symbol(""),
    "symbol, invalid UTF-8": hard.symbol(b"\xff"),
    "symbol with NUL": hard.symbol("a\0b"),
    "code, empty": hard.code(""),
    "code with NUL": hard.code("a\0b"),
    "code with scope, name twice": hard.scoped("x", ("x", hard.int32(1)), ("x", hard.double(-0.0))),
    "regex, empty": hard.regex("", ""),
    "regex of unicode": hard.regex("é🜁", "u"),
    "DBPointer, empty": hard.pointer("", 0),
    "object id, zero": hard.object_id(0),
    "date, zero": hard.date(0),
    "timestamp, no increment": hard.timestamp(1, 0),
    "timestamp, no time": hard.timestamp(0, 1),
    "undefined in a document": hard.sub(("a", hard.UNDEFINED)),
    "null in a document": hard.sub(("a", hard.NULL)),
    "min and max key in a list": hard.array(hard.MIN_KEY, hard.MAX_KEY),
    "document, one order": hard.sub(("a", hard.int32(1)), ("b", hard.int32(2))),
    "document, the other order": hard.sub(("b", hard.int32(2)), ("a", hard.int32(1))),
    "list whose places have leading zeros": hard.array_named(("00", hard.int32(1)), ("01", hard.int32(2))),
    **{f"binary, subtype {subtype}": hard.binary(subtype, b"\1\2\3") for subtype in (*range(10, 128), *range(129, 255))},
    **{f"binary, subtype {subtype}, empty": hard.binary(subtype, b"") for subtype in (1, 2, 3, 4, 5, 6, 7, 128)},
}
"""Beyond the values that the tests of the images have."""

VALUES = {**hard.VALUES, **MORE}

IDS: dict[str, bytes] = {
    **hard.IDS,
    "object id": hard.object_id(1),
    "false": hard.FALSE,
    "text, empty": hard.text(""),
    "text with NUL": hard.text("a\0b"),
    "text in upper case": hard.text("A KEY"),
    "decimal of 34 digits": hard.VALUES["decimal of 34 digits"],
    "decimal Infinity": hard.VALUES["decimal Infinity"],
    "int64, least": hard.int64(-(2**63)),
    "int64, 2**53 + 1": hard.int64(2**53 + 1),
    "date, greatest": hard.date(2**63 - 1),
    "date, least": hard.date(-(2**63)),
    "document, the other order": hard.sub(("a", hard.int32(2)), ("b", hard.int32(1))),
    "document with a NaN": hard.sub(("a", hard.double_bits(0x7FF8_0000_DEAD_BEEF))),
    "code with scope": hard.scoped("x", ("x", hard.int32(1))),
    "binary, subtype 2": hard.binary(2, b"abc"),
    "timestamp, no time": hard.timestamp(0, 1),
}
"""Primary keys, no two of them equal on the server."""

OWN_ID = len(hard.with_id()) - 5
"""How many bytes the `_id` field of a document of `hard.DOCUMENTS` has."""


def _fields(raw: bytes) -> bytes:
    """The fields after `_id`."""
    assert raw[4:9] == b"\x07_id\0"
    return raw[4 + OWN_ID : -1]


ABSENT = "absent and null"
SHAPES = {
    "field order": ("5000 fields", "list of 5000 documents", "document order"),
    "names that are there twice": ("name twice", "name three times, of every type"),
    "empty, dotted and $ names": ("empty name", "dotted names", "$-prefixed name", "$-prefixed name of an operator"),
    "names of unicode and invalid UTF-8": ("name of unicode", "name of invalid UTF-8"),
    "timestamp (0, 0) at the top": (
        "timestamp, zero, alone",
        "timestamps, zero, among others",
        "timestamps, zero, under odd names",
    ),
    ABSENT: ("nothing but _id", "null", "undefined", "document of null"),
}
"""Whole documents, by the descriptions in `FIELDS`."""

FIELDS: dict[str, bytes] = {
    **{
        name: _fields(hard.DOCUMENTS[name])
        for names in SHAPES.values()
        for name in names
        if name in hard.DOCUMENTS and name not in hard.VALUES
    },
    "document order": hard.document(*((name, hard.int32(at)) for at, name in enumerate("zyxaBb0")))[4:-1],
    "null": hard.document(("value", hard.NULL))[4:-1],
    "undefined": hard.document(("value", hard.UNDEFINED))[4:-1],
    "document of null": hard.document(("value", hard.sub(("value", hard.NULL))))[4:-1],
}
"""The fields of documents beside `_id`."""

MEGABYTE = 1024 * 1024
LARGE = {"1 MB": MEGABYTE, "10 MB": 10 * MEGABYTE, "16 MB": 16 * MEGABYTE - 200}


def large(size: int) -> tuple[bytes, bytes]:
    """The fields of a document of about that size, and its longest value."""
    raw = hard.large(size)
    at = raw.index(b"\x05body\0")
    (length,) = struct.unpack_from("<i", raw, at + 6)
    return _fields(raw), b"\x05" + raw[at + 6 : at + 11 + length]


NEAR = {
    "double, zero": "double, minus zero",
    "double, minus zero": "double, zero",
    "double, NaN with payload": "double, quiet NaN with another payload",
    "double, signaling NaN": "double, quiet NaN",
    "double, negative NaN": "double, quiet NaN",
    "decimal 1.10": "decimal 1.1",
    "decimal 10": "decimal 1E+1",
    "decimal 0E-6176": "decimal 0",
    "decimal NaN with payload": "decimal NaN",
    "decimal Infinity with bits behind it": "decimal Infinity",
    "decimal that is an integer": "double that is an integer",
    "double that is an integer": "int32, one",
    "int64 that fits int32": "int32, one",
    "text, decomposed": "text, composed",
    "text, invalid UTF-8": "text, half a surrogate pair in UTF-8",
    "document, the other order": "document, one order",
    "null in a document": "undefined in a document",
    "null": "undefined",
    "list that starts at 1": "list out of order",
    "binary, subtype 3": "binary, subtype 4",
    "regex, flags out of order": "regex, flag twice",
    "symbol": "text",
    "true": "int32, one",
}
"""Values with another that is easily taken for them."""


def before(label: str) -> bytes:
    """What the value of that description takes the place of."""
    names = list(VALUES)
    return VALUES[NEAR.get(label, names[names.index(label) - 1])]


def by_type(values: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """The values by the name of their type, in the order of the types' bytes."""
    groups: dict[str, dict[str, bytes]] = {name: {} for byte, name in TYPES.items()}
    for name, value in values.items():
        groups[TYPES[value[0]]][name] = value
    return {name: group for name, group in groups.items() if group}
