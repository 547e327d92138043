"""Eyes for SQL databases: plain psycopg and sqlite3, and SQL."""

from __future__ import annotations

import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import psycopg

from tests.acceptance.eyes import Eye, Person, User, digest

KINDS = {
    **{"b": "begin", "c": "created", "u": "updated", "d": "deleted", "r": "compensated", "e": "end", "f": "failed"},
    **{"x": "conflict", "m": "unmapped", "n": "remark", "+": "expanded", "-": "retracted", "0": "erased"},
}
"""The kinds of events by the letters that an SQL database holds."""


class SqlEye(Eye):
    """A database that speaks SQL."""

    serial: str

    @abstractmethod
    def connected(self) -> AbstractContextManager[Any]:
        """A connection in autocommit."""

    @abstractmethod
    def ledger(self, table: str) -> str:
        """The name of a table of the ledger."""

    def execute(self, *statements: str) -> None:
        """Carries the statements out, each committed at once."""
        with self.connected() as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the query returns."""
        with self.connected() as connection:
            return [tuple(row) for row in connection.execute(query).fetchall()]

    def one(self, query: str) -> Any:
        """The first value that the query returns."""
        return self.rows(query)[0][0]

    # -- the world ------------------------------------------------------------------------------------------------

    def populate(self, prefix: str, users: int) -> None:
        self.execute(
            f"CREATE TABLE {prefix}_users (id integer PRIMARY KEY, full_name text, score integer)",
            f"CREATE TABLE {prefix}_people (id {self.serial}, user_id integer NOT NULL UNIQUE REFERENCES {prefix}_users,"
            " first text NOT NULL, last text CHECK (last <> 'Bad'))",
            f"INSERT INTO {prefix}_users WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {users})"
            " SELECT i, 'Zoë' || i || ' B' || i, CASE WHEN i % 3 > 0 THEN i END FROM n",
        )

    def users(self, prefix: str) -> list[User]:
        return self.rows(f"SELECT id, full_name, score FROM {prefix}_users ORDER BY id")

    def people(self, prefix: str) -> list[Person]:
        return self.rows(f"SELECT user_id, first, last FROM {prefix}_people ORDER BY user_id, id")

    def rename(self, prefix: str, number: int, full_name: str) -> None:
        self.execute(f"UPDATE {prefix}_users SET full_name = '{full_name}' WHERE id = {number}")

    def rename_person(self, prefix: str, number: int, last: str) -> None:
        self.execute(f"UPDATE {prefix}_people SET last = '{last}' WHERE user_id = {number}")

    def delete_user(self, prefix: str, number: int) -> None:
        self.execute(f"DELETE FROM {prefix}_people WHERE user_id = {number}")
        self.execute(f"DELETE FROM {prefix}_users WHERE id = {number}")

    # -- the ledger -----------------------------------------------------------------------------------------------

    def states(self, migration: str) -> dict[str, int]:
        query = f"SELECT state, count(*) FROM {self.ledger('streams')} WHERE migration = '{migration}' GROUP BY 1"
        return dict(self.rows(query))

    def gaps(self, migration: str) -> list[Any]:
        return self.rows(
            f"SELECT s.key, s.version, count(e.version), min(e.version), max(e.version) FROM {self.ledger('streams')} s"
            f" LEFT JOIN {self.ledger('events')} e ON e.stream = s.id WHERE s.migration = '{migration}' GROUP BY s.key, s.version"
            " HAVING count(e.version) <> s.version OR min(e.version) <> 1 OR max(e.version) <> s.version",
        )

    def kinds(self, migration: str, key: str) -> list[str]:
        query = (
            f"SELECT e.kind FROM {self.ledger('events')} e JOIN {self.ledger('streams')} s ON s.id = e.stream"
            f" WHERE s.migration = '{migration}' AND s.key = '{key}' ORDER BY e.version"
        )
        return [KINDS[letter] for (letter,) in self.rows(query)]

    def done(self, campaign: int) -> int:
        done = "coalesce(sum(migrated + rolled_back + skipped + failed), 0)"
        return int(self.one(f"SELECT {done} FROM {self.ledger('batches')} WHERE campaign = {campaign}"))

    def state(self, campaign: int) -> str:
        return str(self.one(f"SELECT state FROM {self.ledger('campaigns')} WHERE id = {campaign}"))

    def options(self, campaign: int) -> str:
        return str(self.one(f"SELECT options FROM {self.ledger('campaigns')} WHERE id = {campaign}"))

    def recalls(self, migration: str) -> int:
        return int(self.one(f"SELECT count(*) FROM {self.ledger('recalls')} WHERE migration = '{migration}'"))

    def age(self) -> None:
        self.execute(f"UPDATE {self.ledger('version')} SET version_num = '9999'")


class SqliteEye(SqlEye):
    """An SQLite file."""

    kind = "sqlite"
    serial = "integer PRIMARY KEY"

    @property
    def path(self) -> str:
        """The file."""
        return self.url.removeprefix("sqlite:///")

    def ledger(self, table: str) -> str:
        return f"backtrail_{table}"

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=20)) as connection:
            yield connection

    def everything(self) -> dict[str, str]:
        with self.connected() as connection:
            schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
            tables = [name for kind, name, _ in schema if kind == "table"]
            return {"schema": repr(schema), **{name: digest(_sqlite_lines(connection, name)) for name in tables}}

    @contextmanager
    def held(self, prefix: str, number: int, seconds: float) -> Iterator[None]:
        # There are no locks on rows: it is the write lock of the file.
        with closing(sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(seconds, connection.execute, ["COMMIT"])
            timer.start()
            yield
            timer.join()


def _sqlite_lines(connection: sqlite3.Connection, table: str) -> list[str]:
    columns = [row[1] for row in connection.execute(f"SELECT * FROM pragma_table_xinfo('{table}')")]
    values = ", ".join(f'typeof("{column}"), hex(CAST("{column}" AS BLOB))' for column in columns)
    return sorted(map(repr, connection.execute(f'SELECT {values} FROM "{table}"')))


class PostgresEye(SqlEye):
    """A PostgreSQL database."""

    kind = "postgres"
    serial = "bigserial PRIMARY KEY"

    def ledger(self, table: str) -> str:
        return f"backtrail.{table}"

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield connection

    def everything(self) -> dict[str, str]:
        with self.connected() as connection:
            tables = connection.execute(
                "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            ).fetchall()
            schema = connection.execute(
                "SELECT table_schema, table_name, column_name, data_type, column_default FROM information_schema.columns"
                " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position"
            ).fetchall()
            return {"schema": repr(schema), **{name: digest(_postgres_lines(connection, name)) for (name,) in tables}}

    @contextmanager
    def held(self, prefix: str, number: int, seconds: float) -> Iterator[None]:
        with psycopg.connect(self.url) as connection:
            connection.execute(f"SELECT * FROM {prefix}_users WHERE id = {number} FOR UPDATE")  # type: ignore[arg-type]
            timer = threading.Timer(seconds, connection.commit)
            timer.start()
            yield
            timer.join()


def _postgres_lines(connection: psycopg.Connection[Any], table: str) -> list[str]:
    ordered = f'COPY (SELECT * FROM {table} t ORDER BY t::text COLLATE "C") TO STDOUT'
    with connection.cursor().copy(ordered) as copy:  # type: ignore[arg-type]
        return [bytes(line).hex() for line in copy]


def sql_eye(url: str) -> SqlEye:
    """An eye for a database that speaks SQL."""
    return PostgresEye(url) if url.startswith("postgresql") else SqliteEye(url)
