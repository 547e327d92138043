"""What is wrong with a stream, said of events made by hand: each message, and none where nothing was done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from backtrail.image import Ref, Shape
from ledger.entry import Head
from ledger.event import ERASED, KEPT, OPEN, REDACTED, SEALED, Content, Event, commitment, origin, pack
from ledger.integrity import chain, flaw, folded_state
from tests.ledger import bodies

SHAPE = Shape("users", (("id", "integer"), ("name", "text")))
SECRET = bytes(range(16))
JOB = (("begin", '{"job":"migrate"}'), ("created", None), ("end", '{"state":"migrated"}'))
ERASURE = (ERASED, '{"state":"migrated","failed":false,"by":"x"}')


def event(version: int, kind: str, data: str | None = None, how: int = OPEN) -> Event:
    """An event as the ledger's reader would have it."""
    written = kind == "created"
    body = pack(Content("i1" if written else None, None, b"i1\0tAnn" if written else None, data))
    found = Event(version, kind, 7, 1000 + version, shape=SHAPE if written else None, data=data, body=body)
    if written:
        found.ref, found.after = Ref("users", "i1"), b"i1\0tAnn"
    if how == SEALED:
        found.body = b"\2" + bytes(reversed(body))
    if how == REDACTED:
        found.body = b"\0" + commitment(SECRET, body)
        found.ref = found.after = found.data = None
        found.erased = True
    return found


def chained(head: Head, events: Sequence[Event]) -> tuple[Head, list[Event]]:
    """The stream with good hashes everywhere, by the words of the description."""
    rows = [
        {
            "version": one.version,
            "kind": one.kind,
            "campaign": one.campaign,
            "at": one.at,
            "shape": None if one.shape is None else one.shape.dump(),
            "body": one.body,
        }
        for one in events
    ]
    first = head.origin or hashlib.sha256(head.secret + head.key.encode()).digest()
    hashes = bodies.chained(head.migration, first, head.secret, rows)
    good = [replace(one, hash=found[:KEPT]) for one, found in zip(events, hashes, strict=True)]
    return head._replace(version=len(good), hash=hashes[-1], campaign=7), good


def stream(
    *facts: tuple[str, str | None], state: str = "migrated", failed: bool = False, how: int = OPEN
) -> tuple[Head, list[Event]]:
    head = Head("m", "ann", id=1, state=state, failed=failed, secret=SECRET, place="ann")
    return chained(head, [event(version, *fact, how=how) for version, fact in enumerate(facts or JOB, 1)])


def erased(*later: tuple[str, str | None], how: int = REDACTED) -> tuple[Head, list[Event]]:
    """A stream that was erased after one job."""
    before = [event(version, *fact, how=how) for version, fact in enumerate(JOB, 1)]
    if how == SEALED:
        before = [replace(one, erased=True, data=None, after=None, ref=None) for one in before]
    after = [event(version, *fact) for version, fact in enumerate((ERASURE, *later), 4)]
    head = Head("m", "~token", id=1, state="migrated", place="~token", secret=b"", origin=origin(SECRET, "ann"))
    return chained(head, [*before, *after])


GOOD = {
    "open": stream(),
    "sealed": stream(how=SEALED),
    "failed": stream(("begin", None), ("failed", "{}"), state="failed", failed=True),
    "failed later": stream(*JOB, ("begin", None), ("failed", "{}"), failed=True),
    "redacted": erased(),
    "its key destroyed": erased(how=SEALED),
    "gone on after the erasure": erased(("begin", None), ("end", '{"state":"rolled_back"}')),
}
GOOD["gone on after the erasure"] = (
    GOOD["gone on after the erasure"][0]._replace(state="rolled_back"),
    GOOD["gone on after the erasure"][1],
)


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong_where_nothing_was_done(name: str) -> None:
    """Open, sealed, redacted, erased by destroying the key, and gone on since; the chain is 32 bytes for each event."""
    head, events = GOOD[name]
    assert len(events) > 1
    assert flaw(head, events) is None
    hashes = chain(head, events)
    assert [len(found) for found in hashes] == [32] * len(events)
    assert hashes[-1] == head.hash
    assert [found[:KEPT] for found in hashes] == [one.hash for one in events]


def changed(which: int, /, **values: Any) -> Callable[[Head, list[Event]], tuple[Head, list[Event]]]:
    def change(head: Head, events: list[Event]) -> tuple[Head, list[Event]]:
        return head, [replace(one, **values) if place == which else one for place, one in enumerate(events)]

    return change


OTHER = pack(Content("i1", None, b"i1\0tAnna"))
BAD: dict[str, tuple[Any, str]] = {
    "a body": (changed(1, body=OTHER), "version 2 (created) is not what was appended"),
    "a redaction of something else": (changed(1, body=b"\0" + bytes(32)), "version 2 (created) is not what was appended"),
    "no body at all": (changed(1, body=b""), "version 2 (created) is not what was appended"),
    "a body that is text": (changed(1, body="text"), "version 2 (created) is not what was appended"),
    "a body that is a number": (changed(1, body=5), "version 2 (created) is not what was appended"),
    "a kind": (changed(1, kind="updated"), "version 2 (updated) is not what was appended"),
    "a kind that is a number": (changed(1, kind=5), "version 2 (5) is not what was appended"),
    "a campaign": (changed(0, campaign=8), "version 1 (begin) is not what was appended"),
    "a campaign that is no whole number": (changed(0, campaign=7.0), "version 1 (begin) is not what was appended"),
    "a truth for a number": (changed(0, at=True), "version 1 (begin) is not what was appended"),
    "a time": (changed(2, at=5), "version 3 (end) is not what was appended"),
    "a shape": (changed(1, shape=Shape("people")), "version 2 (created) is not what was appended"),
    "a hash": (changed(2, hash=bytes(16)), "version 3 (end) is not what was appended"),
    "a hash that is cut": (changed(2, hash=b""), "version 3 (end) is not what was appended"),
    "a place in the index": (changed(1, misplaced=True), "version 2 (created) is not what was appended"),
    "gone from the middle": (lambda head, events: (head, [events[0], events[2]]), "version 2 is missing"),
    "gone from the start": (lambda head, events: (head, events[1:]), "version 1 is missing"),
    "swapped": (lambda head, events: (head, [events[1], events[0], events[2]]), "version 1 is missing"),
    "cut off": (lambda head, events: (head, events[:2]), "the stream ends at version 2, and its row says 3"),
    "all gone": (lambda head, events: (head, []), "the stream ends at version 0, and its row says 3"),
    "the row's version": (
        lambda head, events: (head._replace(version=2), events),
        "the stream ends at version 3, and its row says 2",
    ),
    "the row's hash": (
        lambda head, events: (head._replace(hash=head.hash[:16] + bytes(16)), events),
        "the stream ends at version 3, and its row says 3",
    ),
    "the row's key": (lambda head, events: (head._replace(key="bob"), events), "version 1 (begin) is not what was appended"),
    "a key of another type": (lambda head, events: (head._replace(key=5), events), "version 1 (begin) is not what was appended"),
    "the row's migration": (
        lambda head, events: (head._replace(migration="n"), events),
        "version 1 (begin) is not what was appended",
    ),
    "the row's secret": (
        lambda head, events: (head._replace(secret=bytes(16)), events),
        "version 1 (begin) is not what was appended",
    ),
    "a secret that is text": (
        lambda head, events: (head._replace(secret="x"), events),
        "version 1 (begin) is not what was appended",
    ),
    "a token for a key": (
        lambda head, events: (head._replace(misplaced=True), events),
        "its row stands under another key than its own",
    ),
    "the row's state": (
        lambda head, events: (head._replace(state="x"), events),
        "its state is 'x', and its events say 'migrated'",
    ),
    "the row's flag": (
        lambda head, events: (head._replace(failed=True), events),
        "its state is 'migrated' and failed, and its events say 'migrated'",
    ),
    "the row's campaign": (
        lambda head, events: (head._replace(campaign=8), events),
        "its row says that c8 did the last job, and its events say c7",
    ),
    "an erasure in the row alone": (
        lambda head, events: (head._replace(origin=origin(SECRET, "ann")), events),
        "its row says that it was erased, and its events do not",
    ),
    "unreadable": (changed(1, erased=True), "version 2 (created) cannot be read, and nobody recorded an erasure"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_was_done_is_named(name: str) -> None:
    """Each flaw by the first event that has it, or by what the row says."""
    head, events = stream()
    assert flaw(head, events) is None
    change, message = BAD[name]
    assert flaw(*change(head, events)) == message


def test_a_failure_that_the_row_does_not_know_of_is_named() -> None:
    """The mark is part of what the events say."""
    head, events = stream(*JOB, ("begin", None), ("failed", "{}"), failed=True)
    assert flaw(head, events) is None
    wanted = "its state is 'migrated', and its events say 'migrated' and failed"
    assert flaw(head._replace(failed=False), events) == wanted


def test_the_last_event_says_who_did_the_last_job() -> None:
    """Of two jobs of different campaigns it is the later one that the row must name."""
    head = Head("m", "ann", id=1, state="migrated", secret=SECRET, place="ann")
    facts = (*JOB, ("end", '{"state":"migrated"}'))
    events = [replace(event(version, *fact), campaign=version) for version, fact in enumerate(facts, 1)]
    head, events = chained(head, events)
    assert flaw(head._replace(campaign=4), events) is None
    for other in (1, 2, 3):
        wanted = f"its row says that c{other} did the last job, and its events say c4"
        assert flaw(head._replace(campaign=other), events) == wanted


def test_nobody_redacts_without_an_erasure() -> None:
    """A body in whose place its commitment stands keeps the hashes: it is the missing record that is named."""
    head, events = stream()
    redacted = replace(events[1], body=b"\0" + commitment(SECRET, events[1].body), erased=True)
    wanted = "version 2 (created) cannot be read, and nobody recorded an erasure"
    assert flaw(head, [events[0], redacted, events[2]]) == wanted


def test_nobody_redacts_after_the_erasure() -> None:
    """An erasure speaks for what was before it, and not for what comes later."""
    head, events = erased(("begin", None), ("end", '{"state":"migrated"}'))
    assert flaw(head, events) is None
    late = replace(events[4], body=b"\0" + bodies.commitment(b"", b"\2x"), erased=True)
    head, events = chained(head, [*events[:4], late, events[5]])
    assert flaw(head, events) == "version 5 (begin) cannot be read, and nobody recorded an erasure"


def test_an_erasure_is_whole() -> None:
    """An event that can be read still, and a row that still has the key, are named."""
    head, events = erased(how=SEALED)
    assert (
        flaw(head, [events[0], replace(events[1], erased=False), *events[2:]])
        == "version 2 (created) was to be erased, and can be read"
    )
    kept, rest = chained(Head("m", "ann", id=1, state="migrated"), erased()[1])
    assert flaw(kept, rest) == "its row has a key that was erased"


def test_the_record_of_an_erasure_counts_only_where_it_can_be_read() -> None:
    """One that is redacted itself says nothing: neither the state, nor that anything was erased."""
    head, events = erased()
    hidden = replace(events[3], body=b"\0" + bodies.commitment(b"", events[3].body), erased=True, data=None)
    assert flaw(head, [*events[:3], hidden]) == "its state is 'migrated', and its events say ''"
    assert flaw(head._replace(state=""), [*events[:3], hidden]) == "its row says that it was erased, and its events do not"


def test_a_chain_ends_where_it_cannot_go_on() -> None:
    """From an event on of which there can be no hash, there is none."""
    head, events = stream()
    assert [len(found) for found in chain(head, [events[0], replace(events[1], body=b""), events[2]])] == [32, 0, 0]
    number = [replace(events[0], campaign=7.0), *events[1:]]  # type: ignore[arg-type]
    assert chain(head, number) == [b"", b"", b""]
    assert chain(head._replace(key=None), events) == [b"", b"", b""]  # type: ignore[arg-type]
    assert chain(head, []) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((), ("", False)),
        ((("begin", None), ("failed", "{}")), ("failed", True)),
        (JOB, ("migrated", False)),
        ((*JOB, ("failed", "{}")), ("migrated", True)),
        ((*JOB, ("failed", "{}"), ("end", '{"state":"rolled_back"}')), ("rolled_back", False)),
        ((*JOB, (ERASED, '{"state":"rolled_back","failed":true}')), ("rolled_back", True)),
    ],
)
def test_events_add_up_to_a_state(facts: tuple[tuple[str, str | None], ...], expected: tuple[str, bool]) -> None:
    """The last end counts, a failure is a mark beside it, and an erasure says what they were."""
    assert folded_state([event(version, *fact) for version, fact in enumerate(facts, 1)]) == expected


def test_what_was_erased_adds_nothing() -> None:
    """An event that nobody can read leaves the state as it is."""
    events = [replace(event(1, "end", None, how=REDACTED)), event(2, *ERASURE)]
    assert folded_state(events[:1]) == ("", False)
    assert folded_state(events) == ("migrated", False)
