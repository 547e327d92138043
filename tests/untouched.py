"""Everything that a database holds, the ledger included, as plain drivers read it: whoever says that nothing was changed is held to this."""

from __future__ import annotations

from typing import Any

import psycopg
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from tests.engine import Engine

SCHEMA = """
SELECT n.nspname, c.relname, c.relkind, a.attname, a.atttypid::regtype::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE n.nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2, 4
"""
TRIGGERS = "SELECT tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger ORDER BY 1, 2"
TABLES = """
SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)' ORDER BY 1
"""


def everything(engine: Engine) -> Any:
    """Every row of every table with all that is in the schema; not where sequences stand, which no transaction takes back."""
    if engine.mongo:
        return _documents(engine)
    if not engine.postgres:
        with engine.sqlite() as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            schema = connection.execute("SELECT * FROM sqlite_master ORDER BY type, name").fetchall()
        return [[row[:3] + row[4:] for row in schema], engine.dump(*names)]
    with psycopg.connect(engine.url) as connection:
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1").fetchall()
        schema = [connection.execute(sql).fetchall() for sql in (SCHEMA, TRIGGERS)]
        names = [name for (name,) in connection.execute(TABLES)]
    return [schemas, schema, engine.dump(*names)]


def _documents(engine: Engine) -> Any:
    found: dict[str, Any] = {}
    with MongoClient[Any](engine.url) as client:
        own = client.get_default_database().name
        for name in client.list_database_names():
            if name.startswith(own):
                for collection in client[name].list_collection_names():
                    raw = client[name].get_collection(collection, codec_options=CodecOptions(document_class=RawBSONDocument))
                    documents = sorted(bytes(one.raw) for one in raw.find())
                    found[f"{name}.{collection}"] = documents, sorted(client[name][collection].index_information())
    return found
