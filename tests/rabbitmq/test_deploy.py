"""Workers of RabbitMQ that are told to end, or are killed, with messages in hand."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Any

import pytest

from backtrail import amqp
from tests.acceptance.world import SLOWLY, STUCK, World, begun
from tests.servers import until


@pytest.mark.parametrize("how", ["told", "killed"])
def test_what_is_in_hand_goes_back_at_once(world: World, queue: str, connection: Any, how: str) -> None:
    """A worker that is told twice, or killed, gives back what it had: it lies in the queue within a moment, and another one does it."""
    before = begun(world, 4, 2, STUCK)
    with world.place.worker("stuck", STUCK="1") as worker:
        until(lambda: worker.text.count(" received") == 2, what="two messages in hand")
        if how == "told":
            worker.process.send_signal(signal.SIGTERM)
            worker.says("Warm shutdown")
            assert worker.end() == 0
        else:
            worker.kill_session()
        until(lambda: (amqp.waiting(connection, queue) or 0) >= 2, what="both messages", timeout=5)
    assert came_back(connection, queue) == {"{'v': 1, 'campaign': 'c1', 'batch': 1}", "{'v': 1, 'campaign': 'c1', 'batch': 2}"}
    assert world.people() == []
    with world.place.worker("able"):
        world.until_state("c1", "completed")
        world.demand_migrated(before)


def came_back(connection: Any, queue: str) -> set[str]:
    """The arguments of the messages that wait after somebody had them in hand; others a new feeder may have sent a second time."""
    channel = connection.channel()
    found = [channel.basic_get(queue).headers for _ in range(amqp.waiting(connection, queue) or 0)]
    channel.close()
    return {one["kwargsrepr"] for one in found if one.get("x-delivery-count") or one["retries"]}


def test_three_workers_are_replaced_one_after_another(world: World) -> None:
    """A rolling deploy in the midst of a campaign: nobody is lost, twice or failed, and each worker ends by itself with 0."""
    before = begun(world, 900, 20, SLOWLY)
    with ExitStack() as stack:
        old = [stack.enter_context(world.place.worker(f"old{number}", processes=1)) for number in range(3)]
        for number, worker in enumerate(old):
            world.until_done("c1", 100 * (number + 1))
            assert worker.end() == 0
            stack.enter_context(world.place.worker(f"new{number}", processes=1))
        ended = world.place.json("status", "c1", "--watch")
        assert (ended["state"], ended["migrated"], ended["failed"], ended["skipped"]) == ("completed", 900, 0, 0)
        world.demand_migrated(before)
