"""What `expand` did to the schema, in a stream of its own: `expand:NAME` with an empty key."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from backtrail.errors import Tampered, UsageError
from backtrail.migration import Migration
from backtrail.schema.step import Step
from backtrail.stores.base import Transaction
from ledger.campaigns import UNFINISHED
from ledger.entry import Entry, Fact, Head
from ledger.event import Event
from ledger.integrity import flaw
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from ledger.streams import expansion_of, heads_of, of_other_type
from ledger.walk import with_events


class Expansion(ABC):
    """What one migration's `expand` adds to one database."""

    def __init__(self, ledger: Ledger, migration: Migration) -> None:
        self.ledger, self.migration = ledger, migration
        self.stream = expansion_of(migration.name)

    @abstractmethod
    def expand(self, *, by: str, reason: str | None) -> list[Step]:
        """The steps that were taken now; none where all of them stand already.

        Raises:
            UsageError: the database refused a step, or `expand` is no longer what was done; nothing was changed.
            Tampered: what the ledger says of earlier steps is not what was appended.
        """

    @abstractmethod
    def retract(self, *, by: str, reason: str | None) -> list[Step]:
        """The steps that were taken back, newest first: exactly what `expand` added.

        Raises:
            UsageError: rows that `expand` did not insert are in what would go, entities are still migrated, a campaign is not over, or a
                step would be taken back by what the migration's code does not say.
            Tampered: what the ledger says of the steps is not what was appended.
        """

    @abstractmethod
    def demand_declared(self, tx: Transaction, steps: Sequence[Step]) -> None:
        """Nothing, where the code's own `expand` says by what each of the steps that run a text of their own is taken back.

        Whoever may append to the ledger can append such a step; it would be the owner who runs it.

        Raises:
            UsageError: it does not, of one that is named.
        """

    @abstractmethod
    def script(self) -> list[str]:
        """The statements that `expand` would run now; nothing is run."""

    def standing(self) -> list[Step]:
        """The steps that `retract` would take back now, newest first.

        Raises:
            UsageError, Tampered: as `retract` says.
        """
        with self.ledger.store.transaction(write=False) as tx:
            _, done = self.steps(tx)
            if done:
                self.demand_unused(tx)
                self.demand_declared(tx, done)
        return list(reversed(done))

    def steps(self, tx: Transaction) -> tuple[Head, list[Step]]:
        """The head of the stream and the steps that stand, in their order.

        Raises:
            Tampered: they are not what was appended.
        """
        head, events = self.events(tx)
        found: list[Step] = []
        for event in events:
            if event.kind == "expanded":
                found.append(Step.load(event.facts))
            elif event.kind == "retracted":
                found.pop()
        return head, found

    def events(self, tx: Transaction) -> tuple[Head, Sequence[Event]]:
        """The head of the stream, and its events.

        Raises:
            Tampered: they are not what was appended.
        """
        nothing = Head(self.stream, "")
        if not self.ledger.exists(tx):
            return nothing, ()
        heads, unreadable = heads_of(self.ledger.journal, tx, self.stream, [""])
        if unreadable:
            raise self._tampered("its row cannot even be read")
        if not heads:
            return nothing, ()
        ((head, events),) = with_events(self.ledger.journal, tx, list(heads.values()))
        if events is None:
            raise self._tampered("its events cannot even be read")
        other = of_other_type(head)
        wrong = flaw(head, events) if other is None else f"its row holds a value of another type as {other}"
        if wrong is not None:
            raise self._tampered(wrong)
        return head, events

    def _tampered(self, wrong: str) -> Tampered:
        return Tampered(
            f"{self.stream}: {wrong}: what expand did is not what the ledger says; see `backtrail verify {self.migration.name}`"
        )

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


def undeclared(number: int, step: Step) -> UsageError:
    """The refusal of a step that runs a text which the migration's code does not say; numbers count from 1."""
    return UsageError(
        f"step {number}, {step}, runs what the migration's expand does not say: give the code with which it was expanded;"
        " if nobody changed that, somebody else wrote the step"
    )


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
