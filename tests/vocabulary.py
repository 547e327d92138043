"""What a test says about tables without saying it in a database's own language: tables and rows, or collections and documents.

    engine.table("users", id=int, name=str, unique=["name"])
    engine.add("users", (1, "Ann"), (2, None))
    engine.change("users", {"name": "Bob"}, id=2)
    assert engine.rows("users", "id", "name") == [(1, "Ann"), (2, "Bob")]

The primary key is called `id` here; what a migration calls it, `engine.id` says: `_id` on MongoDB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pymongo.database import Database

TYPES: dict[Any, str] = {int: "bigint", str: "text", float: "double precision", bool: "boolean"}
Names = str | Sequence[str]


class Vocabulary:
    """The part of the engine that speaks about tables; `engine.execute` and `engine.query`, or `engine.database`, do the work."""

    postgres: bool
    mongo: bool
    execute: Callable[..., None]
    query: Callable[[str], list[tuple[Any, ...]]]
    script: Callable[[str], None]
    database: Callable[[], AbstractContextManager[Database[Any]]]
    _columns: dict[str, list[str]]

    @property
    def id(self) -> str:
        """The name of every primary key."""
        return "_id" if self.mongo else "id"

    def table(self, name: str, /, *, unique: Sequence[Names] = (), never: tuple[str, str] | None = None, **columns: Any) -> None:
        """A new table; `id=None` is a key that the database gives.

        Args:
            name: of the table.
            unique: columns, or tuples of them, whose values are there once at most.
            never: a column and a text that it cannot hold.
            columns: their types, as Python or SQL has them.
        """
        self._columns = {**getattr(self, "_columns", {}), name: list(columns)}
        keys = [(one,) if isinstance(one, str) else tuple(one) for one in unique]
        if self.mongo:
            with self.database() as database:
                validator = {never[0]: {"$ne": never[1]}} if never else {}
                collection = database.create_collection(name, validator=validator)
                for key in keys:
                    collection.create_index([(self._named(column), 1) for column in key], unique=True)
            return
        parts = [f"{_quoted(column)} {self._type(column, kind)}" for column, kind in columns.items()]
        parts += [f"UNIQUE ({', '.join(map(_quoted, key))})" for key in keys]
        parts += [f"CHECK ({_quoted(never[0])} <> '{never[1]}')"] if never else []
        self.script(f"CREATE TABLE {_quoted(name)} ({', '.join(parts)})")

    def add(self, name: str, *rows: Sequence[Any]) -> None:
        """Rows, their values in the order of the columns."""
        columns = self._columns[name]
        if self.mongo:
            with self.database() as database:
                named = [self._named(column) for column in columns]
                database[name].insert_many([dict(zip(named, row, strict=True)) for row in rows])
            return
        for row in rows:
            self.execute(f"INSERT INTO {_quoted(name)} VALUES ({', '.join('?' * len(columns))})", *row)

    def change(self, name: str, values: dict[str, Any], /, **where: Any) -> None:
        """Rows whose columns have those values, or one of a list of them, get others."""
        if self.mongo:
            with self.database() as database:
                database[name].update_many(self._filter(where), {"$set": values})
            return
        settings = ", ".join(f"{_quoted(column)} = ?" for column in values)
        condition, parameters = _condition(where)
        self.execute(f"UPDATE {_quoted(name)} SET {settings}{condition}", *values.values(), *parameters)

    def remove(self, name: str, /, **where: Any) -> None:
        """Rows whose columns have those values are gone."""
        if self.mongo:
            with self.database() as database:
                database[name].delete_many(self._filter(where))
            return
        condition, parameters = _condition(where)
        self.execute(f"DELETE FROM {_quoted(name)}{condition}", *parameters)

    def rows(self, name: str, /, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
        """The values of the columns, all by default, in order of the first that can be ordered; None for what is absent."""
        wanted = columns or tuple(self._columns[name])
        if self.mongo:
            with self.database() as database:
                found = [
                    tuple(one.get(self._named(column)) for column in wanted) for one in database[name].find(self._filter(where))
                ]
        else:
            assert not any(isinstance(value, str) for value in where.values())
            condition = " AND ".join(f"{_quoted(column)} = {value}" for column, value in where.items())
            names = ", ".join(map(_quoted, wanted))
            found = self.query(f"SELECT {names} FROM {_quoted(name)}{f' WHERE {condition}' if condition else ''}")
        return sorted(found, key=lambda row: [(value is not None, value) for value in row])

    def _named(self, column: str) -> str:
        return self.id if column == "id" else column

    def _filter(self, where: dict[str, Any]) -> dict[str, Any]:
        return {self._named(column): {"$in": value} if isinstance(value, list) else value for column, value in where.items()}

    def _type(self, column: str, kind: Any) -> str:
        if column != "id":
            return TYPES.get(kind, kind)
        if kind is None and self.postgres:
            return "serial PRIMARY KEY"
        return "integer PRIMARY KEY" if kind in {None, int} else f"{TYPES[kind]} PRIMARY KEY"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _condition(where: dict[str, Any]) -> tuple[str, list[Any]]:
    parts, parameters = [], []
    for column, value in where.items():
        values = value if isinstance(value, list) else [value]
        parts.append(f"{_quoted(column)} IN ({', '.join('?' * len(values))})")
        parameters += values
    return f" WHERE {' AND '.join(parts)}" if parts else "", parameters
