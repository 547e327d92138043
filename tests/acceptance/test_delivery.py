"""Messages that come too often: the database decides, and the queue only hints."""

from __future__ import annotations

import pytest
import redis

from producer.queue import Queue
from tests.acceptance.world import World
from tests.servers import until

USERS, BATCH, TIMES = 600, 25, 10


def until_empty(broker: str) -> None:
    """Returns once every message was taken and acknowledged."""
    with redis.Redis.from_url(broker) as client:
        until(lambda: client.llen("bt") == 0 and client.hlen("unacked") == 0, what="the end of the queue", timeout=60)


@pytest.mark.long
def test_ten_times_at_once_is_once(alone: World, broker: str) -> None:
    """Every message ten times in the queue of two workers: every user once, and a rollback's redelivery changes nothing."""
    world = alone.at(broker)
    world.populate(USERS)
    before = world.users()
    place = world.place
    (place.folder / "keys.txt").write_text("\n".join(str(number) for number in range(1, USERS + 1)))
    place.run("enqueue", world.source, "--only-from", "keys.txt", "--batch-size", str(BATCH))
    batches = [number for number in range(1, USERS // BATCH + 1) for _ in range(TIMES)]
    Queue(broker, "bt").publish(1, batches)
    with redis.Redis.from_url(broker) as client:
        assert client.llen("bt") == USERS // BATCH * TIMES
    with place.worker("first"), place.worker("second"):
        ended = place.json("status", "c1", "--watch")
        assert (ended["state"], ended["migrated"], ended["skipped"], ended["failed"]) == ("completed", USERS, 0, 0)
        until_empty(broker)
        world.demand_migrated(before)
        assert world.kinds("7") == ["begin", "created", "updated", "end"]

        back = world.rollback("--only", "7", "--only", "8", "--only", "600")
        assert (back["state"], back["rolled_back"]) == ("completed", 3)
        assert world.users()[6] == before[6]
        stood = world.dump(but=("workers", "leases"))
        Queue(broker, "bt").publish(1, batches)
        Queue(broker, "bt").publish(2, [1, 1, 1])
        until_empty(broker)
        assert world.dump(but=("workers", "leases")) == stood
        world.demand_gapless()
