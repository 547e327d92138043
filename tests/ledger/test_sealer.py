"""Sealing beside workers: nobody waits for it, and nothing that they write in the meantime is lost to it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest

from backtrail.stores import open_store
from backtrail.stores.base import Transaction
from ledger.leaves import Leaf, leaves_of
from ledger.ledger import Ledger
from ledger.sealer import Sealer
from tests.engine import Engine
from tests.ledger.sealing import KEY, Raw, compared, leaves, populated, seal, shouting

HARMLESS = {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
"""What PostgreSQL takes on a table for reading and writing rows: none of them keeps another from doing so too."""


def test_a_writer_commits_in_the_middle_of_a_seal(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two windows a whole rollback goes through, of a stream that is sealed already and of one that is not yet; the next seal has it."""
    engine = everywhere
    monkeypatch.setattr("ledger.checkpoint.WINDOW", 2)
    monkeypatch.setattr("ledger.walk.WINDOW", 2)
    populated(engine)
    users = shouting(engine)
    engine.migrate(users)
    done: list[int] = []
    turns = iter([["1", "6"], ["3"], ["2", "4"]])

    def meanwhile(_: int) -> None:
        done.append(engine.rollback(users, only=next(turns))["rolled_back"])

    first = seal(engine, progress=meanwhile)
    assert done == [2, 1, 2]
    assert first.refused == []
    assert first.uncovered.streams == 4, "1, 2, 3 and 4 went on after they were sealed, 6 before"
    assert compared(engine, first.note).problems == 0
    last = seal(engine, olds=[first.checkpoint])
    assert (last.sealed, last.uncovered.streams) == (4, 0)
    assert compared(engine, last.note).problems == 0


class Paused(Sealer):
    """Lets others go on in the middle of its own transactions."""

    meanwhile: Any = None

    def _changed(self, tx: Transaction, after: int, until: int) -> tuple[list[Leaf], list[str]]:
        found = super()._changed(tx, after, until)
        self.meanwhile("reading", tx)
        return found

    def _add(self, tx: Transaction, new: Sequence[Leaf]) -> None:
        super()._add(tx, new)
        self.meanwhile("writing", tx)


@pytest.mark.parametrize("kind", ["postgres", "mongo"])
def test_a_writer_commits_inside_the_transactions_of_a_seal(request: pytest.FixtureRequest, kind: str) -> None:
    """While the sealer has read, or written its leaves, and not yet ended its transaction, a rollback goes through within the lock timeout."""
    with closing(Engine(request.getfixturevalue(kind), lock_timeout_ms=500)) as engine:
        populated(engine)
        users = shouting(engine)
        engine.migrate(users)
        sealer, done = Paused(engine.ledger, leaves(engine), KEY), []

        def meanwhile(where: str, tx: Transaction) -> None:
            if engine.postgres:
                _only_harmless_locks(engine, tx)
            done.append((where, engine.rollback(users, only=["1" if where == "reading" else "2"])["rolled_back"]))

        sealer.meanwhile = meanwhile
        sealed = sealer.seal(by="x")
        assert done == [("reading", 1), ("writing", 1)]
        assert not [answer for answer in engine.answers if "retr" in answer], engine.answers
        assert sealed.uncovered.streams == 2
        assert compared(engine, sealed.note).problems == 0


def _only_harmless_locks(engine: Engine, tx: Transaction) -> None:
    """The server's own list: on tables of workers only what any reader takes, and on other tables nothing that keeps a writer out."""
    pid = tx.connection.connection.driver_connection.info.backend_pid
    with psycopg.connect(engine.url) as connection:
        found = connection.execute(
            "SELECT relation::regclass::text, mode FROM pg_locks WHERE pid = %s AND locktype = 'relation'", (pid,)
        ).fetchall()
    assert any("leaves" in str(table) for table, _ in found)
    for table, mode in found:
        mine = any(name in str(table) for name in ("leaves", "nodes", "checkpoints", "leases"))
        assert mode in (HARMLESS if mine else {"AccessShareLock"}), (table, mode)


class Beside:
    """Another connection to the same ledger; closing it leaves the engine's worker alone."""

    def __init__(self, engine: Engine) -> None:
        self.store = open_store(engine.url, lock_timeout_ms=5000)
        self.ledger = Ledger(self.store)

    def close(self) -> None:
        self.store.close()


def test_workers_and_sealers_side_by_side(everywhere: Engine) -> None:
    """Two campaigns over 24 users while another connection seals again and again: all are done, every checkpoint holds, the last one all of it."""
    engine = everywhere
    populated(engine, 24)
    users = shouting(engine)
    engine.migrate(users, only=["1"])
    seals, errors = [seal(engine)], []
    ended = threading.Event()

    def go_on_sealing() -> None:
        with closing(Beside(engine)) as own:
            try:
                while not ended.is_set():
                    seals.append(Sealer(own.ledger, leaves_of(own.store), KEY).seal(by="beside", olds=[seals[-1].checkpoint]))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test says it
                errors.append(error)

    thread = threading.Thread(target=go_on_sealing)
    thread.start()
    try:
        states = [engine.migrate(users, batch_size=4), engine.rollback(users, batch_size=4)]
    finally:
        ended.set()
        thread.join(60)
    assert not errors
    assert [(state["state"], state["failed"]) for state in states] == [("completed", 0), ("completed", 0)]
    assert states[1]["rolled_back"] == 24
    last = seal(engine, olds=[one.checkpoint for one in seals])
    assert last.uncovered.events == 0
    assert not [line for one in seals for line in one.refused]
    for one in (seals[len(seals) // 2], last):
        assert compared(engine, one.note).problems == 0
    numbers = [row[Raw(engine).number] for row in Raw(engine).rows("leaves")]
    assert sorted(numbers) == list(range(last.checkpoint.size))
