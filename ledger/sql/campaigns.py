"""The campaigns of a ledger on SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from backtrail.stores.base import Transaction
from ledger.campaigns import ARROWS, Batch, Campaign, Campaigns, State, demand_objects, demand_texts, readable
from ledger.keyring import Keyring
from ledger.presence import milliseconds
from ledger.progress import COUNTS, Sum, Tally
from ledger.sql.tables import ledger_tables

HIDDEN_JSON = ("options", "params", "cursor")
"""The columns that may hold what is personal; `reason` is one too, and text."""

PERSONAL = (*HIDDEN_JSON, "reason")


class SqlCampaigns(Campaigns):
    """The campaigns of a ledger on SQL."""

    def __init__(self, dialect: str, keyring: Keyring) -> None:
        super().__init__(keyring)
        tables = ledger_tables(dialect)
        self.campaigns, self.batches = tables.campaigns, tables.batches
        self._postgres = dialect == "postgresql"

    # -- campaigns ------------------------------------------------------------------------------------------------

    def open(self, tx: Transaction, campaign: Campaign) -> Campaign:
        values = self._hidden(tx, campaign)
        del values["id"]
        result = tx.connection.execute(sa.insert(self.campaigns).values(values))
        return replace(campaign, id=int(result.inserted_primary_key[0]))

    def get(self, tx: Transaction, number: int) -> Campaign | None:
        query = sa.select(self.campaigns).where(self.campaigns.c.id == number)
        with _reading(f"campaign c{number}"):
            row = tx.connection.execute(query).first()
            return None if row is None else self._shown(tx, row)

    def ids(self, tx: Transaction) -> list[int]:
        return list(tx.connection.scalars(sa.select(self.campaigns.c.id).order_by(self.campaigns.c.id)))

    def all(self, tx: Transaction, *, states: Sequence[str] | None = None, migration: str | None = None) -> list[Campaign]:
        query = sa.select(self.campaigns).order_by(self.campaigns.c.id)
        if states is not None:
            query = query.where(self.campaigns.c.state.in_(states))
        if migration is not None:
            query = query.where(self.campaigns.c.migration == migration)
        with _reading("a campaign"):
            return [self._shown(tx, row) for row in tx.connection.execute(query)]

    def move(
        self,
        tx: Transaction,
        campaign: Campaign,
        state: State,
        *,
        now: int,
        halted: str | None = None,
        leaving: State | None = None,
    ) -> bool:
        table = self.campaigns
        before = [one for one, arrows in ARROWS.items() if state in arrows and leaving in (None, one)]
        values: dict[str, Any] = {"state": state}
        if state in {"running", "halted"}:
            values["halted"] = halted  # one that ends or is held keeps what stopped it before
        if state == "running":
            values["started_at"] = sa.func.coalesce(table.c.started_at, now)
        if state in {"completed", "cancelled"}:
            values |= {"ended_at": now, "started_at": sa.func.coalesce(table.c.started_at, now)}
        where = sa.and_(table.c.id == campaign.id, table.c.state.in_(before))
        return bool(tx.connection.execute(sa.update(table).where(where).values(values)).rowcount)

    def record_move(self, tx: Transaction, campaign: Campaign, move: dict[str, Any], fingerprint: str | None = None) -> None:
        options = {**campaign.options, "moves": [*campaign.options.get("moves", ()), move]}
        values: dict[str, Any] = {"options": self.keyring.hide(options)}
        if fingerprint is not None:
            values["fingerprint"] = fingerprint
        tx.connection.execute(sa.update(self.campaigns).where(self.campaigns.c.id == campaign.id).values(values))

    def advance(
        self, tx: Transaction, campaign: Campaign, cursor: dict[str, Any], *, fed: bool, total: int | None = None
    ) -> None:
        values: dict[str, Any] = {"cursor": self.keyring.hide(cursor), "fed": fed}
        if total is not None:
            values["total"] = total
        tx.connection.execute(sa.update(self.campaigns).where(self.campaigns.c.id == campaign.id).values(values))

    # -- batches --------------------------------------------------------------------------------------------------

    def add_batches(
        self, tx: Transaction, campaign: Campaign, first: int, keys: Sequence[Sequence[str]], waves: Sequence[int] = ()
    ) -> None:
        rows = [
            {
                "campaign": campaign.id,
                "number": first + at,
                "keys": self.keyring.hide(list(batch)),
                "size": len(batch),
                "state": "ready",
                "wave": waves[at] if waves else 0,
            }
            for at, batch in enumerate(keys)
        ]
        if rows:
            tx.connection.execute(sa.insert(self.batches), rows)

    def add_skipped(self, tx: Transaction, campaign: Campaign, number: int, count: int, now: int, wave: int = 0) -> None:
        values = {
            "campaign": campaign.id,
            "number": number,
            "keys": [],
            "size": count,
            "state": "done",
            "done_at": now,
            "skipped": count,
            "wave": wave,
        }
        tx.connection.execute(sa.insert(self.batches).values(values))

    def claim(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        table = self.batches
        query = sa.select(table).where(table.c.campaign == campaign, table.c.number == number).with_for_update()
        with _reading(f"batch {number} of c{campaign}"):
            row = tx.connection.execute(query).first()
            return None if row is None else self._batch(tx, row)

    def count(self, tx: Transaction, batch: Batch, tally: Tally) -> None:
        self._set(tx, batch.campaign, [batch.number], tally.values())

    def finish(self, tx: Transaction, batch: Batch, tally: Tally, now: int) -> None:
        self._set(tx, batch.campaign, [batch.number], {"state": "done", "done_at": now, **tally.values()})

    def peek(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        table = self.batches
        query = sa.select(table).where(table.c.campaign == campaign, table.c.number == number)
        with _reading(f"batch {number} of c{campaign}"):
            row = tx.connection.execute(query).first()
            return None if row is None else self._batch(tx, row)

    def give_back(self, tx: Transaction, campaign: int, number: int, note: str | None = None) -> None:
        table = self.batches
        where = sa.and_(table.c.campaign == campaign, table.c.number == number, table.c.state != "done")
        values: dict[str, Any] = {"state": "ready", "note": note, "attempts": table.c.attempts + 1}
        if note is not None:
            values["sent_at"] = milliseconds(tx)  # the feeder may not have marked it yet
        tx.connection.execute(sa.update(table).where(where).values(values))

    def remark(self, tx: Transaction, campaign: int, number: int, note: str) -> None:
        self._set(tx, campaign, [number], {"note": note})

    def recall_sent(self, tx: Transaction, campaign: int) -> None:
        table = self.batches
        where = sa.and_(table.c.campaign == campaign, table.c.state != "done")
        tx.connection.execute(sa.update(table).where(where).values(state="ready", note=None))

    def sent(self, tx: Transaction, campaign: int, batches: Sequence[Batch], now: int) -> None:
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
        up_to_wave: int | None = None,
    ) -> list[Batch]:
        table = self.batches
        columns: list[Any] = [
            sa.literal_column("'[]'").label("keys"),
            *(column for column in table.columns if column.name != "keys"),
        ]
        query = sa.select(*columns).where(table.c.campaign == campaign, table.c.state.in_(states), table.c.state != "done")
        if sent_before is not None:
            query = query.where(table.c.sent_at < sent_before)
        if refused_before is not None:
            query = query.where(sa.or_(table.c.note.is_(None), table.c.sent_at.is_(None), table.c.sent_at < refused_before))
        if up_to_wave is not None:
            query = query.where(table.c.wave <= up_to_wave)
        return [self._batch(tx, row) for row in tx.connection.execute(query.order_by(table.c.number).limit(limit))]

    def owns(self, tx: Transaction, campaign: int, keys: set[str]) -> bool:
        table = self.batches
        query = sa.select(table.c["keys"]).where(table.c.campaign == campaign, table.c.state != "done")
        return any(not keys.isdisjoint(self.keyring.show(batch)) for batch in tx.connection.scalars(query))

    def notes(self, tx: Transaction, campaign: int) -> list[str]:
        table = self.batches
        where = sa.and_(table.c.campaign == campaign, table.c.state != "done", table.c.note.is_not(None))
        return list(tx.connection.scalars(sa.select(table.c.note).where(where).distinct().limit(10)))

    def last_number(self, tx: Transaction, campaign: int) -> int:
        table = self.batches
        return int(
            tx.connection.scalar(sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0)).where(table.c.campaign == campaign))
        )

    def keys_of(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[Batch]:
        table = self.batches
        query = sa.select(table).where(table.c.campaign == campaign, table.c.number > after).order_by(table.c.number).limit(limit)
        with _reading(f"a batch of c{campaign}"):
            return [self._batch(tx, row) for row in tx.connection.execute(query)]

    def numbers(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[int]:
        table = self.batches.c
        query = (
            sa.select(table.number).where(table.campaign == campaign, table.number > after).order_by(table.number).limit(limit)
        )
        if not self._postgres:
            query = query.where(sa.func.typeof(table.number) == "integer")
        return list(tx.connection.scalars(query))

    def settled(self, tx: Transaction, campaigns: Sequence[int]) -> dict[int, dict[str, Any]]:
        table = self.campaigns
        found = tx.connection.execute(sa.select(table.c.id, table.c.settled).where(table.c.id.in_(campaigns)))
        return {int(row.id): row.settled for row in found}

    def keep_settled(self, tx: Transaction, campaign: int, settled: dict[str, Any]) -> None:
        tx.connection.execute(sa.update(self.campaigns).where(self.campaigns.c.id == campaign).values(settled=settled))

    def sums(self, tx: Transaction, after: Mapping[int, int], up_to: int | None = None) -> dict[int, list[Sum]]:
        table = self.batches
        sums = [sa.func.coalesce(sa.func.sum(table.c[name]), 0) for name in ("size", *COUNTS)]
        ranges = [sa.and_(table.c.campaign == campaign, table.c.number > number) for campaign, number in after.items()]
        query = sa.select(table.c.campaign, table.c.wave, table.c.state, sa.func.count(), *sums).where(
            sa.or_(sa.false(), *ranges)
        )
        if up_to is not None:
            query = query.where(table.c.number <= up_to)
        found: dict[int, list[Sum]] = {}
        for campaign, wave, state, batches, entities, *counts in tx.connection.execute(
            query.group_by(table.c.campaign, table.c.wave, table.c.state)
        ):
            found.setdefault(campaign, []).append(Sum(wave, state, batches, int(entities), tuple(map(int, counts))))
        return found

    def done_up_to(self, tx: Transaction, campaign: int) -> int:
        table = self.batches
        first = sa.select(sa.func.min(table.c.number)).where(table.c.campaign == campaign, table.c.state != "done")
        found = tx.connection.scalar(first)
        return self.last_number(tx, campaign) if found is None else int(found) - 1

    def _set(self, tx: Transaction, campaign: int, numbers: Sequence[int], values: dict[str, Any]) -> None:
        table = self.batches
        tx.connection.execute(sa.update(table).where(table.c.campaign == campaign, table.c.number.in_(numbers)).values(values))

    def rewrite(self, tx: Transaction, campaign: Campaign) -> None:
        values = self._hidden(tx, campaign)
        changed = {name: values[name] for name in (*PERSONAL, "halted")}
        tx.connection.execute(sa.update(self.campaigns).where(self.campaigns.c.id == campaign.id).values(changed))

    def rewrite_keys(self, tx: Transaction, batch: Batch, keys: Sequence[str]) -> None:
        self._set(tx, batch.campaign, [batch.number], {"keys": self.keyring.hide(list(keys))})

    def _hidden(self, tx: Transaction, campaign: Campaign) -> dict[str, Any]:
        self.keyring.open(tx)
        values = {name: getattr(campaign, name) for name in Campaign.__dataclass_fields__} | {
            "key_types": list(campaign.key_types)
        }
        hidden = {name: self.keyring.hide(values[name]) for name in HIDDEN_JSON}
        return values | hidden | {"reason": self.keyring.hide_text(campaign.reason)}

    def _shown(self, tx: Transaction, row: Any) -> Campaign:
        self.keyring.open(tx)
        values = dict(row._mapping)
        shown = {name: self.keyring.show(values[name]) for name in HIDDEN_JSON}
        shown |= {"reason": self.keyring.show_text(values["reason"]), "key_types": tuple(demand_texts(values["key_types"]))}
        demand_objects(*(shown[name] for name in HIDDEN_JSON))
        return Campaign(**{**values, **shown})

    def _batch(self, tx: Transaction, row: Any) -> Batch:
        self.keyring.open(tx)
        keys = row._mapping["keys"]
        keys = json.loads(keys) if isinstance(keys, str) else keys
        keys = demand_texts(self.keyring.show(keys))
        return Batch(row.campaign, row.number, keys, row.state, row.attempts, row.sent_at, row.wave, row.note, row.size)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    with readable(what):
        try:
            yield
        except sa.exc.OperationalError as error:
            # SQLite takes any bytes for a text, and gives no row that has such a one.
            if "decode to UTF-8" not in str(error.orig):
                raise
            raise ValueError("no text") from error
