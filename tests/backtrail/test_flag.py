"""The flag, through every kind of connection that an application may hold, inside the application's own transaction."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

from backtrail import Keys, Rows, is_migrated
from backtrail.errors import PermissionMissing, UsageError
from tests.engine import Engine, migration

ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def alchemy(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)


@contextmanager
def plain(url: str) -> Iterator[Any]:
    if url.startswith("postgres"):
        with psycopg.connect(url) as connection:
            yield connection
        return
    connection = sqlite3.connect(str(sa.make_url(url).database))
    yield connection
    connection.close()


class Mine(sqlite3.Connection):
    """An application's own class of connection."""


@contextmanager
def dressed(url: str) -> Iterator[Any]:
    """Connections whose rows are dicts."""
    if url.startswith("postgres"):
        with psycopg.connect(url, row_factory=dict_row) as connection:
            yield connection
        return
    connection = sqlite3.connect(str(sa.make_url(url).database), factory=Mine)
    connection.row_factory = lambda cursor, row: {column[0]: cell for column, cell in zip(cursor.description, row, strict=True)}
    yield connection
    connection.close()


@contextmanager
def core(url: str) -> Iterator[Any]:
    with alchemy(url).connect() as connection:
        yield connection


@contextmanager
def session(url: str) -> Iterator[Any]:
    with Session(alchemy(url)) as opened:
        yield opened


CONNECTIONS = [plain, dressed, core, session]


@pytest.fixture(params=CONNECTIONS, ids=[connect.__name__ for connect in CONNECTIONS])
def connect(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    return request.param


def copies(table: str, *columns: str, **attributes: Any) -> Any:
    """A migration of the entities of a table, named by the columns, that notes each."""
    return migration(
        lambda entity: entity.remark("seen"), name=table, keys=Keys(table, *columns), reads=(Rows(table, columns),), **attributes
    )


def test_it_follows_the_entity_back_and_forth(database: str, connect: Callable[[str], Any]) -> None:
    """False without a ledger, true once migrated, false after the rollback, true after the redo; int and text of the key alike."""
    engine = Engine(database)
    engine.script("CREATE TABLE numbers (id integer PRIMARY KEY); INSERT INTO numbers VALUES (1), (2), (3)")
    numbers = copies("numbers", "id")

    def flags() -> list[bool]:
        with connect(database) as connection:
            return [is_migrated(connection, "numbers", key) for key in (1, "1", 2, "2", 3, 4, "other")]

    assert flags() == [False] * 7
    engine.migrate(numbers, only=["1", "2"])
    assert flags() == [True, True, True, True, False, False, False]
    engine.rollback(numbers, only=["2"])
    assert flags() == [True, True, False, False, False, False, False]
    engine.rerun(numbers, only=["2"])
    assert flags() == [True, True, True, True, False, False, False]
    with connect(database) as connection:
        assert not is_migrated(connection, "another", 1)
    engine.close()


def test_keys_of_every_type(database: str, connect: Callable[[str], Any]) -> None:
    """UUIDs and several columns are named as the application has them, or by their text."""
    engine = Engine(database)
    kind = "uuid" if engine.postgres else "text"
    engine.script(
        f"CREATE TABLE ids (id {kind} PRIMARY KEY); INSERT INTO ids VALUES ('{ONE}'), ('{TWO}');"
        "CREATE TABLE pairs (a integer, b text, PRIMARY KEY (a, b)); INSERT INTO pairs VALUES (1, '1'), (1, '2'), (2, 'é\"')"
    )
    engine.migrate(copies("ids", "id"), only=[str(ONE)])
    engine.migrate(copies("pairs", "a", "b"), only=['[1,"1"]', '[2, "é\\""]'])
    with connect(database) as connection:
        assert [is_migrated(connection, "ids", key) for key in (ONE, str(ONE), TWO, str(TWO))] == [True, True, False, False]
        keys: list[Any] = [(1, "1"), [1, "1"], '[1,"1"]', (2, 'é"'), (1, "2"), ("1", "1"), (1, 1)]
        assert [is_migrated(connection, "pairs", key) for key in keys] == [True, True, True, True, False, False, False]
    engine.close()


def test_a_text_key_that_looks_like_a_number_is_one_entity(database: str) -> None:
    """Within a migration keys have one type, so that text and number of one spelling cannot be two entities."""
    engine = Engine(database)
    engine.script("CREATE TABLE words (id text PRIMARY KEY); INSERT INTO words VALUES ('1'), ('01'), ('true')")
    engine.migrate(copies("words", "id"), only=["1"])
    with plain(database) as connection:
        assert [is_migrated(connection, "words", key) for key in ("1", 1, "01", "true", True)] == [
            True,
            True,
            False,
            False,
            False,
        ]
    engine.close()


def test_the_transaction_is_the_callers(database: str, connect: Callable[[str], Any]) -> None:
    """It is read within the caller's transaction, which goes on afterwards: nothing is committed, rolled back or aborted."""
    engine = Engine(database)
    engine.script("CREATE TABLE numbers (id integer PRIMARY KEY)")
    with connect(database) as connection:
        run: Any = connection if hasattr(connection, "execute") and not isinstance(connection, (sa.Connection, Session)) else None
        insert = "INSERT INTO numbers VALUES (7)"
        run.execute(insert) if run is not None else connection.execute(sa.text(insert))
        assert not is_migrated(connection, "numbers", 7)
        assert engine.query("SELECT * FROM numbers") == [], "nothing was committed"
        again = "SELECT count(*) AS n FROM numbers"
        row = (run.execute(again) if run is not None else connection.execute(sa.text(again))).fetchone()
        assert (row["n"] if isinstance(row, dict) else row[0]) == 1, "nothing was rolled back, and the transaction lives"
        connection.rollback()
    assert engine.query("SELECT * FROM numbers") == []
    engine.close()


def test_a_user_without_the_right_is_told_and_goes_on(postgres: str) -> None:
    """Where the application's user may not read the ledger, the error says what to grant, and the transaction is not aborted."""
    engine = Engine(postgres)
    engine.script("CREATE TABLE numbers (id integer PRIMARY KEY); INSERT INTO numbers VALUES (1)")
    engine.migrate(copies("numbers", "id"))
    role = f"app_{uuid.uuid4().hex[:8]}"
    engine.script(f"CREATE ROLE {role}; GRANT SELECT ON numbers TO {role}")
    try:
        with psycopg.connect(postgres) as connection:
            connection.execute(f"SET ROLE {role}")  # type: ignore[arg-type]
            with pytest.raises(PermissionMissing, match="GRANT USAGE ON SCHEMA backtrail"):
                is_migrated(connection, "numbers", 1)
            assert connection.execute("SELECT id FROM numbers").fetchone() == (1,)
        engine.script(
            f"GRANT USAGE ON SCHEMA backtrail TO {role}; GRANT SELECT ON backtrail.lookup TO {role};"
            f" GRANT SELECT (migration, key, state) ON backtrail.streams TO {role}"
        )
        with psycopg.connect(postgres) as connection:
            connection.execute(f"SET ROLE {role}")  # type: ignore[arg-type]
            assert is_migrated(connection, "numbers", 1)
    finally:
        engine.script(f"DROP OWNED BY {role}; DROP ROLE {role}")
        engine.close()


def test_it_sees_what_the_callers_snapshot_sees(postgres: str) -> None:
    """A repeatable-read transaction that began before the migration goes on seeing the old side."""
    engine = Engine(postgres)
    engine.script("CREATE TABLE numbers (id integer PRIMARY KEY); INSERT INTO numbers VALUES (1), (2)")
    numbers = copies("numbers", "id")
    engine.migrate(numbers, only=["2"])
    with psycopg.connect(postgres) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert not is_migrated(connection, "numbers", 1)
        engine.migrate(numbers)
        assert not is_migrated(connection, "numbers", 1)
        connection.rollback()
        assert is_migrated(connection, "numbers", 1)
    engine.close()


@pytest.mark.parametrize("thing", [object(), None, "postgresql://"])
def test_anything_else_is_no_connection(thing: Any) -> None:
    """What it cannot use is refused by name."""
    with pytest.raises(UsageError, match="is_migrated takes a connection"):
        is_migrated(thing, "numbers", 1)
