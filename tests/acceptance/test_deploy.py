"""Workers on Redis that are told to end: they exit with 0 in good time, and what they had in hand goes to others at once."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest
import redis

from tests.acceptance.world import SLOWLY, STUCK, World, begun
from tests.servers import until


@pytest.mark.long
def test_what_takes_too_long_is_given_back(alone_postgres: World, broker: str) -> None:
    """A batch of minutes is abandoned uncommitted: after the soft end's time, at once when told twice, by a second Ctrl-C, and by SIGQUIT; another worker does it."""
    world = alone_postgres.at(broker)
    before = begun(world, 4, 2, STUCK)
    with redis.Redis.from_url(broker) as client:
        for how in ("once", "twice", "interrupted", "quit"):
            with world.place.worker(how, STUCK="1") as worker:
                until(lambda w=worker: w.text.count(" received") == 2, what="two messages in hand")
                assert client.hlen("unacked") == 2
                told = {"quit": signal.SIGQUIT, "interrupted": signal.SIGINT}.get(how, signal.SIGTERM)
                if how in {"twice", "interrupted"}:
                    worker.process.send_signal(told)
                    worker.says("Warm shutdown")
                assert worker.end(told) == 0
                # A feeder that has just begun to lead may have sent some a second time.
                assert (client.llen("bt") >= 2, client.hlen("unacked")) == (True, 0)
    assert world.people() == []
    with world.place.worker("able"):
        world.until_state("c1", "completed", timeout=60)
        world.demand_migrated(before)


@pytest.mark.long
def test_three_workers_are_replaced_one_after_another(alone_postgres: World, broker: str) -> None:
    """A rolling deploy in the midst of a campaign: nobody is lost, twice or failed, and each worker ends by itself with 0."""
    world = alone_postgres.at(broker)
    before = begun(world, 1500, 20, SLOWLY)
    with ExitStack() as stack:
        old = [stack.enter_context(world.place.worker(f"old{number}", processes=1)) for number in range(3)]
        for number, worker in enumerate(old):
            world.until_done("c1", 100 * (number + 1))
            assert worker.end() == 0
            stack.enter_context(world.place.worker(f"new{number}", processes=1))
        ended = world.place.json("status", "c1", "--watch")
        assert (ended["state"], ended["migrated"], ended["failed"], ended["skipped"]) == ("completed", 1500, 0, 0)
        world.demand_migrated(before)
