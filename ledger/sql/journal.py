"""The streams of a ledger on SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from backtrail.errors import Retry
from backtrail.image import Shape
from backtrail.stores.base import Transaction
from ledger.entry import Head, Placed, Recall
from ledger.event import Event
from ledger.journal import Journal, Lock, chunks, load_shape, to_json
from ledger.keyring import Keyring
from ledger.sql.tables import ledger_tables

HEAD_COLUMNS = {
    "id": "id",
    "migration": "migration",
    "place": "key",
    "version": "version",
    "hash": "head",
    "secret": "secret",
    "state": "state",
    "failed": "failed",
    "campaign": "campaign",
    "subject": "subject",
    "name": "name",
    "origin": "origin",
}
"""The columns of a stream's row, by the fields of its head."""

SELECTED = ("migration", "key", "id", "version", "head", "state", "failed", "campaign", "subject", "secret", "name", "origin")
"""The columns of a stream's row in the order of the head's fields, but for the place, which is the key as it stands there."""

MOVING = ("version", "hash", "state", "failed", "campaign", "subject")
"""The fields that a job changes."""

KINDS = {
    "b": "begin",
    "c": "created",
    "u": "updated",
    "d": "deleted",
    "r": "compensated",
    "e": "end",
    "f": "failed",
    "x": "conflict",
    "m": "unmapped",
    "n": "remark",
    "+": "expanded",
    "-": "retracted",
    "0": "erased",
}
"""The kinds of events by the letters that stand for them: six bytes less in each event."""

LETTERS = {kind: letter for letter, kind in KINDS.items()}

OF_STREAMS = """
    SELECT own.stream, own.at, own.ref, own.version, own.campaign, own.shape, own.kind, own.hash, own.body
    FROM unnest(%s::bigint[]) AS given (value)
    CROSS JOIN LATERAL (SELECT * FROM {table} WHERE stream = given.value OFFSET 0) AS own
    ORDER BY own.stream, own.version
"""
"""PostgreSQL's events of streams, looked up one by one as in `_of_each`."""

HIGHEST = 2**63 - 1
"""The largest id that a database can hold."""

EVENT_COLUMNS = ("stream", "version", "kind", "campaign", "at", "shape", "ref", "hash", "body")


class SqlJournal(Journal):
    """The streams of a ledger on SQL."""

    unreadable = (sa.exc.DBAPIError, sqlite3.Error, TypeError, ValueError, OverflowError)

    def __init__(self, dialect: str, keyring: Keyring) -> None:
        super().__init__(keyring)
        self.tables = ledger_tables(dialect)
        self.postgres = dialect == "postgresql"
        self._streams = sa.select(*[self.tables.streams.c[name] for name in SELECTED])

    # -- heads ----------------------------------------------------------------------------------------------------

    def _places(self, tx: Transaction, migration: str, places: Sequence[str], states: Sequence[str] | None) -> Iterable[str]:
        streams = self.tables.streams
        query = sa.select(streams.c.key).where(streams.c.migration == migration, self._among(streams.c.key, places))
        return list(tx.connection.scalars(query if states is None else query.where(streams.c.state.in_(states))))

    def _heads(self, tx: Transaction, migration: str, places: Sequence[str], lock: Lock | None) -> Iterable[Head]:
        streams = self.tables.streams
        query = self._streams.where(streams.c.migration == migration, self._among(streams.c.key, places))
        query = query.order_by(streams.c.id)
        if lock is not None:
            query = query.with_for_update(read=lock == "hold")
        return [_head(row) for row in tx.connection.execute(query).all()]

    def _among(self, column: sa.ColumnElement[str], texts: Sequence[str]) -> sa.ColumnElement[bool]:
        """That the column is one of the texts, which travel as one parameter: to write out and read hundreds takes longer than to find them."""
        if self.postgres:
            return column == sa.any_(sa.cast(sa.literal(_array(texts), sa.Text), sa.ARRAY(sa.Text)))
        if any("\0" in text for text in texts):
            return column.in_(texts)  # SQLite's JSON ends a text there
        given = sa.func.json_each(sa.literal(to_json(list(texts)), sa.Text)).table_valued("value")
        return column.in_(sa.select(given.c.value))

    def _page(
        self,
        tx: Transaction,
        migration: str,
        after: int,
        limit: int,
        state: str | None,
        failed: bool | None,
        campaign: int | None,
    ) -> list[Head]:
        where = self._where(migration, state, failed, campaign, paging=not failed)
        return [_head(row) for row in self._following(tx, self._streams.where(where), after, limit, windowed=not failed)]

    def ids(self, tx: Transaction, migration: str, after: int, limit: int) -> list[int]:
        query = sa.select(self.tables.streams.c.id).where(self._where(migration, None, None, None, paging=True))
        return [row[0] for row in self._following(tx, query, after, limit, windowed=True)]

    def _following(self, tx: Transaction, query: Any, after: int, limit: int, *, windowed: bool) -> Sequence[Any]:
        """The next rows of streams in the order of their ids."""
        number = self.tables.streams.c.id
        query = query.where(number > after).order_by(number).limit(limit)
        if self.postgres and windowed:
            # First among the ids that come next: without statistics PostgreSQL would read and sort all that are left, for every page.
            window = 2 * limit
            first = sa.select(sa.func.least(sa.func.min(number), HIGHEST - window)).where(number > after)
            rows = tx.connection.execute(query.where(number < first.scalar_subquery() + window)).all()
            if len(rows) == limit:
                return list(rows)
        return list(tx.connection.execute(query).all())

    def subject_streams(
        self, tx: Transaction, migrations: Collection[str], places: Sequence[str], subjects: Sequence[str], *, lock: bool
    ) -> list[Head]:
        streams = self.tables.streams
        named = sa.and_(streams.c.migration.in_(migrations), streams.c.key.in_(places))
        where = sa.or_(named, sa.and_(streams.c.migration.in_(migrations), streams.c.subject.in_(subjects)))
        query = self._streams.where(where).order_by(streams.c.id)
        return self._named(tx, [_head(row) for row in tx.connection.execute(query.with_for_update() if lock else query).all()])

    def matching(self, tx: Transaction, migration: str, *, state: str | None = None, failed: bool | None = None) -> int:
        where = self._where(migration, state, failed, None)
        return int(tx.connection.scalar(sa.select(sa.func.count()).select_from(self.tables.streams).where(where)))

    def _where(
        self, migration: str, state: str | None, failed: bool | None, campaign: int | None, *, paging: bool = False
    ) -> sa.ColumnElement[bool]:
        columns = self.tables.streams.c
        # Of the column itself there is an index, by which SQLite would read and sort all streams of the migration for every page.
        parts = [(columns.migration.concat("") if paging else columns.migration) == migration]
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
        return {row[0]: row[1] for row in tx.connection.execute(query).all()}

    def strays(self, tx: Transaction, limit: int) -> list[int]:
        events, streams = self.tables.events, self.tables.streams
        gone = ~sa.exists().where(streams.c.id == events.c.stream)
        return list(
            tx.connection.scalars(sa.select(events.c.stream).where(gone).distinct().order_by(events.c.stream).limit(limit))
        )

    # -- appending ------------------------------------------------------------------------------------------------

    def _write(self, tx: Transaction, fresh: Sequence[Head], moved: Sequence[Head], events: Sequence[Any]) -> None:
        streams = self.tables.streams
        try:
            if fresh:
                tx.bulk(streams.name, list(HEAD_COLUMNS.values()), list(map(_row, fresh)))
            if events:
                tx.bulk(self.tables.events.name, EVENT_COLUMNS, events)
        except tx.duplicate as error:
            # The unique version is what makes a job idempotent: whoever comes second reads again and finds nothing to do.
            raise Retry("another worker was first with one of these entities") from error
        self._move(tx, moved, MOVING)

    def _move(self, tx: Transaction, heads: Sequence[Head], fields: Sequence[str]) -> None:
        if not heads:
            return
        streams = self.tables.streams
        if self.postgres:
            # One statement of arrays: one for each of the heads takes either side three times as long.
            columns = [streams.c[HEAD_COLUMNS[name]] for name in ("id", *fields)]
            cells = zip(*map(attrgetter("id", *fields), heads), strict=True)
            arrays = [sa.literal(list(values), sa.ARRAY(column.type)) for column, values in zip(columns, cells, strict=True)]
            given = sa.func.unnest(*arrays).table_valued(*[column.name for column in columns]).alias("given").render_derived()
            moved = {column.name: given.c[column.name] for column in columns[1:]}
            tx.connection.execute(sa.update(streams).where(streams.c.id == given.c.id).values(moved))
            return
        values: dict[str, Any] = {HEAD_COLUMNS[name]: sa.bindparam(f"{name}_") for name in fields}
        rows = [{"id_": head.id, **{f"{name}_": getattr(head, name) for name in fields}} for head in heads]
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

    def _placed(self, tx: Transaction, stream: int, event: Event) -> tuple[Any, ...]:
        shape = None if event.shape is None else self._shape_id(tx, event.shape)
        return stream, event.version, LETTERS[event.kind], event.campaign, event.at, shape, event.index, event.hash, event.body

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

    def _events(self, tx: Transaction, streams: Sequence[int]) -> dict[int, list[Event]]:
        found: dict[int, list[Event]] = {stream: [] for stream in streams}
        for chunk in chunks(streams):
            for stream, event in self._loaded(tx, self._of_streams(tx, chunk)):
                found[stream].append(event)
        return found

    def _of_streams(self, tx: Transaction, streams: Sequence[int]) -> Any:
        if not self.postgres:
            events = self._of_each("stream", streams)
            return tx.connection.execute(sa.select(events).order_by(events.c.stream, events.c.version)).all()
        # Bytes that travel as themselves and not as hexadecimal text: half of what reading events costs either side.
        cursor = tx.connection.connection.cursor(binary=True)
        return cursor.execute(OF_STREAMS.format(table=self.tables.events.fullname), (list(streams),)).fetchall()

    def _events_at(self, tx: Transaction, places: Sequence[tuple[int, int]]) -> Iterable[Placed]:
        # Not by pairs: SQLite would look at every event.
        streams, versions = {stream for stream, _ in places}, {version for _, version in places}
        events = self._of_each("stream", sorted(streams))
        query = sa.select(events).where(events.c.version.in_(versions))
        wanted = set(places)
        found = self._loaded(tx, tx.connection.execute(query).all())
        return [Placed(stream, event) for stream, event in found if (stream, event.version) in wanted]

    def _numbered(self, tx: Transaction, numbers: Sequence[int], migration: str | None) -> list[tuple[Head, Event]]:
        streams = self.tables.streams
        found = list(self._loaded(tx, tx.connection.execute(sa.select(self._of_each("ref", numbers))).all()))
        heads: dict[int, Head] = {}
        for chunk in chunks(sorted({stream for stream, _ in found})):
            query = self._streams.where(streams.c.id.in_(chunk))
            heads |= {row.id: _head(row) for row in tx.connection.execute(query).all()}
        pairs = [(heads[stream], event) for stream, event in found if stream in heads]
        return [pair for pair in pairs if migration is None or pair[0].migration == migration]

    def _of_each(self, name: str, values: Sequence[int]) -> sa.FromClause:
        """The events whose column of that name, which an index begins with, has one of the values."""
        events = self.tables.events
        if not self.postgres:
            return sa.select(events).where(events.c[name].in_(values)).subquery("found")
        # One by one: without statistics, as in a ledger that grows faster than it is analysed, PostgreSQL would take so many values for half
        # of the table, and read all of it.
        given = sa.func.unnest(sa.literal(sorted(set(values)), sa.ARRAY(sa.BigInteger))).table_valued("value").render_derived()
        own = sa.select(events).where(events.c[name] == given.c.value).offset(sa.literal_column("0")).lateral("own")
        return sa.select(own).select_from(given.join(own, sa.true())).subquery("found")

    def _subjects(self, tx: Transaction, streams: Sequence[int]) -> dict[int, str]:
        table = self.tables.streams
        found: dict[int, str] = {}
        for chunk in chunks(streams):
            query = sa.select(table.c.id, table.c.subject).where(table.c.id.in_(chunk), table.c.subject.is_not(None))
            found |= {row.id: row.subject for row in tx.connection.execute(query).all()}
        return found

    def _loaded(self, tx: Transaction, rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Event]]:
        shapes: dict[Any, Shape | None] = {None: None}
        for stream, at, ref, version, campaign, shape, kind, found, body in rows:
            if shape not in shapes:
                shapes[shape] = self._load_shape(tx, shape)
            yield (
                stream,
                Event(version, KINDS.get(kind, kind), campaign, at, None, shapes[shape], None, None, None, body, found, ref),
            )

    # -- erasing --------------------------------------------------------------------------------------------------

    def redact(self, tx: Transaction, stream: int, bodies: Mapping[int, bytes]) -> None:
        table = self.tables.events
        where = sa.and_(table.c.stream == stream, table.c.version == sa.bindparam("version_"))
        values: dict[str, Any] = {"body": sa.bindparam("body_"), "ref": None}
        rows = [{"version_": version, "body_": body} for version, body in bodies.items()]
        if rows:
            tx.connection.execute(sa.update(table).where(where).values(values), rows)

    def forget(self, tx: Transaction, heads: Sequence[Head]) -> None:
        self._move(tx, heads, ("place", "secret", "subject", "name", "origin"))

    # -- recalls --------------------------------------------------------------------------------------------------

    def _recalls(self, tx: Transaction, migration: str, places: Sequence[str]) -> Iterable[Recall]:
        table = self.tables.recalls
        query = sa.select(table).where(table.c.migration == migration, table.c.key.in_(places))
        return [Recall(row.key, row.label, row.digest, row.result) for row in tx.connection.execute(query).all()]

    def _store_recalls(self, tx: Transaction, migration: str, recalls: Sequence[Recall], *, new: bool) -> None:
        values = [
            {
                "migration": migration,
                "key": recall.place,
                "label": recall.label,
                "digest": recall.digest,
                "result": recall.result,
            }
            for recall in recalls
        ]
        insert = _insert(tx)(self.tables.recalls)
        if not new:
            tx.connection.execute(insert.on_conflict_do_nothing(), values)
            return
        try:
            tx.connection.execute(insert, values)
        except sa.exc.IntegrityError as error:
            raise Retry("another worker was first with this recall") from error

    def forget_recalls(self, tx: Transaction, migration: str, places: Sequence[str]) -> None:
        table = self.tables.recalls
        tx.connection.execute(sa.delete(table).where(table.c.migration == migration, table.c.key.in_(places)))


def _head(row: Any) -> Head:
    migration, key, id_, version, found, state, failed, campaign, subject, secret, name, origin = row
    return Head(migration, key, id_, version, found, state, failed, campaign, subject, secret, key, name, origin)


_row = attrgetter(*HEAD_COLUMNS)
"""A head as a row of its columns."""


def _array(texts: Sequence[str]) -> str:
    """The texts as PostgreSQL writes an array of them; what drivers do for each by itself takes as long as finding the rows."""
    inside = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return '{"' + '","'.join(inside) + '"}' if inside else "{}"


def _insert(tx: Transaction) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
