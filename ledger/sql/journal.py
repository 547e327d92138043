"""The streams of a ledger on SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from backtrail.errors import Retry
from backtrail.image import Ref, Shape
from backtrail.stores.base import Transaction
from ledger.event import Event, index_of, ref_number
from ledger.journal import Head, Journal, Placed, chunks, load_shape
from ledger.sql.tables import ledger_tables

STREAM_COLUMNS = ("id", "migration", "key", "version", "head", "state", "failed", "campaign")
EVENT_COLUMNS = ("stream", "version", "kind", "campaign", "at", "shape", "key", "before", "after", "data", "hash", "ref")


class SqlJournal(Journal):
    """The streams of a ledger on SQL."""

    unreadable = (sa.exc.DBAPIError, sqlite3.Error, TypeError, ValueError, OverflowError)

    def __init__(self, dialect: str) -> None:
        super().__init__()
        self.tables = ledger_tables(dialect)

    # -- heads ----------------------------------------------------------------------------------------------------

    def heads(self, tx: Transaction, migration: str, keys: Sequence[str], *, lock: bool) -> dict[str, Head]:
        streams = self.tables.streams
        found: dict[str, Head] = {}
        for chunk in chunks(keys):
            query = sa.select(streams).where(streams.c.migration == migration, streams.c.key.in_(chunk)).order_by(streams.c.id)
            for row in tx.connection.execute(query.with_for_update() if lock else query):
                found[row.key] = _head(row)
        return found

    def page(
        self,
        tx: Transaction,
        migration: str,
        after: int,
        limit: int,
        *,
        state: str | None = None,
        failed: bool | None = None,
        campaign: int | None = None,
    ) -> list[Head]:
        streams = self.tables.streams
        where = self._where(migration, state, failed, campaign)
        query = sa.select(streams).where(where, streams.c.id > after).order_by(streams.c.id).limit(limit)
        return [_head(row) for row in tx.connection.execute(query)]

    def matching(self, tx: Transaction, migration: str, *, state: str | None = None, failed: bool | None = None) -> int:
        where = self._where(migration, state, failed, None)
        return int(tx.connection.scalar(sa.select(sa.func.count()).select_from(self.tables.streams).where(where)))

    def _where(self, migration: str, state: str | None, failed: bool | None, campaign: int | None) -> sa.ColumnElement[bool]:
        columns = self.tables.streams.c
        parts = [columns.migration == migration]
        if state is not None:
            parts.append(columns.state == state)
        if failed is not None:
            parts.append(columns.failed if failed else ~columns.failed)  # as the partial index has it
        if campaign is not None:
            parts.append(columns.campaign == campaign)
        return sa.and_(*parts)

    def count(self, tx: Transaction, migration: str) -> dict[str, int]:
        streams = self.tables.streams
        query = sa.select(streams.c.state, sa.func.count()).where(streams.c.migration == migration).group_by(streams.c.state)
        return {row[0]: row[1] for row in tx.connection.execute(query)}

    def strays(self, tx: Transaction, limit: int) -> list[int]:
        events, streams = self.tables.events, self.tables.streams
        gone = ~sa.exists().where(streams.c.id == events.c.stream)
        return list(
            tx.connection.scalars(sa.select(events.c.stream).where(gone).distinct().order_by(events.c.stream).limit(limit))
        )

    # -- appending ------------------------------------------------------------------------------------------------

    def _write(self, tx: Transaction, fresh: Sequence[Head], moved: Sequence[Head], events: Sequence[Placed]) -> None:
        streams = self.tables.streams
        try:
            if fresh:
                tx.bulk(streams.name, STREAM_COLUMNS, [_stream_row(head) for head in fresh])
            if events:
                tx.bulk(self.tables.events.name, EVENT_COLUMNS, [self._event_row(tx, *placed) for placed in events])
        except tx.duplicate as error:
            # The unique version is what makes a job idempotent: whoever comes second reads again and finds nothing to do.
            raise Retry("another worker was first with one of these entities") from error
        if moved:
            changed = [name for name in STREAM_COLUMNS if name not in ("id", "migration", "key")]
            values: dict[str, Any] = {name: sa.bindparam(f"{name}_") for name in changed}
            rows = [{f"{name}_": value for name, value in zip(STREAM_COLUMNS, _stream_row(head), strict=True)} for head in moved]
            tx.connection.execute(sa.update(streams).where(streams.c.id == sa.bindparam("id_")).values(values), rows)

    def _new_ids(self, tx: Transaction, number: int) -> Sequence[int]:
        if not number:
            return ()
        if tx.connection.dialect.name == "postgresql":
            sequence = sa.text("SELECT nextval('backtrail.streams_id_seq') FROM generate_series(1, :number)")
            return list(tx.connection.scalars(sequence, {"number": number}))
        # SQLite: the transaction holds the only write lock.
        last = tx.connection.scalar(sa.select(sa.func.coalesce(sa.func.max(self.tables.streams.c.id), 0)))
        return range(last + 1, last + 1 + number)

    def _event_row(self, tx: Transaction, stream: int, event: Event) -> tuple[Any, ...]:
        return (
            stream,
            event.version,
            event.kind,
            event.campaign,
            event.at,
            None if event.shape is None else self._shape_id(tx, event.shape),
            None if event.ref is None else event.ref.key,
            event.before,
            event.after,
            event.data,
            event.hash,
            index_of(event.ref, event.before),
        )

    def _keep_shape(self, tx: Transaction, body: str) -> int:
        shapes = self.tables.shapes
        query = sa.select(shapes.c.id).where(shapes.c.body == body)
        # Looked for first: on SQLite a trigger refuses a second one even where the insert would do nothing.
        known = tx.connection.scalar(query)
        if known is None:
            insert: Any = _insert(tx)(shapes).values(body=body)
            tx.connection.execute(insert.on_conflict_do_nothing())
            known = tx.connection.scalar(query)
        return int(known)

    def _load_shape(self, tx: Transaction, number: int) -> Shape:
        shapes = self.tables.shapes
        return load_shape(tx.connection.scalar(sa.select(shapes.c.body).where(shapes.c.id == number)))

    # -- reading --------------------------------------------------------------------------------------------------

    def events(self, tx: Transaction, streams: Iterable[int]) -> dict[int, list[Event]]:
        wanted = list(streams)
        found: dict[int, list[Event]] = {stream: [] for stream in wanted}
        shapes: dict[int, Shape] = {}
        table = self.tables.events
        for chunk in chunks(wanted):
            query = sa.select(table).where(table.c.stream.in_(chunk)).order_by(table.c.stream, table.c.version)
            for row in tx.connection.execute(query):
                shape = None
                if row.shape is not None:
                    shape = shapes.get(row.shape)
                    if shape is None:
                        shape = shapes[row.shape] = self._load_shape(tx, row.shape)
                found[row.stream].append(_loaded(row, shape))
        return found

    def last_events(self, tx: Transaction, heads: Iterable[Head]) -> dict[str, Event]:
        table = self.tables.events
        keys = {(head.id, head.version): head.key for head in heads if head.id is not None}
        found: dict[str, Event] = {}
        for chunk in chunks(list(keys)):
            for row in tx.connection.execute(sa.select(table).where(sa.tuple_(table.c.stream, table.c.version).in_(chunk))):
                found[keys[row.stream, row.version]] = _loaded(row, None)
        return found

    def others(self, tx: Transaction, refs: Sequence[Ref], migration: str | None = None) -> dict[Ref, list[tuple[Head, Event]]]:
        numbers = {ref_number(ref): ref for ref in refs}
        events, streams = self.tables.events, self.tables.streams
        found: dict[Ref, list[tuple[Head, Event]]] = {}
        for chunk in chunks(list(numbers)):
            query = sa.select(streams, events).join(streams, streams.c.id == events.c.stream).where(events.c.ref.in_(chunk))
            if migration is not None:
                query = query.where(streams.c.migration == migration)
            for row in tx.connection.execute(query.order_by(events.c.at, events.c.version)):
                mapping = row._mapping
                ref = numbers[mapping[events.c.ref]]
                if mapping[events.c.key] != ref.key:
                    continue
                head = Head(**{name: mapping[streams.c[column]] for name, column in HEAD_COLUMNS.items()})
                event = Event(
                    mapping[events.c.version], mapping[events.c.kind], mapping[events.c.campaign], mapping[events.c.at], ref
                )
                event.after = mapping[events.c.after]
                found.setdefault(ref, []).append((head, event))
        return found

    # -- recalls --------------------------------------------------------------------------------------------------

    def recalls(self, tx: Transaction, migration: str, keys: Sequence[str]) -> dict[str, dict[tuple[str, str], Any]]:
        table = self.tables.recalls
        found: dict[str, dict[tuple[str, str], Any]] = {}
        for chunk in chunks(keys):
            query = sa.select(table).where(table.c.migration == migration, table.c.key.in_(chunk))
            for row in tx.connection.execute(query):
                found.setdefault(row.key, {})[row.label, row.digest] = row.result
        return found

    def store_recall(self, tx: Transaction, migration: str, key: str, label: str, digest: str, result: Any) -> None:
        values = {"migration": migration, "key": key, "label": label, "digest": digest, "result": result}
        insert: Any = _insert(tx)(self.tables.recalls).values(values)
        tx.connection.execute(insert.on_conflict_do_nothing())


HEAD_COLUMNS = {
    "id": "id",
    "migration": "migration",
    "key": "key",
    "version": "version",
    "hash": "head",
    "state": "state",
    "failed": "failed",
    "campaign": "campaign",
}


def _head(row: Any) -> Head:
    return Head(row.migration, row.key, row.id, row.version, row.head, row.state, row.failed, row.campaign)


def _stream_row(head: Head) -> tuple[Any, ...]:
    return head.id, head.migration, head.key, head.version, head.hash, head.state, head.failed, head.campaign


def _loaded(row: Any, shape: Shape | None) -> Event:
    ref = None if shape is None or row.key is None else Ref(shape.table, row.key)
    return Event(row.version, row.kind, row.campaign, row.at, ref, shape, row.before, row.after, row.data, row.hash, row.ref)


def _insert(tx: Transaction) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
