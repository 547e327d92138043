"""Bad data quarantines one; locks, deadlocks and other people's writes quarantine nobody."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.acceptance.sql_eyes import sql_eye
from tests.acceptance.world import World
from tests.servers import until


def test_one_bad_user_of_a_batch_fails_alone_and_is_mended(world: World) -> None:
    """A user whose row the database refuses: 99 migrated, 1 failed with its reason; mended and re-run it is migrated."""
    world.populate(100)
    world.rename(50, "Ann Bad")
    before = world.users()
    ended = world.enqueue(code=1)
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 99, 1)
    shown = world.place.json("status", ended["campaign"])
    assert [(one["key"], one["error"]) for one in shown["failures"]] == [("50", "ConstraintFailed")]
    assert "last" in shown["failures"][0]["reason"] or "check" in shown["failures"][0]["reason"]
    assert "Ann" not in str(shown["failures"])
    told = world.place.json("history", world.source, "50")
    assert [event["kind"] for event in told] == ["begin", "failed"]
    assert told[1]["data"]["error"] == "ConstraintFailed"
    assert world.users()[49] == before[49]
    assert len(world.people()) == 99

    world.rename(50, "Ann Good")
    before = [*before[:49], (50, "Ann Good", before[49][2]), *before[50:]]
    again = world.rerun("--failed")
    assert (again["state"], again["total"], again["migrated"], again["failed"]) == ("completed", 1, 1, 0)
    world.demand_migrated(before)


@pytest.mark.long
def test_a_lock_held_for_long_fails_nobody(world: World) -> None:
    """A lock held several times longer than a batch waits for one (a second) delays its batch, and quarantines nobody."""
    world.populate(100)
    before = world.users()
    # The last user's turn comes after four seconds: the lock is there before it.
    opened = world.place.json("enqueue", world.source, "--batch-size", "5", "--rate", "25")
    begun, held_at = time.monotonic(), time.time()
    with world.eye.held(world.prefix, 100, 5.5):
        pass
    ended = world.place.json("status", opened["campaign"], "--watch")
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 100, 0)
    assert time.monotonic() - begun < 20
    last = world.place.json("history", world.source, "100")
    assert dt.datetime.fromisoformat(last[-1]["at"]).timestamp() > held_at + 5
    world.demand_migrated(before)


@pytest.mark.long
def test_a_hundred_deadlocks_fail_nobody(alone_postgres: World) -> None:
    """An application that deadlocks with a hundred batches, the worker being the victim each time: all are migrated, none fails.

    It tries with 120: on a busy machine a circle may be closed only after PostgreSQL has looked for it, and then is none.
    """
    world, batches, size = alone_postgres, 120, 10
    world.populate(batches * size)
    before = world.users()
    sql = sql_eye(world.url)
    name = sql.one("SELECT current_database()")
    # So long has the circle to be closed; then PostgreSQL looks for it, once, and well before the worker gives up by itself.
    sql.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '400ms'")
    connections = []
    try:
        for batch in range(batches):
            # Holds the last row of a batch; once the worker waits for it, wants the first one too, and has all patience.
            connection = psycopg.connect(world.url, options="-c deadlock_timeout=30s")
            connection.execute(f"SELECT 1 FROM {world.prefix}_users WHERE id = {(batch + 1) * size} FOR UPDATE")
            connections.append(connection)

        def closes_the_circle(at: int) -> None:
            connections[at].execute(f"SELECT 1 FROM {world.prefix}_users WHERE id = {at * size + 1} FOR UPDATE")
            connections[at].commit()

        by_pid = {connection.info.backend_pid: at for at, connection in enumerate(connections)}
        with (
            world.place.worker(processes=4, BACKTRAIL_LOCK_TIMEOUT_MS="5000"),
            ThreadPoolExecutor(batches) as pool,
            psycopg.connect(world.url, autocommit=True) as eye,
        ):
            world.place.run("enqueue", world.source, "--batch-size", str(size))
            waiting = "SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
            deadline = time.monotonic() + 90
            while by_pid and time.monotonic() < deadline:
                for (pid,) in eye.execute(waiting, [name]).fetchall():
                    if pid in by_pid:
                        pool.submit(closes_the_circle, by_pid.pop(pid))
                time.sleep(0.005)
            assert not by_pid
            ended = world.place.json("status", "c1", "--watch")

            def counted() -> bool:
                return int(sql.one(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'")) >= 100

            until(counted, what="the count of the deadlocks")
    finally:
        for connection in connections:
            connection.close()
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", batches * size, 0)
    world.demand_migrated(before)
