"""What an observer sees of PostgreSQL's rows, by the server's own bytes, and what it makes of it. It knows nothing of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.exactness.matrix import Cell
from tests.exactness.postgres_kinds import EXTRA, PLAIN, Kind
from tests.exactness.postgres_tables import Part, quoted, run

STORE = "postgresql"

Place = tuple[str, str, int]
"""The table, role and value number of a row."""
Seen = dict[Place, dict[str, str]]
"""What the observer saw: each column's bytes, by row."""

COLUMNS = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""


class Observer:
    """Looks at rows by a connection of its own: at the bytes that each value's type sends, its text and its type."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.sent: dict[str, bool] = {}
        """By type, whether its values can be sent in binary."""

    def look(self, parts: Sequence[Part]) -> Seen:
        """Every row of the tables: for each column the start of its text and a digest; where the row lies, too."""
        seen: Seen = {}
        for part in parts:
            columns = self.connection.execute(COLUMNS, (quoted(part.old),)).fetchall()
            bits = ", ".join(self._bits(part.old, *column) for column in columns)
            for table in (part.old, part.new):
                sql = f"SELECT role, m, concat_ws(' ', tableoid::regclass, ctid, xmin), {bits} FROM {quoted(table)}"
                for role, number, where, *cells in self.connection.execute(sql):  # type: ignore[call-overload]
                    names = (name for name, _ in columns)
                    seen[table, role, number] = {"": where, **dict(zip(names, cells, strict=True))}
        return seen

    def _bits(self, table: str, name: str, kind: str) -> str:
        column = quoted(name)
        forms = [f"{column}::text", f"pg_typeof({column})::text"]
        if self._is_sent(table, column, kind):
            forms.append(_sent(column))
        if kind in EXTRA:
            forms.append(EXTRA[kind].replace("{c}", column))
        digest = f"encode(sha256(convert_to(concat_ws('|', {', '.join(forms)}), 'UTF8')), 'hex')"
        return f"CASE WHEN {column} IS NOT DISTINCT FROM NULL THEN 'NULL' ELSE left({column}::text, 40) || ' #' || left({digest}, 32) END"

    def _is_sent(self, table: str, column: str, kind: str) -> bool:
        """Whether it can: aclitem cannot, nor what holds one."""
        if kind not in self.sent:
            try:
                run(self.connection, f"SELECT {_sent(column)} FROM {quoted(table)}")
                self.sent[kind] = True
            except psycopg.errors.UndefinedFunction:
                self.sent[kind] = False
        return self.sent[kind]


def _sent(column: str) -> str:
    return f"encode(record_send(ROW({column})), 'hex')"


@dataclass(frozen=True)
class Trip:
    """What was seen before, migrated, rolled back and redone."""

    before: Seen
    migrated: Seen
    back: Seen
    redone: Seen

    def wrong(self, place: Place, column: str, wanted: str | None) -> str:
        """What is wrong about a value that the migration may change: `wanted` once migrated, None if anything goes."""
        seen = [_at(moment, place, column) for moment in (self.before, self.migrated, self.back, self.redone)]
        before, migrated, back, redone = seen
        if wanted is not None and migrated != wanted:
            return f"{place}: migrated to {migrated} instead of {wanted}"
        if back != before:
            return f"{place}: {before} came back as {back}"
        if redone != migrated:
            return f"{place}: {migrated} was redone as {redone}"
        return ""


ABSENT = "no row"


def _at(seen: Seen, place: Place, column: str) -> str:
    return seen[place][column] if place in seen else ABSENT


def judge(part: Part, column: str, kind: Kind, trip: Trip) -> Iterator[Cell]:
    """The cells of one kind."""
    numbers = range(part.length if kind.computed else min(part.length, len(kind.values) + 1))
    found: dict[str, list[str]] = {}
    for number in numbers:
        for role, case in CASE.items():
            table = part.new if role in ("copied", "created") else part.old
            place = (table, role, number)
            if any(place in moment for moment in (trip.before, trip.migrated)):
                found.setdefault(case, []).append(_fault(part, column, kind, trip, place))
    for case, faults in found.items():
        yield Cell(STORE, part.layout.label or kind.label, case, len(faults), tuple(filter(None, faults)))


CASE = {
    "created": "created",
    "noted": "updated",
    "emptied": "updated",
    "changed": "updated",
    "deleted": "deleted",
    "copied": "copied",
    "source": "untouched",
    "untouched": "untouched",
}
"""The case of the matrix that each role stands for."""


def _fault(part: Part, column: str, kind: Kind, trip: Trip, place: Place) -> str:
    """What is wrong about one value in one row; where the table is what is odd, about the whole row."""
    columns = [column]
    if part.layout is not PLAIN:
        row = trip.before.get(place) or trip.migrated[place]
        columns = [name for name in row if name]
    if CASE[place[1]] == "untouched":
        columns = ["", *columns]
    wanted = _wanted(part, column, kind, trip, place)
    faults = [trip.wrong(place, name, wanted if name == column else _kept(trip, place, name)) for name in columns]
    return "; ".join(filter(None, faults))


def _kept(trip: Trip, place: Place, column: str) -> str | None:
    """What another column of a row that nobody touched holds once migrated."""
    return _at(trip.before, place, column) if CASE[place[1]] == "untouched" else None


def _wanted(part: Part, column: str, kind: Kind, trip: Trip, place: Place) -> str | None:
    """What the column holds once migrated."""
    _, role, number = place
    source = _at(trip.before, (part.old, "source", number), column)
    match role:
        case "deleted":
            return ABSENT
        case "emptied" if not kind.computed:
            return "NULL"
        case "noted" if not kind.computed:
            return _at(trip.before, place, column)
        case "copied":
            return None if kind.computed else source
        case "created" | "changed":
            return source if kind.by_value and not kind.computed else None
        case "source" | "untouched":
            return _at(trip.before, place, column)
    return None
