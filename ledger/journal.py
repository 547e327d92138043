"""Appends to streams and reads them, through the transaction it is handed.

The row of a stream (version, head, state) is a cache of its events and the flag that applications read; it is never evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from backtrail.errors import Retry
from backtrail.image import Ref, Shape, Written
from backtrail.stores.base import Store, Transaction
from ledger.event import Event, digest, genesis, index_of, ref_number
from ledger.tables import ledger_tables

IN_LIMIT = 500
"""How many values go into one IN (…): SQLite's limit of parameters is far above, its parser is not fast."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a stream stands: its last version and hash, the entity's state, and the campaign of its last job."""

    migration: str
    key: str
    id: int | None = None
    version: int = 0
    hash: bytes = b""
    state: str = ""
    failed: bool = False
    campaign: int = 0


class Fact(NamedTuple):
    """What is to be appended: an event without its place in a stream."""

    kind: str
    data: str | None = None
    written: Written | None = None


@dataclass(slots=True)
class Entry:
    """All that one job appends to one stream, and the state that it leaves the entity in."""

    head: Head
    state: str
    facts: list[Fact] = field(default_factory=list)
    failed: bool = False


class Journal:
    """The streams of a ledger on SQL. Shapes are remembered for the life of the object."""

    def __init__(self, dialect: str) -> None:
        self.tables = ledger_tables(dialect)
        # By digest, which a shape remembers: its own hash is made anew of all its columns' names each time.
        self._shape_ids: dict[bytes, int] = {}

    # -- heads ----------------------------------------------------------------------------------------------------

    def heads(self, tx: Transaction, migration: str, keys: Sequence[str], *, lock: bool) -> dict[str, Head]:
        """The heads of those of the keys that have a stream."""
        streams = self.tables.streams
        found: dict[str, Head] = {}
        for chunk in _chunks(keys):
            query = sa.select(streams).where(streams.c.migration == migration, streams.c.key.in_(chunk)).order_by(streams.c.id)
            for row in tx.connection.execute(query.with_for_update() if lock else query):
                found[row.key] = _head(row)
        return found

    def page(self, tx: Transaction, migration: str, after: int, limit: int, condition: Any = None) -> list[Head]:
        """The next streams of a migration after a stream's id, in the order of their ids."""
        streams = self.tables.streams
        query = sa.select(streams).where(streams.c.migration == migration, streams.c.id > after)
        if condition is not None:
            query = query.where(condition)
        return [_head(row) for row in tx.connection.execute(query.order_by(streams.c.id).limit(limit))]

    def count(self, tx: Transaction, migration: str) -> dict[str, int]:
        """The number of streams of a migration by their states."""
        streams = self.tables.streams
        query = sa.select(streams.c.state, sa.func.count()).where(streams.c.migration == migration).group_by(streams.c.state)
        return {row[0]: row[1] for row in tx.connection.execute(query)}

    def strays(self, tx: Transaction, limit: int) -> list[int]:
        """The ids of some streams that have events and no row."""
        events, streams = self.tables.events, self.tables.streams
        gone = ~sa.exists().where(streams.c.id == events.c.stream)
        return list(
            tx.connection.scalars(sa.select(events.c.stream).where(gone).distinct().order_by(events.c.stream).limit(limit))
        )

    # -- appending ------------------------------------------------------------------------------------------------

    def append(self, tx: Transaction, campaign: int, at: int, entries: Sequence[Entry]) -> None:
        """Nothing; every entry's facts stand in its stream, chained, and the streams' rows say so.

        Raises:
            Retry: another transaction was first in one of the streams.
        """
        new = [entry for entry in entries if entry.head.id is None]
        ids = iter(self._new_ids(tx, len(new)))
        events: list[tuple[Any, ...]] = []
        fresh: list[tuple[Any, ...]] = []
        moved: list[dict[str, Any]] = []
        for entry in entries:
            head = entry.head
            stream = next(ids) if head.id is None else head.id
            previous = head.hash or genesis(head.migration, head.key)
            version = head.version
            for fact in entry.facts:
                version += 1
                event = _event(version, campaign, at, fact)
                previous = event.hash = digest(previous, event)
                events.append(self._row(tx, stream, event))
            if head.id is None:
                fresh.append((stream, head.migration, head.key, version, previous, entry.state, entry.failed, campaign))
            else:
                moved.append(
                    {
                        "id_": stream,
                        "version_": version,
                        "head_": previous,
                        "state_": entry.state,
                        "failed_": entry.failed,
                        "campaign_": campaign,
                    }
                )
        self._write(tx, fresh, moved, events)

    def _write(
        self, tx: Transaction, fresh: list[tuple[Any, ...]], moved: list[dict[str, Any]], events: list[tuple[Any, ...]]
    ) -> None:
        streams = self.tables.streams
        try:
            if fresh:
                tx.bulk(streams.name, ("id", "migration", "key", "version", "head", "state", "failed", "campaign"), fresh)
            if events:
                columns = (
                    "stream",
                    "version",
                    "kind",
                    "campaign",
                    "at",
                    "shape",
                    "key",
                    "before",
                    "after",
                    "data",
                    "hash",
                    "ref",
                )
                tx.bulk(self.tables.events.name, columns, events)
        except tx.duplicate as error:
            # The unique version is what makes a job idempotent: whoever comes second reads again and finds nothing to do.
            raise Retry("another worker was first with one of these entities") from error
        if moved:
            values: dict[str, Any] = {
                name: sa.bindparam(f"{name}_") for name in ("version", "head", "state", "failed", "campaign")
            }
            tx.connection.execute(sa.update(streams).where(streams.c.id == sa.bindparam("id_")).values(values), moved)

    def _new_ids(self, tx: Transaction, number: int) -> Sequence[int]:
        if not number:
            return ()
        if tx.connection.dialect.name == "postgresql":
            sequence = sa.text("SELECT nextval('backtrail.streams_id_seq') FROM generate_series(1, :number)")
            return list(tx.connection.scalars(sequence, {"number": number}))
        # SQLite: the transaction holds the only write lock.
        last = tx.connection.scalar(sa.select(sa.func.coalesce(sa.func.max(self.tables.streams.c.id), 0)))
        return range(last + 1, last + 1 + number)

    def _row(self, tx: Transaction, stream: int, event: Event) -> tuple[Any, ...]:
        shape = None if event.shape is None else self._shape_id(tx, event.shape)
        key = None if event.ref is None else event.ref.key
        return (
            stream,
            event.version,
            event.kind,
            event.campaign,
            event.at,
            shape,
            key,
            event.before,
            event.after,
            event.data,
            event.hash,
            index_of(event.ref, event.before),
        )

    # -- shapes ---------------------------------------------------------------------------------------------------

    def remember(self, store: Store, shapes: Iterable[Shape]) -> None:
        """Nothing; the shapes are kept, committed, and known to this object by their numbers."""
        unknown = [shape for shape in shapes if shape.digest not in self._shape_ids]
        if not unknown:
            return
        with store.transaction() as tx:
            numbers = {shape.digest: self._shape_id(tx, shape) for shape in unknown}
        self._shape_ids |= numbers

    def _shape_id(self, tx: Transaction, shape: Shape) -> int:
        number = self._shape_ids.get(shape.digest)
        if number is not None:
            return number
        # Not remembered here: this transaction may roll back, and the number with it.
        shapes, body = self.tables.shapes, shape.dump()
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
        body = tx.connection.scalar(sa.select(shapes.c.body).where(shapes.c.id == number))
        try:
            return Shape.load(body)
        except (TypeError, ValueError):
            return Shape("(lost)")  # gone or edited: its events do not verify any more

    # -- reading --------------------------------------------------------------------------------------------------

    def events(self, tx: Transaction, streams: Iterable[int]) -> dict[int, list[Event]]:
        """All events of each of the streams, in their order."""
        wanted = list(streams)
        found: dict[int, list[Event]] = {stream: [] for stream in wanted}
        shapes: dict[int, Shape] = {}
        table = self.tables.events
        for chunk in _chunks(wanted):
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
        """The last event of each stream, by the entity's key."""
        table = self.tables.events
        keys = {(head.id, head.version): head.key for head in heads if head.id is not None}
        found: dict[str, Event] = {}
        for chunk in _chunks(list(keys)):
            for row in tx.connection.execute(sa.select(table).where(sa.tuple_(table.c.stream, table.c.version).in_(chunk))):
                found[keys[row.stream, row.version]] = _loaded(row, None)
        return found

    def others(self, tx: Transaction, refs: Sequence[Ref], migration: str | None = None) -> dict[Ref, list[tuple[Head, Event]]]:
        """The events that changed one of these rows when it already existed, of all streams or of one migration's, newest last."""
        numbers = {ref_number(ref): ref for ref in refs}
        events, streams = self.tables.events, self.tables.streams
        found: dict[Ref, list[tuple[Head, Event]]] = {}
        for chunk in _chunks(list(numbers)):
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
        """The stored results of recalls, by the entity's key, then by label and digest of the arguments."""
        table = self.tables.recalls
        found: dict[str, dict[tuple[str, str], Any]] = {}
        for chunk in _chunks(keys):
            query = sa.select(table).where(table.c.migration == migration, table.c.key.in_(chunk))
            for row in tx.connection.execute(query):
                found.setdefault(row.key, {})[row.label, row.digest] = row.result
        return found

    def store_recall(self, tx: Transaction, migration: str, key: str, label: str, digest: str, result: Any) -> None:
        """Nothing; the result is kept, unless there is one already: the first that was paid for is the one that counts."""
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


def _event(version: int, campaign: int, at: int, fact: Fact) -> Event:
    written = fact.written
    if written is None:
        return Event(version, fact.kind, campaign, at, data=fact.data)
    image = written.after or written.before
    return Event(
        version,
        fact.kind,
        campaign,
        at,
        written.ref,
        None if image is None else image.shape,
        None if written.before is None else written.before.data,
        None if written.after is None else written.after.data,
        fact.data,
    )


def _loaded(row: Any, shape: Shape | None) -> Event:
    ref = None if shape is None or row.key is None else Ref(shape.table, row.key)
    return Event(row.version, row.kind, row.campaign, row.at, ref, shape, row.before, row.after, row.data, row.hash, row.ref)


def _insert(tx: Transaction) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + IN_LIMIT] for at in range(0, len(items), IN_LIMIT))
