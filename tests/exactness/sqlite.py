"""SQLite's part of the exactness matrix: every storage class in every column, every kind of key and table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from backtrail import Entity, Keys, Migration, Rows
from tests.engine import Engine, migration
from tests.exactness import sqlite_values as values
from tests.exactness.matrix import Cell
from tests.exactness.sqlite_keys import judged_key
from tests.exactness.sqlite_oracle import Exact, Seen, insert, look, opened, path_of, quoted
from tests.exactness.trip import Trip, Verdict, cells_of, trip, unlike

HOWS = {
    "created": "created",
    "copied": "copied",
    "beside": "updated",
    "from": "updated",
    "to": "updated",
    "deleted": "deleted",
    "untouched": "untouched",
}
"""How a row takes part, with the case of the matrix: an update changes another column, the value itself, or something else into the value."""

KEY_HOWS = ("created", "copied", "updated", "deleted", "untouched")
MADE = ("created", "copied")


@dataclass(frozen=True)
class World:
    """Tables of the same columns: `source` holds each value once, `held` once for every case, and `twin` gets what is made."""

    name: str
    columns: Mapping[str, str]
    """Declared types, with whatever else is said of a column."""
    values: Mapping[str, Any]
    kind: Callable[[str, str], str]
    """What the matrix calls a value, by its column's declared type and its storage class."""
    options: str = ""
    computed: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)
    """Columns that come when the rows are there; another one goes."""

    def table(self, name: str) -> str:
        """The full name of one of the tables."""
        return f"{self.name}_{name}"

    @property
    def tables(self) -> list[str]:
        """The full names of all."""
        return [self.table(name) for name in ("source", "held", "twin")]

    @property
    def writable(self) -> list[str]:
        """The names of the columns that a migration can write."""
        return [*self.columns, *self.added]

    @property
    def declared(self) -> dict[str, str]:
        """The columns that are judged."""
        return {**self.columns, **self.added, **self.computed}


def cells(url: str) -> Iterator[Cell]:
    """The matrix's cells of an empty SQLite file, the last of them in WAL mode."""
    with closing(Engine(url)) as engine:
        yield from cells_of("sqlite", _verdicts(engine))


def _verdicts(engine: Engine) -> Iterator[Verdict]:
    for world in WORLDS:
        yield from judged_world(engine, world)
    for at, key in enumerate(values.KEYS):
        yield from judged_key(engine, at, key)
    assert engine.query("PRAGMA journal_mode") == [("delete",)]
    assert _switched_to_wal(engine)
    yield from judged_world(engine, WAL)


def _switched_to_wal(engine: Engine) -> bool:
    engine.close()
    engine.fresh_worker()
    return engine.query("PRAGMA journal_mode = WAL") == [("wal",)]


# -- values in columns ---------------------------------------------------------------------------------------------


def _numbered(types: Sequence[str]) -> dict[str, str]:
    return {f"c{at}": declared for at, declared in enumerate(types)}


def _by_class(declared: str, stored: str) -> str:
    if declared in values.ODD:
        return f"{stored}, column of an odd type"
    return f"{stored}, {declared or 'untyped'} column"


def _strict(declared: str, stored: str) -> str:
    return f"STRICT: {stored}, {declared} column"


def _named(kind: str) -> Callable[[str, str], str]:
    return lambda declared, stored: kind


def _generated(declared: str, stored: str) -> str:
    return f"generated column, {declared.rsplit(maxsplit=1)[-1]}" if " AS " in f" {declared}" else "columns beside generated ones"


def _added(declared: str, stored: str) -> str:
    return "column added to a table with rows" if declared in values.ADDED.values() else "columns beside added and dropped ones"


SOME = dict(list(values.VALUES.items())[::3])
UNTYPED = _numbered(["TEXT", "NUMERIC", ""])

WORLDS = (
    World("plain", _numbered(values.PLAIN), values.VALUES, _by_class),
    World("odd", _numbered(values.ODD), values.VALUES, _by_class),
    World("strict", _numbered(values.STRICT), values.VALUES, _strict, "STRICT"),
    World("without", _numbered(values.PLAIN), values.VALUES, _named("WITHOUT ROWID table"), "WITHOUT ROWID"),
    World("generated", UNTYPED, values.VALUES, _generated, computed=values.GENERATED),
    World("added", UNTYPED, SOME, _added, added=values.ADDED),
    World("hostile", dict.fromkeys(values.HOSTILE, ""), SOME, _named("hostile column names")),
    World("large", _numbered(["TEXT", ""]), values.LARGE, _named("values of 1 MB")),
)
WAL = World("wal", _numbered(values.PLAIN), values.VALUES, _named("database in WAL mode"))


def judged_world(engine: Engine, world: World) -> Iterator[Verdict]:
    """What became of every value of a world in every case."""
    with closing(opened(engine.url)) as connection:
        held = _populate(connection, world)
    seen = trip(engine, _migration(world), partial(look, path_of(engine.url), *world.tables), entities=held)
    stored = {stored for cells in seen.before.values() for stored, *_ in cells.values()}
    assert stored >= {"text", "blob"}, stored
    for at, label in enumerate(world.values):
        for how in HOWS:
            yield from _judged_row(world, seen, at, how, label)
    yield from _strays(world, seen)


def _strays(world: World, seen: Trip[Seen]) -> Iterator[Verdict]:
    """A verdict for each row that was only read and is not what it was, and for each that nobody asked for."""
    for row in sorted(set().union(*seen)):
        table, tag = row
        read = table == world.table("source") and unlike(seen, row)
        made = table == world.table("twin") and tag.endswith((":created", ":copied"))
        if read or (row not in seen.before and not made):
            yield Verdict("rows that nobody asked for", "untouched", f"{tag} of {table}")


def _judged_row(world: World, seen: Trip[Seen], at: int, how: str, label: str) -> Iterator[Verdict]:
    tag = f"{at}:{how}"
    held, twin, source = ((world.table("held"), tag), (world.table("twin"), tag), (world.table("source"), f"{at}:source"))
    for column in _tried(world, seen.before[source], how):
        declared = world.declared[column]
        value = seen.before[source][column]
        wrongs = [*unlike(seen, held, [column]), *unlike(seen, twin, [column])]
        if not _as_decided(seen, how, held, twin, column, value):
            wrongs.append("not what was decided")
        wrong = f"{label} in {column} {declared} ({how}): {', '.join(wrongs)}" if wrongs else ""
        yield Verdict(world.kind(declared, value[0]), HOWS[how], wrong)


def _tried(world: World, source: Mapping[str, Exact], how: str) -> list[str]:
    """The columns in which the case says something of the value."""
    lossy = [name for name in world.declared if world.declared[name] in values.LOSSY] if how in ("created", "to") else []
    emptied = [name for name in source if source[name][0] == "null"] if "STRICT" in world.options else []
    return [name for name in world.declared if name not in (*lossy, *emptied)]


def _as_decided(seen: Trip[Seen], how: str, held: tuple[str, str], twin: tuple[str, str], column: str, value: Exact) -> bool:
    now = seen.after.get(held, {}).get(column)
    match how:
        case "created" | "copied":
            return now == value and seen.after.get(twin, {}).get(column) == value
        case "from":
            return now not in (None, value)
        case "deleted":
            return held not in seen.after
        case _:
            return now == value


def _migration(world: World) -> type[Migration]:
    held, source, twin = world.table("held"), world.table("source"), world.table("twin")
    passed = [name for name in world.writable if world.declared[name] not in values.LOSSY]

    def change(entity: Entity) -> None:
        row, value = entity.one(held), entity.one(source)
        match row["how"]:
            case "created":
                entity.create(twin, {"id": row["id"], "tag": row["tag"], **{name: row[name] for name in passed}})
            case "copied":
                entity.copy(twin, row, unset=("how", "value", "used"))
            case "beside":
                entity.update(row, {"note": "changed"})
            case "from":
                entity.update(row, {"note": "emptied", **{name: _other(world, name, row[name]) for name in world.writable}})
            case "to":
                entity.update(row, {"note": "filled", **{name: value[name] for name in passed}})
            case "deleted":
                entity.delete(row)

    reads = (Rows(held, by="id"), Rows(source, by="value", via=f"{held}.value"))
    return migration(
        change, name=f"exact-{world.name}", keys=Keys(held, "id", where={"used": 1}), reads=reads, writes=(held, twin)
    )


def _other(world: World, name: str, value: Any) -> Any:
    """What takes the place of the value: NULL, where it is not that and the column takes it."""
    if "NOT NULL" in world.declared[name]:
        return "other"
    return 7 if value is None and "STRICT" not in world.options else None


def _populate(connection: sqlite3.Connection, world: World) -> int:
    """How many rows of `held` are entities."""
    declared = {**world.columns, "gone": "TEXT", **world.computed}
    named = ", ".join(f"{quoted(name)} {kind}" for name, kind in declared.items())
    for table, first in (("source", "value INTEGER PRIMARY KEY"), ("held", HELD), ("twin", "id INTEGER PRIMARY KEY")):
        connection.execute(f"CREATE TABLE {world.table(table)} ({first}, tag TEXT, note TEXT, {named}) {world.options}")
    rows = [dict.fromkeys(_takers(connection, world, value), value) for value in world.values.values()]
    for at, row in enumerate(rows):
        insert(connection, world.table("source"), {"value": at, "tag": f"{at}:source", **row})
        for step, how in enumerate(HOWS):
            own = {
                "id": at * len(HOWS) + step,
                "value": at,
                "tag": f"{at}:{how}",
                "note": "n",
                "how": how,
                "used": how != "untouched",
            }
            # What is to become the value is the one before it, which may be hard to tell from it: 0.0 and -0.0, 1 and 1.0.
            insert(connection, world.table("held"), {**own, **(rows[at - 1] if how == "to" else row)})
    for table in world.tables:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN gone")
        for name, kind in world.added.items():
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    connection.execute("COMMIT")
    return len(world.values) * (len(HOWS) - 1)


HELD = "id INTEGER PRIMARY KEY, value INTEGER, how TEXT, used INTEGER"


def _takers(connection: sqlite3.Connection, world: World, value: Any) -> list[str]:
    """The columns that take the value: all of them, but for STRICT tables."""
    if "STRICT" not in world.options:
        return list(world.columns)
    taken = []
    for name in world.columns:
        connection.execute("SAVEPOINT trial")
        try:
            insert(connection, world.table("twin"), {"id": 1, name: value})
            taken.append(name)
        except sqlite3.IntegrityError:
            pass
        connection.execute("ROLLBACK TO trial")
        connection.execute("RELEASE trial")
    return taken
