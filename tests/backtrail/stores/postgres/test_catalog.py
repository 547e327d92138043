"""Tables as PostgreSQL's catalogue has them."""

from __future__ import annotations

import pytest

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from tests.engine import Engine, migration

FOLDING = (
    "CREATE COLLATION folding (locale = 'C'); UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'folding'"
)
"""A collation that says of itself that it finds different texts equal, as only those of ICU do, which a server may have been built without."""


UNIQUE = [
    ("text COLLATE folding", "name", True),
    ("text COLLATE folding", 'name COLLATE "C"', False),
    ("text", "name COLLATE folding", True),
    ("text", 'name COLLATE "C"', True),
    ("text", "name text_pattern_ops", True),
    ("varchar(9)", "name varchar_pattern_ops", True),
    ("char(9)", "name", True),
    ("char(9)", "name bpchar_pattern_ops", True),
    ("citext", "name", True),
    ("citext", "name text_ops", False),
    ("citext", "name citext_pattern_ops", True),
    ("email", "name", True),
    ("email", "name text_ops", False),
    ("citext[]", "name", True),
    ("mood", "name", True),
    ("pair", "name", True),
    ("pair", "name record_image_ops", False),
    ("int4range", "name", True),
    ("regclass", "name", True),
    ("text", "lower(name)", False),
]
"""Types of columns, indexes on them, and whether that tells no more values apart than `=` does."""


def test_unique_as_the_column_itself_compares(on_postgres: Engine) -> None:
    """An index that tells more values apart than `=` does makes no key: one key would be several rows."""
    on_postgres.script(
        f"{FOLDING}; CREATE EXTENSION citext; CREATE DOMAIN email AS citext; CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE pair AS (a int, b numeric)"
    )
    for at, (column, index, _) in enumerate(UNIQUE):
        on_postgres.script(f"CREATE TABLE t{at} (name {column} NOT NULL, u int); CREATE UNIQUE INDEX ON t{at} ({index})")
    tables = [on_postgres.store.table(f"t{at}") for at in range(len(UNIQUE))]  # type: ignore[attr-defined] # it has tables
    assert [(column, index, table.key == ("name",)) for (column, index, _), table in zip(UNIQUE, tables, strict=True)] == UNIQUE
    assert [table.is_unique(["name"]) for table in tables] == [unique for *_, unique in UNIQUE]


@pytest.mark.parametrize("index", ["name", "name, u", "u, name"])
def test_parts_of_a_key(on_postgres: Engine, index: str) -> None:
    """A key is the columns of its index in their order, whatever their collations are."""
    on_postgres.script(
        f'CREATE TABLE t (name text COLLATE "C" NOT NULL, u int NOT NULL, v int); CREATE UNIQUE INDEX i ON t ({index}) INCLUDE (v)'
    )
    assert on_postgres.store.table("t").key == tuple(index.split(", "))  # type: ignore[attr-defined] # it has tables


def test_rows_that_no_key_tells_apart_are_read_and_not_written(on_postgres: Engine) -> None:
    """Where the index tells more values apart than `=`, all rows are read; a migration that would write them is refused."""
    on_postgres.script(
        "CREATE EXTENSION citext; CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1); CREATE TABLE o (id int PRIMARY KEY, n int);"
        "CREATE TABLE t (name citext NOT NULL, u int); CREATE UNIQUE INDEX i ON t (name text_ops);"
        "INSERT INTO t VALUES ('ann', 1), ('ANN', 1)"
    )
    reads = (Rows("t", by="u"),)
    cls = migration(
        lambda user: user.create("o", {"id": 1, "n": len(user.rows("t"))}), keys=Keys("users", "id"), reads=reads, writes=("o",)
    )
    assert on_postgres.migrate(cls)["migrated"] == 1
    assert on_postgres.query("SELECT n FROM o") == [(2,)]
    cls = migration(lambda _: None, keys=Keys("users", "id"), reads=reads, writes=("t",))
    with pytest.raises(UsageError, match="t has no primary key"):
        on_postgres.open(cls, "migrate")


INHERITED = (
    "CREATE TABLE people (id int PRIMARY KEY, u int, v text); CREATE TABLE staff (PRIMARY KEY (id)) INHERITS (people);"
    "INSERT INTO people VALUES (1, 1, 'a'), (2, 2, 'b'); INSERT INTO staff VALUES (1, 1, 'c')"
)


def test_tables_that_others_inherit_from(on_postgres: Engine) -> None:
    """Their keys do not hold for the rows of their children: read as they are, never written; a child can be."""
    on_postgres.script(f"{INHERITED}; CREATE TABLE o (id int PRIMARY KEY, n int)")
    reads = (Rows("people", by="id"),)
    cls = migration(
        lambda one: one.create("o", {"id": one.key, "n": len(one.rows("people"))}),
        keys=Keys("people", "id"),
        reads=reads,
        writes=("o",),
    )
    assert on_postgres.store.census(cls).total == 2
    assert on_postgres.migrate(cls)["migrated"] == 2
    assert on_postgres.query("SELECT * FROM o ORDER BY id") == [(1, 2), (2, 1)]
    cls = migration(lambda one: None, name="all", keys=Keys("people", "id"), reads=reads, writes=("people",))
    with pytest.raises(UsageError, match=r"INHERITS.*people"):
        on_postgres.open(cls, "migrate")
    cls = migration(
        lambda one: one.update(one.one("staff"), {"v": "new"}),
        name="staff",
        keys=Keys("staff", "id"),
        reads=(Rows("staff", by="id"),),
        writes=("staff",),
    )
    before = on_postgres.dump("people")
    assert on_postgres.migrate(cls)["migrated"] == 1
    assert on_postgres.query("SELECT v FROM people ORDER BY v") == [("a",), ("b",), ("new",)]
    assert on_postgres.rollback(cls)["rolled_back"] == 1
    assert on_postgres.dump("people") == before
