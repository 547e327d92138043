"""Who is at work and who leads, by the database's clock."""

from __future__ import annotations

import threading

from ledger.presence import ALIVE_MS, LEASE_MS
from tests.engine import Engine


def at(engine: Engine, table: str) -> str:
    return f"backtrail.{table}" if engine.postgres else f"backtrail_{table}"


def lead(engine: Engine, owner: str) -> int | None:
    with engine.store.transaction() as tx:
        return engine.ledger.presence.lead(tx, "feeder", owner)


def later(engine: Engine, milliseconds: int) -> None:
    """Nothing; it is as if so much time had passed."""
    engine.script(
        f"UPDATE {at(engine, 'leases')} SET until = until - {milliseconds};"
        f"UPDATE {at(engine, 'workers')} SET seen_at = seen_at - {milliseconds}"
    )


def test_one_leads_until_the_lease_ends(engine: Engine) -> None:
    """The first leads and renews with one fence; another leads only once the lease has run out, with a higher fence."""
    engine.ledger.create()
    assert [lead(engine, owner) for owner in ("a", "b", "a")] == [1, None, 1]
    later(engine, LEASE_MS + 1000)
    assert [lead(engine, owner) for owner in ("b", "a", "b")] == [2, None, 2]
    later(engine, LEASE_MS + 1000)
    assert lead(engine, "b") == 2, "who leads anew without a rival in between has the same fence"


def test_who_leaves_leads_no_more(engine: Engine) -> None:
    """The next one leads at once, and the one that left is gone from the workers."""
    engine.ledger.create()
    with engine.store.transaction() as tx:
        engine.ledger.presence.show(tx, "a", {"pid": 1})
    assert lead(engine, "a") == 1
    with engine.store.transaction() as tx:
        engine.ledger.presence.leave(tx, "a")
        assert engine.ledger.presence.alive(tx) == []
    assert lead(engine, "b") == 2


def test_of_many_that_come_first_one_leads(engine: Engine) -> None:
    """Eight at once, on a ledger that nobody led yet: one leads, the others are told so, and nobody fails."""
    engine.ledger.create()
    answers: list[int | None] = []
    start = threading.Barrier(8)

    def come(owner: str) -> None:
        own = Engine(engine.url, lock_timeout_ms=20_000) if engine.postgres else engine
        start.wait(20)
        with own.store.transaction() as tx:
            answers.append(own.ledger.presence.lead(tx, "feeder", owner))

    threads = [threading.Thread(target=come, args=(f"o{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers, key=str) == [1] + [None] * 7


def test_workers_are_alive_while_they_show_themselves(engine: Engine) -> None:
    """A worker that is silent for long counts no more, and comes back when it speaks; after very long it is forgotten."""
    engine.ledger.create()
    presence = engine.ledger.presence

    def alive() -> list[str]:
        with engine.store.transaction(write=False) as tx:
            return [worker.id for worker in presence.alive(tx)]

    def show(worker: str) -> None:
        with engine.store.transaction() as tx:
            presence.show(tx, worker, {"pid": 7, "host": "é"})

    show("a")
    show("b")
    assert alive() == ["a", "b"]
    later(engine, ALIVE_MS + 1000)
    show("b")
    assert alive() == ["b"]
    show("a")
    assert alive() == ["a", "b"]
    later(engine, 30 * ALIVE_MS)
    show("b")
    assert engine.query(f"SELECT id FROM {at(engine, 'workers')}") == [("b",)]
    with engine.store.transaction(write=False) as tx:
        assert presence.alive(tx)[0].info == {"pid": 7, "host": "é"}
