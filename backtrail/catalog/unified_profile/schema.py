"""The new tables: `unified_profiles`, one row per user, and `context_intents`, one row per user and context."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from backtrail.catalog.unified_profile.fields import COLUMNS, CONTEXTS, SHARED

PROFILES = "unified_profiles"
INTENTS = "context_intents"


def create_tables(schema: Any) -> None:
    """Nothing; both tables are there. They only add: no old table is touched."""
    schema.create_table(
        PROFILES,
        *_identity(),
        *(_field(field, kind, required=kind is not str) for field, kind in SHARED.items()),
        *_metadata(),
        # Fields of old profiles that have no column here, for a person to look at; dropped when that is done.
        sa.Column("legacy_data", _json(), nullable=True),
        *_times(),
        *_constraints(PROFILES, "user_id"),
    )
    schema.create_table(
        INTENTS,
        *_identity(),
        # Text, not an enum: an old profile's unknown context keeps its name, and another context needs no new type.
        sa.Column("context_type", sa.Text(), nullable=False),
        *(_field(field, kind, required=False) for fields in CONTEXTS.values() for field, kind in fields.items()),
        *_metadata(),
        *_times(),
        *_constraints(INTENTS, "user_id", "context_type"),
    )


def _json() -> sa.types.TypeEngine[Any]:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _identity() -> list[sa.Column[Any]]:
    return [sa.Column("id", sa.Text(), primary_key=True), sa.Column("user_id", sa.Text(), nullable=False)]


def _field(field: str, kind: type, *, required: bool) -> sa.Column[Any]:
    if kind is str:
        return sa.Column(COLUMNS[field], sa.Text(), nullable=True)
    if not required:
        return sa.Column(COLUMNS[field], _json(), nullable=True)
    return sa.Column(COLUMNS[field], _json(), nullable=False, server_default=sa.text("'[]'" if kind is list else "'{}'"))


def _metadata() -> list[sa.Column[Any]]:
    return [
        sa.Column("completeness", sa.Integer(), nullable=False, server_default=sa.text("0")),
        # A JSON array on both databases: SQLite has no arrays, and one form lets the same code and queries serve either.
        sa.Column("missing", _json(), nullable=False, server_default=sa.text("'[]'")),
    ]


def _times() -> list[sa.Column[Any]]:
    now = sa.text("CURRENT_TIMESTAMP")
    return [
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
    ]


def _constraints(table: str, *unique: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=f"{table}_user_id_fkey", ondelete="CASCADE"),
        # The unique key is also the index by which a user's rows are found.
        sa.UniqueConstraint(*unique, name=f"{table}_{'_'.join(unique)}_key"),
        sa.CheckConstraint("completeness BETWEEN 0 AND 100", name=f"{table}_completeness_check"),
    ]
