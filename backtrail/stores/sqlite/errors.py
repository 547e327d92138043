"""The driver's errors as ours."""

from __future__ import annotations

import sqlite3

from backtrail.errors import (
    BacktrailError,
    ConstraintFailed,
    DatabaseFault,
    PermissionMissing,
    Retry,
    SchemaChanged,
    StorageFull,
    UnsuitableDatabase,
    clash,
)


def translated(error: Exception) -> BacktrailError:
    """One of ours, by the error's code."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID}:
        return clash(str(error))
    message = str(error)  # SQLite's own messages name tables, columns and constraints, never values
    match code & 255:  # the primary code (https://www.sqlite.org/rescode.html)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return Retry("the database is locked by another writer")
        case sqlite3.SQLITE_CONSTRAINT if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            return ConstraintFailed("a trigger refused the row")  # its message is the user's, and may quote data
        case sqlite3.SQLITE_CONSTRAINT | sqlite3.SQLITE_MISMATCH | sqlite3.SQLITE_TOOBIG | sqlite3.SQLITE_RANGE:
            return ConstraintFailed(message)
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM:
            return StorageFull(f"the database file cannot grow: {message}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_NOTADB:
            return UnsuitableDatabase(f"{message}: check the path in database_url")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return PermissionMissing(f"the database file cannot be written: {message}")
        case sqlite3.SQLITE_SCHEMA:
            return SchemaChanged(message)
        case sqlite3.SQLITE_ERROR if "no such" in message or "has no column" in message:
            return SchemaChanged(message)
        case _:
            return DatabaseFault(f"{type(error).__name__}: {message}")
