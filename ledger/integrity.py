"""Whether a stream is what was once appended: recomputed from every event, and compared with the stream's own row. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.event import Event, digest, genesis, index_of
from ledger.journal import Head


def flaw(head: Head, events: Sequence[Event]) -> str | None:
    """What is wrong with the stream, or None: an event changed, missing, moved or cut off, or a row that says something else."""
    previous = genesis(head.migration, head.key)
    for at, event in enumerate(events, 1):
        if event.version != at:
            return f"version {at} is missing"
        if not _follows(previous, event):
            return f"version {at} ({event.kind}) is not what was appended"
        previous = event.hash
    if not events or (head.version, head.hash) != (len(events), previous):
        return f"the stream ends at version {len(events)}, and its row says {head.version}"
    state, failed = folded_state(events)
    if (head.state, head.failed) != (state, failed):
        said = f"{head.state!r}{' and failed' if head.failed else ''}"
        return f"its state is {said}, and its events say {state!r}{' and failed' if failed else ''}"
    if head.campaign != events[-1].campaign:
        return f"its row says that c{head.campaign} did the last job, and its events say c{events[-1].campaign}"
    return None


def _follows(previous: bytes, event: Event) -> bool:
    # %d in the digest would make a whole number of 1.5.
    if not all(type(number) is int for number in (event.campaign, event.at)):
        return False
    try:
        return digest(previous, event) == event.hash and event.index == index_of(event.ref, event.before)
    except (TypeError, ValueError, AttributeError):
        return False  # a value of another type altogether, which SQLite takes in any column


def folded_state(events: Sequence[Event]) -> tuple[str, bool]:
    """The state and the failed mark that a stream's events add up to."""
    state, failed = "", False
    for event in events:
        if event.kind == "end":
            state, failed = str(event.facts.get("state")), False
        elif event.kind == "failed":
            state, failed = state or "failed", True
    return state, failed
