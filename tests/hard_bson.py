"""Documents that a codec changes or cannot read, as raw bytes: the oracle of what a store gives back.

Built here with `struct` alone, so that nothing of what is judged has a hand in it.
"""

# What MongoDB 6.0.5 (one-node replica set, every write inside a multi-document transaction) and PyMongo 4.20 did with these documents:
#
# Inserting `RawBSONDocument` (insert_one, insert_many, the `insert` command) keeps every byte but: a top-level Timestamp(0, 0) becomes "now",
# each duplicate of it too (not nested, not as `_id`); `_id` comes first; two `_id` are refused. See CHANGED and REFUSED.
#
# Putting a whole document back, from another state of it:
#   `update` command with raw `u`     exact but for Timestamp(0, 0) on top (changed), and refuses documents with a top-level `$` name (code 52)
#   delete, then insert               exact but for Timestamp(0, 0) on top; the order of names on top may be any, `$`, dotted, empty, twice
#   delete, then `$set` of the zero timestamps after the insert   exact, but not where such a name is there twice
#   delete, then upsert of [{$replaceWith: {$literal: raw}}]      exact for all that the server can hold
#   [{$replaceWith: {$literal: raw}}] on a document that is there  exact, but **it ends the server** (invariant in
#       document_diff_serialization.cpp: the difference to log is made by name) where the new document has a name twice that the old one lacks.
#       So: no pipeline update of an existing document whose new form has duplicates; the upsert after a delete makes no difference and is safe.
#   `bypassEmptyTsReplacement`        unknown to this server
#
# `$set` and `$unset`, plain and dotted, leave all other bytes of all these documents alone. Of a name that is there twice they change the first
# alone: $unset shows the second. `$set` takes every value exactly, Timestamp(0, 0) on top among them.
#
# PyMongo: filters, pipelines, inserts and updates pass the bytes on. `replace_one` and `ReplaceOne` look at the first name and so decode the
# document (which fails on years, invalid UTF-8 …) and refuse `$`; `Database.command` with a dict that holds raw documents looks at nothing, but the whole
# command must stay below 16 MB + 16 KB, and is itself no RawBSONDocument. Replies can hold values (a duplicate key's error, an upserted `_id`,
# findAndModify): decode them raw, or year 10000 raises InvalidBSON in place of the error. A query by undefined is refused by the server.
# A document of 15 MB in a transaction needs a cache (`--wiredTigerCacheSizeGB`) above 0.25: "transaction is too large".

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

Pair = tuple[str | bytes, bytes]
"""A field's name, and its type byte with the bytes of its value."""


def cstring(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    assert b"\0" not in raw
    return raw + b"\0"


def document(*fields: Pair) -> bytes:
    body = b"".join(value[:1] + cstring(name) + value[1:] for name, value in fields)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def counted(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<i", len(raw) + 1) + raw + b"\0"


def double(value: float) -> bytes:
    return b"\x01" + struct.pack("<d", value)


def double_bits(bits: int) -> bytes:
    return b"\x01" + struct.pack("<Q", bits)


def text(value: str | bytes) -> bytes:
    return b"\x02" + counted(value)


def sub(*fields: Pair) -> bytes:
    return b"\x03" + document(*fields)


def array(*values: bytes) -> bytes:
    return b"\x04" + document(*((str(at), value) for at, value in enumerate(values)))


def array_named(*fields: Pair) -> bytes:
    return b"\x04" + document(*fields)


def binary(subtype: int, data: bytes) -> bytes:
    if subtype == 2:
        data = struct.pack("<i", len(data)) + data
    return b"\x05" + struct.pack("<iB", len(data), subtype) + data


UNDEFINED, NULL, MIN_KEY, MAX_KEY = b"\x06", b"\x0a", b"\xff", b"\x7f"
TRUE, FALSE = b"\x08\x01", b"\x08\x00"


def object_id(number: int) -> bytes:
    return b"\x07" + number.to_bytes(12, "big")


def date(milliseconds: int) -> bytes:
    return b"\x09" + struct.pack("<q", milliseconds)


def regex(pattern: str, flags: str) -> bytes:
    return b"\x0b" + cstring(pattern) + cstring(flags)


def pointer(namespace: str, number: int) -> bytes:
    return b"\x0c" + counted(namespace) + number.to_bytes(12, "big")


def code(source: str) -> bytes:
    return b"\x0d" + counted(source)


def symbol(name: str | bytes) -> bytes:
    return b"\x0e" + counted(name)


def scoped(source: str, *fields: Pair) -> bytes:
    inner = counted(source) + document(*fields)
    return b"\x0f" + struct.pack("<i", len(inner) + 4) + inner


def int32(value: int) -> bytes:
    return b"\x10" + struct.pack("<i", value)


def timestamp(time: int, increment: int) -> bytes:
    return b"\x11" + struct.pack("<II", increment, time)


def int64(value: int) -> bytes:
    return b"\x12" + struct.pack("<q", value)


def decimal_bits(high: int, low: int) -> bytes:
    return b"\x13" + struct.pack("<QQ", low, high)


def decimal(coefficient: int, exponent: int, *, negative: bool = False) -> bytes:
    """The finite number in the layout of a coefficient of up to 113 bits."""
    bits = negative << 127 | (exponent + 6176) << 113 | coefficient
    return decimal_bits(bits >> 64, bits & (1 << 64) - 1)


def nested(levels: int, inside: bytes) -> bytes:
    value = inside
    for level in range(levels):
        value = array(value) if level % 3 == 2 else sub(("inner", value))
    return value


DAY = 86_400_000
YEAR_1 = -62_135_596_800_000
YEAR_10000 = 253_402_300_800_000
JAVASCRIPT_END = 8_640_000_000_000_000  # 275760-09-13; its start, -271821-04-20, is as far on the other side

_ids: Iterator[int] = itertools.count(0xB5_0000_0000_0000_0000_0001)


def with_id(*fields: Pair) -> bytes:
    return document(("_id", object_id(next(_ids))), *fields)


VALUES: dict[str, bytes] = {
    "double": double(1.5),
    "double, minus zero": double(-0.0),
    "double, quiet NaN": double_bits(0x7FF8_0000_0000_0000),
    "double, negative NaN": double_bits(0xFFF8_0000_0000_0000),
    "double, NaN with payload": double_bits(0x7FF8_0000_DEAD_BEEF),
    "double, signaling NaN": double_bits(0x7FF0_0000_0000_0001),
    "double, infinity": double_bits(0x7FF0_0000_0000_0000),
    "double, minus infinity": double_bits(0xFFF0_0000_0000_0000),
    "double, smallest subnormal": double_bits(1),
    "double, greatest": double_bits(0x7FEF_FFFF_FFFF_FFFF),
    "text": text("plain"),
    "text, empty": text(""),
    "text with NUL": text("a\0b\0"),
    "text, unicode": text("Zoë 🜁 é e\u0301 \u202e \ufeff"),
    "text, invalid UTF-8": text(b"a\xff\xfe\xc3"),
    "text, half a surrogate pair in UTF-8": text(b"\xed\xa0\x80"),
    "text, overlong": text(b"\xc0\x80"),
    "document, empty": sub(),
    "document": sub(("b", int32(1)), ("a", text("x"))),
    "list, empty": array(),
    "list": array(int32(1), text("x"), NULL, sub(("a", int64(1)))),
    "list in list": array(array(array())),
    **{f"binary, subtype {subtype}": binary(subtype, bytes(range(16))) for subtype in (*range(9), 128, 255)},
    "binary, subtype 9": binary(9, b"\x03\x00\x01\x02"),
    "binary, subtype 0, empty": binary(0, b""),
    "binary, subtype 4 of 5 bytes": binary(4, b"short"),
    "binary, subtype 2 that states no second length": b"\x05" + struct.pack("<iB", 4, 2) + b"abcd",
    "undefined": UNDEFINED,
    "object id": object_id(2**96 - 1),
    "true": TRUE,
    "false": FALSE,
    "date": date(1_700_000_000_123),
    "date before 1970": date(-1),
    "date, year 1": date(YEAR_1),
    "date, before year 1": date(YEAR_1 - 1),
    "date, end of year 9999": date(YEAR_10000 - 1),
    "date, year 10000": date(YEAR_10000),
    "date, year -271821": date(-JAVASCRIPT_END),
    "date, year 275760": date(JAVASCRIPT_END),
    "date, least": date(-(2**63)),
    "date, greatest": date(2**63 - 1),
    "null": NULL,
    "regex": regex("^a.*b$", "imsx"),
    "regex, flags out of order": regex("a", "xmi"),
    "regex, unknown flags": regex("a", "gy"),
    "regex, flag twice": regex("a", "ii"),
    "DBPointer": pointer("database.collection", 7),
    "code": code("function () { return 1 }"),
    "symbol": symbol("abc"),
    "code with scope": scoped("x + 1", ("x", int32(1))),
    "code with empty scope": scoped("1"),
    "int32, least": int32(-(2**31)),
    "int64 that fits int32": int64(1),
    "int64, least": int64(-(2**63)),
    "int64, greatest": int64(2**63 - 1),
    "timestamp": timestamp(1_700_000_000, 5),
    "timestamp, greatest": timestamp(2**32 - 1, 2**32 - 1),
    "timestamp, zero": timestamp(0, 0),
    "decimal 1.1": decimal(11, -1),
    "decimal 1.10": decimal(110, -2),
    "decimal -0E+3": decimal(0, 3, negative=True),
    "decimal of 34 digits": decimal(1234567890123456789012345678901234, -20),
    "decimal, greatest": decimal(10**34 - 1, 6111),
    "decimal, least subnormal": decimal(1, -6176),
    "decimal, coefficient of 35 digits": decimal(10**34, 0),
    "decimal, large form": decimal_bits(0x6C10_0000_0000_0000, 1),
    "decimal NaN": decimal_bits(0x7C00_0000_0000_0000, 0),
    "decimal, negative NaN": decimal_bits(0xFC00_0000_0000_0000, 0),
    "decimal NaN with payload": decimal_bits(0x7C00_0000_0000_0000, 12),
    "decimal, signaling NaN": decimal_bits(0x7E00_0000_0000_0000, 0),
    "decimal Infinity": decimal_bits(0x7800_0000_0000_0000, 0),
    "decimal -Infinity": decimal_bits(0xF800_0000_0000_0000, 0),
    "decimal Infinity with bits behind it": decimal_bits(0x7800_0000_0000_0000, 1),
    "min key": MIN_KEY,
    "max key": MAX_KEY,
    "document, name twice": sub(("a", int32(1)), ("b", NULL), ("a", int32(2))),
    "document, name twice in a list": array(sub(("a", int32(1)), ("a", text("x"))), sub(("a", int32(1)))),
    "document, empty name": sub(("", int32(1))),
    "document, dotted name": sub(("a.b", int32(1)), ("a", sub(("b", int32(2)))), (".", int32(3))),
    "document, $-prefixed names": sub(("$inc", int32(1)), ("$", int32(2)), ("a$", int32(3))),
    "document, name of unicode": sub(("é🜁", int32(1))),
    "document, name of invalid UTF-8": sub((b"a\xff", int32(1)), (b"\xed\xa0\x80", int32(2))),
    "document, names as of a list": sub(("0", int32(1)), ("1", int32(2))),
    "document, __proto__": sub(("__proto__", int32(1)), ("constructor", NULL)),
    "document, nested _id not first": sub(("a", int32(1)), ("_id", int32(2))),
    "DBRef": sub(("$ref", text("other")), ("$id", object_id(1))),
    "DBRef, fields out of order": sub(("$id", object_id(1)), ("$db", text("d")), ("$ref", text("other")), ("more", NULL)),
    "list that starts at 1": array_named(("1", int32(1)), ("2", int32(2))),
    "list out of order": array_named(("1", int32(1)), ("0", int32(2))),
    "list with names": array_named(("a", int32(1)), ("", int32(2))),
    "list, place twice": array_named(("0", int32(1)), ("0", int32(2))),
    "nested 90 deep": nested(90, double_bits(0x7FF0_0000_0000_0001)),
}
"""Hard values by description: each stands alone, in a document and in a list in `DOCUMENTS`."""

IDS: dict[str, bytes] = {
    "int32": int32(7),
    "int64": int64(2**40),
    "double": double(0.5),
    "minus zero": double(-0.0),
    "NaN with payload": double_bits(0x7FF8_0000_0000_0BAD),
    "text": text("a key"),
    "text of invalid UTF-8": text(b"\xff\xfe"),
    "date": date(1_700_000_000_000),
    "date, year 10000": date(YEAR_10000),
    "binary": binary(0, b"\0\1"),
    "binary, subtype 128": binary(128, b"\0\1"),
    "uuid": binary(4, bytes(range(16))),
    "true": TRUE,
    "null": NULL,
    "document": sub(("b", int32(1)), ("a", int32(2))),
    "document, name twice": sub(("b", int32(1)), ("b", int32(2))),
    "decimal": decimal(110, -2),
    "timestamp": timestamp(5, 6),
    "timestamp, zero": timestamp(0, 0),
    "min key": MIN_KEY,
    "max key": MAX_KEY,
    "symbol": symbol("key"),
    "DBPointer": pointer("d.c", 1),
    "code": code("1"),
}
"""Exotic primary keys by description, no two of them equal on the server."""

DOCUMENTS: dict[str, bytes] = {
    **{
        name: with_id(("value", value), ("in", sub(("value", value))), ("list", array(value, value)), ("last", int32(1)))
        for name, value in VALUES.items()
    },
    **{f"_id: {name}": document(("_id", value), ("value", int32(1))) for name, value in IDS.items()},
    "nothing but _id": with_id(),
    "name twice": with_id(("a", int32(1)), ("b", int32(2)), ("a", int32(3))),
    "name three times, of every type": with_id(("a", sub(("x", NULL))), ("a", array(NULL)), ("a", text("x"))),
    "_id not first": document(("a", int32(1)), ("_id", object_id(next(_ids))), ("b", int32(2))),
    "_id twice": document(("_id", object_id(next(_ids))), ("a", int32(1)), ("_id", int32(3))),
    "empty name": with_id(("", int32(1)), ("a", int32(2))),
    "dotted names": with_id(("a.b", int32(1)), ("a", sub(("b", int32(2)))), (".", int32(3)), ("a.", int32(4))),
    "$-prefixed name": with_id(("$a", int32(1)), ("b", int32(2))),
    "$-prefixed name of an operator": with_id(("$set", sub(("x", int32(1)))), ("$unset", sub(("y", int32(1))))),
    "name of unicode": with_id(("é🜁", int32(1)), ("a b", NULL)),
    "name of invalid UTF-8": with_id((b"a\xff", int32(1)), ("b", int32(2))),
    "timestamp, zero, alone": with_id(("at", timestamp(0, 0))),
    "timestamps, zero, among others": with_id(
        ("a", int32(1)), ("at", timestamp(0, 0)), ("in", sub(("at", timestamp(0, 0)))), ("at", timestamp(0, 0))
    ),
    "timestamps, zero, under odd names": with_id(
        ("", timestamp(0, 0)), ("a.b", timestamp(0, 0)), ("$c", timestamp(0, 0)), ("a.b", timestamp(0, 0)), ("", timestamp(7, 0))
    ),
    "5000 fields": with_id(*((f"field{number}", int32(number)) for number in range(5000))),
    "list of 5000 documents": with_id(("list", array(*(sub(("n", int64(number)), ("n", NULL)) for number in range(5000))))),
}
"""Hard documents by description, each with its own `_id`."""

CHANGED = {
    "timestamp, zero",
    "timestamp, zero, alone",
    "timestamps, zero, among others",
    "timestamps, zero, under odd names",
    "_id not first",
}
"""Documents that a plain insert changes."""

REFUSED = {"_id twice"}
"""Documents that the server cannot hold."""


def large(size: int) -> bytes:
    """A document of exactly so many bytes: text that does not compress, a NaN with payload and a name that is there twice."""
    head, tail = ("a", int32(1)), [("nan", double_bits(0x7FF8_0000_DEAD_BEEF)), ("a", UNDEFINED)]
    number = next(_ids)

    def sized(body: bytes) -> bytes:
        return document(("_id", object_id(number)), head, ("body", binary(0, body)), *tail)

    room = size - len(sized(b""))
    noise = bytes((at * at * 2654435761 >> 11) & 255 for at in range(4096))
    return sized((noise * (room // len(noise) + 1))[:room])
