"""A ledger as plain rows, read and written past Backtrail by plain drivers, as whoever owns the database can.

    attacker = SqliteAttacker(path)
    before = attacker.read()                      # {"events": [{"stream": 1, "version": 1, …}, …], "streams": […], …}
    attacker.write(before, edited)                # the tables that differ hold the rows of `edited`

What tables and columns there are, the database says: a new one is attacked like the others. On MongoDB the parts of `_id` are named as the
columns are on SQL.
"""

from __future__ import annotations

import copy
import sqlite3
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.string import TextLoader
from pymongo import MongoClient
from pymongo.errors import PyMongoError

Row = dict[str, Any]
Dump = dict[str, list[Row]]


class Refused(Exception):
    """The database itself takes no such value: there is nothing to find."""


class Text(bytes):
    """Bytes that SQLite is told to take for text."""


class Attacker(ABC):
    """One ledger, open to somebody who may do everything."""

    @abstractmethod
    def loosen(self) -> None:
        """Nothing; triggers and constraints that would refuse an edit are gone, as far as the database lets its owner do that."""

    @abstractmethod
    def read(self) -> Dump:
        """Every row of every table of the ledger."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _replace(self, tables: dict[str, list[Row]]) -> None:
        """Nothing; the tables hold these rows and no others, or `Refused` and nothing is changed."""

    def write(self, before: Dump, after: Dump) -> list[str]:
        """The names of the tables that differ, which now hold what `after` says."""
        changed = [name for name in before if before[name] != after[name]]
        self._replace({name: after[name] for name in changed})
        return changed


def _place(row: Row) -> list[str]:
    return [str(row.get(name, "")).zfill(20) for name in ("stream", "id", "version", "campaign", "number", "size", "level")]


class SqliteAttacker(Attacker):
    """A SQLite file."""

    def __init__(self, path: str) -> None:
        self.raw = sqlite3.connect(path, isolation_level=None, timeout=20)
        self.raw.text_factory = _text

    def loosen(self) -> None:
        for (name,) in self.raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.raw.execute(f'DROP TRIGGER "{name}"')
        self.raw.execute("PRAGMA writable_schema = ON")
        self.raw.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name LIKE 'backtrail_%' AND type = 'table'"
        )
        self.raw.execute("PRAGMA writable_schema = RESET")
        self.raw.execute("PRAGMA synchronous = OFF")

    def _tables(self) -> list[str]:
        found = self.raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'backtrail_%' ORDER BY name")
        return [name for (name,) in found]

    def read(self) -> Dump:
        dump: Dump = {}
        for table in self._tables():
            cursor = self.raw.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in cursor.description]
            dump[table.removeprefix("backtrail_")] = [dict(zip(names, row, strict=True)) for row in cursor]
        return dump

    def _replace(self, tables: dict[str, list[Row]]) -> None:
        self.raw.execute("BEGIN IMMEDIATE")
        try:
            for name, rows in tables.items():
                self.raw.execute(f'DELETE FROM "backtrail_{name}"')
                for row in rows:
                    marks = ", ".join(["CAST(? AS TEXT)" if type(value) is Text else "?" for value in row.values()])
                    self.raw.execute(f'INSERT INTO "backtrail_{name}" VALUES ({marks})', tuple(row.values()))
            self.raw.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self.raw.execute("ROLLBACK")
            raise Refused(str(error)) from error

    def close(self) -> None:
        self.raw.close()


def _text(data: bytes) -> str | Text:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Text(data)


class PostgresAttacker(Attacker):
    """The ledger's schemas, by their owner."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        for kind in ("json", "jsonb"):
            self.connection.adapters.register_loader(kind, TextLoader)
        found = self.connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema LIKE 'backtrail%' AND table_type = 'BASE TABLE' ORDER BY 2"
        )
        self.tables = {name: sql.Identifier(schema, name) for schema, name in found}

    def loosen(self) -> None:
        for table in self.tables.values():
            self.connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(table))
        nullable = self.connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema LIKE 'backtrail%' AND is_nullable = 'NO'"
        )
        for table, column in nullable.fetchall():
            with suppress(psycopg.Error):  # a primary key stays what it is
                alter = sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(self.tables[table], sql.Identifier(column))
                self.connection.execute(alter)

    def read(self) -> Dump:
        dump: Dump = {}
        for name, table in self.tables.items():
            cursor = self.connection.execute(sql.SQL("SELECT * FROM {}").format(table))
            columns = [column.name for column in cursor.description or ()]
            # A row that was taken out and put back may lie elsewhere in the file.
            dump[name] = sorted((dict(zip(columns, row, strict=True)) for row in cursor), key=_place)
        return dump

    def _replace(self, tables: dict[str, list[Row]]) -> None:
        try:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                for name, rows in tables.items():
                    cursor.execute(sql.SQL("DELETE FROM {}").format(self.tables[name]))
                    if rows:
                        names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
                        marks = sql.SQL(", ").join([sql.Placeholder()] * len(rows[0]))
                        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(self.tables[name], names, marks)
                        cursor.executemany(insert, [list(row.values()) for row in rows])
        except (psycopg.Error, OverflowError) as error:
            raise Refused(str(error)) from error

    def close(self) -> None:
        self.connection.close()


IDS = {"events": {"s": "stream", "v": "version"}}
"""The parts of `_id` by collection, and what they are called on SQL."""


class MongoAttacker(Attacker):
    """The ledger's database, by somebody with every role."""

    def __init__(self, url: str) -> None:
        self.client: MongoClient[dict[str, Any]] = MongoClient(url)
        self.database = self.client[f"{self.client.get_default_database().name}_backtrail"]

    def loosen(self) -> None:
        """Nothing: there are no triggers, and collections take any document."""

    def read(self) -> Dump:
        names = sorted(self.database.list_collection_names())
        return {name: [_row(name, one) for one in self.database[name].find()] for name in names}

    def _replace(self, tables: dict[str, list[Row]]) -> None:
        before = {name: list(self.database[name].find()) for name in tables}
        try:
            self._put({name: [_document(name, row) for row in rows] for name, rows in tables.items()})
        except (PyMongoError, OverflowError, TypeError) as error:
            self._put(before)
            raise Refused(str(error)) from error

    def _put(self, collections: dict[str, list[dict[str, Any]]]) -> None:
        for name, documents in collections.items():
            self.database[name].delete_many({})
            if documents:
                self.database[name].insert_many(copy.deepcopy(documents))

    def close(self) -> None:
        self.client.close()


def _row(collection: str, document: dict[str, Any]) -> Row:
    rest = {name: value for name, value in document.items() if name != "_id"}
    parts = IDS.get(collection)
    if parts is None:
        return {"id": document["_id"], **rest}
    return {**{parts[name]: value for name, value in document["_id"].items()}, **rest}


def _document(collection: str, row: Row) -> dict[str, Any]:
    parts = {theirs: name for name, theirs in IDS.get(collection, {"": "id"}).items()}
    rest = {name: value for name, value in row.items() if name not in parts}
    if collection not in IDS:
        return {"_id": row["id"], **rest}
    return {"_id": {parts[name]: value for name, value in row.items() if name in parts}, **rest}
