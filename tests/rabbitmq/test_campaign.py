"""Campaigns through RabbitMQ: the queues as they are declared, and what happens when the broker dies, is emptied, or refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from celery import Celery
from kombu import Connection

from backtrail import amqp
from producer.queue import Queue
from tests.acceptance.conftest import a_place
from tests.acceptance.world import SLOWLY, World
from tests.rabbitmq.conftest import WORKER
from tests.rabbitmq.node import PASSWORD, Node, node
from tests.servers import until

USERS, BATCH = 800, 20

KILLER = '''
import os, signal

from backtrail import Entity, Keys, Migration, Rows


class SplitNames(Migration):
    """Kills whatever process looks at user 7."""

    name = "PRE-split"
    keys = Keys("PRE_users", "id")
    reads = (Rows("PRE_users", by="id"),)
    writes = ("PRE_users",)

    def migrate(self, user: Entity) -> None:
        if user.key == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        user.update(user.one("PRE_users"), {"score": 1})
'''


def begin(world: World, code: str = SLOWLY, users: int = USERS) -> list[Any]:
    """The users before the campaign, which is open."""
    world.write(code)
    world.populate(users)
    before = world.users()
    world.place.run("enqueue", world.source, "--batch-size", str(BATCH))
    return before


def test_a_campaign_and_what_looks_at_it(world: World, queue: str, rabbit: Node, connection: Any) -> None:
    """A worker with no more rights than documented migrates everybody; the queue is a quorum queue and stays small, and remote control answers."""
    before = begin(world)
    with world.place.worker() as worker:
        world.until_done("c1", BATCH)
        app = Celery(broker=rabbit.url("observer"))
        app.conf.update(control_queue_exclusive=True, event_queue_exclusive=True)
        assert list((app.control.inspect(timeout=5, limit=1).ping() or {}).values()) == [{"ok": "pong"}]
        world.until_state("c1", "completed")
        world.demand_migrated(before)
        until(lambda: amqp.waiting(connection, queue) == 0, what="the end of the queue")
        assert amqp.waiting(connection, f"{queue}.dead") == 0
        assert worker.end() == 0
        assert "Traceback" not in worker.text and PASSWORD not in worker.text
    with pytest.raises(PreconditionFailed):
        connection.channel().queue_declare(queue=queue, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"})
    with pytest.raises(NotFound):  # of the 28 queues for delays that Celery makes beside a quorum queue
        connection.channel().queue_declare(queue="celery_delayed_0", passive=True)


def test_events_reach_who_listens(world: World, rabbit: Node) -> None:
    """What Flower listens to comes: each task is received and succeeds."""
    seen: list[str] = []
    world.populate(40)
    with world.place.worker():
        app = Celery(broker=rabbit.url("observer"))
        app.conf.update(event_queue_exclusive=True)
        with app.connection() as line:
            receiver = app.events.Receiver(line, handlers={"*": lambda event: seen.append(event["type"])})
            with receiver.consumer_context() as (own, *_):
                world.place.run("enqueue", world.source, "--batch-size", "20")
                until(lambda: _drained(own) and seen.count("task-succeeded") >= 2, what="the events of both tasks")
    assert seen.count("task-received") == 2


def _drained(line: Any) -> bool:
    line.drain_events(timeout=10)
    return True


def test_a_broker_that_is_killed_comes_back(queue: str) -> None:
    """A RabbitMQ that is killed and started again while a campaign runs loses nobody, and worker and feeder come back by themselves."""
    with node(WORKER) as own, a_place("sqlite", None) as place:
        world = World(replace(place, broker=own.url("worker"), more={"BACKTRAIL_QUEUE": queue}), "k")
        before = begin(world)
        with world.place.worker() as worker:
            world.until_done("c1", USERS // 6)
            own.kill()
            until(lambda: "Connection to broker lost" in worker.text, what="the notice of the loss")
            assert world.done("c1") < USERS
            own.start()
            world.until_state("c1", "completed")
            world.demand_migrated(before)


@pytest.mark.parametrize("deed", ["purged", "deleted"])
def test_a_queue_that_somebody_empties_is_filled_again(world: World, queue: str, connection: Any, deed: str) -> None:
    """What an operator throws out of the queue is sent again long before its time, and nobody is done twice."""
    before = begin(world)
    with world.place.worker(processes=1):
        world.until_done("c1", BATCH)
        channel = connection.channel()
        assert (channel.queue_purge(queue) if deed == "purged" else channel.queue_delete(queue)) > 10
        world.until_state("c1", "completed", timeout=40)
        world.demand_migrated(before)


def test_a_message_that_comes_back_too_often_is_put_aside(queue: str, rabbit: Node, connection: Any) -> None:
    """What ten holders lost with their connections lies where one can look at it, and is delivered no more."""
    amqp.declare(connection, queue)
    Queue(rabbit.url(), queue).publish(1, [17])
    for _ in range(amqp.DELIVERIES + 1):
        with Connection(rabbit.url()) as holder:
            until(lambda h=holder: h.default_channel.basic_get(queue), what="the message in a hand")
    until(lambda: amqp.waiting(connection, f"{queue}.dead"), what="a message that was put aside")
    aside = connection.channel().basic_get(f"{queue}.dead")
    assert aside.headers["x-death"][0]["reason"] == "delivery_limit"
    assert aside.headers["kwargsrepr"] == "{'v': 1, 'campaign': 'c1', 'batch': 17}"
    assert amqp.waiting(connection, queue) == 0


def test_a_user_that_kills_is_left_out(world: World, queue: str, connection: Any) -> None:
    """An entity over which processes die ends in quarantine, the others are done, and its message does not go round for ever."""
    begin(world, KILLER, users=60)
    with world.place.worker():
        world.until_state("c1", "completed", timeout=120)
        assert world.eye.states(world.name) == {"migrated": 59, "failed": 1}
        until(lambda: amqp.waiting(connection, queue) == 0, what="the end of the queue")


def refused(world: World, broker: str, words: str) -> None:
    """Fails unless both who enqueues and who works are told in one line, without the password."""
    place = replace(world.place, broker=broker)
    world.populate(1)
    for command in (["enqueue", world.source], ["worker"]):
        answer = place.refused(*command, words=words)
        assert PASSWORD not in answer.err and "p%40ss" not in answer.err and "other-s3cret" not in answer.err


def test_a_wrong_password_is_told(world: World, rabbit: Node) -> None:
    """A broker that refuses the password is told in one line."""
    refused(world, rabbit.url("worker", password="other-s3cret"), "refused")


def test_a_wrong_virtual_host_is_told(world: World, rabbit: Node) -> None:
    """So is a virtual host that is not there, or not for this user."""
    refused(world, rabbit.url("worker", vhost="nowhere"), "nowhere")


def test_another_queue_of_that_name_is_told(world: World, queue: str, rabbit: Node, connection: Any) -> None:
    """So is a queue that somebody made otherwise; it is left alone."""
    connection.channel().queue_declare(queue=queue, durable=True, auto_delete=False)
    refused(world, rabbit.url("worker"), "with other settings")
    assert amqp.waiting(connection, queue) == 0


def test_who_only_opens_campaigns_needs_no_rights(world: World, queue: str, rabbit: Node, connection: Any) -> None:
    """A user without any right can enqueue once the queue is there, and is told what is missing before."""
    world.populate(3)
    place = replace(world.place, broker=rabbit.url("operator"))
    place.refused("enqueue", world.source, words="may not make the queue")
    amqp.declare(connection, queue)
    assert place.json("enqueue", world.source)["state"] == "open"


def test_a_worker_may_not_touch_other_queues(rabbit: Node, connection: Any) -> None:
    """The rights of the documented user end where they should."""
    connection.channel().queue_declare(queue="orders", durable=True, auto_delete=False)
    with Connection(rabbit.url("worker")) as own:
        with pytest.raises(AccessRefused):
            own.connection.channel().queue_purge("orders")
        with pytest.raises(AccessRefused):
            own.connection.channel().queue_declare(queue="orders2")
