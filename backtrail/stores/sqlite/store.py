"""A SQLite file: its connections, and what its keys are."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from backtrail.errors import BacktrailError, Retry, UnsuitableDatabase, UsageError
from backtrail.migration import Keys
from backtrail.stores.sql import SqlStore
from backtrail.stores.sqlite.catalog import reflect, table_names
from backtrail.stores.sqlite.connection import begin_to_write, demand_utf8, end_of_writing
from backtrail.stores.sqlite.errors import translated
from backtrail.stores.sqlite.log import WriteAheadLog
from backtrail.stores.sqlite.transaction import SqliteTransaction
from backtrail.stores.sqlite.values import affinity
from backtrail.stores.tables import Column, Table
from backtrail.stores.writing import SqlTransaction

CACHE_KB = 5000
"""How much of the file a connection keeps in memory, so that what a transaction writes is there when it is read back.

New ids come in no order: each of a batch's rows is on a page of the index of its own. In SQLite's own 2 MB they would make room for each other.
"""

KEY_TYPES = {"integer": "int", "real": "number", "text": "text", "blob": "bytes"}


class _Open(threading.local):
    """The transactions that each thread has open."""

    def __init__(self) -> None:
        self.transactions: list[SqlTransaction] = []


class SqliteStore(SqlStore):
    """A SQLite file."""

    kind = "sqlite"
    one_writer = True
    dear_savepoints = True
    driver_errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def __init__(self, url: str, lock_timeout_ms: int) -> None:
        super().__init__(url, lock_timeout_ms)
        self._open = _Open()

    def _make_engine(self) -> Engine:
        url = make_url(self.url)
        path = url.database
        timeout = max(self.lock_timeout_ms / 1000, 20)
        # The one that was used last: each has a cache of its own.
        pool = {"poolclass": sa.pool.QueuePool, "pool_size": 2, "pool_use_lifo": True}
        with warnings.catch_warnings():
            # Of an option that it does not know it only warns, and goes on without it.
            warnings.simplefilter("error", sa.exc.SAWarning)
            try:
                engine = sa.create_engine(url, connect_args={"timeout": timeout}, **pool)
            except (sa.exc.SAWarning, ValueError):
                names = " or ".join(url.query)
                raise UnsuitableDatabase(
                    f"database_url: an option does not exist, or has a value that SQLite's driver does not take: mend {names}"
                ) from None

        @sa.event.listens_for(engine, "connect")
        def _connected(raw: sqlite3.Connection, _record: Any) -> None:
            raw.isolation_level = None  # the driver's own BEGIN comes late and not before reads: ours does
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            demand_utf8(raw)

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            options = connection.get_execution_options()
            if not options.get("backtrail_write", True):
                connection.exec_driver_sql("BEGIN")
                return
            begin_to_write(connection, timeout, in_memory=options.get("backtrail_small", False))
            # Rows that refer to each other come back in any order; the whole must be right at the commit.
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")

        @sa.event.listens_for(engine, "checkin")
        def _given_back(raw: sqlite3.Connection | None, _record: Any) -> None:
            if raw is not None:
                end_of_writing(raw)

        if path is None:
            raise UnsuitableDatabase("a SQLite database in memory belongs to one process: name a file, as in sqlite:///app.db")
        return engine

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True, small: bool = False) -> Iterator[SqlTransaction]:
        """A transaction; where this thread has one open and asks for another to read, that one.

        Without a write-ahead log, a writer who waits for the first to end lets nobody begin to read: the second would wait for it, and it for
        the first.
        """
        own = self._open.transactions
        if own and not write:
            yield own[-1]
            return
        with super().transaction(write=write, small=small) as tx:
            own.append(tx)
            try:
                yield tx
            finally:
                own.remove(tx)
        if write and self._log.large():
            try:
                with contextlib.closing(self.engine.raw_connection()) as pooled:
                    self._log.shorten(pooled.driver_connection)
            except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
                raise self.translate(error) from error

    @cached_property
    def _log(self) -> WriteAheadLog:
        return WriteAheadLog(self.engine.url.database or "")

    def close(self) -> None:
        super().close()
        self._open = _Open()

    def _options(self, write: bool, small: bool) -> dict[str, Any]:
        return {"backtrail_write": write, "backtrail_small": small}

    def _transaction(self, connection: Connection) -> SqliteTransaction:
        return SqliteTransaction(self, connection)

    def _is_dead(self, connection: Connection) -> bool:
        return False

    def mark(self, column: Column) -> str:
        return "?"

    def _table_names(self, connection: Connection) -> list[str]:
        return table_names(connection)

    def _reflect(self, connection: Connection, name: str) -> Table | None:
        return reflect(connection, name, self.quote)

    def _key_types(self, tx: SqlTransaction, keys: Keys, table: Table) -> tuple[str, ...]:
        condition, parameters = self.where(table, keys)
        types = []
        for name in keys.columns:
            column = f"t.{self.quote(name)}"
            sql = f"SELECT DISTINCT typeof({column}) FROM {table.sql} t WHERE {condition} AND {column} IS NOT NULL"
            found = {KEY_TYPES[row[0]] for row in tx.rows_of(sql, parameters)}
            if found == {"int", "number"}:
                found = {"number"}
            if len(found) > 1:
                raise UsageError(
                    f"{keys.table}.{name} holds keys of mixed type ({', '.join(sorted(found))}), which would print alike:"
                    f" give Keys({keys.table!r}, {name!r}, key=) to make them one type"
                )
            types.append(
                found.pop() if found else {"integer": "int", "real": "number"}.get(affinity(table.by_name[name].type), "text")
            )
        return tuple(types)

    def translate(self, error: Exception) -> BacktrailError:
        if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, Exception):
            return self.translate(error.orig)
        if isinstance(error, sa.exc.TimeoutError):
            return Retry("no free connection to the database")
        return translated(error)
