"""The flag that applications read: is this entity migrated?"""

from __future__ import annotations

from typing import Any

from backtrail.keys import key_text

QUERY = "SELECT state FROM {table} WHERE migration = {mark} AND key = {mark}"


def is_migrated(connection: Any, migration: str, key: Any) -> bool:
    """Whether the entity is migrated now, read inside the caller's own transaction.

    Args:
        connection: an SQLAlchemy Connection or Session, a `sqlite3` connection, or a psycopg connection.
        migration: the migration's name.
        key: the entity's key, with its type, or its text.

    A database in which no campaign was ever opened has no ledger and answers False.
    """
    text = key if isinstance(key, str) else key_text(key)
    run = getattr(connection, "exec_driver_sql", None)
    if run is None and hasattr(connection, "connection") and callable(connection.connection):
        run = connection.connection().exec_driver_sql  # an SQLAlchemy Session
    postgres, execute = _dialect(connection, run)
    table = "backtrail.streams" if postgres else "backtrail_streams"
    mark = "%s" if postgres else "?"
    # The ledger is looked for first: a failing statement would abort the caller's transaction on PostgreSQL.
    exists = (
        "SELECT to_regclass('backtrail.streams') IS NOT NULL"
        if postgres
        else "SELECT count(*) > 0 FROM sqlite_master WHERE name = 'backtrail_streams'"
    )
    if not execute(exists, ()).fetchone()[0]:
        return False
    row = execute(QUERY.format(table=table, mark=mark), (migration, text)).fetchone()
    return row is not None and row[0] == "migrated"


def _dialect(connection: Any, run: Any) -> tuple[bool, Any]:
    if run is not None:
        bound = run.__self__
        return bound.dialect.name == "postgresql", run
    return not type(connection).__module__.startswith("sqlite3"), connection.execute
