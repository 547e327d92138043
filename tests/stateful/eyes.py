"""Reads the data as it is, by drivers alone: each row's values, and its bytes."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from bson import decode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from backtrail import is_migrated

Seen = dict[str, dict[int, tuple[dict[str, Any], bytes]]]
"""By table and id: the values, and what they are made of."""


class Eyes:
    """One connection of our own to the database."""

    def __init__(self, url: str, tables: Mapping[str, Sequence[str]]) -> None:
        self.tables = tables
        self.client: MongoClient[Any] | None = None
        self.connection: Any
        if url.startswith("mongodb"):
            self.client = MongoClient(url)
            self.connection = self.client.get_default_database()
        elif url.startswith("postgres"):
            self.connection = psycopg.connect(url, autocommit=True)
        else:
            self.connection = sqlite3.connect(str(sa.make_url(url).database), isolation_level=None, timeout=20)

    def see(self) -> Seen:
        """Every row."""
        read = _documents if self.client else _sent if isinstance(self.connection, psycopg.Connection) else _stored
        return {table: read(self.connection, table, columns) for table, columns in self.tables.items()}

    def migrated(self, migration: str, key: int) -> bool:
        """What an application is told."""
        return is_migrated(self.connection, migration, key)

    def close(self) -> None:
        """Gives the connection back."""
        (self.client or self.connection).close()


def _stored(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> dict[int, tuple[dict[str, Any], bytes]]:
    kinds = ", ".join(f"typeof({column}), {column}" for column in columns)
    found = {}
    for row in connection.execute(f"SELECT {kinds} FROM {table}"):
        cells = [struct.pack(">d", cell) if isinstance(cell, float) else repr(cell).encode() for cell in row]
        found[row[1]] = (dict(zip(columns, row[1::2], strict=True)), b"\0".join(cells))
    return found


def _sent(connection: Any, table: str, columns: Sequence[str]) -> dict[int, tuple[dict[str, Any], bytes]]:
    rows = connection.execute(f"SELECT record_send(t), {', '.join(columns)} FROM {table} t").fetchall()
    return {row[1]: (dict(zip(columns, row[1:], strict=True)), bytes(row[0])) for row in rows}


def _documents(database: Any, table: str, columns: Sequence[str]) -> dict[int, tuple[dict[str, Any], bytes]]:
    raw = database.get_collection(table, codec_options=CodecOptions(document_class=RawBSONDocument))
    found = {}
    for one in raw.find():
        values = decode(one.raw)
        values = {"id": values.pop("_id"), **values}
        assert set(values) <= set(columns)
        found[values["id"]] = (values, bytes(one.raw))
    return found
