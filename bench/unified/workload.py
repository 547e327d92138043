"""`unified-profile`: several JSON profiles of a user become one profile and an intent for each context."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa

from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.fields import INTENT_COLUMNS, PROFILE_COLUMNS
from bench.database import Database
from bench.script import Connect
from bench.sql import SqlDatabase
from bench.unified import bulk, set_postgres, set_sqlite
from bench.workload import Compared, Shape

OLD = sample.old_tables.sorted_tables
NEW = {"unified_profiles": PROFILE_COLUMNS, "context_intents": INTENT_COLUMNS}
TIMES = ("created_at", "updated_at")
"""Columns of the new tables that tell when a row was written, and so differ from run to run."""


def _columns(table: str, *but: str) -> tuple[str, ...]:
    return tuple(name for name in NEW[table] if name not in but)


class UnifiedProfile(Compared):
    """The sample's users."""

    name = "unified-profile"
    source = "backtrail.catalog.unified_profile.migration:UnifiedProfile"
    old = tuple(Shape(table.name, tuple(column.name for column in table.columns)) for table in OLD)
    new = tuple(Shape(table, _columns(table, *TIMES), "user_id") for table in NEW)
    # The databases have no SHA-1, of which the ids are made.
    loose = (
        Shape("unified_profiles", _columns("unified_profiles", "id", *TIMES), "user_id", ("user_id",)),
        Shape("context_intents", _columns("context_intents", "id", *TIMES), "user_id", ("user_id", "context_type")),
    )
    created = tuple(NEW)
    naive = "bench.unified.naive"

    def fill(self, url: str, users: int) -> None:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            sample.create(connection, users)
        engine.dispose()

    def keys(self, database: Database, url: str) -> list[Any]:
        return database.values(url, "users", "id")

    def spoil(self, database: Database, url: str, keys: Sequence[Any]) -> int:
        assert isinstance(database, SqlDatabase)
        columns, marks = "id, user_id, created_at, updated_at", ", ".join([database.mark] * 2)
        now = "CURRENT_TIMESTAMP, CURRENT_TIMESTAMP"
        with closing(database.connect(url)) as connection:
            connection.cursor().executemany(
                f"INSERT INTO unified_profiles ({columns}) VALUES ({marks}, {now})", [(f"taken {key}", key) for key in keys]
            )
        return len(keys)

    def set_based(self, url: str) -> None:
        (set_sqlite if url.startswith("sqlite") else set_postgres).migrate(url)

    def connect(self) -> Connect:
        return bulk.connect
