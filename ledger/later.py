"""Who wrote a row after a stream did: what looks like drift may be another migration's work, which is no drift and blocks a rollback."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail.image import Image, Ref
from backtrail.stores.base import Transaction
from ledger.entry import Head
from ledger.history import fold
from ledger.integrity import flaw
from ledger.ledger import Ledger


def standing_on(ledger: Ledger, tx: Transaction, migration: str, keys: Sequence[str], refs: Sequence[Ref]) -> list[str]:
    """The names of other migrations that changed one of the rows, or created it for an entity of one of these keys, and stand.

    Args:
        ledger: where the streams are.
        tx: the transaction to read in.
        migration: the one that is not meant.
        keys: the entities.
        refs: the rows.
    """
    names = {
        head.migration for found in ledger.journal.others(tx, refs).values() for head, _ in found if head.state == "migrated"
    }
    for name in {one.migration for one in ledger.campaigns.all(tx)} - names - {migration}:
        heads = [head for head in ledger.journal.heads(tx, name, keys, lock=False).values() if head.state == "migrated"]
        events = ledger.journal.events(tx, [head.id or 0 for head in heads]) if heads else {}
        if any(event.ref in refs for stream in events.values() for event in stream):
            names.add(name)
    return sorted(names - {migration})


def written_later(ledger: Ledger, tx: Transaction, head: Head, ref: Ref, left: Image | None, found: Image | None) -> Head | None:
    """The stream that wrote the row last, where what stands of others leads from what this one left to what is there; or None.

    Args:
        ledger: where the streams are.
        tx: the transaction to read in.
        head: the stream whose row it is.
        ref: the row.
        left: the row as that stream left it.
        found: the row as it is.
    """
    same = ledger.store.differences
    others = {other.id or 0: other for other, _ in ledger.journal.others(tx, [ref]).get(ref, ()) if other.id != head.id}
    steps = []
    for stream, events in ledger.journal.events(tx, others).items():
        changes = [] if flaw(others[stream], events) else [change for change in fold(events).changes if change.ref == ref]
        if changes:
            steps.append((others[stream], changes[0].before, changes[-1].after))
    # Times cannot say who came later: transactions wait for each other. What each found before it wrote can.
    while step := next((one for one in steps if not same(left, one[1])), None):
        steps.remove(step)
        other, _, left = step
        if not same(left, found):
            return other
    return None
