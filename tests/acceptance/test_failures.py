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
    """An application that deadlocks with batches until a hundred times the worker was the victim: all are migrated, none fails.

    The application has inserted what the worker will insert for the first user of a batch, and wants that user too. A doorkeeper holds
    the user until the worker waits for it, and the application behind the worker: who is let through then closes the circle, with nobody
    to be in time for it. Only a worker that gives way by itself, because it held locks for too long on a busy machine, escapes: so there
    are more batches than deadlocks.
    """
    world, batches, size, doors, wanted = alone_postgres, 400, 10, 20, 100
    world.populate(batches * size)
    before = world.users()
    sql = sql_eye(world.url)
    name = sql.one("SELECT current_database()")
    # Without it, the application's insertion would hold the user a little, and whoever holds it already does not stand in line.
    sql.execute(f"ALTER TABLE {world.prefix}_people DROP CONSTRAINT {world.prefix}_people_user_id_fkey")
    # PostgreSQL looks for a circle after so long: the worker first, long before it gives up by itself, however busy the machine is.
    sql.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '300ms'")
    waits = "SELECT pid, unnest(pg_blocking_pids(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    with ExitStack() as stack:

        def connected(options: str = "-c deadlock_timeout=60s") -> psycopg.Connection:
            return stack.enter_context(closing(psycopg.connect(world.url, options=options)))

        eye = connected()
        eye.autocommit = True
        ways = [Way(connected(), connected(), f"{world.prefix}_", batch * size + 1) for batch in range(doors)]
        stack.enter_context(world.place.worker(processes=8, BACKTRAIL_LOCK_TIMEOUT_MS="60000"))
        pool = stack.enter_context(ThreadPoolExecutor(doors))
        world.place.run("enqueue", world.source, "--batch-size", str(size))

        def deadlocks() -> int:
            return int(sql.one(f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"))

        def enough() -> bool:
            waiting = dict(eye.execute(waits, [name]).fetchall())
            for way in ways:
                if way.meeting is None and way.keeper.info.backend_pid in waiting.values():
                    way.meeting = pool.submit(way.meet)
                elif way.closed and way.application.info.backend_pid in waiting:
                    way.open()
                elif way.meeting is not None and way.meeting.done():
                    way.meeting.result()
                    way.close(way.user + doors * size)
            return deadlocks() >= wanted

        until(enough, what=f"{wanted} deadlocks", timeout=300)
        for way in ways:
            way.open()
        ended = world.place.json("status", "c1", "--watch")
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", batches * size, 0)
    world.demand_migrated(before)


class Way:
    """One user at a time whom a doorkeeper holds, and an application that will meet the worker there."""

    def __init__(self, keeper: psycopg.Connection, application: psycopg.Connection, prefix: str, user: int) -> None:
        self.keeper, self.application, self.prefix = keeper, application, prefix
        self.close(user)

    def close(self, user: int) -> None:
        """The way to that user is closed, and the application has inserted what the worker will."""
        self.user, self.closed = user, True
        self.meeting: Future[None] | None = None
        # A worker that was faster has made the same row, and meets nobody here.
        row = f"(user_id, first) VALUES ({user}, 'Nobody') ON CONFLICT DO NOTHING"
        self.application.execute(f"INSERT INTO {self.prefix}people {row}")
        self._hold(self.keeper)

    def meet(self) -> None:
        """Returns once the application has had the user: when the worker was made to let go of it."""
        self._hold(self.application)
        self.application.rollback()

    def open(self) -> None:
        """Whoever waits first gets the user; an application that does not wait gives up."""
        self.keeper.rollback()
        if self.meeting is None:
            self.application.rollback()
        self.closed = False

    def _hold(self, connection: psycopg.Connection) -> None:
        connection.execute(f"SELECT 1 FROM {self.prefix}users WHERE id = {self.user} FOR UPDATE")
