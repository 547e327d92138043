"""Databases as text, and back: what the drivers and `pg_dump` give, and nothing of Backtrail."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

LEDGERS = ("", "_backtrail", "_backtrail_keys")
"""What the names of the MongoDB databases end with."""


def freeze(url: str, binaries: Path | None) -> str:
    """The whole database with its ledger, as text.

    Args:
        url: the database.
        binaries: where `pg_dump` is, for PostgreSQL.
    """
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(sa.make_url(url).database))) as connection:
            return "\n".join(connection.iterdump()) + "\n"
    if url.startswith("mongodb"):
        with MongoClient[dict[str, Any]](url) as client:
            name = client.get_default_database().name
            return json.dumps({ending: _collections(client, name + ending) for ending in LEDGERS}, indent=0) + "\n"
    command = [str((binaries or Path()) / "pg_dump"), "--inserts", "--no-owner", "--no-privileges", "--dbname", url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def thaw(url: str, text: str) -> None:
    """Nothing; the empty database holds what was frozen."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(sa.make_url(url).database))) as connection:
            connection.executescript(text)
    elif url.startswith("mongodb"):
        with MongoClient[dict[str, Any]](url) as client:
            name = client.get_default_database().name
            for ending, collections in json.loads(text).items():
                for collection, kept in collections.items():
                    _fill(client, name + ending, collection, kept)
    else:
        # What begins with a backslash is for psql.
        statements = "\n".join(line for line in text.splitlines() if not line.startswith("\\"))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statements)  # type: ignore[arg-type]


def _collections(client: MongoClient[dict[str, Any]], name: str) -> dict[str, Any]:
    database = client[name]
    found = {}
    for collection in sorted(database.list_collection_names()):
        raw = database.get_collection(collection, codec_options=CodecOptions(document_class=RawBSONDocument))
        indexes = [dict(one) for one in database[collection].list_indexes() if one["name"] != "_id_"]
        documents = [base64.b64encode(bytes(one.raw)).decode() for one in raw.find().sort("_id", 1)]
        found[collection] = {"indexes": [one | {"key": list(one["key"].items())} for one in indexes], "documents": documents}
    return found


def _fill(client: MongoClient[dict[str, Any]], database: str, collection: str, kept: dict[str, Any]) -> None:
    client[database].create_collection(collection)
    documents = [RawBSONDocument(base64.b64decode(one)) for one in kept["documents"]]
    if documents:
        client[database][collection].insert_many(documents)
    for index in kept["indexes"]:
        options = {name: value for name, value in index.items() if name not in ("v", "key", "ns")}
        client[database][collection].create_index([tuple(part) for part in index["key"]], **options)
