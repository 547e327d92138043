"""What is not pure is called outside the transaction, once, and its result given again for ever."""

from __future__ import annotations

from collections import Counter

import pytest

from producer.queue import Queue
from tests.acceptance.world import World
from tests.servers import until

PAID = '''
import os
import pathlib
import sqlite3

from backtrail import Entity, Keys, Migration, Rows

HERE = pathlib.Path(__file__).parent


def title(first):
    """Asks somebody who wants money for it; the fifth is refused as long as a file says so."""
    with (HERE / "PRE_paid.txt").open("a") as bill:
        bill.write(first + "\\n")
    if (HERE / "PRE_closed").exists() and first == "Zoë5":
        raise ConnectionError("closed for " + first)
    return "Dr. " + first


class Titles(Migration):
    """Gives everybody a title."""

    name = "PRE-split"
    keys = Keys("PRE_users", "id")
    reads = (Rows("PRE_users", by="id"),)
    writes = ("PRE_people",)

    def migrate(self, user: Entity) -> None:
        first, _, last = user.one("PRE_users")["full_name"].partition(" ")
        user.create("PRE_people", {"user_id": user.key, "first": user.recall("title", title, first), "last": last})
'''


@pytest.mark.long
def test_a_recall_is_paid_once(world: World) -> None:
    """A failing call is tried again and quarantines nobody; what was paid is not paid again, nor on redelivery, rollback or re-run."""
    world.write(PAID)
    world.populate(20)
    closed, bill = world.place.folder / f"{world.prefix}_closed", world.place.folder / f"{world.prefix}_paid.txt"
    closed.touch()
    opened = world.place.json("enqueue", world.source, "--batch-size", "10")

    def paid() -> Counter[str]:
        return Counter(bill.read_text().split()) if bill.exists() else Counter()

    until(lambda: paid()["Zoë5"] >= 3, what="a third try of what fails")
    assert world.state(opened["campaign"]) == "running"
    closed.unlink()
    ended = world.place.json("status", opened["campaign"], "--watch")
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 20, 0)
    assert [first for _, first, _ in world.people()] == [f"Dr. Zoë{number}" for number in range(1, 21)]
    bought = paid()
    assert len(bought) == 20 and {name: times for name, times in bought.items() if times > 1}.keys() == {"Zoë5"}

    assert world.rollback("--only", "3", "--only", "4")["rolled_back"] == 2
    assert world.rerun("--only", "3", "--only", "7")["migrated"] == 2
    assert world.place.json("verify", world.source)["ok"]
    assert paid() == bought
    assert world.eye.recalls(world.name) == 20


@pytest.mark.long
def test_a_recall_delivered_many_times_is_paid_once(alone_sqlite: World, broker: str) -> None:
    """Redelivered batches find the results of the first delivery."""
    world = alone_sqlite.at(broker)
    world.write(PAID)
    world.populate(10)
    keys = [part for number in range(1, 11) for part in ("--only", str(number))]
    world.place.run("enqueue", world.source, *keys)
    with world.place.worker(processes=1):
        assert world.place.json("status", "c1", "--watch")["migrated"] == 10
        Queue(broker, "bt").publish(1, [1] * 5)
        assert world.place.json("enqueue", world.source, "--watch")["skipped"] == 10
    bill = Counter((world.place.folder / f"{world.prefix}_paid.txt").read_text().split())
    assert len(bill) == 10 and set(bill.values()) == {1}
