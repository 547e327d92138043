"""Malformed and hostile messages pushed straight into the queue of a running worker: it lives, nothing is changed, all are counted."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import redis

from tests.acceptance.hostile import duplicate, hostile, malformed
from tests.acceptance.sql_eyes import sql_eye
from tests.acceptance.world import SLOWLY, World
from tests.processes import Program
from tests.servers import until
from tests.worker.test_guard import SECRET

USERS = 600
APART = ("workers", "leases", "rejected", "sqlite_sequence")
"""What changes by itself all the time, and where rejected messages are kept and numbered."""


def broker_of(world: World) -> redis.Redis:
    """A plain client of the world's broker, be it the embedded one."""
    if world.place.broker is not None:
        return redis.Redis.from_url(world.place.broker)
    (path,) = (world.place.folder / "r").rglob("broker.sock")
    return redis.Redis(unix_socket_path=str(path))


def push(client: redis.Redis, messages: list[str | bytes]) -> None:
    """Pushes the messages, with one of a real batch that was sent before between any two; it says how often processes died of it."""
    for number, one in enumerate(messages):
        client.lpush("bt", one, duplicate(1, number % 5 + 1, retries=number % 7 * 100))


def until_counted(world: World, messages: int) -> None:
    """Returns once so many messages are counted, and fails if `status` counts more."""
    eye = sql_eye(world.url)
    query = f"SELECT coalesce(sum(count), 0) FROM {eye.ledger('rejected')}"
    until(lambda: eye.one(query) >= messages, what=f"{messages} rejected messages", timeout=40)
    assert world.place.json("status")["rejected"] == messages


def until_idle(client: redis.Redis) -> None:
    """Returns once every message was taken and acknowledged."""
    until(lambda: client.llen("bt") == 0 and client.hlen("unacked") == 0, what="the end of the queue", timeout=40)


def pool(worker: Program) -> set[psutil.Process]:
    """The worker's processes, without the broker and its keeper."""
    return {one for one in worker.family() if "-m worker" in " ".join(one.cmdline())}


def push_in_the_midst(world: World, worker: Program, messages: list[str | bytes]) -> None:
    """Pushes the messages in mid-campaign, and fails unless it ends as without them, all are counted and no process was lost."""
    world.write(SLOWLY)
    world.populate(USERS)
    before = world.users()
    world.place.run("enqueue", world.source, "--batch-size", "20")
    world.until_done("c1", 50)
    family = pool(worker)
    assert len(family) == 3
    with broker_of(world) as client:
        push(client, messages)
        assert world.done("c1") < USERS
        world.until_state("c1", "completed")
        until_counted(world, len(messages))
        until_idle(client)
    world.demand_migrated(before)
    assert pool(worker) == family and worker.pid in {one.pid for one in family}
    assert SECRET not in worker.text and "Traceback" not in worker.text


@pytest.mark.long
def test_what_is_pushed_into_a_queue_of_redis(alone_postgres: World, broker: str, tmp_path: Path) -> None:
    """In mid-campaign, when nothing is to do, and just before the end: nothing is changed, and every message is counted, no real one."""
    world, proof = alone_postgres.at(broker), tmp_path / "executed"
    messages = [*malformed().values(), *hostile(proof).values()]
    assert len(malformed()) >= 25 and len(hostile(proof)) >= 10 and max(map(len, messages)) > 5_000_000
    with world.place.worker() as worker:
        push_in_the_midst(world, worker, messages)
        with broker_of(world) as client:
            stood = world.dump(but=APART)
            push(client, messages)
            until_counted(world, 2 * len(messages))
            until_idle(client)
            assert world.dump(but=APART) == stood
        assert not proof.exists()
        demand_shown(world, 2 * len(messages))
        push_and_end(world, worker, messages)
    until_counted(world, len(messages))


@pytest.mark.long
def test_what_is_pushed_into_the_embedded_queue(alone_sqlite: World, tmp_path: Path) -> None:
    """It is no other there."""
    proof = tmp_path / "executed"
    with alone_sqlite.place.worker() as worker:
        push_in_the_midst(alone_sqlite, worker, [*hostile(proof).values()])
    assert not proof.exists()


def demand_shown(world: World, count: int) -> None:
    """Fails unless the messages are shown, printed safely, and forgotten when asked to."""
    place = world.place
    shown = place.json("rejected")
    assert shown["rejected"] == count == sum(shown["faults"].values()) and len(shown["latest"]) == 20
    everything = place.json("rejected", "--limit", "10000")["latest"]
    assert any(SECRET in (one["sample"] or "") for one in everything)
    assert {"there is no such task", "there are callbacks, a chain or a chord"} <= set(shown["faults"])
    assert max(one["size"] or 0 for one in everything) > 1_000_000
    assert max(len(one["sample"] or "") for one in everything) <= 2000
    printed = place.run("rejected", "--limit", "10000").out
    assert f"{count:,} messages were rejected" in printed and all(line.isprintable() for line in printed.splitlines())
    assert f"{count:,}" in place.run("status").out
    assert place.json("rejected", "--clear")["cleared"] == count
    assert place.json("rejected") == {"rejected": 0, "faults": {}, "latest": []}


def push_and_end(world: World, worker: Program, messages: list[str | bytes]) -> None:
    """Pushes the messages and ends the worker as soon as it has looked at them."""
    with broker_of(world) as client:
        for one in messages:
            client.lpush("bt", one)
        until_idle(client)
        assert worker.end() == 0


@pytest.mark.long
def test_remote_control(alone_sqlite: World, broker: str) -> None:
    """Looking at a worker is answered; what would stop or starve it is refused, counted, and changes nothing."""
    from celery import Celery

    world = alone_sqlite.at(broker)
    control = Celery("stranger", broker=broker).control
    orders: list[tuple[str, dict[str, object]]] = [
        *(("shutdown", {}), ("pool_grow", {"n": 5}), ("pool_shrink", {"n": 1}), ("pool_restart", {}), ("autoscale", {"max": 9})),
        *(
            ("add_consumer", {"queue": SECRET}),
            ("cancel_consumer", {"queue": "bt"}),
            ("revoke", {"task_id": "x", "terminate": True}),
        ),
        *(("rate_limit", {"task_name": "backtrail.batch", "rate_limit": "1/h"}), ("disable_events", {}), ("memdump", {})),
        *(("time_limit", {"task_name": "backtrail.batch", "hard": 1}), ("terminate", {"signal": "KILL", "task_id": "x"})),
        *(("election", {"id": "1", "topic": "x"}), ("hello", {"from_node": "x", "revoked": {"x": 1}}), (SECRET, {})),
    ]
    with world.place.worker() as worker:
        until(lambda: world.place.json("status")["workers"], what="the worker in `status`")
        family = pool(worker)
        assert len(family) == 3
        until(lambda: len(control.inspect(timeout=2, limit=1).ping() or {}) == 1, what="an answer to ping")
        for order, arguments in orders:
            control.broadcast(order, arguments=arguments)
        control.broadcast("ping", pattern="(a+)+$", matcher="pcre")
        control.broadcast("enable_events", arguments={SECRET: 1})
        until_counted(world, len(orders) + 2)
        inspect = control.inspect(timeout=5, limit=1)
        (queues,) = (inspect.active_queues() or {}).values()
        assert [one["name"] for one in queues] == ["bt"]
        (stats,) = (inspect.stats() or {}).values()
        assert len(stats["pool"]["processes"]) == 2
        assert all(getattr(inspect, name)() for name in ("registered", "active", "reserved", "scheduled", "revoked", "conf"))
        assert pool(worker) == family
        assert SECRET not in worker.text and "Traceback" not in worker.text
        world.populate(50)
        assert world.enqueue()["state"] == "completed"
