"""What `expand` did to the schema, in a stream of its own: `expand:NAME` with an empty key."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from backtrail.errors import UsageError
from backtrail.migration import Migration
from backtrail.schema.step import Step
from backtrail.stores.base import Transaction
from ledger.campaigns import UNFINISHED
from ledger.entry import Entry, Fact, Head
from ledger.event import Event
from ledger.ledger import Ledger
from ledger.presence import milliseconds


class Expansion(ABC):
    """What one migration's `expand` adds to one database."""

    def __init__(self, ledger: Ledger, migration: Migration) -> None:
        self.ledger, self.migration = ledger, migration
        self.stream = f"expand:{migration.name}"

    @abstractmethod
    def expand(self, *, by: str, reason: str | None) -> list[Step]:
        """The steps that were taken now; none where all of them stand already.

        Raises:
            UsageError: the database refused a step, or `expand` is no longer what was done; nothing was changed.
        """

    @abstractmethod
    def retract(self, *, by: str, reason: str | None) -> list[Step]:
        """The steps that were taken back, newest first: exactly what `expand` added.

        Raises:
            UsageError: rows that `expand` did not insert are in what would go, entities are still migrated, or a campaign is not over.
        """

    @abstractmethod
    def script(self) -> list[str]:
        """The statements that `expand` would run now; nothing is run."""

    def standing(self) -> list[Step]:
        """The steps that `retract` would take back now, newest first.

        Raises:
            UsageError: entities are still migrated, or a campaign is not over.
        """
        with self.ledger.store.transaction(write=False) as tx:
            _, done = self.steps(tx)
            if done:
                self.demand_unused(tx)
        return list(reversed(done))

    def steps(self, tx: Transaction) -> tuple[Head, list[Step]]:
        """The head of the stream and the steps that stand, in their order."""
        head, events = self.events(tx)
        found: list[Step] = []
        for event in events:
            if event.kind == "expanded":
                found.append(Step.load(event.facts))
            elif event.kind == "retracted":
                found.pop()
        return head, found

    def events(self, tx: Transaction) -> tuple[Head, Sequence[Event]]:
        """The head of the stream, and its events."""
        nothing = Head(self.stream, "")
        if not self.ledger.exists(tx):
            return nothing, ()
        head = self.ledger.journal.heads(tx, self.stream, [""], lock=False).get("") or nothing
        return head, self.ledger.journal.events(tx, [head.id])[head.id] if head.id is not None else ()

    def demand_unused(self, tx: Transaction) -> None:
        """Nothing, where nobody stands on what would be taken back."""
        name = self.migration.name
        open_ = self.ledger.campaigns.all(tx, states=UNFINISHED, migration=name)
        if open_:
            raise UsageError(f"{open_[0].name} is {open_[0].state}: let it end, or `backtrail cancel {open_[0].name}`, first")
        migrated = self.ledger.journal.count(tx, name).get("migrated", 0)
        if migrated:
            raise UsageError(f"{migrated} entities are migrated: `backtrail rollback {name} --all` first")

    def append(self, tx: Transaction, head: Head, state: str, facts: Sequence[Fact]) -> None:
        """Nothing; the facts stand in the stream, which is in that state."""
        self.ledger.journal.append(tx, 0, milliseconds(tx), [Entry(head, state, list(facts))])


def begin(job: str, by: str, reason: str | None) -> Fact:
    """The beginning of an `expand` or of its undo."""
    said: dict[str, Any] = {"job": job, "by": by, "reason": reason}
    return Fact("begin", json.dumps(said))


def fact(kind: str, step: Step) -> Fact:
    """A step that was taken (`expanded`) or taken back (`retracted`)."""
    return Fact(kind, json.dumps(step.dump(), ensure_ascii=False))


def end(state: str) -> Fact:
    """The end of an `expand` or of its undo."""
    return Fact("end", json.dumps({"state": state}))


def expansion(ledger: Ledger, migration: Migration) -> Expansion:
    """What the migration's `expand` adds to the ledger's database."""
    if ledger.store.kind == "mongodb":
        from ledger.mongo.expansion import MongoExpansion

        return MongoExpansion(ledger, migration)
    from ledger.sql.expansion import SqlExpansion

    return SqlExpansion(ledger, migration)
