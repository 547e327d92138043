"""Workers, brokers and connections that are lost in mid-campaign: nothing is lost with them, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg
import pytest
import redis

from tests import servers
from tests.acceptance.world import SLOWLY, World
from tests.processes import gone, killed_at_once, those_with
from tests.servers import until

USERS = 2000
AT_ONCE_S = 15
"""Within how many seconds after a loss a campaign goes on."""


def begun(world: World) -> None:
    """Returns in the midst of the campaign c1."""
    world.until_done("c1", 300)
    assert world.done("c1") < USERS


def goes_on(world: World, since: float, what: str) -> None:
    """Returns once more is done than was done; fails if that takes long."""
    done = world.done("c1")
    assert done < USERS
    world.until_done("c1", done + 1)
    took = time.monotonic() - since
    assert took < AT_ONCE_S, f"{what}: {took:.1f} s until it goes on"


def completed(world: World, before: list[tuple[object, ...]]) -> None:
    """Returns once the campaign is completed with everybody migrated once."""
    ended = world.place.json("status", "c1", "--watch")
    assert (ended["state"], ended["migrated"], ended["failed"], ended["skipped"]) == ("completed", USERS, 0, 0)
    world.demand_migrated(before)


@pytest.mark.long
@pytest.mark.parametrize(
    ("alone", "whole"),
    [
        ("sqlite", "the worker alone"),
        ("postgres", "its session"),
        ("sqlite", "everything"),
        ("postgres", "everything"),
        ("mongo", "everything"),
    ],
    indirect=["alone"],
)
def test_a_worker_killed_with_signal_9(alone: World, whole: str) -> None:
    """What the killed worker started ends by itself, and a new worker goes on at once where it was."""
    alone.write(SLOWLY)
    alone.populate(USERS)
    before = alone.users()
    place = alone.place
    place.run("enqueue", alone.source)
    with place.worker("killed") as worker:
        begun(alone)
        family = worker.family()
        if whole == "the worker alone":
            worker.kill()
        elif whole == "its session":
            worker.kill_session()
        else:  # as if the power went: the companion, the broker and its keeper too
            killed_at_once(lambda: {*family, *those_with(str(place.folder))})
        until(lambda: gone(family), what="the end of the killed worker's family", timeout=10)
    until(lambda: not those_with(str(place.folder)), what="the end of everything", timeout=15)
    since = time.monotonic()
    with place.worker("next") as worker:
        goes_on(alone, since, whole)
        completed(alone, before)
        assert (
            time.monotonic() - since < AT_ONCE_S + 15
        )  # what the killed one had in hand too, which MongoDB would keep for a minute
        assert worker.end(signal.SIGTERM) == 0
    until(lambda: not those_with(str(place.folder)), what="the end of everything", timeout=15)


@pytest.mark.long
def test_one_of_two_workers_is_killed(alone_postgres: World, broker: str) -> None:
    """The batches that a killed worker had in hand are done by the one that is left, soon and not after a queue's time-out."""
    world = alone_postgres.at(broker)
    world.write(SLOWLY)
    world.populate(USERS)
    before = world.users()
    world.place.run("enqueue", world.source)
    with world.place.worker("first"), world.place.worker("second") as second:
        begun(world)
        until(lambda: len(world.place.json("status")["workers"]) == 2, what="both workers in `status`")
        second.kill()
        since = time.monotonic()
        completed(world, before)
        assert time.monotonic() - since < AT_ONCE_S + 10  # all the rest has to be done too


@pytest.mark.long
def test_a_broker_that_loses_everything(alone_postgres: World) -> None:
    """A broker killed with all of its messages, and started again empty: the feeder notices and sends again what was lost."""
    port = servers.free_port()
    world = alone_postgres.at(f"redis://127.0.0.1:{port}/0")
    world.write(SLOWLY)
    world.populate(USERS)
    before = world.users()
    with servers.valkey(port=port):
        world.place.run("enqueue", world.source)
        with world.place.worker() as worker:
            begun(world)
            with redis.Redis.from_url(str(world.place.broker)) as client:  # while batches run that are acknowledged late
                os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
            worker.says("Connection to broker lost")
            with servers.valkey(port=port):
                goes_on(world, time.monotonic(), "after the loss of the broker")
                with redis.Redis.from_url(str(world.place.broker)) as client:
                    client.flushall()
                goes_on(world, time.monotonic(), "after the broker was emptied")
                completed(world, before)
            assert worker.process.poll() is None and worker.text.count(" ready.") == 1, "it is the same worker"


@pytest.mark.long
def test_connections_to_the_database_are_cut(alone_postgres: World) -> None:
    """Every connection to the database is cut again and again during a campaign: no user fails, none is done twice."""
    world = alone_postgres
    world.write(SLOWLY)
    world.populate(USERS)
    before = world.users()
    place = world.place
    cut, stop = 0, threading.Event()

    def cutter() -> None:
        nonlocal cut
        with psycopg.connect(world.url, autocommit=True) as connection:
            while not stop.wait(1.0):
                query = (
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'backtrail'"
                )
                cut += connection.execute(query).fetchone()[0]

    with place.worker():
        opened = place.json("enqueue", world.source, "--batch-size", "25")
        assert opened["state"] == "open"
        begun(world)
        thread = threading.Thread(target=cutter)
        thread.start()
        try:
            world.until_done("c1", 1500)
        finally:
            stop.set()
            thread.join()
        completed(world, before)
    assert cut > 5
