"""Primary keys of every kind on SQLite: rows that are found again by them, and by no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import NamedTuple

from backtrail import Entity, Keys, Migration, Row, Rows
from tests.engine import Engine, migration
from tests.exactness.sqlite_oracle import Seen, insert, look, opened, path_of
from tests.exactness.sqlite_values import Key
from tests.exactness.trip import Trip, Verdict, trip, unlike

HOWS = ("created", "copied", "updated", "deleted", "untouched")
MADE = ("created", "copied")


class Place(NamedTuple):
    """The tables of one kind of key: one for every case, and those that what is made goes to."""

    number: int
    key: Key

    def table(self, how: str, *, made: bool = False) -> str:
        """The full name of one of them."""
        return f"keyed{self.number}_{'made_' if made else ''}{how}"

    @property
    def tables(self) -> list[str]:
        """The full names of all."""
        return [*(self.table(how) for how in HOWS), *(self.table(how, made=True) for how in MADE)]


def judged_key(engine: Engine, number: int, key: Key) -> Iterator[Verdict]:
    """What became of every value of a key in every case."""
    place = Place(number, key)
    with closing(opened(engine.url)) as connection:
        _populate_keys(connection, place)
    entities = len(key.values) * (len(HOWS) - 1)
    seen = trip(engine, _key_migration(place), partial(look, path_of(engine.url), *place.tables), entities=entities)
    for at, value in enumerate(key.values):
        for how in HOWS:
            wrong = ", ".join(_key_wrongs(place, seen, str(at), how))
            yield Verdict(key.kind, how, f"{value!r:.60}: {wrong}" if wrong else "")


def _key_wrongs(place: Place, seen: Trip[Seen], tag: str, how: str) -> Iterator[str]:
    own, made = (place.table(how), tag), (place.table(how, made=True), tag)
    yield from unlike(seen, own, [])
    yield from unlike(seen, made, [])
    before = [seen.before[own][name] for name in place.key.columns]
    after = seen.after.get(made if how in MADE else own)
    if (after is None) != (how == "deleted") or (after and [after[name] for name in place.key.columns] != before):
        yield "not what was decided"


def _populate_keys(connection: sqlite3.Connection, place: Place) -> None:
    key = place.key
    columns = ", ".join(f"{name} {declared}" for name, declared in key.columns.items())
    rest = f", {key.constraint}" if key.constraint else ""
    for table in place.tables:
        connection.execute(f"CREATE TABLE {table} ({columns}, tag TEXT, note TEXT, owner INTEGER{rest}) {key.options}")
    connection.execute(f"CREATE TABLE {place.table('owners')} (id INTEGER PRIMARY KEY)")
    for number, how in enumerate(HOWS):
        for at, value in enumerate(key.values):
            owner = number * 1000 + at
            row = {**dict(zip(key.columns, value, strict=True)), "tag": str(at), "note": "n", "owner": owner}
            insert(connection, place.table(how), row)
            if how != "untouched":
                insert(connection, place.table("owners"), {"id": owner})
    connection.execute("COMMIT")


def _key_migration(place: Place) -> type[Migration]:
    def change(entity: Entity) -> None:
        for how in HOWS:
            for row in entity.rows(place.table(how)):
                _change(entity, place, how, row)

    reads = tuple(Rows(place.table(how), by="owner") for how in HOWS)
    return migration(
        change, name=f"exact-key-{place.number}", keys=Keys(place.table("owners"), "id"), reads=reads, writes=tuple(place.tables)
    )


def _change(entity: Entity, place: Place, how: str, row: Row) -> None:
    match how:
        case "created":
            entity.create(place.table(how, made=True), {name: row[name] for name in (*place.key.columns, "tag")})
        case "copied":
            entity.copy(place.table(how, made=True), row)
        case "updated":
            entity.update(row, {"note": "changed"})
        case "deleted":
            entity.delete(row)
