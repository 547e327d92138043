"""The campaigns of a ledger on MongoDB. What may be any JSON is kept as its text: BSON would change numbers, and refuse some names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import pymongo
from bson.errors import BSONError
from bson.int64 import Int64
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure, PyMongoError

from backtrail.errors import Retry
from backtrail.stores.base import Transaction
from ledger.campaigns import ARROWS, Batch, Campaign, Campaigns, State, demand_objects, demand_texts, readable
from ledger.keyring import Keyring
from ledger.mongo.collections import Document, Documents, database_of, session_of, take_ids, whole
from ledger.presence import milliseconds
from ledger.progress import COUNTS, Sum, Tally

AS_TEXT = ("options", "params", "key_types", "cursor", "settled")
PERSONAL = ("options", "params", "cursor", "reason")
"""What may hold something personal: hidden in an encrypted ledger."""

AS_LONG = ("total", "null_keys", "opened_at", "started_at", "ended_at")

WRITE_CONFLICT = 112

PATIENCE_S = 5.0
"""How long a batch's mark waits for the worker that has the batch in hand."""


class MongoCampaigns(Campaigns):
    """The campaigns of a ledger on MongoDB."""

    def __init__(self, keyring: Keyring) -> None:
        super().__init__(keyring)
        self._in_hand: WeakKeyDictionary[ClientSession, set[tuple[int, int]]] = WeakKeyDictionary()

    # -- campaigns ------------------------------------------------------------------------------------------------

    def open(self, tx: Transaction, campaign: Campaign) -> Campaign:
        opened = replace(campaign, id=take_ids(database_of(tx), "campaigns", 1)[0])
        _campaigns(tx).insert_one(self._document(tx, opened), session=session_of(tx))
        return opened

    def get(self, tx: Transaction, number: int) -> Campaign | None:
        found = _campaigns(tx).find_one({"_id": number}, session=session_of(tx))
        with _reading(f"campaign c{number}"):
            return None if found is None else self._campaign(tx, found)

    def ids(self, tx: Transaction) -> list[int]:
        found = _campaigns(tx).find({}, {"_id": 1}, session=session_of(tx)).sort("_id", 1)
        return [int(one["_id"]) for one in found if whole(one["_id"]) > 0]

    def all(self, tx: Transaction, *, states: Sequence[str] | None = None, migration: str | None = None) -> list[Campaign]:
        where: Document = {}
        if states is not None:
            where["state"] = {"$in": list(states)}
        if migration is not None:
            where["migration"] = migration
        with _reading("a campaign"):
            return [self._campaign(tx, one) for one in _campaigns(tx).find(where, session=session_of(tx)).sort("_id", 1)]

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
        before = [one for one, arrows in ARROWS.items() if state in arrows and leaving in (None, one)]
        values: Document = {"state": state}
        if state in {"running", "halted"}:
            values["halted"] = {"$literal": halted}  # one that ends or is held keeps what stopped it before
        if state in {"running", "completed", "cancelled"}:
            values["started_at"] = {"$ifNull": ["$started_at", Int64(now)]}
        if state in {"completed", "cancelled"}:
            values["ended_at"] = Int64(now)
        where = {"_id": campaign.id, "state": {"$in": before}}
        return bool(_campaigns(tx).update_one(where, [{"$set": values}], session=session_of(tx)).matched_count)

    def record_move(self, tx: Transaction, campaign: Campaign, move: dict[str, Any], fingerprint: str | None = None) -> None:
        moves = [*campaign.options.get("moves", ()), move]
        values: Document = {"options": self._text({**campaign.options, "moves": moves})}
        if fingerprint is not None:
            values["fingerprint"] = fingerprint
        _set(tx, campaign, values)

    def advance(
        self, tx: Transaction, campaign: Campaign, cursor: dict[str, Any], *, fed: bool, total: int | None = None
    ) -> None:
        values: Document = {"cursor": self._text(cursor), "fed": fed}
        if total is not None:
            values["total"] = Int64(total)
        _set(tx, campaign, values)

    # -- batches --------------------------------------------------------------------------------------------------

    def add_batches(
        self, tx: Transaction, campaign: Campaign, first: int, keys: Sequence[Sequence[str]], waves: Sequence[int] = ()
    ) -> None:
        nothing = Tally().values()
        documents = [
            {
                "_id": _id(campaign.id, number),
                "keys": self._text(list(batch)),
                "size": len(batch),
                "state": "ready",
                "attempts": 0,
                "wave": waves[number - first] if waves else 0,
            }
            | nothing
            for number, batch in enumerate(keys, first)
        ]
        if documents:
            _batches(tx).insert_many(documents, ordered=False, session=session_of(tx))
            self._take_in_hand(tx, campaign.id, range(first, first + len(documents)))

    def add_skipped(self, tx: Transaction, campaign: Campaign, number: int, count: int, now: int, wave: int = 0) -> None:
        done = {"keys": "[]", "size": count, "state": "done", "attempts": 0, "wave": wave, "done_at": Int64(now)}
        document = {"_id": _id(campaign.id, number), **done, **Tally(skipped=count).values()}
        _batches(tx).insert_one(document, session=session_of(tx))
        self._take_in_hand(tx, campaign.id, [number])

    def claim(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        # A snapshot has no locks: whoever writes the batch first has it, and who comes second conflicts at once, before any work.
        try:
            where = {"_id": _id(campaign, number)}
            found = _batches(tx).find_one_and_update(where, {"$inc": {"claims": 1}}, session=session_of(tx))
        except OperationFailure as error:
            if error.code != WRITE_CONFLICT:
                raise
            raise Retry("another worker has the batch in hand") from error
        self._take_in_hand(tx, campaign, [number])
        with _reading(f"batch {number} of c{campaign}"):
            return None if found is None else self._batch(tx, found)

    def count(self, tx: Transaction, batch: Batch, tally: Tally) -> None:
        _batches(tx).update_one({"_id": _id(batch.campaign, batch.number)}, {"$set": tally.values()}, session=session_of(tx))
        self._take_in_hand(tx, batch.campaign, [batch.number])

    def finish(self, tx: Transaction, batch: Batch, tally: Tally, now: int) -> None:
        values = {"state": "done", "done_at": Int64(now), **tally.values()}
        _batches(tx).update_one({"_id": _id(batch.campaign, batch.number)}, {"$set": values}, session=session_of(tx))
        self._take_in_hand(tx, batch.campaign, [batch.number])

    def peek(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        with _reading(f"batch {number} of c{campaign}"):
            found = _batches(tx).find_one({"_id": _id(campaign, number)}, session=session_of(tx))
            return None if found is None else self._batch(tx, found)

    def give_back(self, tx: Transaction, campaign: int, number: int, note: str | None = None) -> None:
        where = {"_id": _id(campaign, number), "state": {"$ne": "done"}}
        change: Document = {"$set": {"state": "ready"}, "$inc": {"attempts": 1}}
        if note is None:
            change["$unset"] = {"note": ""}
        else:
            change["$set"] |= {"note": note, "sent_at": Int64(milliseconds(tx))}  # the feeder may not have marked it yet
        with self._patience(tx, campaign, [number]) as session:
            _batches(tx).update_one(where, change, session=session)

    def remark(self, tx: Transaction, campaign: int, number: int, note: str) -> None:
        with self._patience(tx, campaign, [number]) as session:
            _batches(tx).update_one({"_id": _id(campaign, number)}, {"$set": {"note": note}}, session=session)

    def recall_sent(self, tx: Transaction, campaign: int) -> None:
        change = {"$set": {"state": "ready"}, "$unset": {"note": ""}}
        with self._patience(tx, campaign, ()) as session:
            _batches(tx).update_many({"_id.campaign": campaign, "state": {"$ne": "done"}}, change, session=session)

    def sent(self, tx: Transaction, campaign: int, batches: Sequence[Batch], now: int) -> None:
        change = {"$set": {"state": "sent", "sent_at": Int64(now)}, "$inc": {"attempts": 1}}
        marks = [
            UpdateOne({"_id": _id(campaign, batch.number), "attempts": batch.attempts, "state": {"$ne": "done"}}, change)
            for batch in batches
        ]
        if marks:
            with self._patience(tx, campaign, [batch.number for batch in batches]) as session:
                _batches(tx).bulk_write(marks, ordered=False, session=session)

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
        where: Document = {"_id.campaign": campaign, "state": {"$in": [state for state in states if state != "done"]}}
        if sent_before is not None:
            where["sent_at"] = {"$lt": sent_before}
        if refused_before is not None:
            where["$or"] = [{"note": None}, {"sent_at": None}, {"sent_at": {"$lt": refused_before}}]
        if up_to_wave is not None:
            where["wave"] = {"$not": {"$gt": up_to_wave}}  # an older form of the ledger had none
        found = _batches(tx).find(where, {"keys": 0}, session=session_of(tx)).sort("_id.number", 1).limit(limit)
        return [self._batch(tx, one) for one in found]

    def owns(self, tx: Transaction, campaign: int, keys: set[str]) -> bool:
        where = {"_id.campaign": campaign, "state": {"$ne": "done"}}
        found = _batches(tx).find(where, {"keys": 1}, session=session_of(tx))
        return any(not keys.isdisjoint(self.keyring.show(json.loads(one["keys"]))) for one in found)

    def notes(self, tx: Transaction, campaign: int) -> list[str]:
        where = {"_id.campaign": campaign, "state": {"$ne": "done"}, "note": {"$ne": None}}
        stages: list[Document] = [{"$match": where}, {"$group": {"_id": "$note"}}, {"$limit": 10}]
        return [one["_id"] for one in _batches(tx).aggregate(stages, session=session_of(tx))]

    def last_number(self, tx: Transaction, campaign: int) -> int:
        newest = _batches(tx).find(_after(campaign, 0), {"_id": 1}, session=session_of(tx)).sort("_id", -1).limit(1)
        return max((int(one["_id"]["number"]) for one in newest), default=0)

    def keys_of(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[Batch]:
        found = _batches(tx).find(_after(campaign, after), session=session_of(tx)).sort("_id", 1).limit(limit)
        with _reading(f"a batch of c{campaign}"):
            return [self._batch(tx, one) for one in found]

    def numbers(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[int]:
        found = _batches(tx).find(_after(campaign, after), {"_id": 1}, session=session_of(tx)).sort("_id", 1).limit(limit)
        return [int(one["_id"]["number"]) for one in found if whole(one["_id"]["number"]) > 0]

    def settled(self, tx: Transaction, campaigns: Sequence[int]) -> dict[int, dict[str, Any]]:
        found = _campaigns(tx).find({"_id": {"$in": list(campaigns)}}, {"settled": 1}, session=session_of(tx))
        return {int(one["_id"]): json.loads(one.get("settled", "{}")) for one in found}

    def keep_settled(self, tx: Transaction, campaign: int, settled: dict[str, Any]) -> None:
        change = {"$set": {"settled": json.dumps(settled)}}
        _campaigns(tx).update_one({"_id": campaign}, change, session=session_of(tx))

    def sums(self, tx: Transaction, after: Mapping[int, int], up_to: int | None = None) -> dict[int, list[Sum]]:
        upper: Document = {} if up_to is None else {"$lte": up_to}
        ranges = [{"_id.campaign": campaign, "_id.number": {"$gt": number, **upper}} for campaign, number in after.items()]
        if not ranges:
            return {}
        key = {"campaign": "$_id.campaign", "wave": {"$ifNull": ["$wave", 0]}, "state": "$state"}
        sums = {name: {"$sum": f"${name}"} for name in ("size", *COUNTS)}
        stages: list[Document] = [{"$match": {"$or": ranges}}, {"$group": {"_id": key, "n": {"$sum": 1}, **sums}}]
        found: dict[int, list[Sum]] = {}
        for one in _batches(tx).aggregate(stages, session=session_of(tx)):
            counts = tuple(int(one[name]) for name in COUNTS)
            row = Sum(int(one["_id"]["wave"]), one["_id"]["state"], int(one["n"]), int(one["size"]), counts)
            found.setdefault(int(one["_id"]["campaign"]), []).append(row)
        return found

    def done_up_to(self, tx: Transaction, campaign: int) -> int:
        where = {"_id.campaign": campaign, "state": {"$in": ["ready", "sent"]}}
        first = _batches(tx).find(where, {"_id": 1}, session=session_of(tx)).sort("_id.number", 1).limit(1)
        return min((int(one["_id"]["number"]) - 1 for one in first), default=self.last_number(tx, campaign))

    # -- what may be personal -------------------------------------------------------------------------------------

    def rewrite(self, tx: Transaction, campaign: Campaign) -> None:
        document = self._document(tx, campaign)
        _set(tx, campaign, {name: document[name] for name in (*PERSONAL, "halted") if name in document})

    def rewrite_keys(self, tx: Transaction, batch: Batch, keys: Sequence[str]) -> None:
        where, change = {"_id": _id(batch.campaign, batch.number)}, {"$set": {"keys": self._text(list(keys))}}
        _batches(tx).update_one(where, change, session=session_of(tx))

    def _text(self, value: Any) -> str:
        return json.dumps(self.keyring.hide(value))

    def _document(self, tx: Transaction, campaign: Campaign) -> Document:
        self.keyring.open(tx)
        values = {name: getattr(campaign, name) for name in Campaign.__dataclass_fields__ if name != "id"}
        values |= {name: self._text(values[name]) if name in PERSONAL else json.dumps(values[name]) for name in AS_TEXT}
        values |= {name: Int64(values[name]) for name in AS_LONG if values[name] is not None}
        values["reason"] = self.keyring.hide_text(campaign.reason)
        return {"_id": Int64(campaign.id)} | {name: value for name, value in values.items() if value is not None}

    def _campaign(self, tx: Transaction, document: Document) -> Campaign:
        self.keyring.open(tx)
        values = {name: document.get(name) for name in Campaign.__dataclass_fields__ if name != "id"}
        values |= {name: self.keyring.show(json.loads(document.get(name, "{}"))) for name in AS_TEXT}
        values |= {name: int(document[name]) for name in AS_LONG if document.get(name) is not None}
        values |= {
            "reason": self.keyring.show_text(document.get("reason")),
            "key_types": tuple(demand_texts(values["key_types"] or ())),
        }
        demand_objects(*(values[name] for name in ("options", "params", "cursor")))
        return Campaign(**{**values, "id": int(document["_id"])})  # type: ignore[arg-type]

    def _batch(self, tx: Transaction, document: Document) -> Batch:
        self.keyring.open(tx)
        at, sent_at = document["_id"], document.get("sent_at")
        keys = demand_texts(self.keyring.show(json.loads(document.get("keys", "[]"))))
        sent = None if sent_at is None else int(sent_at)
        return Batch(
            int(at["campaign"]),
            int(at["number"]),
            keys,
            document["state"],
            int(document["attempts"]),
            sent,
            int(document.get("wave", 0)),
            document.get("note"),
            int(document["size"]),
        )

    # -- who waits ------------------------------------------------------------------------------------------------

    def _take_in_hand(self, tx: Transaction, campaign: int, numbers: Sequence[int]) -> None:
        self._in_hand.setdefault(session_of(tx), set()).update((campaign, number) for number in numbers)

    @contextmanager
    def _patience(self, tx: Transaction, campaign: int, numbers: Sequence[int]) -> Iterator[ClientSession | None]:
        """The session in which to write to batches that workers may have in hand: none, unless this transaction has them itself.

        A transaction that meets such a batch fails at once, so that a feeder could not mark what it has sent while its workers are busy.
        A single write outside any transaction waits for the worker instead, and then finds what that has left.
        """
        own = self._in_hand.get(session_of(tx), set())
        if any((campaign, number) in own for number in numbers) or (not numbers and any(one == campaign for one, _ in own)):
            yield session_of(tx)
            return
        try:
            with pymongo.timeout(PATIENCE_S):
                yield None
        except PyMongoError as error:
            if not error.timeout:
                raise
            raise Retry("a worker has the batch in hand") from error


@contextmanager
def _reading(what: str) -> Iterator[None]:
    with readable(what):
        try:
            yield
        except BSONError as error:
            raise ValueError("no document") from error


def _campaigns(tx: Transaction) -> Documents:
    return database_of(tx)["campaigns"]


def _batches(tx: Transaction) -> Documents:
    return database_of(tx)["batches"]


def _set(tx: Transaction, campaign: Campaign, values: Document) -> None:
    _campaigns(tx).update_one({"_id": campaign.id}, {"$set": values}, session=session_of(tx))


def _id(campaign: int, number: int) -> Document:
    # As documents they are equal only where their fields are, in this order; numbers are equal whatever their type.
    return {"campaign": Int64(campaign), "number": number}


def _after(campaign: int, number: int) -> Document:
    return {"_id": {"$gte": _id(campaign, number + 1), "$lt": {"campaign": campaign + 1}}}
