"""One transaction on a SQLite file: statements for many rows, and text that is no UTF-8 kept as it is."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import chain
from typing import Any

import sqlalchemy as sa

from backtrail.errors import BacktrailError, Quarantine
from backtrail.stores.base import Write
from backtrail.stores.cells import RawText
from backtrail.stores.rows import Cells
from backtrail.stores.sqlite.taken import taken
from backtrail.stores.sqlite.values import affinity
from backtrail.stores.sqlite.watch import SqliteWatch
from backtrail.stores.tables import Column, Table
from backtrail.stores.watch import Watch
from backtrail.stores.writing import SqlTransaction

ROWS_OWN = {
    *(sqlite3.SQLITE_CONSTRAINT_CHECK, sqlite3.SQLITE_CONSTRAINT_NOTNULL),
    *(sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID),
    3091,
}
"""The errors that a single row brings about; the last is SQLITE_CONSTRAINT_DATATYPE, of STRICT tables (https://www.sqlite.org/rescode.html)."""


class SqliteTransaction(SqlTransaction):
    """A transaction on a SQLite file; one that writes takes the only write lock at its start."""

    same = "IS"
    join = "CROSS JOIN"
    lock_clause = ""
    nulls_first = True
    duplicate = sqlite3.IntegrityError
    of_one_row = clashes = (sqlite3.IntegrityError,)
    chunk = 400
    _asked = 0

    @cached_property
    def raw(self) -> sqlite3.Connection:
        """The driver's connection."""
        raw = self.connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101 -- this store makes no other
        return raw

    @cached_property
    def now(self) -> dt.datetime:
        text = self.raw.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchone()[0]
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)

    def rows_of(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        sql, parameters = _with_raw_text(sql, parameters)
        try:
            return self.raw.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
        # Somewhere there is text that is no UTF-8: read again, slower, with a reader that keeps its bytes.
        self.raw.text_factory = _text
        try:
            return self.raw.execute(sql, parameters).fetchall()
        finally:
            self.raw.text_factory = str

    def values(self, rows: Sequence[Cells]) -> tuple[str, list[Any]]:
        one = f"({', '.join('?' * len(rows[0]))})"
        return f"(VALUES {', '.join([one] * len(rows))}) k", [cell for row in rows for cell in row]

    def cast(self, expression: str, column: Column) -> str:
        return expression

    def binary(self, expression: str) -> str:
        return f"{expression} COLLATE BINARY"

    def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> None:
        if not columns:
            for _ in rows:
                self.raw.execute(f"INSERT{table.conflicts} INTO {table.sql} DEFAULT VALUES")
            return
        names = ", ".join(map(self.quote, columns))
        self._many(f"INSERT{table.conflicts} INTO {table.sql} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)

    def insert_one(self, table: Table, columns: Sequence[str], row: Cells) -> list[Any]:
        names = ", ".join(map(self.quote, columns))
        body = f"({names}) VALUES ({', '.join('?' * len(columns))})" if columns else "DEFAULT VALUES"
        sql = f"INSERT{table.conflicts} INTO {table.sql} {body} RETURNING {', '.join(map(self.quote, table.key))}"
        return list(self.rows_of(sql, row)[0])

    def update(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Cells, Cells]]) -> None:
        sets = ", ".join(f"{self.quote(name)} = ?" for name in columns)
        sql = f"UPDATE{table.conflicts} {table.sql} SET {sets} WHERE {self._key(table)}"
        self._many(sql, [[*cells, *self._key_cells(table, key)] for key, cells in rows])

    def delete(self, table: Table, keys: Sequence[Cells]) -> None:
        self._many(f"DELETE FROM {table.sql} WHERE {self._key(table)}", [self._key_cells(table, key) for key in keys])

    def _key(self, table: Table) -> str:
        # Where different values count as equal, the index finds both and the bytes choose.
        columns = [(self.quote(column.name), column.folds) for column in table.key_columns]
        return " AND ".join(f"{name} IS ? AND {self.binary(name)} IS ?" if folds else f"{name} IS ?" for name, folds in columns)

    @staticmethod
    def _key_cells(table: Table, key: Cells) -> list[Any]:
        """The parameters of `_key`."""
        return [cell for cell, column in zip(key, table.key_columns, strict=True) for _ in range(1 + column.folds)]

    def _many(self, sql: str, rows: Sequence[Cells]) -> None:
        if RawText in map(type, chain.from_iterable(rows)):
            self._asked = 0
            for row in rows:
                self.raw.execute(*_with_raw_text(sql, row))
            return
        self._asked = 0
        self.raw.executemany(sql, self._counted(rows))

    def _counted(self, rows: Sequence[Cells]) -> Iterator[Cells]:
        for row in rows:
            self._asked += 1
            yield row

    def refused_at(self, table: Table, error: Exception) -> int | None:
        # The driver asks for a row when the last one is written.
        return self._asked - 1 if self._asked and getattr(error, "sqlite_errorcode", 0) in ROWS_OWN else None

    def watcher(self, tables: Sequence[Table]) -> Watch:
        return SqliteWatch(self, tables)

    @contextmanager
    def quietly(self, table: Table, columns: Collection[str]) -> Iterator[None]:
        # Foreign keys go on being enforced, and the triggers come back in the order in which they were made, or with the transaction.
        sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?) ORDER BY rowid"
        triggers = self.raw.execute(sql, (table.name,)).fetchall()
        for name, _ in triggers:
            self.raw.execute(f"DROP TRIGGER main.{self.quote(name)}")
        yield
        for _, text in triggers:
            self.raw.execute(text)

    def taken(self, error: Exception, writes: Sequence[Write]) -> Quarantine | None:
        return taken(self, error, writes)

    def spare(self, column: Column, number: int) -> Any:
        return uuid.uuid4().hex if affinity(column.type) in {"text", "blob"} else number - 2**62

    def defer(self) -> None:
        """Foreign keys wait already."""

    def normal(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> Sequence[Cells]:
        # A table of the same types elsewhere: what a column makes of a value depends on its type alone.
        types = ", ".join(f"c{at} {table.by_name[name].type}" for at, name in enumerate(columns))
        marks = ", ".join("?" * len(columns))
        found: list[Cells] = []
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
            other.text_factory = _text
            other.execute(f"CREATE TABLE t ({types})")
            for row in rows:
                other.execute(*_with_raw_text(f"INSERT INTO t VALUES ({marks})", row))
                found.append(other.execute("SELECT * FROM t WHERE rowid = last_insert_rowid()").fetchone())
        return found

    @contextmanager
    def nested(self) -> Iterator[None]:
        refused: Exception | None = None
        try:
            with super().nested():
                try:
                    yield
                except Exception as error:
                    refused = error
                    raise
        except sa.exc.OperationalError:
            # A trigger's RAISE(ROLLBACK) leaves no transaction, and so nothing to come back to. Whatever were written now would be committed.
            if refused is None or self.raw.in_transaction:
                raise
            failure = refused if isinstance(refused, BacktrailError) else self.store.translate(refused)
            if isinstance(failure, Quarantine):
                failure.final = True
            raise failure from refused

    def settle(self) -> None:
        orphans = _orphans(self.raw)
        if orphans:
            # Rows that were without what they refer to before are nobody's fault. Another connection sees what is committed.
            with closing(self.store.engine.raw_connection()) as other:
                orphans -= _orphans(other.driver_connection)
        if orphans:
            error = sqlite3.IntegrityError("FOREIGN KEY constraint failed")
            error.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
            raise error

    def draw_keys(self, table: Table, columns: Sequence[str], number: int) -> list[Cells] | None:
        return None

    def bulk(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names = ", ".join(map(self.quote, columns))
        self.raw.executemany(f"INSERT INTO {self.quote(table)} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawText(raw)


def _with_raw_text(sql: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """The statement with each parameter that is text without UTF-8 bound as a blob and cast, which keeps its bytes."""
    if RawText not in map(type, parameters):
        return sql, list(parameters)
    parts = re.split(r'\?(?=(?:[^"]*"[^"]*")*[^"]*$)', sql)  # the marks outside quoted names
    marks = ["CAST(? AS TEXT)" if type(value) is RawText else "?" for value in parameters]
    joined = parts[0] + "".join(mark + part for mark, part in zip(marks, parts[1:], strict=True))
    return joined, [bytes(value) if type(value) is RawText else value for value in parameters]


def _orphans(raw: Any) -> set[tuple[Any, ...]]:
    """The rows that refer to what is not there."""
    return set(raw.execute("PRAGMA foreign_key_check").fetchall())
