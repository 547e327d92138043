"""A campaign from one process to another, with no settings but the database."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.world import World
from tests.processes import gone, those_with
from tests.servers import until

USERS = 3000
BESIDE = ("campaigns", "batches", "workers", "leases", "sequence", "counters")
"""What a campaign over those who are migrated already may write."""


def demand_nothing_left(world: World) -> None:
    until(lambda: not those_with(str(world.place.folder)), what="the end of all processes of the place", timeout=15)


def test_one_process_enqueues_and_another_migrates(alone: World) -> None:
    """Enqueueing without a worker returns at once and says what to do; a worker started later does everybody, and leaves nothing."""
    alone.populate(USERS)
    before = alone.users()
    opened = alone.place.run("enqueue", alone.source)
    assert "start one: backtrail worker" in opened.err
    assert opened.seconds < 10
    assert alone.users() == before
    with alone.place.worker() as worker:
        ended = alone.place.json("status", "c1", "--watch")
        assert (ended["state"], ended["total"], ended["migrated"], ended["failed"]) == ("completed", USERS, USERS, 0)
        alone.demand_migrated(before)
        migrated = alone.dump(but=BESIDE)
        again = alone.place.run("enqueue", alone.source, "--watch", "--json")
        assert again.document["state"] == "completed"
        assert (again.document["migrated"], again.document["skipped"]) == (0, USERS)
        assert again.seconds < 10
        assert alone.dump(but=BESIDE) == migrated
        family = worker.family()
        assert len(family) >= 4  # the worker, its two processes and the companion
        own = os.nice(0)
        assert sum(one.nice() == own + 10 for one in family) == 2, "those that do the work give way, and nobody else"
        shares = Path(f"/proc/{worker.pid}/autogroup")
        assert not shares.exists() or shares.read_text().endswith(" nice 10\n"), "and so does their session"
        os.killpg(worker.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
        assert worker.process.wait(30) == 0
        assert "Traceback" not in worker.text
    until(lambda: gone(family), what="the end of the worker's family", timeout=15)
    demand_nothing_left(alone)


@pytest.mark.long
def test_watching_from_the_start_and_a_worker_of_celerys_own_command(alone_sqlite: World) -> None:
    """`enqueue --watch` waits for a worker, says so, and ends with the campaign; `celery -A worker worker` is a worker too."""
    alone_sqlite.populate(300)
    before = alone_sqlite.users()
    place = alone_sqlite.place
    with place.program("watcher", "producer.cli", "enqueue", alone_sqlite.source, "--watch", "--json") as watcher:
        watcher.says("no worker is alive")
        with place.program("celery", "celery", "-A", "worker", "worker", "-c", "2", "--loglevel", "INFO") as celery:
            celery.says(" ready")
            assert watcher.process.wait(60) == 0
            assert '"state": "completed"' in watcher.text
            alone_sqlite.demand_migrated(before)
            assert celery.end(signal.SIGTERM) == 0
    demand_nothing_left(alone_sqlite)


def test_a_watcher_that_is_stopped_leaves_nothing(alone_sqlite: World) -> None:
    """Ctrl-C on a watching command ends all that it started, in a word and not in a traceback, and leaves the campaign open."""
    alone_sqlite.populate(10)
    with alone_sqlite.place.program("watcher", "producer.cli", "enqueue", alone_sqlite.source, "--watch") as watcher:
        watcher.says("no worker is alive")
        assert watcher.end(signal.SIGINT) == 130
        assert "Traceback" not in watcher.text
    demand_nothing_left(alone_sqlite)
    assert alone_sqlite.place.json("status", "c1")["state"] == "open"
