"""What cannot be given back exactly on SQLite is refused, and nothing is changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import UnsuitableDatabase, UsageError
from tests.engine import Engine, migration
from tests.exactness.sqlite_oracle import look, path_of

OLD = "CREATE TABLE old (id INTEGER PRIMARY KEY, tag TEXT, v); INSERT INTO old VALUES (1, 'a', -0.0)"


def deleting(**attributes: Any) -> type[Migration]:
    """A migration that deletes the rows of `old`."""
    given = {"keys": Keys("old", "id"), "reads": (Rows("old", by="id"),), "writes": ("old",), **attributes}
    return migration(lambda entity: entity.delete(entity.one("old")), **given)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_text_in_utf16(sqlite: str, encoding: str) -> None:
    """A file whose text is UTF-16 is refused by name: half a surrogate pair would come back as another character."""
    with closing(sqlite3.connect(path_of(sqlite))) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE old (id INTEGER PRIMARY KEY, tag TEXT)")
        connection.execute("INSERT INTO old VALUES (1, CAST(x'00d86100' AS TEXT))")
        connection.commit()
        before = connection.execute("SELECT hex(CAST(tag AS BLOB)), (SELECT count(*) FROM sqlite_master) FROM old").fetchall()
        with closing(Engine(sqlite)) as engine, pytest.raises(UnsuitableDatabase, match=rf"{encoding}.*sqlite3 old.db .dump"):
            engine.migrate(deleting())
        now = connection.execute("SELECT hex(CAST(tag AS BLOB)), (SELECT count(*) FROM sqlite_master) FROM old").fetchall()
    assert now == before != []


def test_a_table_without_a_key(on_sqlite: Engine) -> None:
    """Rows that cannot be told apart are not written: the table is refused before the start."""
    on_sqlite.script("CREATE TABLE old (id INTEGER, tag TEXT); INSERT INTO old VALUES (1, 'a'), (2, 'b')")
    before = look(path_of(on_sqlite.url), "old")
    with pytest.raises(UsageError, match="old has no primary key"):
        on_sqlite.migrate(deleting())
    assert look(path_of(on_sqlite.url), "old") == before != {}


@pytest.mark.parametrize("value", [float("nan"), 2**63, -(2**63) - 1, "half \ud800", {"a": float("inf")}, {1, 2}, 1j])
def test_values_that_sqlite_would_change(on_sqlite: Engine, value: Any) -> None:
    """What SQLite has no value for (NaN would become NULL) quarantines its entity, and the row stays as it is."""
    on_sqlite.script(OLD)
    before = look(path_of(on_sqlite.url), "old")
    cls = migration(
        lambda entity: entity.update(entity.one("old"), {"v": value}),
        keys=Keys("old", "id"),
        reads=(Rows("old", by="id"),),
        writes=("old",),
    )
    assert (on_sqlite.migrate(cls)["failed"], on_sqlite.failures(cls)["1"]["error"]) == (1, "BadValue")
    assert look(path_of(on_sqlite.url), "old") == before != {}


@pytest.mark.parametrize("change", ["", "; ALTER TABLE old ADD COLUMN v REAL"], ids=["dropped", "retyped"])
def test_columns_that_cannot_come_back(on_sqlite: Engine, change: str) -> None:
    """A column that is gone, or of another type, makes the rollback refuse and name it."""
    on_sqlite.script(OLD)
    assert on_sqlite.migrate(deleting())["migrated"] == 1
    on_sqlite.script(f"ALTER TABLE old DROP COLUMN v{change}")
    on_sqlite.store.forget()
    on_sqlite.fresh_worker()
    back = on_sqlite.rollback(deleting())
    assert back["rolled_back"] == 0
    assert any("old.v" in reason for reason in reasons(on_sqlite, back)), reasons(on_sqlite, back)
    assert look(path_of(on_sqlite.url), "old") == {}


@pytest.mark.parametrize("events", [["INSERT"], ["INSERT", "UPDATE"]])
def test_a_trigger_that_rounds(on_sqlite: Engine, events: list[str]) -> None:
    """Where a trigger changes what is put back, the row comes back exactly all the same or the rollback refuses: never something else."""
    on_sqlite.script(OLD)
    before = look(path_of(on_sqlite.url), "old")
    assert on_sqlite.migrate(deleting())["migrated"] == 1
    for event in events:
        on_sqlite.script(
            f"CREATE TRIGGER on_{event} AFTER {event} ON old WHEN typeof(NEW.v) = 'real' BEGIN UPDATE old SET v = 0 WHERE id = NEW.id; END"
        )
    on_sqlite.store.forget()
    on_sqlite.fresh_worker()
    back = on_sqlite.rollback(deleting())
    assert look(path_of(on_sqlite.url), "old") == (before if back["rolled_back"] else {})
    assert back["rolled_back"] or "trigger" in reasons(on_sqlite, back)[-1]


def reasons(engine: Engine, status: dict[str, Any]) -> list[str]:
    """Why the campaign did not do what it was to do."""
    return [status["halted"] or "", *(one["reason"] for one in engine.failures(deleting()).values())]
