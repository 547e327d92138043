"""Sealed heads on SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from backtrail.errors import Retry
from backtrail.stores.base import Transaction
from ledger.journal import chunks
from ledger.leaves import Kept, Leaf, Leaves, Unsealed, leaf_of, text_of, unsealed_of
from ledger.merkle import Node
from ledger.sql.tables import ledger_tables


class SqlLeaves(Leaves):
    """The rows of leaves, nodes and checkpoints."""

    def __init__(self, dialect: str) -> None:
        tables = ledger_tables(dialect)
        self.postgres = dialect == "postgresql"
        self.rows, sealed = tables.streams, tables.sealed
        self.leaves, self.nodes_table, self.checkpoints = sealed.leaves, sealed.nodes, sealed.checkpoints

    # -- leaves ---------------------------------------------------------------------------------------------------

    def size(self, tx: Transaction) -> int:
        last = tx.connection.scalar(sa.select(sa.func.max(self.leaves.c.number)))
        return 0 if last is None else int(last) + 1

    def add(self, tx: Transaction, leaves: Sequence[Leaf]) -> None:
        try:
            tx.bulk(self.leaves.name, Leaf._fields, leaves)
        except tx.duplicate as error:
            raise Retry("another checkpoint was first with one of these leaves") from error

    def read(self, tx: Transaction, first: int, count: int) -> list[Leaf]:
        where = self.leaves.c.number.between(first, first + count - 1)
        return self._leaves(tx, self._select().where(where).order_by(self.leaves.c.number))

    def of(self, tx: Transaction, stream: int, size: int) -> Leaf | None:
        table = self.leaves.c
        query = self._select().where(table.stream == stream, table.number < size).order_by(table.version.desc()).limit(1)
        return next(iter(self._leaves(tx, query)), None)

    def _select(self) -> Any:
        # As they are: SQLite may hold anything, which the column's own type could not read.
        return sa.select(
            *(
                self._text(self.leaves.c.migration) if name == "migration" else _as_is(self.leaves.c[name])
                for name in Leaf._fields
            )
        )

    def _text(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """The text, on SQLite its bytes: of one that is no text the driver gives nothing, and no other row either."""
        return _as_is(column if self.postgres else sa.cast(column, sa.LargeBinary)).label(str(column.name))

    def _leaves(self, tx: Transaction, query: Any) -> list[Leaf]:
        return [leaf_of(*row) for row in tx.connection.execute(query)]

    # -- the tree -------------------------------------------------------------------------------------------------

    def nodes(self, tx: Transaction, level: int, first: int, count: int) -> list[Node]:
        table = self.nodes_table
        hashes = _as_is(table.c.hash)
        query = sa.select(table.c.number, hashes).where(table.c.level == level, table.c.number.between(first, first + count - 1))
        found = tx.connection.execute(query.order_by(table.c.number))
        return [Node(level, int(number), value if isinstance(value, bytes) else b"") for number, value in found]

    def add_nodes(self, tx: Transaction, nodes: Sequence[Node]) -> None:
        tx.bulk(self.nodes_table.name, Node._fields, nodes)

    def checkpoint(self, tx: Transaction, signer: str | None = None) -> Kept | None:
        table = self.checkpoints
        query = sa.select(table).order_by(table.c.size.desc(), table.c.at.desc()).limit(1)
        row = tx.connection.execute(query if signer is None else query.where(table.c.signer == signer)).first()
        return None if row is None else Kept(*row)

    def add_checkpoint(self, tx: Transaction, kept: Kept) -> None:
        tx.connection.execute(sa.insert(self.checkpoints).values(kept._asdict()))

    # -- streams --------------------------------------------------------------------------------------------------

    def window(self, tx: Transaction, after: int, limit: int) -> int | None:
        some = sa.select(self.rows.c.id).where(self.rows.c.id > after).order_by(self.rows.c.id).limit(limit).subquery()
        found = tx.connection.scalar(sa.select(sa.func.max(some.c.id)))
        return None if found is None else int(found)

    def unsealed(self, tx: Transaction, after: int, until: int, size: int | None = None) -> list[Unsealed]:
        streams, leaves = self.rows, self.leaves
        # The last version by the index, stream by stream: a join would read all leaves for every page.
        last = sa.select(sa.func.max(leaves.c.version)).where(leaves.c.stream == streams.c.id)
        last = last if size is None else last.where(leaves.c.number < size)
        texts = [self._text(column) for column in (streams.c.migration, streams.c.key)]
        query = sa.select(
            streams.c.id, *texts, _as_is(streams.c.version).label("version"), last.scalar_subquery().label("sealed")
        ).where(streams.c.id > after, streams.c.id <= until)
        some = query.subquery()
        changed = (
            sa.select(some)
            .where(sa.or_(some.c.sealed.is_(None), some.c.sealed.is_distinct_from(some.c.version)))
            .order_by(some.c.id)
        )
        rows = list(tx.connection.execute(changed))
        sealed = self._sealed(tx, [row.id for row in rows if row.sealed is not None])
        return [unsealed_of(row.id, row.migration, row.key, row.version, sealed.get((row.id, row.sealed))) for row in rows]

    def _sealed(self, tx: Transaction, streams: Sequence[int]) -> dict[tuple[int, int], Leaf]:
        """All leaves of these streams: SQLite finds pairs of stream and version by reading the whole table."""
        found: dict[tuple[int, int], Leaf] = {}
        for chunk in chunks(streams):
            leaves = self._leaves(tx, self._select().where(self.leaves.c.stream.in_(chunk)))
            found |= {(leaf.stream, leaf.version): leaf for leaf in leaves}
        return found

    def among(self, tx: Transaction, after: int, until: int | None, size: int) -> list[Leaf]:
        table = self.leaves.c
        query = self._select().where(table.stream > after, table.number < size)
        query = query if until is None else query.where(table.stream <= until)
        return self._leaves(tx, query.order_by(table.stream, table.version))

    def migrations(self, tx: Transaction, after: int, until: int) -> dict[int, str]:
        columns = self.rows.c
        query = sa.select(columns.id, self._text(columns.migration)).where(columns.id > after, columns.id <= until)
        return {row.id: text_of(row.migration) for row in tx.connection.execute(query)}


def _as_is(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.type_coerce(column, sa.types.NULLTYPE)
