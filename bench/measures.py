"""What is measured: each measure on a fresh database, with whatever it needs running and warm before the clock starts."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from backtrail.discovery import find
from backtrail.settings import load
from backtrail.stores import open_store
from bench import bulk, naive
from bench.databases import Database
from bench.machine import Meter
from ledger.ledger import Ledger
from ledger.verify import Verifier
from producer.campaign import Order, open_campaign
from producer.processes import start_worker
from tests import servers

MIGRATION = "backtrail.catalog.unified_profile.migration:UnifiedProfile"
WARM = 200
"""Users that are migrated before the clock starts, so that every process has made its connections."""

POLL_S = 0.02
PATIENCE_S = 900.0

Figures = dict[str, float]


class Wrong(Exception):
    """A measure did not do what it measures."""


def until(true: Callable[[], object], what: str) -> None:
    """Returns once it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise Wrong(f"{what} did not happen")
        time.sleep(POLL_S)


# -- (b) the bulk script ----------------------------------------------------------------------------------------------


def run_bulk(database: Database, users: int, processes: int, states: dict[str, str]) -> dict[str, Figures]:
    """The hand-written bulk script without ledger."""
    with database.fresh(users + WARM) as url:
        seconds = bulk.run(url, processes)
        _agree(states, "new", database.digest(url, new=True))
    return {"bulk": {"users": users + WARM, "seconds": seconds}}


def _agree(states: dict[str, str], name: str, digest: str) -> None:
    if states.setdefault(name, digest) != digest:
        raise Wrong(f"two measures that should leave the same {name} rows left different ones")


# -- (c) a task per user ----------------------------------------------------------------------------------------------


def run_naive(database: Database, users: int, processes: int, states: dict[str, str]) -> dict[str, Figures]:
    """One Celery task and one ORM commit per user."""
    with database.fresh(users + WARM) as url, servers.valkey() as broker, _logged() as log:
        keys = [row[0] for row in database.query(url, "SELECT id FROM users ORDER BY id")]
        worker = naive.start_worker(url, broker, processes, log)
        try:
            with Celery("bench", broker=broker, set_as_current=False) as app:
                _send(app, database, url, keys[:WARM], WARM)
                begin = time.perf_counter()
                _send(app, database, url, keys[WARM:], len(keys))
                seconds = time.perf_counter() - begin
        finally:
            _end(worker)
        _agree(states, f"first {users + WARM} users' new", database.digest(url, new=True))
    return {"naive": {"users": users, "seconds": seconds}}


def _send(app: Celery, database: Database, url: str, keys: list[str], total: int) -> None:
    for key in keys:
        app.send_task("bench.naive.migrate", args=(key,))
    until(lambda: database.count(url, "unified_profiles") == total, "the last of the tasks")


# -- (d) to (g): Backtrail --------------------------------------------------------------------------------------------


def run_backtrail(database: Database, users: int, processes: int, states: dict[str, str]) -> dict[str, Figures]:
    """Backtrail end to end: all, again (nothing to do), verify, all back; with the embedded broker and one warm worker."""
    found = find(MIGRATION)
    total = users + WARM
    with database.fresh(total) as url, tempfile.TemporaryDirectory(prefix="bt-") as runtime, _logged() as log:
        old = database.digest(url, new=False)
        settings = load(database_url=url, runtime_dir=runtime)
        ledger = Ledger(open_store(url, lock_timeout_ms=5000))
        worker = start_worker(settings, concurrency=processes, log=log)
        try:
            _campaign(database, url, ledger, Order("migrate", options={"limit": WARM}, batch_size=10), WARM)
            meter = Meter({"worker": worker.pid, **database.servers(url)}, broker=runtime)
            figures = {}
            meter.start()
            order = Order("migrate", batch_size=settings.batch_size)
            seconds = _campaign(database, url, ledger, order, users)
            figures["backtrail"] = {"users": users, "seconds": seconds, **meter.stop(users)}
            figures["backtrail"]["ledger_bytes_per_user"] = database.ledger_bytes(url) / total
            seconds = _campaign(database, url, ledger, order, 0)
            figures["again"] = {"users": total, "seconds": seconds}
            begin = time.perf_counter()
            document = Verifier(ledger, found).run()
            figures["verify"] = {"users": total, "seconds": time.perf_counter() - begin}
            if not document["ok"]:
                raise Wrong(f"verify finds problems: {document}")
            _agree(states, "new", database.digest(url, new=True))
            order = Order("rollback", options={"from": "streams", "state": "migrated"}, batch_size=settings.batch_size)
            seconds = _campaign(database, url, ledger, order, total)
            figures["rollback"] = {"users": total, "seconds": seconds}
        finally:
            ledger.store.close()
            _end(worker)
        left = database.count(url, "unified_profiles") + database.count(url, "context_intents")
        if left or database.digest(url, new=False) != old:
            raise Wrong(f"the rollback of all left {left} rows, or changed the old ones")
    return figures


def _campaign(database: Database, url: str, ledger: Ledger, order: Order, expected: int) -> float:
    """How many seconds passed from opening the campaign to its last commit."""
    begin = time.perf_counter()
    campaign = open_campaign(ledger, find(MIGRATION), order)
    until(lambda: database.is_done(url, campaign.id), f"the end of {campaign.name}")
    seconds = time.perf_counter() - begin
    with ledger.store.transaction(write=False) as tx:
        tally = ledger.campaigns.progress(tx, [campaign.id])[campaign.id].tally
    if tally.failed or tally.migrated + tally.rolled_back != expected:
        raise Wrong(f"{campaign.kind} of {expected} entities: {tally}")
    return seconds


# -- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def _logged() -> Iterator[int]:
    """An open file for what processes say; it is shown if the block fails."""
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bt-bench-"))) / "log"
        with path.open("wb") as file:
            try:
                yield file.fileno()
            except BaseException:
                print(path.read_text(errors="replace")[-3000:])
                raise


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


Measure = Callable[[Database, int, int, dict[str, str]], dict[str, Figures]]
MEASURES: dict[str, tuple[Measure, Any]] = {
    "bulk": (run_bulk, "users"),
    "backtrail": (run_backtrail, "users"),
    "naive": (run_naive, "naive_users"),
}
