"""Whether a stream is what was once appended: recomputed from every event, and compared with the stream's own row. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.entry import Head
from ledger.event import ERASED, KEPT, OPEN, Event, digest

BEGUN = {"expand": "expanding", "expand --undo": "retracting"}
"""The states of a job of `expand` that has begun and not ended, as on MongoDB one can be found."""


def flaw(head: Head, events: Sequence[Event]) -> str | None:
    """What is wrong with the stream, or None: an event changed, missing, moved or cut off, or a row that says something else."""
    if head.misplaced:
        return "its row stands under another key than its own"
    hashes = chain(head, events)
    wrong = _broken(events, hashes)
    if wrong is not None:
        return wrong
    if not events or (head.version, head.hash) != (len(events), hashes[-1]):
        return f"the stream ends at version {len(events)}, and its row says {head.version}"
    state, failed = folded_state(events)
    if (head.state, head.failed) != (state, failed):
        said = f"{head.state!r}{' and failed' if head.failed else ''}"
        return f"its state is {said}, and its events say {state!r}{' and failed' if failed else ''}"
    if head.campaign != events[-1].campaign:
        return f"its row says that c{head.campaign} did the last job, and its events say c{events[-1].campaign}"
    return _unreadable(head, events)


def chain(head: Head, events: Sequence[Event]) -> list[bytes]:
    """The hash of each event, recomputed from what it says and from all before it: 32 bytes each; empty from one on of which there can be none."""
    hashes: list[bytes] = []
    try:
        previous, secret = head.genesis, head.secret
        for event in events:
            # %d in the digest would make a whole number of 1.5.
            if not (type(event.version) is type(event.campaign) is type(event.at) is int):
                break
            previous = digest(previous, event, secret)
            hashes.append(previous)
    except (TypeError, ValueError, AttributeError, IndexError):
        pass  # a value of another type altogether, which SQLite takes in any column
    return hashes + [b""] * (len(events) - len(hashes))


def _broken(events: Sequence[Event], hashes: Sequence[bytes]) -> str | None:
    for at, (event, found) in enumerate(zip(events, hashes, strict=True), 1):
        if event.version != at:
            return f"version {at} is missing"
        if not found or event.hash != found[:KEPT] or event.misplaced:
            return f"version {at} ({event.kind}) is not what was appended"
    return None


def _unreadable(head: Head, events: Sequence[Event]) -> str | None:
    """What is wrong with the events that nobody can read: all of them belong before the event that says that they were erased."""
    if not head.erased and not any(event.erased or event.kind == ERASED for event in events):
        return None
    erasures = [event for event in events if event.kind == ERASED and event.body[0] == OPEN and not event.erased]
    last = erasures[-1].version if erasures else 0
    if head.erased != bool(last):
        return "its row says that it was erased, and its events do not" if head.erased else "its row has a key that was erased"
    for event in events:
        if event.erased and event.version > last:
            return f"version {event.version} ({event.kind}) cannot be read, and nobody recorded an erasure"
        if not event.erased and event.version < last:
            return f"version {event.version} ({event.kind}) was to be erased, and can be read"
    # Erasures of older versions do not say them.
    said = erasures[-1].facts if erasures else {}
    for name, found in (("key", head.place), ("subject", head.subject)):
        if name in said and said[name] != found:
            return f"its row says another {name} than the event of its erasure"
    return None


def folded_state(events: Sequence[Event]) -> tuple[str, bool]:
    """The state and the failed mark that a stream's events add up to."""
    state, failed = "", False
    begun: Event | None = None
    for event in events:
        if event.erased:
            continue
        if event.kind == "begin":
            begun = event
        elif event.kind == ERASED:
            state, failed = str(event.facts.get("state")), event.facts.get("failed") is True
        elif event.kind == "end":
            state, failed, begun = str(event.facts.get("state")), False, None
        elif event.kind == "failed":
            state, failed, begun = state or "failed", True, None
    # Only what has not ended is asked for its facts: to read them at every begin would take as long as all the rest.
    return state if begun is None else BEGUN.get(str(begun.facts.get("job")), state), failed
