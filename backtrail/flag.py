"""The flag that applications read: is this entity migrated?"""

from __future__ import annotations

import sqlite3
from typing import Any

from backtrail.errors import PermissionMissing, UsageError
from backtrail.keys import key_text

QUERY = """
SELECT s.state, l.secret, l.master, EXISTS (SELECT 1 FROM {streams})
FROM (SELECT 1) one LEFT JOIN {lookup} l ON true LEFT JOIN {streams} s ON s.migration = {mark} AND s.key = {mark}
"""
"""The state under a key, what makes the token under which it stands where the key itself may not be read, and whether there are any."""

ON_POSTGRES = """
SELECT coalesce((SELECT CASE WHEN bool_and(has_schema_privilege(n.oid, 'USAGE') AND CASE c.relname
                                  WHEN 'lookup' THEN has_table_privilege(c.oid, 'SELECT')
                                  ELSE has_column_privilege(c.oid, 'migration', 'SELECT') AND has_column_privilege(c.oid, 'key', 'SELECT')
                                       AND has_column_privilege(c.oid, 'state', 'SELECT') END)
                             THEN 'readable' ELSE 'hidden' END
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'backtrail' AND c.relname IN ('streams', 'lookup') HAVING count(*) = 2), 'absent')
"""
"""Whether there is a ledger, and for this user. Asked first: a failing statement would abort the caller's transaction."""

ON_SQLITE = "SELECT CASE WHEN count(*) > 0 THEN 'readable' ELSE 'absent' END FROM sqlite_master WHERE name = 'backtrail_streams'"


LEDGER = "_backtrail"
"""What the name of the ledger's database on MongoDB ends with; the rest is the name of the data's."""


def is_migrated(connection: Any, migration: str, key: Any, *, session: Any = None) -> bool:
    """Whether the entity is migrated now, read inside the caller's own transaction.

    Args:
        connection: an SQLAlchemy Connection or Session, a `sqlite3` connection, a psycopg connection, or of pymongo a Database; also a
            client or a session of pymongo, if the client's URL names the database.
        migration: the migration's name.
        key: the entity's key, with its type (a tuple where it has several columns), or its text.
        session: on MongoDB the caller's session, in whose transaction it is read.

    A database in which no campaign was ever opened has no ledger and answers False. Of an encrypted ledger the settings must name the master
    key (`BACKTRAIL_MASTER_KEY_FILE`).

    Raises:
        PermissionMissing: this user may not read the flag; the caller's transaction goes on.
        UsageError: the connection is none of these, or the master key is not there.
    """
    text = key if isinstance(key, str) else key_text(key)
    if any(base.__module__.startswith("pymongo.") for base in type(connection).__mro__):
        return _on_mongo(connection, migration, text, session)
    if session is not None:
        raise UsageError("session= is for MongoDB: hand in the session itself as the connection")
    postgres, ask = _asked(connection)
    (found,) = ask(ON_POSTGRES if postgres else ON_SQLITE, ())
    if found == "hidden":
        raise PermissionMissing(
            "this database user may not read the flag: GRANT USAGE ON SCHEMA backtrail, SELECT ON backtrail.lookup, and"
            " SELECT (migration, key, state) ON backtrail.streams"
        )
    if found == "absent":
        return False
    place, mark = ("backtrail.", "%s") if postgres else ("backtrail_", "?")
    query = QUERY.format(lookup=f"{place}lookup", streams=f"{place}streams", mark=mark)
    state, secret, master, any_at_all = ask(query, (migration, text))
    if state is None and any_at_all:
        (state, *_) = ask(query, (migration, _token(secret, master, migration, text)))
    return bool(state == "migrated")


def _token(secret: Any, master: str | None, migration: str, text: str) -> str:
    """What stands for the key in a ledger that is encrypted, or from which it was erased."""
    if secret is None:
        # Nobody would be migrated, and the application would go on with data of before.
        raise UsageError("the ledger's lookup secret is gone: put backtrail.lookup back from a backup")
    # Only here: an application that reads flags of an open ledger needs neither settings nor cryptography.
    from backtrail.settings import load
    from ledger.keyring import Wrapped, read_masters, token, unwrap

    masters = read_masters(load().master_key_file) if master is not None else ()
    return token(unwrap(masters, Wrapped(bytes(secret), master), "lookup"), migration, text)


def _on_mongo(connection: Any, migration: str, text: str, session: Any) -> bool:
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database
    from pymongo.errors import ConfigurationError, OperationFailure

    if isinstance(connection, ClientSession):
        connection, session = connection.client, connection
    if isinstance(connection, MongoClient):
        try:
            connection = connection.get_default_database()
        except ConfigurationError:
            raise UsageError("the client's URL names no database: hand in client[name] and session=") from None
    if not isinstance(connection, Database):
        raise UsageError(f"is_migrated takes a Database, client or session of pymongo, not its {type(connection).__name__}")
    ledger = connection.client[connection.name + LEDGER]

    def state(key: str) -> Any:
        found = ledger["streams"].find_one({"migration": migration, "key": key}, {"state": 1}, session=session)
        return None if found is None else found["state"]

    try:
        found = state(text)
        if found is None and ledger["streams"].find_one({}, {"_id": 1}, session=session) is not None:
            lookup = ledger["lookup"].find_one({"_id": "lookup"}, session=session) or {}
            found = state(_token(lookup.get("secret"), lookup.get("master"), migration, text))
    except OperationFailure as error:
        if error.code != 13:  # Unauthorized
            raise
        raise PermissionMissing(
            f"this database user may not read the flag: grant find on the collections streams and lookup of {connection.name + LEDGER}"
        ) from None
    return bool(found == "migrated")


def _asked(connection: Any) -> tuple[bool, Any]:
    """Whether it is PostgreSQL, and what gives the first row of a statement as a tuple, whatever rows the caller's connection makes."""
    if isinstance(connection, sqlite3.Connection):

        def ask_sqlite(sql: str, parameters: tuple[str, ...]) -> Any:
            cursor = connection.cursor()
            cursor.row_factory = None
            return cursor.execute(sql, parameters).fetchone()

        return False, ask_sqlite
    if hasattr(connection, "pgconn"):
        from psycopg.rows import tuple_row

        def ask_postgres(sql: str, parameters: tuple[str, ...]) -> Any:
            return connection.cursor(row_factory=tuple_row).execute(sql, parameters or None).fetchone()

        return True, ask_postgres
    if hasattr(connection, "exec_driver_sql") or callable(getattr(connection, "connection", None)):
        return _asked_alchemy(connection)
    raise UsageError(
        f"is_migrated takes a connection of SQLAlchemy, sqlite3, psycopg or pymongo, not a {type(connection).__name__}"
    )


def _asked_alchemy(connection: Any) -> tuple[bool, Any]:
    bound = connection if hasattr(connection, "exec_driver_sql") else connection.connection()  # a Session has one
    name = bound.dialect.name
    if name not in ("postgresql", "sqlite"):
        raise UsageError(f"there is no ledger on {name}")

    def ask(sql: str, parameters: tuple[str, ...]) -> Any:
        return bound.exec_driver_sql(sql, parameters).fetchone()

    return name == "postgresql", ask
