"""The tables of sealed heads on SQL: leaves, what is kept of their tree, and checkpoints. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""An integer of 8 bytes; on SQLite it must be called INTEGER to be a rowid."""


@dataclass(frozen=True)
class LeavesTables:
    """The tables in one dialect. All of them are append-only."""

    leaves: sa.Table
    nodes: sa.Table
    checkpoints: sa.Table


def leaves_tables(metadata: sa.MetaData, dialect: str) -> LeavesTables:
    """The tables as `postgresql` or `sqlite` has them, added to the metadata."""
    prefix = "" if dialect == "postgresql" else "backtrail_"
    leaves = sa.Table(
        f"{prefix}leaves",
        metadata,
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        sa.Column("stream", BIG, nullable=False),
        sa.Column("migration", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("stream", "version"),
    )
    nodes = sa.Table(
        f"{prefix}nodes",
        metadata,
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    checkpoints = sa.Table(
        f"{prefix}checkpoints",
        metadata,
        sa.Column("size", BIG, primary_key=True, autoincrement=False),
        sa.Column("signer", sa.Text, primary_key=True),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
    )
    return LeavesTables(leaves, nodes, checkpoints)
