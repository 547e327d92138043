"""Who is at work and who leads, by the database's clock."""

from __future__ import annotations

import threading

import pytest

from backtrail.errors import Retry
from ledger.ledger import Ledger
from ledger.presence import ALIVE_MS, LEASE_MS
from tests.ledger.mongo.helpers import opened, plain


def lead(ledger: Ledger, owner: str) -> int | None:
    with ledger.store.transaction() as tx:
        return ledger.presence.lead(tx, "feeder", owner)


def later(ledger: Ledger, milliseconds: int) -> None:
    """Nothing; it is as if so much time had passed."""
    with plain(ledger) as (database, _):
        database.leases.update_many({}, {"$inc": {"until": -milliseconds}})
        database.workers.update_many({}, {"$inc": {"seen_at": -milliseconds}})


def test_one_leads_until_the_lease_ends(ledger: Ledger) -> None:
    """The first leads and renews with one fence; another leads only once the lease has run out, with a higher fence."""
    assert [lead(ledger, owner) for owner in ("a", "b", "a")] == [1, None, 1]
    later(ledger, LEASE_MS + 1000)
    assert [lead(ledger, owner) for owner in ("b", "a", "b")] == [2, None, 2]
    later(ledger, LEASE_MS + 1000)
    assert lead(ledger, "b") == 2, "who leads anew without a rival in between has the same fence"


def test_who_leaves_leads_no_more(ledger: Ledger) -> None:
    """The next one leads at once, and the one that left is gone from the workers."""
    with ledger.store.transaction() as tx:
        ledger.presence.show(tx, "a", {"pid": 1})
    assert lead(ledger, "a") == 1
    with ledger.store.transaction() as tx:
        ledger.presence.leave(tx, "a")
        assert ledger.presence.alive(tx) == []
    assert lead(ledger, "b") == 2


@pytest.mark.parametrize("led_before", [False, True])
def test_of_many_that_come_first_one_leads(mongo: str, ledger: Ledger, led_before: bool) -> None:
    """Eight at once: one leads, the others are told so, or told to try again, and find it then."""
    if led_before:
        assert lead(ledger, "old") == 1
        later(ledger, LEASE_MS + 1000)
    answers: list[int | None] = []
    start = threading.Barrier(8)

    def come(owner: str) -> None:
        own = opened(mongo)
        start.wait(20)
        while True:
            try:
                answers.append(lead(own, owner))
                break
            except Retry:
                continue
        own.store.close()

    threads = [threading.Thread(target=come, args=(f"o{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers, key=str) == [1 + led_before] + [None] * 7


def test_who_planned_under_a_lease_that_was_lost_is_refused(mongo: str, ledger: Ledger) -> None:
    """A leader that renews in a transaction cannot commit it once another has taken over in between."""
    assert lead(ledger, "a") == 1
    later(ledger, LEASE_MS + 1000)
    rival = opened(mongo)
    with pytest.raises(Retry), ledger.store.transaction() as tx:
        assert ledger.presence.alive(tx) == []
        assert lead(rival, "b") == 2
        ledger.presence.lead(tx, "feeder", "a")
    assert lead(rival, "b") == 2
    rival.store.close()


def test_workers_are_alive_while_they_show_themselves(ledger: Ledger) -> None:
    """A worker that is silent for long counts no more, and comes back when it speaks; after very long it is forgotten."""
    presence = ledger.presence

    def alive() -> list[str]:
        with ledger.store.transaction(write=False) as tx:
            return [worker.id for worker in presence.alive(tx)]

    def show(worker: str) -> None:
        with ledger.store.transaction() as tx:
            presence.show(tx, worker, {"pid": 7, "a.b": "é"})

    show("a")
    show("b")
    assert alive() == ["a", "b"]
    later(ledger, ALIVE_MS + 1000)
    show("b")
    assert alive() == ["b"]
    show("a")
    assert alive() == ["a", "b"]
    later(ledger, 30 * ALIVE_MS)
    show("b")
    with plain(ledger) as (database, _):
        assert [one["_id"] for one in database.workers.find()] == ["b"]
    with ledger.store.transaction(write=False) as tx:
        assert presence.alive(tx)[0].info == {"pid": 7, "a.b": "é"}
