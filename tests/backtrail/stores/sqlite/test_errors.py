"""SQLite's errors, by their code."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from backtrail.errors import (
    ConstraintFailed,
    DatabaseFault,
    PermissionMissing,
    Retry,
    SchemaChanged,
    UnsuitableDatabase,
)
from backtrail.stores.sqlite.store import SqliteStore


def raised(*statements: str) -> sqlite3.Error:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    try:
        for statement in statements:
            connection.execute(statement)
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (("CREATE TABLE t (a NOT NULL)", "INSERT INTO t VALUES (NULL)"), ConstraintFailed),
        (("CREATE TABLE t (a INT) STRICT", "INSERT INTO t VALUES ('x')"), ConstraintFailed),
        (("CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES ('x')"), ConstraintFailed),
        (("SELECT * FROM nowhere",), SchemaChanged),
        (("CREATE TABLE t (a)", "INSERT INTO t (b) VALUES (1)"), SchemaChanged),
        (("PRAGMA query_only = 1", "CREATE TABLE t (a)"), PermissionMissing),
        (("SELEC",), DatabaseFault),
    ],
)
def test_errors(statements: tuple[str, ...], expected: type[Exception]) -> None:
    """Every error of SQLite is one of ours, by its code."""
    assert type(SqliteStore("sqlite:///x.db", 1000).translate(raised(*statements))) is expected


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """A file that is no database, or in no folder, is one line about the path."""
    (tmp_path / "letter.db").write_text("Dear Ann, " * 200)
    for path in (tmp_path / "letter.db", tmp_path / "missing" / "a.db"):
        store = SqliteStore(f"sqlite:///{path}", 1000)
        with pytest.raises(UnsuitableDatabase, match="check the path"), store.transaction(write=False) as tx:
            tx.rows_of("SELECT 1 FROM sqlite_master")
        store.close()


def test_a_locked_file(tmp_path: Path) -> None:
    """A file that somebody else is writing is tried again."""
    connections = [sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0) for _ in range(2)]
    connections[0].execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connections[1].execute("BEGIN IMMEDIATE")
    assert isinstance(SqliteStore("sqlite:///x.db", 1000).translate(caught.value), Retry)
    for connection in connections:
        connection.close()
