"""SQLite: values of their own storage class, whatever the column declares; one writer at a time."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from backtrail.errors import (
    BacktrailError,
    BadValue,
    ConstraintFailed,
    DatabaseFault,
    PermissionMissing,
    Quarantine,
    Retry,
    SchemaChanged,
    StorageFull,
    UnsuitableDatabase,
    UsageError,
    clash,
)
from backtrail.migration import Keys
from backtrail.stores.base import Write
from backtrail.stores.cells import RawText, tag_stored, tag_stored_all
from backtrail.stores.rows import Cells
from backtrail.stores.sql import SqlStore
from backtrail.stores.tables import Column, ForeignKey, Table
from backtrail.stores.taken_sqlite import taken
from backtrail.stores.watch import Watch
from backtrail.stores.watch_sqlite import SqliteWatch
from backtrail.stores.writing import SqlTransaction
from backtrail.values import Opaque

JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
RANKS = {int: 1, float: 1, str: 2, RawText: 2, bytes: 3}
TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?) ORDER BY rowid"
KEY_TYPES = {"integer": "int", "real": "number", "text": "text", "blob": "bytes"}


def order(cell: Any) -> tuple[int, Any]:
    """SQLite's own order among storage classes, binary within text and blobs."""
    if cell is None:
        return 0, 0
    return RANKS[type(cell)], cell.encode() if type(cell) is str else cell


def affinity(declared: str) -> str:
    """The affinity of a declared type (https://www.sqlite.org/datatype3.html, 3.1)."""
    declared = declared.upper()
    for mark, name in (("INT", "integer"), ("CHAR", "text"), ("CLOB", "text"), ("TEXT", "text"), ("BLOB", "blob")):
        if mark in declared:
            return name
    if not declared:
        return "blob"
    return "real" if any(mark in declared for mark in ("REAL", "FLOA", "DOUB")) else "numeric"


def _plain(cell: Any) -> Any:
    return Opaque(cell.decode(errors="replace"), cell) if type(cell) is RawText else cell


def _key(table: str, name: str, declared: str) -> Callable[[Any], Any]:
    """What turns cells of a column into keys: the stored value, since its text must find the row again."""
    keep = affinity(declared) == "real"

    def key(cell: Any) -> Any:
        if type(cell) is RawText:
            raise UsageError(
                f"{table}.{name} holds text that is not UTF-8, which is no key: give Keys({table!r}, {name!r}, key=)"
            )
        # 1 and 1.0 are equal to SQLite, hence one key: always the same of the two.
        return int(cell) if type(cell) is float and cell.is_integer() and abs(cell) < 2**63 and not keep else cell

    return key


def _as(convert: Callable[[str], Any], kinds: tuple[type, ...] = (str,)) -> Callable[[Any], Any]:
    """A decoder that gives what `convert` makes of a cell of those classes, and `Opaque` where it cannot."""

    def decode(cell: Any) -> Any:
        if type(cell) not in kinds:
            return _plain(cell)
        try:
            return convert(cell)
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            return Opaque(str(cell), cell)

    return decode


def _datetime(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    # Text without an offset is UTC, as SQLite's own functions have it.
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value


DECODERS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("JSON", _as(json.loads)),
    ("DATETIME", _as(_datetime)),
    ("TIMESTAMP", _as(_datetime)),
    ("DATE", _as(dt.date.fromisoformat)),
    ("TIME", _as(dt.time.fromisoformat)),
    ("BOOL", lambda cell: bool(cell) if type(cell) is int and cell in (0, 1) else _plain(cell)),
)


def decoder(declared: str) -> Callable[[Any], Any]:
    """What turns cells of a column of that declared type into Python values."""
    return next((decode for mark, decode in DECODERS if declared.upper().startswith(mark)), _plain)


def encoder(table: str, name: str, declared: str) -> Callable[[Any], Any]:
    """What turns Python values into cells of that column."""
    is_json = declared.upper().startswith("JSON")

    def encode(value: Any) -> Any:
        if isinstance(value, Opaque):
            return value.exact
        try:
            return _json(value) if is_json or isinstance(value, (dict, list, tuple)) else _stored(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadValue(f"{table}.{name} cannot hold a value of type {type(value).__name__}") from error

    return encode


def _json(value: Any) -> str:
    return JSON.encode(value)


def _stored(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise OverflowError
        return int(value)
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 -- NaN; SQLite would quietly store NULL
            raise ValueError
        return float(value)
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a ValueError
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, dt.datetime):
        return str(value.astimezone(dt.UTC).replace(tzinfo=None)) if value.tzinfo else str(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, enum.Enum):
        return _stored(value.value)
    raise TypeError


def _text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawText(raw)


class SqliteTransaction(SqlTransaction):
    """A transaction on a SQLite file; one that writes takes the only write lock at its start."""

    same = "IS"
    join = "CROSS JOIN"
    lock_clause = ""
    nulls_first = True
    duplicate = sqlite3.IntegrityError
    clashes = (sqlite3.IntegrityError,)
    chunk = 400

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
        if any(type(cell) is RawText for row in rows for cell in row):
            for row in rows:
                self.raw.execute(*_with_raw_text(sql, row))
            return
        self.raw.executemany(sql, rows)

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

    def draw_keys(self, table: Table, columns: Sequence[str], number: int) -> list[Cells] | None:
        return None

    def bulk(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names = ", ".join(map(self.quote, columns))
        self.raw.executemany(f"INSERT INTO {self.quote(table)} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)


def _with_raw_text(sql: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """The statement with each parameter that is text without UTF-8 bound as a blob and cast, which keeps its bytes."""
    if not any(type(value) is RawText for value in parameters):
        return sql, list(parameters)
    parts = re.split(r'\?(?=(?:[^"]*"[^"]*")*[^"]*$)', sql)  # the marks outside quoted names
    marks = ["CAST(? AS TEXT)" if type(value) is RawText else "?" for value in parameters]
    joined = parts[0] + "".join(mark + part for mark, part in zip(marks, parts[1:], strict=True))
    return joined, [bytes(value) if type(value) is RawText else value for value in parameters]


def _demand_utf8(raw: sqlite3.Connection) -> None:
    """Nothing, where text is kept as it is handed out.

    Raises:
        UnsuitableDatabase: it is kept in UTF-16. SQLite hands it out as UTF-8, in which half a surrogate pair becomes another character.
    """
    (encoding,) = raw.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise UnsuitableDatabase(
            f"the SQLite database keeps text as {encoding}, which cannot always be given back exactly: make one of UTF-8 of it"
            " (sqlite3 old.db .dump | sqlite3 new.db)"
        )


def _begin_to_write(connection: Connection, timeout: float) -> None:
    """Nothing; the connection holds the write lock.

    SQLite's own waiting looks for the lock every 100 ms at last, and a worker between two batches lets go of it for a few: whoever waits
    so, for a `pause` say, may wait until the campaign is over. Looked for every millisecond, it goes to whoever is waiting.
    """
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101 -- this store makes no other
    deadline = time.monotonic() + timeout
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            else:
                return
    finally:
        # A commit may still have to wait for readers.
        raw.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")


class SqliteStore(SqlStore):
    """A SQLite file."""

    kind = "sqlite"
    driver_errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def _make_engine(self) -> Engine:
        path = make_url(self.url).database
        timeout = max(self.lock_timeout_ms / 1000, 20)
        engine = sa.create_engine(self.url, poolclass=sa.pool.QueuePool, pool_size=2, connect_args={"timeout": timeout})

        @sa.event.listens_for(engine, "connect")
        def _connected(raw: sqlite3.Connection, _record: Any) -> None:
            raw.isolation_level = None  # the driver's own BEGIN comes late and not before reads: ours does
            raw.execute("PRAGMA foreign_keys = ON")
            _demand_utf8(raw)

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            if not connection.get_execution_options().get("backtrail_write", True):
                connection.exec_driver_sql("BEGIN")
                return
            _begin_to_write(connection, timeout)
            # Rows that refer to each other come back in any order; the whole must be right at the commit.
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")

        if path is None:
            raise UnsuitableDatabase("a SQLite database in memory belongs to one process: name a file, as in sqlite:///app.db")
        return engine

    def _options(self, write: bool) -> dict[str, Any]:
        return {"backtrail_write": write}

    def _transaction(self, connection: Connection) -> SqliteTransaction:
        return SqliteTransaction(self, connection)

    def _is_dead(self, connection: Connection) -> bool:
        return False

    def mark(self, column: Column) -> str:
        return "?"

    def _table_names(self, connection: Connection) -> list[str]:
        sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        return [name for (name,) in connection.exec_driver_sql(sql) if not name.startswith("backtrail_")]

    def _reflect(self, connection: Connection, name: str) -> Table | None:
        rows = connection.exec_driver_sql(
            "SELECT name, sql, type FROM sqlite_master WHERE name = ? AND type IN ('table', 'view')", (name,)
        )
        found = rows.first()
        if found is None:
            return None
        sql = found[1] or ""
        infos = [
            info
            for info in connection.exec_driver_sql(
                'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid', (name,)
            )
            if info[5] != 1
        ]
        key = tuple(info[0] for info in sorted((info for info in infos if info[4]), key=lambda info: info[4]))
        # SQLite does not say which collation a column has; a view has those of the columns behind it.
        folds = "collate" in sql.lower() or found[2] == "view"
        columns = tuple(
            Column(
                name=info[0],
                type=info[1],
                nullable=not info[2] and not (len(key) == 1 and info[0] == key[0] and info[1].upper() == "INTEGER"),
                decode=decoder(info[1]),
                encode=encoder(name, info[0], info[1]),
                order=order,
                generated=info[5] in (2, 3),
                default=info[3],
                folds=folds and not (info[4] and info[1].upper() == "INTEGER"),
                key=_key(name, info[0], info[1]),
            )
            for info in infos
        )
        unique = self._unique(connection, name)
        # A foreign key may name its table in any case.
        named = 'SELECT m.name FROM pragma_foreign_key_list(?) f JOIN sqlite_master m ON lower(m.name) = lower(f."table")'
        targets = {row[0] for row in connection.exec_driver_sql(named, (name,))}
        return Table(
            name=name,
            sql=self.quote(name),
            columns=columns,
            tag=tag_stored,
            tag_all=tag_stored_all,
            key=key or _unique_key(columns, unique),
            unique=frozenset(unique | ({frozenset(key)} if key else set())),
            targets=frozenset(targets),
            incoming=tuple(self._incoming(connection, name, key)),
            lockable=False,
            clashing=self._clashing(connection, name, {info[0] for info in infos}) - set(key),
            triggers=tuple(row[0] for row in connection.exec_driver_sql(TRIGGERS, (name,))),
            conflicts=" OR ABORT" if re.search(r"\bon\s+conflict\b", sql, re.IGNORECASE) else "",
        )

    def _unique(self, connection: Connection, name: str) -> set[frozenset[str]]:
        sql = (
            "SELECT l.name, i.name FROM pragma_index_list(?) l, pragma_index_info(l.name) i"
            ' WHERE l."unique" AND NOT l.partial AND i.name IS NOT NULL'
        )
        sets: dict[str, set[str]] = {}
        for index, column in connection.exec_driver_sql(sql, (name,)):
            sets.setdefault(index, set()).add(column)
        return {frozenset(columns) for columns in sets.values()}

    @staticmethod
    def _clashing(connection: Connection, name: str, columns: set[str]) -> frozenset[str]:
        sql = (
            "SELECT i.name, m.sql FROM pragma_index_list(?) l LEFT JOIN sqlite_master m ON m.name = l.name, pragma_index_info(l.name) i"
            " WHERE l.\"unique\" AND l.origin <> 'pk'"
        )
        found: set[str] = set()
        for column, text in connection.exec_driver_sql(sql, (name,)):
            # An expression is its text only, and so is the condition of a partial index.
            found |= {column} if column else {one for one in columns if one.lower() in text.lower()}
        return frozenset(found & columns)

    def _incoming(self, connection: Connection, name: str, key: tuple[str, ...]) -> list[ForeignKey]:
        sql = (
            'SELECT m.name, f.id, f."from", f."to", f.on_update FROM sqlite_master m, pragma_foreign_key_list(m.name) f'
            " WHERE m.type = 'table' AND lower(f.\"table\") = lower(?) ORDER BY m.name, f.id, f.seq"
        )
        found: dict[tuple[str, int, bool], list[tuple[str, str | None]]] = {}
        for table, number, column, target, action in connection.exec_driver_sql(sql, (name,)):
            found.setdefault((table, number, action not in ("NO ACTION", "RESTRICT")), []).append((column, target))
        return [
            ForeignKey(
                table,
                tuple(column for column, _ in pairs),
                name,
                # A foreign key that names no column refers to the primary key.
                tuple(target or key[at] for at, (_, target) in enumerate(pairs)),
                follows=follows,
            )
            for (table, _, follows), pairs in found.items()
        ]

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


def _unique_key(columns: Sequence[Column], unique: set[frozenset[str]]) -> tuple[str, ...]:
    """A unique key without NULL, where there is no primary key; the shortest, then the first by name."""
    nullable = {column.name for column in columns if column.nullable}
    whole = sorted((key for key in unique if not key & nullable), key=lambda key: (len(key), sorted(key)))
    return tuple(column.name for column in columns if column.name in whole[0]) if whole else ()
