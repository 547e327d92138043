"""What `expand` did to the schema, in a stream of its own: `expand:NAME` with an empty key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from backtrail import schema
from backtrail.errors import UsageError
from backtrail.migration import Migration
from backtrail.stores.base import Transaction
from ledger.journal import Entry, Fact, Head
from ledger.ledger import Ledger
from ledger.presence import milliseconds


def stream(migration: str) -> str:
    """The name under which the schema steps of a migration are kept."""
    return f"expand:{migration}"


def steps(ledger: Ledger, tx: Transaction, migration: str, *, lock: bool = False) -> tuple[Head, list[schema.Step]]:
    """The head of the stream and the steps that stand, in their order."""
    if not ledger.exists(tx):
        return Head(stream(migration), ""), []
    head = ledger.journal.heads(tx, stream(migration), [""], lock=lock).get("") or Head(stream(migration), "")
    standing: list[schema.Step] = []
    for event in ledger.journal.events(tx, [head.id])[head.id] if head.id is not None else ():
        if event.kind == "expanded":
            standing.append(schema.Step.load(event.facts))
        elif event.kind == "retracted":
            standing.pop()
    return head, standing


def expand(ledger: Ledger, migration: Migration, *, by: str, reason: str | None) -> list[schema.Step]:
    """The steps that were taken now; none where all of them stand already."""
    ledger.create()
    with ledger.store.transaction() as tx:
        head, done = steps(ledger, tx, migration.name, lock=True)
        new = schema.run(tx.connection, migration.expand, done=done)
        if new:
            _append(
                ledger,
                tx,
                head,
                "expand",
                [Fact("expanded", json.dumps(step.dump(), ensure_ascii=False)) for step in new],
                by,
                reason,
            )
    ledger.store.forget()
    return new


def retract(ledger: Ledger, migration: Migration, *, by: str, reason: str | None) -> list[schema.Step]:
    """The steps that were taken back, newest first: exactly what `expand` added.

    Raises:
        UsageError: rows that `expand` did not insert are in what would go, or entities are still migrated.
    """
    with ledger.store.transaction() as tx:
        head, done = steps(ledger, tx, migration.name, lock=True)
        if not done:
            return []
        migrated = ledger.journal.count(tx, migration.name).get("migrated", 0)
        if migrated:
            raise UsageError(f"{migrated} entities are migrated: `backtrail rollback {migration.name} --all` first")
        schema.undo(tx.connection, done)
        facts = [Fact("retracted", json.dumps(step.dump(), ensure_ascii=False)) for step in reversed(done)]
        _append(ledger, tx, head, "expand --undo", facts, by, reason)
    ledger.store.forget()
    return list(reversed(done))


def script(ledger: Ledger, migration: Migration) -> list[str]:
    """The statements that `expand` would run now; nothing is run."""
    with ledger.store.transaction(write=False) as tx:
        _, done = steps(ledger, tx, migration.name)
        return schema.script(tx.connection, migration.expand, done=done)


def _append(ledger: Ledger, tx: Transaction, head: Head, job: str, facts: Sequence[Fact], by: str, reason: str | None) -> None:
    begin: dict[str, Any] = {"job": job, "by": by, "reason": reason}
    end = {"state": "expanded" if job == "expand" else "retracted"}
    entry = Entry(head, end["state"], [Fact("begin", json.dumps(begin)), *facts, Fact("end", json.dumps(end))])
    ledger.journal.append(tx, 0, milliseconds(tx), [entry])
