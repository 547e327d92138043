"""What an erased row leaves in a database's files, taken out of them: they are written anew."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backtrail.stores.sql import SqlStore
from ledger.sql.tables import ledger_tables

LOCK_NOT_AVAILABLE = "55P03"

TRIES = 3
"""How often a table is tried that somebody uses just now."""

WAIT_MS = 1000
"""How long it is waited for: so long, whoever else wants the table waits behind, such as an application that reads flags."""


def scrub(store: SqlStore, at_most: int | None, *, keys_only: bool) -> int | None:
    """The size in bytes of what would have to be rewritten and was not; None where all of it was.

    On PostgreSQL those are the ledger's tables, which nobody can use meanwhile (VACUUM FULL); on SQLite the whole file (VACUUM). It is not
    rewritten where it is larger than `at_most`, somebody uses it and does not make way, or this user may not; and what an older
    transaction can still see stays, so it counts as not rewritten.
    """
    try:
        return _scrubbed(store, at_most, keys_only=keys_only)
    except (sa.exc.SQLAlchemyError, *store.driver_errors) as error:  # type: ignore[misc] # a tuple of classes, whatever its length
        raise store.translate(error) from error


def _scrubbed(store: SqlStore, at_most: int | None, *, keys_only: bool) -> int | None:
    if store.kind == "postgres":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return _postgres(connection, at_most, keys_only=keys_only)
    raw = store.engine.raw_connection()
    try:
        return _sqlite(cast(sqlite3.Connection, raw.driver_connection), at_most)
    finally:
        raw.close()


def _postgres(connection: Connection, at_most: int | None, *, keys_only: bool) -> int | None:
    tables = ledger_tables("postgresql")
    chosen = [tables.keys] if keys_only else tables.metadata.sorted_tables
    sizes = {connection.dialect.identifier_preparer.format_table(table): 0 for table in chosen}
    for name in sizes:
        sizes[name] = int(connection.scalar(sa.text("SELECT pg_total_relation_size(:name)"), {"name": name}) or 0)
    with _impatient(connection):
        for name in sizes if not keys_only else ():
            # The planner's statistics have some of the values themselves.
            _done(connection, f"ANALYZE {name}")
        if at_most is not None and sum(sizes.values()) > at_most:
            return sum(sizes.values())
        left = [size for name, size in sizes.items() if not _rewritten(connection, name)]
    return sum(left) or None


@contextmanager
def _impatient(connection: Connection) -> Iterator[None]:
    connection.exec_driver_sql(f"SET lock_timeout = {WAIT_MS}")
    try:
        yield
    finally:
        connection.exec_driver_sql("RESET lock_timeout")


def _rewritten(connection: Connection, name: str) -> bool:
    """Whether the table has a new file, with nothing in it that is not in the table."""
    file = sa.text("SELECT pg_relation_filenode(:name)")
    before, said = connection.scalar(file, {"name": name}), list[str]()
    raw: Any = connection.connection.driver_connection

    def hear(notice: Any) -> None:
        said.append(notice.message_detail or "")

    raw.add_notice_handler(hear)
    try:
        if not _done(connection, f"VACUUM (FULL, VERBOSE) {name}"):
            return False
    finally:
        raw.remove_notice_handler(hear)
    # Its details begin with the number of dead rows that an older transaction may still see. Who may not do it is only warned.
    return connection.scalar(file, {"name": name}) != before and not any(re.match(r"\D*[1-9]", one) for one in said)


def _done(connection: Connection, statement: str) -> bool:
    """Whether the statement was executed; False where somebody uses the table."""
    for _ in range(TRIES):
        try:
            connection.exec_driver_sql(statement)
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
        else:
            return True
    return False


def _sqlite(connection: sqlite3.Connection, at_most: int | None) -> int | None:
    # Outside any transaction, which SQLAlchemy would begin.
    (size,) = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    if at_most is not None and size > at_most:
        return int(size)
    connection.execute(f"PRAGMA busy_timeout = {TRIES * WAIT_MS}")  # whoever begins a transaction sets it anew
    try:
        connection.execute("VACUUM")
        # With a write-ahead log the old pages are in there as well, and stay there as long as somebody reads them.
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return int(size)
    return int(size) if busy else None
