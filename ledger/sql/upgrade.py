"""The ledger's tables, created and upgraded by numbered steps."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backtrail.errors import LedgerTooNew, Retry, UnsuitableDatabase
from backtrail.stores.base import Transaction
from backtrail.stores.sql import SqlStore
from ledger.keyring import Keyring
from ledger.sql.tables import KEYS, SCHEMA

HEAD = "0003"
"""The newest step that this version knows (the last file in ledger/sql/steps/versions)."""

OLDEST = "0002"
"""The oldest step that this version reads. A ledger of 0.1 cannot be given this form: its hashes are over other bytes."""

LOCK = 0x6261636B747261
"""The advisory lock under which one of several starters creates the ledger: "backtra" in ASCII."""

FORM = 0x6261636B666F726D
"""The advisory lock that all share who write the ledger, and that an upgrade has alone: "backform" in ASCII."""

_HOLD = sa.text("SELECT pg_advisory_xact_lock_shared(:lock)")
_STEP_POSTGRES, _STEP = (sa.text(f"SELECT version_num FROM {name}") for name in ("backtrail.version", "backtrail_version"))  # noqa: S608 -- no one's text


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
    return _known(connection.execute(sa.select(table.c.version_num)).scalar())


def _known(found: str | None) -> str | None:
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


def hold(connection: Connection) -> None:
    """Nothing; the ledger, which is there, stands at our step, and no upgrade begins before the end of the transaction.

    Raises:
        LedgerTooNew: it stands at a step that this version does not know.
        Retry: it has yet to be upgraded to our step.
    """
    if connection.dialect.name == "postgresql":
        # A statement of its own: the next one sees what was committed while this one waited.
        connection.execute(_HOLD, {"lock": FORM})
    step = _STEP_POSTGRES if connection.dialect.name == "postgresql" else _STEP
    if _known(connection.execute(step).scalar()) != HEAD:
        raise Retry("the ledger has yet to be upgraded")


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
        if tx.connection.dialect.name == "postgresql":
            # Whoever writes in the older form comes to an end first, and whoever comes later sees the newer one.
            tx.connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": FORM})
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
