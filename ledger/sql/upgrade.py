"""The ledger's tables, created and upgraded by numbered steps."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backtrail.errors import LedgerTooNew, UnsuitableDatabase
from backtrail.stores.base import Transaction
from backtrail.stores.sql import SqlStore
from ledger.keyring import Keyring
from ledger.sql.tables import KEYS, SCHEMA

HEAD = "0002"
"""The newest step that this version knows (the last file in ledger/sql/steps/versions)."""

OLDEST = "0002"
"""The oldest step that this version reads. A ledger of 0.1 cannot be given this form: its hashes are over other bytes."""

LOCK = 0x6261636B747261
"""The advisory lock under which one of several starters creates the ledger: "backtra" in ASCII."""


def version(connection: Connection) -> str | None:
    """The step at which the ledger stands; None where there is none.

    Raises:
        LedgerTooNew: it stands at a step that this version does not know.
        UnsuitableDatabase: it stands at one of a version before 0.2.0.
    """
    postgres = connection.dialect.name == "postgresql"
    table = sa.table(
        "version" if postgres else "backtrail_version", sa.column("version_num"), schema="backtrail" if postgres else None
    )
    if not sa.inspect(connection).has_table(table.name, schema=table.schema):
        return None
    found = connection.execute(sa.select(table.c.version_num)).scalar()
    if found is not None and found > HEAD:
        raise LedgerTooNew(
            f"the ledger was written by a newer version of Backtrail (its step {found}, ours {HEAD}): upgrade this installation"
        )
    if found is not None and found < OLDEST:
        raise UnsuitableDatabase(
            f"the ledger was written by a version before 0.2.0 (its step {found}), whose form nothing reads any more:"
            " end with that version what it began, and drop its ledger"
        )
    return None if found is None else str(found)


def upgrade(store: SqlStore, keyring: Keyring) -> None:
    """Nothing; the ledger stands at the newest step, created if there was none, and has its secrets."""
    with store.transaction(write=False) as tx:
        if version(tx.connection) == HEAD and keyring.complete(tx):
            return
    with store.transaction() as tx:
        alone(tx.connection)
        install(tx, keyring)


def alone(connection: Connection) -> None:
    """Nothing; nobody else changes the ledger's form, or expands, until the end of the transaction. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def install(tx: Transaction, keyring: Keyring) -> None:
    """Nothing; at the end of the transaction, which is alone, the ledger stands at the newest step and has its secrets."""
    if version(tx.connection) != HEAD:
        _climb(tx.connection)
    keyring.create(tx)


def _climb(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        for schema in (SCHEMA, KEYS):
            connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "steps").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
