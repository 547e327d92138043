"""What an SQLite file holds, told by SQLite itself: storage class, bytes, and the eight bytes of every float."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa


class NotUtf8(bytes):
    """Bytes that are to be stored as text."""


Exact = tuple[str, str, str]
"""`typeof`, `hex` of the value as a blob, and a float's bits (SQLite prints a float with 15 digits, and -0.0 as 0.0)."""

Seen = dict[tuple[str, str], dict[str, Exact]]
"""The exact values of rows by column, by table and the row's `tag`."""


def quoted(name: str) -> str:
    """The name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def exact(stored: str, as_blob: str, value: Any) -> Exact:
    """The value as it can be compared."""
    return stored, as_blob, struct.pack(">d", value).hex() if stored == "real" else ""


def look(path: str | Path, *tables: str) -> Seen:
    """Every row of the tables, each of which has a column `tag` that names its rows.

    Raises:
        AssertionError: two rows have one tag.
    """
    seen: Seen = {}
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        for table in tables:
            for tag, cells in _rows(connection, table):
                assert (table, tag) not in seen, f"two rows of {table} are {tag}"
                seen[table, tag] = cells
    return seen


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[str, dict[str, Exact]]]:
    names = [row[1].decode() for row in connection.execute(f"PRAGMA table_xinfo({quoted(table)})")]
    terms = (f"typeof({name}), hex(CAST({name} AS BLOB)), {name}" for name in map(quoted, names))
    found = connection.execute(f"SELECT tag, {', '.join(terms)} FROM {quoted(table)}").fetchall()
    return [
        (
            tag.decode(),
            {
                name: exact(*(part.decode() for part in row[at : at + 2]), row[at + 2])
                for at, name in zip(range(0, len(row), 3), names, strict=True)
            },
        )
        for tag, *row in found
    ]


def path_of(url: str) -> str:
    """The path of the file that the URL names."""
    return str(sa.make_url(url).database)


def opened(url: str) -> sqlite3.Connection:
    """A plain connection inside a transaction."""
    connection = sqlite3.connect(path_of(url), isolation_level=None)
    connection.execute("BEGIN")
    return connection


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    """Nothing; the row is in the table."""
    marks = ("CAST(? AS TEXT)" if type(value) is NotUtf8 else "?" for value in row.values())
    plain = [bytes(value) if type(value) is NotUtf8 else value for value in row.values()]
    connection.execute(f"INSERT INTO {table} ({', '.join(map(quoted, row))}) VALUES ({', '.join(marks)})", plain)
