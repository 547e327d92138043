"""Values, declared types and keys for SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.contract.test_images_sqlite import RAW as NOT_UTF8
from tests.contract.test_images_sqlite import STORED
from tests.exactness.sqlite_oracle import NotUtf8

ALIKE: list[Any] = [
    0,
    0.0,
    -0.0,
    "0",
    "-0",
    "0.0",
    1,
    1.0,
    "1",
    b"1",
    "1.0",
    b"1.0",
    "",
    b"",
    None,
    2**53,
    2.0**53,
    2**53 + 1,
    0.1 + 0.2,
    0.3,
    NotUtf8(b"\xfe"),
    NotUtf8(b"\xff"),
]
"""Neighbours that are easily taken for each other."""

MORE: list[Any] = [
    *(sign * 2**53 + step for sign in (1, -1) for step in (-1, 1)),
    *(127, 128, -129, 2**23, 2**31, 2**47, 2**62),  # the widths in which SQLite stores integers
    *(2.0**53, -(2.0**53), 2.0**63, -(2.0**63), 1e308, -1e308, 2.2250738585072014e-308, 1e15 + 0.3, 123456789012345678.0, 1 / 3),
    *("é", "e\u0301", "\uff21", "\u212b", "ß", "\ufeffbom", "\u202e", "\ufffe", "\ud7ff\ue000", "\U0010ffff"),
    *("-0.0", "9223372036854775808", "1e400", "Infinity", "NaN", "1_000", "+5", " 5", "5 ", "\u0661", "x" * 20_000),
    *("true", "NULL", "'", '"', "%s ? :a @b $c", "\\", "v", "i1", "t", "\x01\x7f"),
    *(bytes(range(256)), b"1", b"1.0", b"\xef\xbb\xbf", bytes(1000)),
]
"""Beyond the values that the tests of the images have."""

BAD_TEXT = [*NOT_UTF8, b"a\xfeb", b"\xf4\x90\x80\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"ok\x80", b"\xfe\x00\xff"]
VALUES: dict[str, Any] = {
    f"{type(value).__name__} {value!r:.40}": value for value in [*ALIKE, *STORED, *MORE, *map(NotUtf8, BAD_TEXT)]
}
"""By description; what two descriptions share is one value."""

LARGE: dict[str, Any] = {
    "text of 1 MB": "Zoë " * 210_000,
    "text of 1 MB, not UTF-8": NotUtf8(b"\xff" + b"a" * 2**20),
    "zero blob of 1 MB": bytes(2**20),
    "blob of 1 MB": bytes((at * at * 2654435761 >> 11) & 255 for at in range(2**20)),
}

PLAIN = ("INTEGER", "REAL", "TEXT", "NUMERIC", "BLOB", "")
ODD = (
    *(
        "DATETIME",
        "TIMESTAMP",
        "DATE",
        "TIME",
        "BOOLEAN",
        "BOOL",
        "VARCHAR(10)",
        "NCHAR(2)",
        "DECIMAL(10,2)",
        "JSON",
        "JSONB",
        "STRING",
    ),
    *(
        "UNSIGNED BIG INT",
        "FLOATING POINT",
        "DOUBLE PRECISION",
        "CHARINT",
        "ANY",
        "UUID",
        "BIT",
        "MONEY",
        "XML",
        "TEXT COLLATE NOCASE",
    ),
)
STRICT = ("INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY")
LOSSY = ("JSON", "JSONB", "DATETIME", "TIMESTAMP", "DATE", "TIME")
"""Of these authors get dicts and times, which do not keep how they were spelled: such values are copied, not made."""

HOSTILE = (
    *(
        "order",
        "MixedCase",
        'q"uote',
        "per%cent",
        "per%s",
        "what?",
        ":x",
        "@y",
        "$z",
        "a b",
        "t",
        "k",
        "column1",
        "ünï",
        "rowid",
        "oid",
    ),
    *(
        "_rowid_",
        "'",
        "''; --",
        "back`tick",
        "[bracket]",
        "a.b",
        "*",
        "new\nline",
        "\\",
        "NULL",
        "select",
        "xmin",
        "(",
        "?1",
        " ",
    ),
)

GENERATED = {
    "same": "AS (c2) VIRTUAL",
    "kept": "AS (c2) STORED",
    "class": "TEXT AS (typeof(c2)) VIRTUAL",
    "half": "REAL AS (c2 / 2) STORED",
    "raw": "BLOB AS (CAST(c2 AS BLOB)) STORED",
    "again": 'INT AS (length("same")) VIRTUAL',
}
"""Computed of the column `c2`, which has no type."""

ADDED = {
    "a1": "INTEGER DEFAULT 5",
    "a2": "TEXT DEFAULT 5",
    "a3": "REAL DEFAULT 5",
    "a4": "DEFAULT -0.0",
    "a5": "BLOB DEFAULT x'00ff'",
    "a6": "TEXT NOT NULL DEFAULT ''",
    "a7": "NUMERIC DEFAULT '1.50'",
    "a8": "DEFAULT 9e999",
    "a9": "TEXT",
}
"""Columns that come when there are rows already, which do not store them."""


@dataclass(frozen=True)
class Key:
    """A way to declare a primary key, and values of it that are all different."""

    kind: str
    columns: Mapping[str, str]
    values: list[tuple[Any, ...]]
    constraint: str = ""
    options: str = ""


def _one(kind: str, declared: str, *values: Any, constraint: str = "", options: str = "") -> Key:
    return Key(kind, {"k": declared}, [(value,) for value in values], constraint, options)


INTEGERS = (0, 1, -1, 2**53 + 1, 2**53, 2**62, -(2**63), 2**63 - 2)
REALS = (0.1, 1.0, -2.5, 1e308, 5e-324, float("inf"), float("-inf"), -0.0, 2.0**53)
TEXTS = (
    "",
    "a",
    "A",
    " a",
    "a ",
    "é",
    "e\u0301",
    "nul\0x",
    "1",
    "1.0",
    "[x",
    '["t1"]',
    "x" * 5000,
    "n",
    "%s?",
    NotUtf8(b"\xff"),
    NotUtf8(b"\xed\xa0\x80"),
)
BLOBS = (b"", b"\0", b"\0\0", b"\xff", b"a", bytes(300))
MIXED = (1, 1.5, "1", b"1", "1.5", -0.0, "", b"", "nul\0x", NotUtf8(b"1\xff"), b"1\xff", 2**63 - 1, 2.0**63, float("inf"))
WITHOUT = "WITHOUT ROWID"

KEYS = (
    _one("key: INTEGER PRIMARY KEY (rowid)", "INTEGER PRIMARY KEY", *INTEGERS),
    _one("key: INTEGER PRIMARY KEY AUTOINCREMENT", "INTEGER PRIMARY KEY AUTOINCREMENT", *INTEGERS),
    _one("key: INTEGER PRIMARY KEY DESC", "INTEGER PRIMARY KEY DESC", *INTEGERS),
    _one("key: INT PRIMARY KEY", "INT PRIMARY KEY", *INTEGERS, "text", 1.5, b"1"),
    _one("key: REAL", "REAL PRIMARY KEY", *REALS),
    _one("key: NUMERIC", "NUMERIC PRIMARY KEY", *REALS, "text", b"1"),
    _one("key: TEXT", "TEXT PRIMARY KEY", *TEXTS),
    _one("key: BLOB", "BLOB PRIMARY KEY", *BLOBS),
    _one("key: mixed classes", "PRIMARY KEY", *MIXED),
    _one("key: COLLATE NOCASE", "TEXT COLLATE NOCASE PRIMARY KEY", "a", "B", "É", "é", ""),
    _one(
        "key: COLLATE NOCASE, unique by bytes",
        "TEXT COLLATE NOCASE",
        "a",
        "A",
        "b",
        "B",
        constraint="PRIMARY KEY (k COLLATE BINARY)",
    ),
    _one("key: COLLATE RTRIM", "TEXT COLLATE RTRIM PRIMARY KEY", "a ", " a", "b", ""),
    _one("key: UNIQUE NOT NULL", "TEXT NOT NULL UNIQUE", *TEXTS),
    _one("key: WITHOUT ROWID, INTEGER", "INTEGER PRIMARY KEY", *INTEGERS, options=WITHOUT),
    _one("key: WITHOUT ROWID, TEXT", "TEXT PRIMARY KEY", *TEXTS, options=WITHOUT),
    _one("key: WITHOUT ROWID, BLOB", "BLOB PRIMARY KEY", *BLOBS, options=WITHOUT),
    _one("key: WITHOUT ROWID, mixed classes", "PRIMARY KEY", *MIXED, options=WITHOUT),
    _one("key: STRICT, ANY", "ANY PRIMARY KEY", *MIXED, options="STRICT"),
    *(
        Key(
            f"key: composite{', ' + options if options else ''}",
            {"k": "TEXT", "l": "INTEGER", "m": "BLOB"},
            [("a", 1, b"a"), ("a", 1, "a"), ("a", 1, b""), ("A", 1, b"a"), ("a", 2, b"a"), ("", 0, b"\0"), ("nul\0x", -1, 1.5)],
            "PRIMARY KEY (m, k, l DESC)",
            options,
        )
        for options in ("", WITHOUT)
    ),
)
