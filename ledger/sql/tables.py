"""The ledger's own tables on SQL: in schemas of their own on PostgreSQL, with a prefix on SQLite. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from ledger.progress import COUNTS
from ledger.sql.leaves_tables import LeavesTables, leaves_tables

SCHEMA = "backtrail"
KEYS = "backtrail_keys"
PREFIX = "backtrail_"

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""An integer of 8 bytes; on SQLite it must be called INTEGER to be a rowid."""


@dataclass(frozen=True)
class Tables:
    """The ledger's tables in one dialect."""

    metadata: sa.MetaData
    campaigns: sa.Table
    batches: sa.Table
    streams: sa.Table
    events: sa.Table
    shapes: sa.Table
    recalls: sa.Table
    workers: sa.Table
    leases: sa.Table
    rejected: sa.Table
    lookup: sa.Table
    keys: sa.Table
    sealed: LeavesTables


@cache
def ledger_tables(dialect: str) -> Tables:
    """The ledger's tables as `postgresql` or `sqlite` has them."""
    postgres = dialect == "postgresql"
    metadata = sa.MetaData(schema=SCHEMA if postgres else None)

    def name(bare: str) -> str:
        return bare if postgres else PREFIX + bare

    def only(condition: str) -> dict[str, Any]:
        # Of this dialect alone: SQLAlchemy loads one to check what is said of it.
        return {f"{dialect}_where": sa.text(condition)}

    text, big, flag = sa.Text, BIG, sa.Boolean
    campaigns = sa.Table(
        name("campaigns"),
        metadata,
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("migration", text, nullable=False),
        sa.Column("source", text, nullable=False),
        sa.Column("kind", text, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("key_types", sa.JSON, nullable=False),
        sa.Column("fingerprint", text, nullable=False),
        sa.Column("total", big, nullable=False),
        sa.Column("null_keys", big, nullable=False),
        sa.Column("by", text, nullable=False),
        sa.Column("reason", text),
        sa.Column("halted", text),
        sa.Column("cursor", sa.JSON, nullable=False),
        sa.Column("fed", flag, nullable=False),
        sa.Column("opened_at", big, nullable=False),
        sa.Column("started_at", big),
        sa.Column("ended_at", big),
        sa.Column("settled", sa.JSON, nullable=False, server_default="{}"),
        sqlite_autoincrement=True,
    )
    batches = sa.Table(
        name("batches"),
        metadata,
        sa.Column("campaign", big, sa.ForeignKey(campaigns.c.id), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("keys", sa.JSON, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("sent_at", big),
        sa.Column("done_at", big),
        sa.Column("note", text),
        *(sa.Column(count, sa.Integer, nullable=False, server_default="0") for count in COUNTS),
        sa.Column("wave", sa.Integer, nullable=False, server_default="0"),
        sa.Index(
            f"{PREFIX}unfinished",
            "campaign",
            "number",
            **only("state <> 'done'"),
        ),
    )
    streams = sa.Table(
        name("streams"),
        metadata,
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("migration", text, nullable=False),
        sa.Column("key", text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("campaign", sa.Integer, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("failed", flag, nullable=False),
        sa.Column("subject", text),
        sa.Column("name", sa.LargeBinary),
        sa.Column("origin", sa.LargeBinary),
        sa.UniqueConstraint("migration", "key"),
        sa.Index(f"{PREFIX}failed", "migration", "key", **only("failed")),
        # Where the key names the person it is found by that.
        sa.Index(
            f"{PREFIX}subjects",
            "subject",
            **only("subject IS NOT NULL"),
        ),
    )
    shapes = sa.Table(
        name("shapes"),
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("body", text, nullable=False, unique=True),
    )
    # The order of the columns is the one in which PostgreSQL needs no bytes between them.
    events = sa.Table(
        name("events"),
        metadata,
        sa.Column("stream", big, primary_key=True, autoincrement=False),
        sa.Column("at", big, nullable=False),
        sa.Column("ref", big),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("campaign", sa.Integer, nullable=False),
        sa.Column("shape", sa.Integer),
        sa.Column("kind", text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        # Only rows that existed before can have been written by somebody else: rows that were created need no place in this index.
        sa.Index(f"{PREFIX}refs", "ref", **only("ref IS NOT NULL")),
    )
    recalls = sa.Table(
        name("recalls"),
        metadata,
        sa.Column("migration", text, primary_key=True),
        sa.Column("key", text, primary_key=True),
        sa.Column("label", text, primary_key=True),
        sa.Column("digest", text, primary_key=True),
        sa.Column("result", sa.JSON, nullable=False),
    )
    workers = sa.Table(
        name("workers"),
        metadata,
        sa.Column("id", text, primary_key=True),
        sa.Column("seen_at", big, nullable=False),
        sa.Column("info", sa.JSON, nullable=False),
    )
    leases = sa.Table(
        name("leases"),
        metadata,
        sa.Column("name", text, primary_key=True),
        sa.Column("owner", text, nullable=False),
        sa.Column("until", big, nullable=False),
        sa.Column("fence", big, nullable=False),
    )
    rejected = sa.Table(
        name("rejected"),
        metadata,
        sa.Column("id", big, primary_key=True, autoincrement=True),
        sa.Column("at", big, nullable=False),
        sa.Column("worker", text, nullable=False),
        sa.Column("fault", text, nullable=False),
        sa.Column("count", big, nullable=False),
        sa.Column("size", big),
        sa.Column("sample", text),
        sqlite_autoincrement=True,
    )
    lookup = sa.Table(
        name("lookup"),
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("master", text),
    )
    # Apart, so that a backup of the ledger need not have the keys that open it.
    keys = sa.Table(
        "subjects" if postgres else PREFIX + "keys",
        metadata,
        sa.Column("subject", text, primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("master", text, nullable=False),
        schema=KEYS if postgres else None,
    )
    return Tables(
        metadata,
        campaigns,
        batches,
        streams,
        events,
        shapes,
        recalls,
        workers,
        leases,
        rejected,
        lookup,
        keys,
        leaves_tables(metadata, dialect),
    )
