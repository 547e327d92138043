"""What `expand` did to the schema, in a stream of its own: `expand:NAME` with an empty key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from backtrail import schema
from backtrail.errors import UsageError
from backtrail.migration import Migration
from backtrail.stores.base import Transaction
from ledger import upgrade
from ledger.campaigns import UNFINISHED
from ledger.journal import Entry, Fact, Head
from ledger.ledger import Ledger
from ledger.presence import milliseconds


def stream(migration: str) -> str:
    """The name under which the schema steps of a migration are kept."""
    return f"expand:{migration}"


def steps(ledger: Ledger, tx: Transaction, migration: str) -> tuple[Head, list[schema.Step]]:
    """The head of the stream and the steps that stand, in their order."""
    if not ledger.exists(tx):
        return Head(stream(migration), ""), []
    head = ledger.journal.heads(tx, stream(migration), [""], lock=False).get("") or Head(stream(migration), "")
    found: list[schema.Step] = []
    for event in ledger.journal.events(tx, [head.id])[head.id] if head.id is not None else ():
        if event.kind == "expanded":
            found.append(schema.Step.load(event.facts))
        elif event.kind == "retracted":
            found.pop()
    return head, found


def expand(ledger: Ledger, migration: Migration, *, by: str, reason: str | None) -> list[schema.Step]:
    """The steps that were taken now; none where all of them stand already.

    Raises:
        UsageError: the database refused a step, or `expand` is no longer what was done; nothing was changed.
    """
    with ledger.store.transaction() as tx:
        upgrade.alone(tx.connection)
        if upgrade.version(tx.connection) is not None:
            upgrade.install(tx.connection)
        head, done = steps(ledger, tx, migration.name)
        new = schema.run(tx.connection, migration.expand, done=done)
        if new:
            # Only now: where a step is refused, or nothing is asked for, no ledger is left behind.
            upgrade.install(tx.connection)
            _append(ledger, tx, head, "expand", [_fact("expanded", step) for step in new], by, reason)
    ledger.store.forget()
    return new


def retract(ledger: Ledger, migration: Migration, *, by: str, reason: str | None) -> list[schema.Step]:
    """The steps that were taken back, newest first: exactly what `expand` added.

    Raises:
        UsageError: rows that `expand` did not insert are in what would go, entities are still migrated, or a campaign is not over.
    """
    with ledger.store.transaction() as tx:
        upgrade.alone(tx.connection)
        head, done = steps(ledger, tx, migration.name)
        if not done:
            return []
        _demand_unused(ledger, tx, migration.name)
        schema.undo(tx.connection, done)
        _append(ledger, tx, head, "expand --undo", [_fact("retracted", step) for step in reversed(done)], by, reason)
    ledger.store.forget()
    return list(reversed(done))


def standing(ledger: Ledger, migration: Migration) -> list[schema.Step]:
    """The steps that `retract` would take back now, newest first.

    Raises:
        UsageError: entities are still migrated, or a campaign is not over.
    """
    with ledger.store.transaction(write=False) as tx:
        _, done = steps(ledger, tx, migration.name)
        if done:
            _demand_unused(ledger, tx, migration.name)
    return list(reversed(done))


def script(ledger: Ledger, migration: Migration) -> list[str]:
    """The statements that `expand` would run now; nothing is run."""
    with ledger.store.transaction(write=False) as tx:
        _, done = steps(ledger, tx, migration.name)
        return schema.script(tx.connection, migration.expand, done=done)


def _demand_unused(ledger: Ledger, tx: Transaction, migration: str) -> None:
    open_ = ledger.campaigns.all(tx, states=UNFINISHED, migration=migration)
    if open_:
        raise UsageError(f"{open_[0].name} is {open_[0].state}: let it end, or `backtrail cancel {open_[0].name}`, first")
    migrated = ledger.journal.count(tx, migration).get("migrated", 0)
    if migrated:
        raise UsageError(f"{migrated} entities are migrated: `backtrail rollback {migration} --all` first")


def _fact(kind: str, step: schema.Step) -> Fact:
    return Fact(kind, json.dumps(step.dump(), ensure_ascii=False))


def _append(ledger: Ledger, tx: Transaction, head: Head, job: str, facts: Sequence[Fact], by: str, reason: str | None) -> None:
    begin: dict[str, Any] = {"job": job, "by": by, "reason": reason}
    end = {"state": "expanded" if job == "expand" else "retracted"}
    entry = Entry(head, end["state"], [Fact("begin", json.dumps(begin)), *facts, Fact("end", json.dumps(end))])
    ledger.journal.append(tx, 0, milliseconds(tx), [entry])
