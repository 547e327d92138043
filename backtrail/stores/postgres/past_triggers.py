"""PostgreSQL: rows put back past the users' triggers, where those would have it otherwise."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from backtrail.errors import TriggerInTheWay
from backtrail.stores.tables import Table

if TYPE_CHECKING:
    from backtrail.stores.postgres.transaction import PostgresTransaction

CHECKED_BY_TRIGGERS = """
SELECT a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.conrelid = %s::regclass AND (c.contype = 'f' OR c.condeferrable)
UNION SELECT a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey)
WHERE c.confrelid = %s::regclass AND c.contype = 'f'
"""
"""Columns that PostgreSQL checks by triggers of its own, which sleep along with the users'."""


@contextmanager
def past_triggers(tx: PostgresTransaction, table: Table, columns: Collection[str]) -> Iterator[None]:
    """In the block, the users' triggers on the table do nothing.

    Args:
        tx: the transaction.
        table: whose triggers.
        columns: what is written meanwhile.

    Raises:
        TriggerInTheWay: this database user may not, or the columns are checked by triggers as well.
    """
    name = table.sql.replace("%%", "%")
    checked = {column for (column,) in tx.raw.execute(CHECKED_BY_TRIGGERS, (name, name)).fetchall()}
    if not checked.isdisjoint(columns):
        raise TriggerInTheWay(
            f"a trigger of {table.name} ({', '.join(table.triggers)}) changes {', '.join(sorted(checked & set(columns)))}, which keys"
            " need, when it is put back: disable the trigger while this runs"
        )
    try:
        with tx.connection.begin_nested():
            tx.raw.execute("SET LOCAL session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        raise _not_past(tx, table) from None
    yield
    tx.raw.execute("SET LOCAL session_replication_role = origin")


def _not_past(tx: PostgresTransaction, table: Table) -> TriggerInTheWay:
    ((user, version),) = tx.raw.execute("SELECT quote_ident(current_user), current_setting('server_version_num')::int").fetchall()
    grant = f"as a superuser: GRANT SET ON PARAMETER session_replication_role TO {user}"
    mend = grant if version >= 150000 else "disable it while this runs, or let a superuser run this"
    return TriggerInTheWay(
        f"a trigger of {table.name} ({', '.join(table.triggers)}) changes what is put back, and this database user may not go past it:"
        f" {mend}"
    )
