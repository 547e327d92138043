"""What a stream's events add up to: which changes stand, and what a rollback or redo has to make of the rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backtrail.image import Image, Ref, Written
from backtrail.stores.base import Put
from ledger.event import CHANGES, Event


@dataclass(slots=True)
class Standing:
    """What one entity's events add up to."""

    changes: list[Written] = field(default_factory=list)
    """The changes that stand, in their order: the migrated state, or nothing after a rollback."""
    undone: list[Written] = field(default_factory=list)
    """The changes that the last rollback took back, in their order: what a redo brings again."""
    begun: Event | None = None
    """The begin of the job that decided the standing (or undone) changes."""
    decision: str | None = None
    """The mark of what that job decided."""


def fold(events: Sequence[Event]) -> Standing:
    """What the events of one stream add up to.

    A job's begin says what it does with the changes that stand: `migrate` adds, `rollback` takes back, `redo` brings again, `rerun`
    takes back and then adds. A compensation is one step of taking back.
    """
    standing = Standing()
    begin: Event | None = None
    for event in events:
        match event.kind:
            case "begin":
                begin = event
            case "compensated":
                if standing.changes:
                    standing.undone.insert(0, standing.changes.pop())
            case "created" | "updated" | "deleted" if event.ref is not None:
                standing.changes.append(Written(event.ref, event.before_image, event.after_image))
            case "end":
                facts = event.facts
                if "decision" in facts:
                    standing.begun, standing.decision = begin, facts["decision"]
                if facts.get("state") == "migrated":
                    standing.undone = []
    return standing


def doer(events: Sequence[Event]) -> int:
    """The campaign whose job left the entity as it is, 0 where none did: one that failed, or that skipped it, left it as it was."""
    found = 0
    for event in events:
        if event.kind == "end" and not event.facts.get("skipped"):
            found = event.campaign
    return found


def expected(changes: Sequence[Written]) -> dict[Ref, Image | None]:
    """Each row as the changes left it."""
    return {change.ref: change.after for change in changes}


def originals(changes: Sequence[Written]) -> dict[Ref, Image | None]:
    """Each row as it was before the first of the changes."""
    found: dict[Ref, Image | None] = {}
    for change in changes:
        found.setdefault(change.ref, change.before)
    return found


def back(changes: Sequence[Written], live: Mapping[Ref, Image]) -> list[Put]:
    """The steps that take the changes back, newest first, starting from the rows as they stand."""
    now: dict[Ref, Image | None] = {change.ref: live.get(change.ref) for change in changes}
    puts = []
    for change in reversed(changes):
        puts.append(Put(change.ref, now[change.ref], change.before))
        now[change.ref] = change.before
    return puts


def forth(changes: Sequence[Written], live: Mapping[Ref, Image]) -> list[Put]:
    """The steps that bring the changes again, oldest first, starting from the rows as they stand."""
    now: dict[Ref, Image | None] = {change.ref: live.get(change.ref) for change in changes}
    puts = []
    for change in changes:
        puts.append(Put(change.ref, now[change.ref], change.after))
        now[change.ref] = change.after
    return puts


def kind_of(written: Written) -> str:
    """The kind of the event that records the change."""
    if written.before is None:
        return "created"
    return "deleted" if written.after is None else "updated"


def counts(events: Sequence[Event]) -> int:
    """How many of the events changed a row."""
    return sum(event.kind in CHANGES for event in events)
