"""Tables of PostgreSQL for the matrix: a row for each value and each role, and an empty twin for new rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from tests.exactness.postgres_kinds import PLAIN, Kind, Layout

OLD_ROLES = ("source", "noted", "emptied", "changed", "deleted", "untouched")
"""What the rows are there for: see tests/exactness/postgres.py."""


def quoted(name: str) -> str:
    """The identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Part:
    """A table and its twin for new rows, and the kinds in its columns."""

    old: str
    new: str
    kinds: tuple[Kind, ...]
    layout: Layout = PLAIN

    @property
    def columns(self) -> list[str]:
        """The names of the columns that hold the values."""
        return [kind.column or f"c{at}" for at, kind in enumerate(self.kinds)]

    @property
    def named(self) -> list[tuple[str, Kind]]:
        """Each column with its kind."""
        return list(zip(self.columns, self.kinds, strict=True))

    @property
    def written(self) -> list[str]:
        """The columns that a migration can write."""
        return [name for name, kind in self.named if not kind.computed]

    @property
    def length(self) -> int:
        """How many values the longest list has, and one more: NULL. No key is NULL."""
        return max(len(kind.values) for kind in self.kinds) + (not self.layout.keyed)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of its rows: a value in a key cannot be updated."""
        return tuple(role for role in OLD_ROLES if not (self.layout.keyed and role in ("emptied", "changed")))


def make(connection: psycopg.Connection[Any], part: Part) -> None:
    """Nothing; the tables of the part are there, filled."""
    for table in (part.old, part.new):
        declared = ", ".join(f"{quoted(name)} {kind.type} {kind.suffix}" for name, kind in part.named)
        create = _filled(part.layout.create, table, quoted(part.columns[0])).replace("{columns}", declared)
        run(connection, create)
        for at, (name, kind) in enumerate(part.named):
            run(connection, _filled(kind.after, table, quoted(name)).replace("{at}", str(at)))
    for number in range(part.length):
        _insert_source(connection, part, number)
    for at, role in enumerate(part.roles):
        if role != "source":
            _insert_role(connection, part, role, 1000 * at)


def _filled(text: str, table: str, column: str) -> str:
    parts = {"{table}": quoted(table), "{column}": column, "{part1}": quoted(table + "_1"), "{part2}": quoted(table + "_2")}
    for mark, value in parts.items():
        text = text.replace(mark, value)
    return text


def run(connection: psycopg.Connection[Any], sql: str) -> None:
    if sql:
        connection.execute(sql)  # type: ignore[call-overload]


def _insert_source(connection: psycopg.Connection[Any], part: Part, number: int) -> None:
    cells = [
        f"({kind.values[number]})::{kind.type}" if number < len(kind.values) else "NULL"
        for _, kind in part.named
        if not kind.computed
    ]
    first = ["id"] if part.layout.numbered else []
    names = ", ".join([*first, "m", "n", "role", "note", *map(quoted, part.written)])
    ids = [str(number)] if part.layout.numbered else []
    values = ", ".join([*ids, str(number), str(number), "'source'", "'note'", *cells])
    run(connection, f"INSERT INTO {quoted(part.old)} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING")


def _insert_role(connection: psycopg.Connection[Any], part: Part, role: str, offset: int) -> None:
    """Rows like those of `source`; the ones that are to be changed hold the next value."""
    first, ids = (["id"], [f"a.id + {offset}"]) if part.layout.numbered else ([], [])
    names = ", ".join([*first, "m", "n", "role", "note", *map(quoted, part.written)])
    number = "NULL" if role == "untouched" else "a.n"
    values = ", ".join([*ids, "a.m", number, f"'{role}'", "a.note", *(f"b.{quoted(name)}" for name in part.written)])
    other = f"(a.m + 1) % {part.length}" if role == "changed" else "a.m"
    table = quoted(part.old)
    source = f"{table} a JOIN {table} b ON b.m = {other} AND b.role = 'source' WHERE a.role = 'source'"
    run(connection, f"INSERT INTO {table} ({names}) SELECT {values} FROM {source} ON CONFLICT DO NOTHING")
