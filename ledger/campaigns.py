"""Campaigns and their batches as rows of the database: what every worker and command looks at, and the queue only hints at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa

from backtrail.errors import UnknownName, UsageError
from backtrail.stores.base import Transaction
from ledger.tables import COUNTS, ledger_tables

Kind = Literal["migrate", "rollback", "rerun", "redo"]
GOING_BACK: tuple[Kind, ...] = ("rollback", "redo")
"""The kinds that bring recorded images and ask the author's code nothing."""

State = Literal["open", "running", "paused", "halted", "completed", "cancelled"]

ARROWS: Mapping[State, Mapping[State, str]] = {
    "open": {
        "running": "the feeder has sent its first batch",
        "completed": "there was nothing to do",
        "paused": "somebody holds it",
        "halted": "it cannot go on for anybody",
        "cancelled": "somebody ends it",
    },
    "running": {
        "completed": "every batch is done",
        "paused": "somebody holds it",
        "halted": "it cannot go on for anybody",
        "cancelled": "somebody ends it",
    },
    "paused": {"running": "somebody lets it go on", "cancelled": "somebody ends it"},
    "halted": {"running": "the reason is mended", "cancelled": "somebody ends it"},
    "completed": {},
    "cancelled": {},
}
"""Which state may follow which, and why. Completed and cancelled campaigns are history."""

GOING: tuple[State, ...] = ("open", "running")
"""The states in which batches are sent and worked on."""

UNFINISHED: tuple[State, ...] = ("open", "running", "paused", "halted")
"""The states in which a campaign still owns its entities."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One run of one migration. Times are milliseconds since 1970, UTC."""

    id: int
    migration: str
    source: str
    """Where the migration's code is found: a name, `package.module:Class` or `/path/to/file.py:Class`."""
    kind: Kind
    state: State
    options: dict[str, Any]
    params: dict[str, Any]
    key_types: tuple[str, ...]
    fingerprint: str
    total: int
    null_keys: int
    by: str
    reason: str | None
    halted: str | None
    cursor: dict[str, Any]
    fed: bool
    opened_at: int
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def name(self) -> str:
        """What people call it: c1, c2 and so on."""
        return f"c{self.id}"


@dataclass(slots=True)
class Tally:
    """What became of the entities of a batch or campaign; conflicts and unmapped count entities that have some."""

    migrated: int = 0
    rolled_back: int = 0
    skipped: int = 0
    failed: int = 0
    conflicts: int = 0
    unmapped: int = 0

    def add(self, outcome: str, notes: Mapping[str, int] = {}) -> None:
        """Counts one entity with that outcome and those numbers of notes."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.conflicts += notes.get("conflict", 0) > 0
        self.unmapped += notes.get("unmapped", 0) > 0

    @property
    def done(self) -> int:
        """How many entities are counted."""
        return self.migrated + self.rolled_back + self.skipped + self.failed

    def values(self) -> dict[str, int]:
        """The counts by their names."""
        return {name: getattr(self, name) for name in COUNTS}

    def __str__(self) -> str:
        shown = {"ok": self.migrated + self.rolled_back, "skipped": self.skipped, "failed": self.failed}
        return " ".join(f"{name}={count}" for name, count in shown.items() if count or name == "ok")


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs that travel in one message."""

    campaign: int
    number: int
    keys: list[str]
    state: str
    attempts: int = 0
    sent_at: int | None = None


@dataclass(slots=True)
class Progress:
    """How far a campaign is."""

    tally: Tally = field(default_factory=Tally)
    planned: int = 0
    """How many entities are in batches by now."""
    ready: int = 0
    sent: int = 0
    done: int = 0


class Campaigns:
    """The campaigns of a ledger on SQL."""

    def __init__(self, dialect: str) -> None:
        tables = ledger_tables(dialect)
        self.campaigns, self.batches = tables.campaigns, tables.batches

    # -- campaigns ------------------------------------------------------------------------------------------------

    def open(self, tx: Transaction, campaign: Campaign) -> Campaign:
        """The campaign as it stands in the database, with its id."""
        values = _values(campaign)
        del values["id"]
        result = tx.connection.execute(sa.insert(self.campaigns).values(values))
        return replace(campaign, id=int(result.inserted_primary_key[0]))

    def get(self, tx: Transaction, number: int) -> Campaign | None:
        """The campaign of that id, or None."""
        row = tx.connection.execute(sa.select(self.campaigns).where(self.campaigns.c.id == number)).first()
        return None if row is None else _campaign(row)

    def find(self, tx: Transaction, name: str) -> Campaign:
        """The campaign that people call so, `c12` or `12`.

        Raises:
            UnknownName: there is none.
        """
        number = name[1:] if name[:1] == "c" else name
        campaign = self.get(tx, int(number)) if number.isdecimal() and len(number) < 18 else None
        if campaign is None:
            known = tx.connection.scalars(sa.select(self.campaigns.c.id).order_by(self.campaigns.c.id.desc()).limit(12))
            raise UnknownName("campaign", name, [f"c{known_id}" for known_id in known])
        return campaign

    def all(self, tx: Transaction, *, states: Sequence[str] | None = None, migration: str | None = None) -> list[Campaign]:
        """The campaigns in the order in which they were opened."""
        query = sa.select(self.campaigns).order_by(self.campaigns.c.id)
        if states is not None:
            query = query.where(self.campaigns.c.state.in_(states))
        if migration is not None:
            query = query.where(self.campaigns.c.migration == migration)
        return [_campaign(row) for row in tx.connection.execute(query)]

    def move(self, tx: Transaction, campaign: Campaign, state: State, *, now: int, halted: str | None = None) -> bool:
        """Whether the campaign is now in that state; False where an arrow from its state to that one is missing."""
        table = self.campaigns
        before = [one for one, arrows in ARROWS.items() if state in arrows]
        values: dict[str, Any] = {"state": state}
        if state in {"running", "halted"}:
            values["halted"] = halted  # one that ends or is held keeps what stopped it before
        if state == "running":
            values["started_at"] = sa.func.coalesce(table.c.started_at, now)
        if state in {"completed", "cancelled"}:
            values |= {"ended_at": now, "started_at": sa.func.coalesce(table.c.started_at, now)}
        where = sa.and_(table.c.id == campaign.id, table.c.state.in_(before))
        return bool(tx.connection.execute(sa.update(table).where(where).values(values)).rowcount)

    def demand(self, tx: Transaction, campaign: Campaign, state: State, *, now: int) -> None:
        """Nothing; the campaign is in that state.

        Raises:
            UsageError: it cannot come there from where it is.
        """
        if campaign.state != state and not self.move(tx, campaign, state, now=now):
            raise UsageError(f"{campaign.name} is {campaign.state} and cannot be {state}")

    def record_move(self, tx: Transaction, campaign: Campaign, move: dict[str, Any], fingerprint: str | None = None) -> None:
        """Nothing; the campaign remembers who moved it, when and why, and the code that it goes on with, if that is another."""
        values: dict[str, Any] = {"options": {**campaign.options, "moves": [*campaign.options.get("moves", ()), move]}}
        if fingerprint is not None:
            values["fingerprint"] = fingerprint
        tx.connection.execute(sa.update(self.campaigns).where(self.campaigns.c.id == campaign.id).values(values))

    def advance(
        self, tx: Transaction, campaign: Campaign, cursor: dict[str, Any], *, fed: bool, total: int | None = None
    ) -> None:
        """Nothing; the feeder has come to that place among the keys."""
        values: dict[str, Any] = {"cursor": cursor, "fed": fed}
        if total is not None:
            values["total"] = total
        tx.connection.execute(sa.update(self.campaigns).where(self.campaigns.c.id == campaign.id).values(values))

    # -- batches --------------------------------------------------------------------------------------------------

    def add_batches(self, tx: Transaction, campaign: Campaign, first: int, keys: Sequence[Sequence[str]]) -> None:
        """Nothing; batches of those keys are ready to be sent."""
        rows = [
            {"campaign": campaign.id, "number": first + at, "keys": list(batch), "size": len(batch), "state": "ready"}
            for at, batch in enumerate(keys)
        ]
        if rows:
            tx.connection.execute(sa.insert(self.batches), rows)

    def add_skipped(self, tx: Transaction, campaign: Campaign, number: int, count: int, now: int) -> None:
        """Nothing; that many entities with nothing to do are counted in a batch that needs no worker."""
        values = {
            "campaign": campaign.id,
            "number": number,
            "keys": [],
            "size": count,
            "state": "done",
            "done_at": now,
            "skipped": count,
        }
        tx.connection.execute(sa.insert(self.batches).values(values))

    def claim(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        """The batch, locked to the end of the transaction; None where it does not exist. Whoever comes second waits here."""
        table = self.batches
        query = sa.select(table).where(table.c.campaign == campaign, table.c.number == number).with_for_update()
        row = tx.connection.execute(query).first()
        return None if row is None else _batch(row)

    def finish(self, tx: Transaction, batch: Batch, tally: Tally, now: int) -> None:
        """Nothing; the batch is done, with those counts."""
        self._set(tx, batch.campaign, [batch.number], {"state": "done", "done_at": now, **tally.values()})

    def peek(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        """The batch, as it stands and not locked; None where it does not exist."""
        table = self.batches
        row = tx.connection.execute(sa.select(table).where(table.c.campaign == campaign, table.c.number == number)).first()
        return None if row is None else _batch(row)

    def give_back(self, tx: Transaction, campaign: int, number: int, note: str | None = None) -> None:
        """Nothing; the batch is to be sent again. The note says why a worker would not have it."""
        table = self.batches
        where = sa.and_(table.c.campaign == campaign, table.c.number == number, table.c.state != "done")
        tx.connection.execute(sa.update(table).where(where).values(state="ready", note=note, attempts=table.c.attempts + 1))

    def recall_sent(self, tx: Transaction, campaign: int) -> None:
        """Nothing; batches whose messages were sent and not done are to be sent again: some may have been given back unseen."""
        table = self.batches
        where = sa.and_(table.c.campaign == campaign, table.c.state == "sent")
        tx.connection.execute(sa.update(table).where(where).values(state="ready", note=None))

    def sent(self, tx: Transaction, campaign: int, batches: Sequence[Batch], now: int) -> None:
        """Nothing; messages of those batches are in the queue.

        A batch that a fast worker has done or given back since it was looked up stays as that left it: its attempts have grown.
        """
        table = self.batches
        looked_up = sa.tuple_(table.c.number, table.c.attempts).in_([(batch.number, batch.attempts) for batch in batches])
        where = sa.and_(table.c.campaign == campaign, looked_up, table.c.state != "done")
        tx.connection.execute(sa.update(table).where(where).values(state="sent", sent_at=now, attempts=table.c.attempts + 1))

    def unfinished(
        self,
        tx: Transaction,
        campaign: int,
        states: Sequence[str],
        limit: int,
        sent_before: int | None = None,
        refused_before: int | None = None,
    ) -> list[Batch]:
        """Some of the campaign's batches in those states, lowest number first, without their keys.

        Those that a worker would not have are among them only if they were sent before a time.
        """
        table = self.batches
        columns: list[Any] = [
            sa.literal_column("'[]'").label("keys"),
            *(column for column in table.columns if column.name != "keys"),
        ]
        query = sa.select(*columns).where(table.c.campaign == campaign, table.c.state.in_(states), table.c.state != "done")
        if sent_before is not None:
            query = query.where(table.c.sent_at < sent_before)
        if refused_before is not None:
            query = query.where(sa.or_(table.c.note.is_(None), table.c.sent_at < refused_before))
        return [_batch(row) for row in tx.connection.execute(query.order_by(table.c.number).limit(limit))]

    def owns(self, tx: Transaction, campaign: int, keys: set[str]) -> bool:
        """Whether one of the keys is in a batch of the campaign that is not done."""
        table = self.batches
        query = sa.select(table.c["keys"]).where(table.c.campaign == campaign, table.c.state != "done")
        return any(not keys.isdisjoint(batch) for batch in tx.connection.scalars(query))

    def notes(self, tx: Transaction, campaign: int) -> list[str]:
        """Why workers would not have batches of the campaign, each reason once."""
        table = self.batches
        where = sa.and_(table.c.campaign == campaign, table.c.state != "done", table.c.note.is_not(None))
        return list(tx.connection.scalars(sa.select(table.c.note).where(where).distinct().limit(10)))

    def last_number(self, tx: Transaction, campaign: int) -> int:
        """The highest number of the campaign's batches; 0 where there is none."""
        table = self.batches
        return int(
            tx.connection.scalar(sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0)).where(table.c.campaign == campaign))
        )

    def keys_of(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[Batch]:
        """The campaign's batches after a number, with their keys."""
        table = self.batches
        query = sa.select(table).where(table.c.campaign == campaign, table.c.number > after).order_by(table.c.number).limit(limit)
        return [_batch(row) for row in tx.connection.execute(query)]

    def progress(self, tx: Transaction, campaigns: Sequence[int]) -> dict[int, Progress]:
        """How far each of the campaigns is."""
        table = self.batches
        sums = [sa.func.coalesce(sa.func.sum(table.c[name]), 0).label(name) for name in COUNTS]
        query = (
            sa.select(table.c.campaign, table.c.state, sa.func.count().label("n"), sa.func.sum(table.c.size).label("size"), *sums)
            .where(table.c.campaign.in_(campaigns))
            .group_by(table.c.campaign, table.c.state)
        )
        found = {campaign: Progress() for campaign in campaigns}
        for row in tx.connection.execute(query):
            progress = found[row.campaign]
            progress.planned += int(row.size)
            setattr(progress, row.state, row.n)
            for name in COUNTS:
                setattr(progress.tally, name, getattr(progress.tally, name) + int(row._mapping[name]))
        return found

    def _set(self, tx: Transaction, campaign: int, numbers: Sequence[int], values: dict[str, Any]) -> None:
        table = self.batches
        tx.connection.execute(sa.update(table).where(table.c.campaign == campaign, table.c.number.in_(numbers)).values(values))


def _values(campaign: Campaign) -> dict[str, Any]:
    return {name: getattr(campaign, name) for name in Campaign.__dataclass_fields__} | {"key_types": list(campaign.key_types)}


def _campaign(row: Any) -> Campaign:
    values = dict(row._mapping)
    return Campaign(**{**values, "key_types": tuple(values["key_types"])})


def _batch(row: Any) -> Batch:
    keys = row._mapping["keys"]
    return Batch(
        row.campaign, row.number, json.loads(keys) if isinstance(keys, str) else keys, row.state, row.attempts, row.sent_at
    )
