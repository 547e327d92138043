"""What a campaign would do, found in this process by reading only: nothing is created, no table of ours, no row, no message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backtrail.decide import decide, entity
from backtrail.discovery import Found
from backtrail.entity import Entity
from backtrail.errors import BacktrailError, ImpureMigration, RequirementMissing
from backtrail.keys import key_text, parse_key
from backtrail.migration import Migration
from backtrail.recall import RecallNeeded
from backtrail.stores.base import KeyCensus, Plan, Store, Transaction
from ledger.campaigns import Campaign
from ledger.entry import Head
from ledger.ledger import Ledger
from ledger.state import action
from ledger.subject import subject_of
from producer.campaign import demand_known, requirements
from producer.order import Order
from producer.prediction import SHIFT, Decided, Prediction
from producer.sources import in_sample, is_null

PAGE = 500


@dataclass
class Forecast:
    """What would happen."""

    total: int = 0
    migrated: int = 0
    skipped: int = 0
    failed: int = 0
    conflicts: int = 0
    unmapped: int = 0
    recalls: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    writes: Counter[str] = field(default_factory=Counter)
    notes: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    prediction: Prediction | None = None

    def fail(self, key: str, error: BacktrailError) -> None:
        """Counts an entity that would fail, with its reason."""
        self.failed += 1
        self.failures.append({"key": key, "error": type(error).__name__, "reason": str(error)})
        if self.prediction is not None:
            self.prediction.fail(key, error)

    def recall(self, key: str) -> None:
        """Counts an entity that cannot be decided yet."""
        self.recalls += 1
        self.migrated += 1
        if self.prediction is not None:
            self.prediction.recall(key)

    def document(self, migration: str) -> dict[str, Any]:
        """The forecast in the form of a status document."""
        return {
            "campaign": None,
            "migration": migration,
            "kind": "migrate",
            "state": "dry run",
            "dry_run": True,
            "total": self.total,
            "pending": 0,
            "migrated": self.migrated,
            "rolled_back": 0,
            "skipped": self.skipped,
            "failed": self.failed,
            "conflicts": self.conflicts,
            "unmapped": self.unmapped,
            "null_keys": sum(self.nulls.values()),
            "nulls": self.nulls,
            "recalls": self.recalls,
            "writes": dict(self.writes),
            "notes": self.notes,
            "failures": self.failures,
        }


def forecast(ledger: Ledger, found: Found, order: Order, events: Path | None = None) -> Forecast:
    """What the campaign would do, entity by entity.

    Args:
        ledger: of the database; it need not exist.
        found: the migration.
        order: what is asked for.
        events: a new file for the predicted events.

    Raises:
        UsageError: something is wrong with what was asked for.
        ImpureMigration: `migrate` decided differently on the same rows.
    """
    store = ledger.store
    found, census = examined(ledger, found, order)
    migration = found.instance(order.params)
    result = Forecast(nulls=dict(census.nulls))
    campaign = imagined(found, {**order.options, "only": order.only is not None})
    limit = order.options.get("limit")
    # One transaction, so that all of it is one picture; it reads only, and the database is told so.
    with store.transaction(write=False) as tx, _predicted(events, found, tx) as result.prediction:
        exists = ledger.exists(tx)
        # Without a ledger nothing was ever migrated, by no migration.
        required = requirements(ledger, tx, found, order).get("requires_each", ()) if exists else found.cls.requires
        for keys in _pages(ledger, tx, found, order, census.types):
            heads = ledger.journal.heads(tx, found.name, [text for text, _ in keys], lock=False) if exists else {}
            todo = [(text, key) for text, key in keys if action(campaign, heads.get(text) or Head(found.name, text)) != "skip"]
            if limit is not None:
                todo = todo[: max(0, limit - result.migrated - result.failed)]
            result.total += len(keys) if limit is None else len(todo)
            result.skipped += len(keys) - len(todo) if limit is None else 0
            todo = _ready(ledger, tx, required, todo, result, exists=exists)
            _decide_all(ledger, tx, migration, todo, result, exists=exists)
            if limit is not None and result.migrated + result.failed >= limit:
                break
    return result


def _predicted(path: Path | None, found: Found, tx: Transaction) -> AbstractContextManager[Prediction | None]:
    return nullcontext() if path is None else Prediction(path, found, tx.now)


def examined(ledger: Ledger, found: Found, order: Order) -> tuple[Found, KeyCensus]:
    """The migration with its tables' names, which are all there, and its keys.

    Raises:
        UsageError: something is wrong with what was asked for.
    """
    store = ledger.store
    found.instance(order.params)  # what is wrong with a parameter is told before its value is taken for a table's name
    found = found.bound(order.params)
    store.check(found.cls)
    census = store.census(found.cls)
    if order.only is not None:
        demand_known(ledger, found, [key_text(parse_key(text, census.types)) for text in order.only], "migrate")
    return found, census


def imagined(found: Found, options: dict[str, Any]) -> Campaign:
    """A campaign that is opened nowhere, and newer than all others."""
    return Campaign(2**62, found.name, found.source, "migrate", options=options, fingerprint=found.fingerprint)


def _ready(
    ledger: Ledger, tx: Transaction, required: Sequence[str], keys: Sequence[tuple[str, Any]], result: Forecast, *, exists: bool
) -> list[tuple[str, Any]]:
    """Those of the entities for which every required migration is done; the others are counted as failing."""
    ready = list(keys)
    for name in required:
        heads = ledger.journal.heads(tx, name, [text for text, _ in ready], lock=False) if exists else {}
        missing = [text for text, _ in ready if text not in heads or heads[text].state != "migrated"]
        for text in missing:
            result.fail(text, RequirementMissing(f"{name} comes first, and has not been done for this entity"))
        ready = [(text, key) for text, key in ready if text not in set(missing)]
    return ready


def _pages(ledger: Ledger, tx: Transaction, found: Found, order: Order, types: Sequence[str]) -> Any:
    if order.only is not None:
        keys = [(key_text(key), key) for key in dict.fromkeys(parse_key(text, types) for text in order.only)]
        yield from (keys[at : at + PAGE] for at in range(0, len(keys), PAGE))
        return
    sources = found.cls.all_keys()
    for source in range(len(sources)):
        after: str | None = None
        while True:
            page = ledger.store.page(tx, sources, source, after, PAGE)
            texts = [(key_text(key), key) for key in page.keys if not is_null(key)]
            yield [(text, key) for text, key in texts if in_sample(text, order.options.get("sample"))]
            after = page.after
            if after is None:
                break


def _decide_all(
    ledger: Ledger, tx: Transaction, migration: Migration, keys: Sequence[tuple[str, Any]], result: Forecast, *, exists: bool
) -> None:
    if not keys:
        return
    store, cls = ledger.store, type(migration)
    tables = {name: store.columns(name) for name in {*cls.writes, *(rows.table for rows in cls.reads)}}
    recalls = ledger.journal.recalls(tx, migration.name, {text: subject_of(cls, key) for text, key in keys}) if exists else {}
    decided: list[Decided] = []
    for (text, key), rows in zip(
        keys, tx.read(cls.reads, [key for _, key in keys], lock=False, sources=cls.all_keys()), strict=True
    ):
        try:
            plans = []
            for _ in range(2):
                decision = decide(migration, entity(migration, key, tx.now, rows, tables, recalls.get(text)))
                plans.append(store.plan(decision))
        except RecallNeeded:
            result.recall(text)
            continue
        except BacktrailError as error:
            if error.remedy != "quarantine":
                raise
            result.fail(text, error)
            continue
        if plans[0].digest != plans[1].digest:
            raise ImpureMigration(f"{migration.name}: migrate decided differently on the same rows of {text}")
        result.migrated += 1
        for write in plans[0].writes:
            result.writes[f"{write.op} {write.table}"] += 1
        kinds = {note.kind for note in decision.notes}
        result.conflicts += "conflict" in kinds
        result.unmapped += "unmapped" in kinds
        result.notes += [{"key": text, "kind": note.kind, **note.data} for note in decision.notes]
        if result.prediction is not None:
            subject = entity(migration, key, tx.now + SHIFT, rows, tables, recalls.get(text))
            decided.append(Decided(text, plans[0], _later(store, migration, subject), decision.notes))
    if result.prediction is not None:
        result.prediction.decide(tx, store, decided)


def _later(store: Store, migration: Migration, subject: Entity) -> Plan | None:
    """What is decided at another time; None where nothing can be."""
    try:
        return store.plan(decide(migration, subject))
    except (RecallNeeded, BacktrailError):
        return None
