"""PostgreSQL's part of the matrix: tables of every type go through the real engine, and an observer looks at the server's own bytes.

A table has a row for each value and each role: `source` is read and copied, `noted` has another column changed, `emptied` loses the
value, `changed` gets another, `deleted` goes, `untouched` belongs to no entity. The observer looks four times: before, migrated,
rolled back, and redone. It knows nothing of images: it sees the type's own `send` bytes, the text and the type of each column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg

from backtrail import Keys, Rows
from tests.engine import Engine, migration
from tests.exactness.matrix import Cell
from tests.exactness.postgres_kinds import KEYED, LAID, NO_COLUMN, PLAIN, WITHOUT_ARRAYS, Kind, Layout, kinds, layouts, special
from tests.exactness.postgres_oracle import STORE, Observer, Trip, judge
from tests.exactness.postgres_tables import Part, make, run
from tests.exactness.postgres_values import EXTENSIONS, MORE_TYPES, TYPES

WIDTH = 24
"""How many kinds share a table: one campaign reads few tables, and a row still fits its page."""


def take_part(entity: Any, part: Part) -> None:
    """Nothing; the rows of one value play their roles."""
    rows = {row["role"]: row for row in entity.rows(part.old)}
    if "source" not in rows:
        return  # a key that equals another
    source, numbered = rows["source"], part.layout.numbered
    values = {name: source[name] for name, kind in part.named if not kind.computed and (kind.by_value or _sendable(source[name]))}
    unnamed = ["id"] if "id" in source and not numbered else []
    entity.copy(part.new, source, set={"role": "copied"}, unset=unnamed)
    own = {"id": source["id"] + 1_000_000} if numbered else {}
    if not part.layout.keyed or part.kinds[0].by_value:  # a JSON null would be NULL, which no key can be
        row = {**own, "m": source["m"], "n": source["n"], "role": "created", "note": source["note"]}
        entity.create(part.new, {**row, **values})
    if "noted" in rows:
        entity.update(rows["noted"], {"note": "changed"})
    if not part.layout.keyed:
        entity.update(rows["emptied"], unset=part.written)
        entity.update(rows["changed"], values)
    if "deleted" in rows:
        entity.delete(rows["deleted"])


def _sendable(value: Any) -> bool:
    """Whether it is a document without numbers that JSON has no word for."""
    try:
        json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        return False
    return True


def travel(engine: Engine, observer: Observer, parts: Sequence[Part], name: str) -> Trip | str:
    """What was seen on the way there, back and there again; or why it ended."""
    cls = migration(
        lambda entity: [take_part(entity, part) for part in parts],
        name=name,
        keys=Keys("numbers", "n"),
        reads=tuple(Rows(part.old, by="n") for part in parts),
        writes=tuple(table for part in parts for table in (part.old, part.new)),
    )
    seen = [observer.look(parts)]
    campaign = ""
    for step in ("migrate", "rollback", "redo"):
        state = engine.redo(cls, campaign) if step == "redo" else getattr(engine, step)(cls)
        if state["halted"] or state["failed"]:
            reasons = {facts["reason"] for facts in engine.failures(cls).values() if "reason" in facts}
            return f"{step}: {state['halted'] or sorted(reasons)}"
        campaign = state["campaign"]
        seen.append(observer.look(parts))
    return Trip(*seen)


class Journey:
    """Trips through one database; a table that stops one is tried again by its halves, so that one bad kind is named alone."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self.connection = psycopg.connect(url, autocommit=True)
        self.observer = Observer(self.connection)
        self.number = 0

    def part(self, some: Sequence[Kind], layout: Layout = PLAIN) -> Part:
        """A new table of those kinds."""
        self.number += 1
        part = Part(f"{layout.name}old{self.number}", f"{layout.name}new{self.number}", tuple(some), layout)
        make(self.connection, part)
        return part

    def cells(self, parts: Sequence[Part]) -> Iterator[Cell]:
        """The cells of all kinds in the parts."""
        trip = travel(self.engine, self.observer, parts, f"trial-{self.number}-{len(parts)}")
        if isinstance(trip, Trip):
            yield from (cell for part in parts for column, kind in part.named for cell in judge(part, column, kind, trip))
            return
        if len(parts) > 1:
            for half in (parts[: len(parts) // 2], parts[len(parts) // 2 :]):
                yield from self.cells([self.part(part.kinds, part.layout) for part in half])
        elif len(parts[0].kinds) > 1:
            some, layout = parts[0].kinds, parts[0].layout
            for half_kinds in (some[: len(some) // 2], some[len(some) // 2 :]):
                yield from self.cells([self.part(half_kinds, layout)])
        else:
            part = parts[0]
            yield Cell(
                STORE, part.layout.label or part.kinds[0].label, "updated", part.length, (f"{part.kinds[0].type}: {trip}",)
            )


BUILT_IN = """
SELECT t.oid::int, t.typname, t.typtype, coalesce(e.typname, '') FROM pg_type t LEFT JOIN pg_type e ON e.typarray = t.oid
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm', 'd', 'e', 'c') ORDER BY t.oid
"""

CATALOGUE = """
SELECT c.relname, array_agg(quote_ident(a.attname) ORDER BY attnum) FILTER (WHERE t.typname = ANY (%s)), count(*)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> ALL (%s) GROUP BY 1 ORDER BY 1
"""


def catalogue(connection: psycopg.Connection[Any]) -> list[Kind]:
    """The row types of the system's tables and views, with rows of theirs; columns that no client can write are NULL in them."""
    made = []
    for name, unwritable, width in connection.execute(CATALOGUE, (list(NO_COLUMN), list(NO_COLUMN))):
        where = " AND ".join(f"{column} IS NULL" for column in unwritable or ()) or "true"
        rows = [
            f"SELECT r FROM pg_catalog.{name} r WHERE {where} LIMIT 1 OFFSET {at}"
            for at in (0, 7)
            if _works(connection, f"TABLE {name}")
        ]
        values = (f"ROW({', '.join(['NULL'] * width)})", *rows)
        made.append(Kind("row type of a system table or view", f"pg_catalog.{name}", values))
    return made


def _works(connection: psycopg.Connection[Any], sql: str) -> bool:
    """Whether this server, as it was built, knows the statement."""
    try:
        run(connection, sql)
    except (
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.InternalError,
        psycopg.errors.UndefinedObject,
        psycopg.errors.UndefinedFunction,
    ):
        return False
    return True


def has_xml(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server was built with libxml, without which nobody can make a value of xml."""
    return _works(connection, "SELECT '<a/>'::xml")


def own_kinds(connection: psycopg.Connection[Any]) -> list[Kind]:
    """The kinds with values of their own that this server has."""
    return kinds(xml=has_xml(connection))


def uncovered(connection: psycopg.Connection[Any], some: Sequence[Kind]) -> list[str]:
    """The built-in types that can be columns and of which no kind has values."""
    names = [kind.type for kind in some if " COLLATE " not in kind.type]
    covered = {oid for (oid,) in connection.execute("SELECT unnest(%s::text[])::regtype::oid::int", (names,))}
    without = {*NO_COLUMN} if has_xml(connection) else {*NO_COLUMN, "xml"}
    types = connection.execute(BUILT_IN).fetchall()
    return [name for oid, name, _, element in types if oid not in covered and not {name, element} & without]


def all_kinds(connection: psycopg.Connection[Any]) -> list[Kind]:
    """Every kind that goes into ordinary tables."""
    own = own_kinds(connection)
    system = catalogue(connection)
    without = [kind for kind in own if kind.type[-2:] == "[]" or " COLLATE " in kind.type or kind.type in WITHOUT_ARRAYS]
    arrays = [kind.array for kind in [*own, *system] if kind not in without]
    return [*own, *system, *arrays, *special()]


def keys(connection: psycopg.Connection[Any]) -> list[Kind]:
    """The kinds that a key can be of."""
    found = []
    for kind in own_kinds(connection):
        small = tuple(value for value in kind.values if "string_agg" not in value and "repeat(" not in value)
        if not small or not _works(connection, f"CREATE TEMP TABLE probe (c {kind.type} PRIMARY KEY)"):
            continue
        ordered = _works(connection, f"SELECT 1 FROM (VALUES (({small[0]})::{kind.type})) v(c) WHERE c = c")
        run(connection, "DROP TABLE probe")
        if not ordered:
            continue  # a composite with a field that has no order
        found.append(Kind(f"key of {kind.label}", kind.type, small, by_value=kind.by_value))
    return found


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Nothing; the extensions and types are there."""
    for extension in EXTENSIONS:
        run(
            connection,
            f"CREATE EXTENSION {extension} CASCADE" if extension == "earthdistance" else f"CREATE EXTENSION {extension}",
        )
    run(connection, f"{TYPES}{MORE_TYPES}; CREATE SEQUENCE numbering; CREATE TABLE numbers (n int PRIMARY KEY)")
    run(connection, "INSERT INTO numbers SELECT generate_series(0, 60)")


def cells(url: str) -> Iterator[Cell]:
    """The cells of PostgreSQL, tried in the empty database of the URL."""
    with closing(Engine(url)) as engine, psycopg.connect(url, autocommit=True) as connection:
        prepare(connection)
        journey = Journey(url, engine)
        with closing(journey.connection):
            some = all_kinds(connection)
            yield from (Cell(STORE, name, "untouched", 0) for name in uncovered(connection, some))
            ordered = sorted(some, key=lambda kind: len(kind.values))
            tables = [journey.part(ordered[at : at + WIDTH]) for at in range(0, len(ordered), WIDTH)]
            yield from journey.cells(tables)
            yield from journey.cells([journey.part([kind], KEYED) for kind in keys(connection)])
            yield from journey.cells([journey.part([LAID], layout) for layout in layouts()])
