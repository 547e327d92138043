"""Bad data quarantines one; locks, deadlocks and other people's writes quarantine nobody."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing

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
    held_at = time.time()
    with world.eye.held(world.prefix, 100, 5.5):
        pass
    ended = world.place.json("status", opened["campaign"], "--watch")
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 100, 0)
    last = world.place.json("history", world.source, "100")
    assert dt.datetime.fromisoformat(last[-1]["at"]).timestamp() > held_at + 5
    world.demand_migrated(before)


@pytest.mark.long
def test_a_hundred_deadlocks_fail_nobody(alone_postgres: World) -> None:
    """An application that deadlocks with a hundred batches, the worker being the victim each time: all are migrated, none fails.

    The application has inserted what the worker will insert for the first user of each batch, and wants that user too. A doorkeeper holds
    the user until the worker waits for it, and the application behind the worker: who is let through then closes the circle, with nobody
    to be in time for it. It is closed within one user, so that it does not matter how many go into a transaction.
    """
    world, batches, size, doors = alone_postgres, 100, 10, 20
    world.populate(batches * size)
    before = world.users()
    sql = sql_eye(world.url)
    name = sql.one("SELECT current_database()")
    # Without it, the application's insertion would hold the user a little, and whoever holds it already does not stand in line.
    sql.execute(f"ALTER TABLE {world.prefix}_people DROP CONSTRAINT {world.prefix}_people_user_id_fkey")
    # PostgreSQL looks for a circle after so long: the worker first, long before it gives up by itself, however busy the machine is.
    sql.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '500ms'")

    def connected(stack: ExitStack) -> psycopg.Connection:
        return stack.enter_context(closing(psycopg.connect(world.url, options="-c deadlock_timeout=30s")))

    def hold(connection: psycopg.Connection, user: int) -> None:
        connection.execute(f"SELECT 1 FROM {world.prefix}_users WHERE id = {user} FOR UPDATE")

    with ExitStack() as stack:
        application = [connected(stack) for _ in range(batches)]
        keepers = [connected(stack) for _ in range(doors)]
        for batch, connection in enumerate(application):
            connection.execute(f"INSERT INTO {world.prefix}_people (user_id, first) VALUES ({batch * size + 1}, 'Nobody')")
        for batch, connection in enumerate(keepers):
            hold(connection, batch * size + 1)

        def wants_the_user(batch: int) -> None:
            hold(application[batch], batch * size + 1)
            application[batch].rollback()

        def opens(batch: int) -> None:
            keeper = keepers[batch % doors]
            keeper.commit()
            del kept[keeper.info.backend_pid]
            if batch + doors < batches:
                hold(keeper, (batch + doors) * size + 1)
                kept[keeper.info.backend_pid] = batch + doors

        kept = {connection.info.backend_pid: batch for batch, connection in enumerate(keepers)}
        by_pid = {connection.info.backend_pid: batch for batch, connection in enumerate(application)}
        waits = "SELECT pid, unnest(pg_blocking_pids(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        stack.enter_context(world.place.worker(processes=4, BACKTRAIL_LOCK_TIMEOUT_MS="60000"))
        pool = stack.enter_context(ThreadPoolExecutor(batches))
        eye = stack.enter_context(psycopg.connect(world.url, autocommit=True))
        world.place.run("enqueue", world.source, "--batch-size", str(size))
        came: set[int] = set()
        wanted: list[Future[None]] = []

        def all_are_let_through() -> bool:
            found = eye.execute(waits, [name]).fetchall()
            for batch in {kept[blocker] for pid, blocker in found if blocker in kept} - came:
                came.add(batch)
                wanted.append(pool.submit(wants_the_user, batch))
            for batch in {by_pid.pop(pid) for pid, _ in found if pid in by_pid}:
                opens(batch)
            return not by_pid

        until(all_are_let_through, what="the end of the doorkeepers' work", timeout=90)
        ended = world.place.json("status", "c1", "--watch")
        for one in wanted:
            one.result()

        def counted() -> bool:
            return int(sql.one(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'")) >= batches

        until(counted, what="the count of the deadlocks")
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", batches * size, 0)
    world.demand_migrated(before)
