"""Wrapped secrets on SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from backtrail.errors import Retry
from backtrail.stores.base import Transaction
from ledger.journal import chunks
from ledger.keyring import Vault, Wrapped
from ledger.sql.tables import ledger_tables


class SqlVault(Vault):
    """Wrapped secrets on SQL: in a schema of their own on PostgreSQL, in a table on SQLite."""

    def __init__(self, dialect: str) -> None:
        tables = ledger_tables(dialect)
        self.secrets, self.keys = tables.lookup, tables.keys

    def lookup(self, tx: Transaction) -> Wrapped | None:
        row = tx.connection.execute(sa.select(self.secrets)).first()
        return None if row is None else Wrapped(row.secret, row.master)

    def keep_lookup(self, tx: Transaction, wrapped: Wrapped) -> None:
        values = {"secret": wrapped.secret, "master": wrapped.master}
        if not tx.connection.execute(sa.update(self.secrets).values(values)).rowcount:
            tx.connection.execute(sa.insert(self.secrets).values(id=1, **values))

    def hold(self, tx: Transaction, subjects: Sequence[str]) -> dict[str, Wrapped]:
        return self._found(tx, subjects, lock=True)

    def find(self, tx: Transaction, subjects: Sequence[str]) -> dict[str, Wrapped]:
        return self._found(tx, subjects, lock=False)

    def _found(self, tx: Transaction, subjects: Sequence[str], *, lock: bool) -> dict[str, Wrapped]:
        keys = self.keys
        found: dict[str, Wrapped] = {}
        for chunk in chunks(subjects):
            # As it is: SQLite may hold anything, which the column's own type could not read.
            secret = sa.type_coerce(keys.c.secret, sa.types.NULLTYPE).label("secret")
            query = sa.select(keys.c.subject, secret, keys.c.master).where(keys.c.subject.in_(chunk)).order_by(keys.c.subject)
            for row in tx.connection.execute(query.with_for_update(key_share=True, read=True) if lock else query):
                found[row.subject] = Wrapped(row.secret, row.master)
        return found

    def add(self, tx: Transaction, keys: Mapping[str, Wrapped]) -> None:
        rows = [(subject, wrapped.secret, wrapped.master) for subject, wrapped in sorted(keys.items())]
        try:
            tx.bulk(self.keys.fullname if self.keys.schema else self.keys.name, ("subject", "secret", "master"), rows)
        except tx.duplicate as error:
            raise Retry("another worker was first with the key of one of these people") from error

    def destroy(self, tx: Transaction, subject: str) -> bool:
        return bool(tx.connection.execute(sa.delete(self.keys).where(self.keys.c.subject == subject)).rowcount)

    def page(self, tx: Transaction, after: str, limit: int, *, but: str) -> dict[str, Wrapped]:
        keys = self.keys
        query = sa.select(keys).where(keys.c.subject > after, keys.c.master != but).order_by(keys.c.subject).limit(limit)
        return {row.subject: Wrapped(row.secret, row.master) for row in tx.connection.execute(query)}

    def replace(self, tx: Transaction, keys: Mapping[str, tuple[Wrapped, Wrapped]]) -> None:
        table = self.keys
        rows: list[dict[str, Any]] = [
            {"subject_": subject, "old": old.secret, "secret_": new.secret, "master_": new.master}
            for subject, (old, new) in keys.items()
        ]
        if rows:
            where = sa.and_(table.c.subject == sa.bindparam("subject_"), table.c.secret == sa.bindparam("old"))
            values: dict[str, Any] = {"secret": sa.bindparam("secret_"), "master": sa.bindparam("master_")}
            tx.connection.execute(sa.update(table).where(where).values(values), rows)
