"""PostgreSQL's values whose text does not give them again, and keys of them; the whole matrix is `make exactness`."""

from __future__ import annotations

from contextlib import closing

import psycopg

from backtrail import Keys, Rows
from tests.engine import Engine, migration
from tests.exactness.postgres import travel
from tests.exactness.postgres_kinds import KEYED, PLAIN, Kind
from tests.exactness.postgres_oracle import Observer, Trip, judge
from tests.exactness.postgres_tables import Part, make

NAN = "-'NaN'::float8"
"""A NaN whose sign is set."""

KINDS = (
    Kind("float8", "float8", (NAN, "'NaN'", "-0.0", "1.5")),
    Kind("float4[]", "float4[]", (f"ARRAY[{NAN}, 1, NULL]", "'[2:3]={NaN,1}'", "'{}'")),
    Kind("point", "point", (f"point(1, {NAN})", "'(-0,NaN)'")),
    Kind("regproc", "regproc", ("'abs(int)'::regprocedure", "'now'", "0", "4294967295")),
    Kind("regclass", "regclass", ("'pg_class'", "0", "99999999")),
    Kind("regclass[]", "regclass[]", ("'{pg_class,0,99999999}'",)),
    Kind("leaf", "leaf", (f"ROW({NAN}, 'abs(int)'::regprocedure)", "ROW(NULL, NULL)", "ROW(1.5, 'now')")),
    Kind("box[]", "box[]", ("'{(1,2),(3,4);(5,6),(7,8)}'", "'{}'")),
    Kind("jsonb", "jsonb", ("'null'", "'{\"a\": null}'"), by_value=False),
)
KEYS = (Kind("key", "float8", (NAN, "0", "'-Infinity'", "1e-320")), Kind("key", "regclass", ("'pg_class'", "0", "99999999")))


def test_values_whose_text_does_not_give_them_again(postgres: str) -> None:
    """The sign of a NaN, functions that share a name, numbers of what is gone, JSON null: all of it comes back, and copies are identical."""
    parts = [Part("old", "new", KINDS, PLAIN)]
    parts += [Part(f"keyed{at}", f"keyed_new{at}", (kind,), KEYED) for at, kind in enumerate(KEYS)]
    with closing(Engine(postgres)) as engine, psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TYPE leaf AS (f float8, p regproc); CREATE TABLE numbers (n int PRIMARY KEY)")
        connection.execute("INSERT INTO numbers SELECT generate_series(0, 4)")
        for part in parts:
            make(connection, part)
        (distinct,) = connection.execute("SELECT count(DISTINCT encode(float8send(c0), 'hex')) FROM old").fetchone() or (0,)
        assert distinct == 4, "the server tells the two NaN apart, and so must we"
        trip = travel(engine, Observer(connection), parts, "trial")
    assert isinstance(trip, Trip), trip
    assert [
        wrong for part in parts for column, kind in part.named for cell in judge(part, column, kind, trip) for wrong in cell.wrong
    ] == []


def test_what_authors_see_of_them(postgres: str) -> None:
    """A NaN is Python's, or shows as one; what regclass holds is a number; equal rows are read in the order of their keys, NaN last."""
    seen = []
    cls = migration(
        lambda entity: seen.append([(row["f"], row["r"]) for row in entity.rows("old")]),
        keys=Keys("numbers", "n"),
        reads=(Rows("old", by="n"),),
    )
    with closing(Engine(postgres)) as engine:
        engine.script(
            "CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers VALUES (1);"
            "CREATE TABLE old (f float8 PRIMARY KEY, n int, r regclass);"
            f"INSERT INTO old VALUES ({NAN}, 1, 'pg_class'), (2, 1, 0), (-1, 1, NULL)"
        )
        assert engine.migrate(cls)["migrated"] == 1
    assert [(str(number), kind) for number, kind in seen[0]] == [("-1.0", None), ("2.0", 0), ("NaN", 1259)]
