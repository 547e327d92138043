"""What happened to one entity, and what was noted about all: from the events alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from typing import Any

from backtrail.errors import UsageError
from backtrail.image import Image, Ref
from backtrail.stores.base import Store, Transaction
from ledger.event import NOTES, Event
from ledger.integrity import chain
from ledger.journal import in_portions
from ledger.ledger import Ledger

PAGE = 500

UNREADABLE = (ValueError, IndexError, TypeError)
"""What comes of decoding what was never encoded: an event that somebody edited is shown as it is, and named by `verify`."""


def history(ledger: Ledger, tx: Transaction, migration: str, key: str) -> list[dict[str, Any]]:
    """The events of an entity, in their order.

    Raises:
        UsageError: nothing was ever done about this entity.
    """
    head = ledger.journal.heads(tx, migration, [key], lock=False).get(key) if ledger.exists(tx) else None
    if head is None or head.id is None:
        raise UsageError(f"nothing was ever done about {key!r} by {migration}")
    who: dict[int, tuple[str, str | None]] = {}
    events = ledger.journal.events(tx, [head.id])[head.id]
    return [
        _document(ledger, tx, event, who) | {"hash": found.hex()}
        for event, found in zip(events, chain(head, events), strict=True)
    ]


def _document(ledger: Ledger, tx: Transaction, event: Event, who: dict[int, tuple[str, str | None]]) -> dict[str, Any]:
    if event.campaign not in who:
        campaign = ledger.campaigns.get(tx, event.campaign)
        who[event.campaign] = ("unknown", None) if campaign is None else (campaign.by, campaign.reason)
    by, reason = who[event.campaign]
    return {
        "version": event.version,
        "kind": event.kind,
        "table": None if event.ref is None else event.ref.table,
        "key": None if event.ref is None else _key(ledger.store, event.ref),
        "before": _shown(ledger.store, event.before_image),
        "after": _shown(ledger.store, event.after_image),
        "data": _data(event),
        "at": dt.datetime.fromtimestamp(event.at / 1000, tz=dt.UTC).isoformat(timespec="milliseconds"),
        "campaign": f"c{event.campaign}",
        "by": by,
        "reason": reason,
        "erased": event.erased,
    }


def _shown(store: Store, image: Image | None) -> dict[str, Any] | None:
    try:
        return None if image is None else store.show(image)
    except UNREADABLE:
        return {"(unreadable)": image.data.hex()}  # type: ignore[union-attr] # None is shown above


def _key(store: Store, ref: Ref) -> str:
    try:
        return store.show_key(ref)
    except UNREADABLE:
        return ref.key


def _data(event: Event) -> Any:
    try:
        return None if event.data is None else event.facts
    except UNREADABLE:
        return {"(unreadable)": event.data}


def notes(ledger: Ledger, migration: str, kinds: set[str] | None = None) -> Iterator[dict[str, Any]]:
    """The notes of the jobs that stand, entity by entity; a note of a job that was rolled back is history, and not shown."""
    after = 0
    while True:
        with ledger.store.transaction(write=False) as tx:
            if not ledger.exists(tx):
                return
            heads = ledger.journal.page(tx, migration, after, PAGE)
            pages = in_portions(partial(ledger.journal.events, tx), [head.id or 0 for head in heads])
            said = {stream: _standing_notes(events) for page in pages for stream, events in page.items()}
        if not heads:
            return
        after = heads[-1].id or 0
        for head in heads:
            for event in said[head.id or 0]:
                if kinds is None or event.kind in kinds:
                    yield {"key": head.key, "kind": event.kind, **event.facts}


def _standing_notes(events: list[Event]) -> list[Event]:
    """The notes of the job that decided what stands now, and those of a job that left everything as it was."""
    said: list[Event] = []
    decided: list[Event] = []
    stands = False
    for event in events:
        if event.kind == "begin":
            said = []
        elif event.kind in NOTES:
            said.append(event)
        elif event.kind == "end":
            facts = event.facts
            stands = facts.get("state") == "migrated"
            if "decision" in facts:
                decided, said = said, []
            elif stands and not facts.get("skipped"):
                said = []  # a redo brings the decision's own notes again
    return [*(decided if stands else []), *said]
