"""Tables as a SQLite file has them."""

from __future__ import annotations

import pytest

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from tests.engine import Engine, migration


@pytest.mark.parametrize(
    ("index", "key"),
    [
        ("owner", ("owner",)),
        ("owner, name", ("owner", "name")),
        ("owner, lower(name)", ()),
        ("lower(name), owner", ()),
        ("lower(name)", ()),
        ("owner) WHERE (name > ''", ()),
    ],
)
def test_unique_by_columns_alone(on_sqlite: Engine, index: str, key: tuple[str, ...]) -> None:
    """The columns of an index make no key where an expression or a condition stands beside them."""
    on_sqlite.script(f"CREATE TABLE t (owner INTEGER NOT NULL, name TEXT NOT NULL, v TEXT); CREATE UNIQUE INDEX i ON t ({index})")
    table = on_sqlite.store.table("t")  # type: ignore[attr-defined] # it has tables
    assert table.key == key
    assert table.is_unique(["owner", "name"]) == bool(key)


def test_an_index_of_an_expression(on_sqlite: Engine) -> None:
    """Rows that only an expression tells apart are all read, and not written."""
    on_sqlite.script(
        "CREATE TABLE t (owner INTEGER NOT NULL, name TEXT, v TEXT); CREATE UNIQUE INDEX i ON t (owner, lower(name));"
        "INSERT INTO t VALUES (1, 'x', 'one'), (1, 'y', 'two'); CREATE TABLE o (id INTEGER PRIMARY KEY, n INTEGER)"
    )
    keys, reads = Keys("t", "owner"), (Rows("t", by="owner"),)
    cls = migration(lambda one: one.create("o", {"n": len(one.rows("t"))}), keys=keys, reads=reads, writes=("o",))
    assert on_sqlite.store.census(cls).total == 1
    assert on_sqlite.migrate(cls)["migrated"] == 1
    assert on_sqlite.query("SELECT n FROM o") == [(2,)]
    with pytest.raises(UsageError, match="t has no primary key"):
        on_sqlite.open(migration(lambda _: None, keys=keys, reads=reads, writes=("t",)), "migrate")
