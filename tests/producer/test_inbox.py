"""What the companion hears of its worker: recorded in the database, whatever comes and whenever the database is there."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from backtrail.errors import Retry
from ledger.rejected import Rejection
from producer.inbox import KEPT, Inbox
from tests.engine import Engine


def said(**one: Any) -> bytes:
    """A line as a worker says it."""
    return json.dumps(one).encode()


def recorded(engine: Engine) -> list[Rejection]:
    with engine.store.transaction(write=False) as tx:
        return engine.ledger.rejections.all(tx, 10_000)


def test_what_the_worker_says_is_recorded(everywhere: Engine) -> None:
    """Samples and counts, also with characters that a database does not hold; nonsense is passed over."""
    everywhere.ledger.create()
    inbox = Inbox("worker-1@host")
    inbox.hear(said(fault="bad", count=1, size=9, sample="a\0b\ud800é"))
    inbox.hear(said(fault="worse", count=40))
    for nonsense in (b"", b"[]", b"{", b"17", said(count=1), said(fault="x"), said(fault="x", count="many"), b"\xff"):
        inbox.hear(nonsense)
    inbox.record(everywhere.ledger)
    found = {one.fault: one for one in recorded(everywhere)}
    assert {fault: one.count for fault, one in found.items()} == {"bad": 1, "worse": 40}
    assert (found["bad"].worker, found["bad"].size, found["bad"].sample) == ("worker-1@host", 9, "a\\x00b\\ud800é")
    inbox.record(everywhere.ledger)
    assert len(recorded(everywhere)) == 2


def test_a_database_that_is_away_loses_no_count(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be recorded waits; of too many only the number does."""
    on_sqlite.ledger.create()
    inbox = Inbox("worker-1@host")
    for _ in range(KEPT + 500):
        inbox.hear(said(fault="bad", count=1, size=1, sample="x"))
    with monkeypatch.context() as away:

        def refuse(*_: Any) -> None:
            raise Retry("away")

        away.setattr(on_sqlite.ledger, "hold", refuse)
        inbox.record(on_sqlite.ledger)
    assert recorded(on_sqlite) == []
    inbox.record(on_sqlite.ledger)
    with on_sqlite.store.transaction(write=False) as tx:
        assert on_sqlite.ledger.rejections.count(tx) == KEPT + 500


def test_it_knows_when_the_worker_stops_and_ends() -> None:
    """Told to stop, it still listens; the end of the pipe is the end, whatever was said before."""
    reader, writer = os.pipe()
    inbox = Inbox("worker-1@host")
    thread = threading.Thread(target=inbox.read, args=(reader,))
    thread.start()
    os.write(writer, said(stop=True) + b"\n")
    assert inbox.stopping.wait(10) and not inbox.ended.is_set()
    os.write(writer, said(fault="late", count=1))
    os.close(writer)
    assert inbox.ended.wait(10)
    thread.join()
    os.close(reader)
