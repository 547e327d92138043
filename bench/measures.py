"""What is measured: each measure on a fresh database, with whatever it needs running and warm before the clock starts."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery

from backtrail.discovery import find
from backtrail.settings import Settings, load
from bench import bulk, naive
from bench.databases import Database
from bench.machine import Meter
from ledger.keyring import new_master
from ledger.ledger import Ledger
from ledger.verify import Verifier, cores
from producer.campaign import open_campaign
from producer.context import open_ledger
from producer.order import Order
from producer.processes import start_worker
from tests import servers

MIGRATION = "backtrail.catalog.unified_profile.migration:UnifiedProfile"
WARM = 200
"""Users that are migrated before the clock starts, so that every process has made its connections."""

POLL_S = 0.02
PATIENCE_S = 900.0

Figures = dict[str, float]


@dataclass
class Run:
    """What one run of the benchmark measures on one database."""

    database: Database
    users: int
    naive_users: int
    processes: int
    batch_size: int
    states: dict[str, str] = field(default_factory=dict)
    """Digests of what the measures should leave alike."""

    def fresh(self) -> Any:
        """A context with the URL of a new database."""
        return self.database.fresh(self.users + WARM)

    def agree(self, url: str, name: str, *, users: list[str] | None = None) -> None:
        """Nothing, where the new rows are what every other measure left."""
        digest = self.database.digest(url, new=True, users=None if users is None else set(users))
        if self.states.setdefault(name, digest) != digest:
            raise Wrong(f"two measures that should leave the same rows for {name} left different ones")

    def first(self, url: str) -> list[str]:
        """The keys of the users that also the naive way migrates, those for warming first."""
        return [row[0] for row in self.database.rows(url, f"SELECT id FROM users ORDER BY id LIMIT {self.naive_users + WARM}")]


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


def run_bulk(run: Run) -> dict[str, Figures]:
    """The hand-written bulk script without ledger."""
    with run.fresh() as url:
        seconds = bulk.run(url, run.processes)
        run.agree(url, "all users")
        run.agree(url, "the first users", users=run.first(url))
    return {"bulk": {"users": run.users + WARM, "seconds": seconds}}


# -- (c) a task per user ----------------------------------------------------------------------------------------------


def run_naive(run: Run) -> dict[str, Figures]:
    """One Celery task and one ORM commit per user."""
    with run.fresh() as url, servers.valkey() as broker, _logged() as log:
        keys = run.first(url)
        worker = naive.start_worker(url, broker, run.processes, log)
        try:
            with Celery("bench", broker=broker, set_as_current=False) as app, closing(run.database.connect(url)) as connection:
                _send(app, connection, keys[:WARM], WARM)
                begin = time.perf_counter()
                _send(app, connection, keys[WARM:], len(keys))
                seconds = time.perf_counter() - begin
        finally:
            _end(worker)
        run.agree(url, "the first users")
    return {"naive": {"users": run.naive_users, "seconds": seconds}}


def _send(app: Celery, connection: Any, keys: list[str], total: int) -> None:
    for key in keys:
        app.send_task("bench.naive.migrate", args=(key,))
    until(lambda: connection.execute("SELECT count(*) FROM unified_profiles").fetchone()[0] == total, "the last of the tasks")


# -- (d) to (g): Backtrail --------------------------------------------------------------------------------------------


def run_backtrail(run: Run) -> dict[str, Figures]:
    """Backtrail end to end: all, again (nothing to do), verify, all back; with the embedded broker and one warm worker."""
    database, total = run.database, run.users + WARM
    with run.fresh() as url, tempfile.TemporaryDirectory(prefix="bt-") as runtime, _logged() as log:
        old = database.digest(url, new=False)
        settings = load(database_url=url, runtime_dir=Path(runtime))
        with (
            closing_ledger(settings) as ledger,
            _worker(settings, run.processes, log) as worker,
            closing(database.connect(url)) as connection,
        ):

            def seconds(order: Order, expected: int) -> float:
                return _campaign(lambda number: database.ledger_done(connection, number), ledger, order, expected)

            order = Order("migrate", batch_size=run.batch_size)
            seconds(Order("migrate", options={"limit": WARM}, batch_size=10), WARM)
            meter = Meter(worker.pid, database.server_process(url), runtime)
            migrate: Figures = {"users": run.users, "seconds": seconds(order, run.users)}
            migrate |= meter.read(run.users)
            migrate["ledger_bytes_per_user"] = database.ledger_bytes(url) / total
            again: Figures = {"users": total, "seconds": seconds(order, 0)}
            verify: Figures = {"users": total, "seconds": _verify(ledger, settings)}
            run.agree(url, "all users")
            order = Order("rollback", options={"from": "streams", "state": "migrated"}, batch_size=run.batch_size)
            rollback: Figures = {"users": total, "seconds": seconds(order, total)}
        left = database.count(url, "unified_profiles") + database.count(url, "context_intents")
        if left or database.digest(url, new=False) != old:
            raise Wrong(f"the rollback of all left {left} rows, or changed the old ones")
    return {"backtrail": migrate, "again": again, "verify": verify, "rollback": rollback}


def run_encrypted(run: Run) -> dict[str, Figures]:
    """Backtrail end to end with an encrypted ledger: as above, and only there."""
    database, total = run.database, run.users + WARM
    with run.fresh() as url, tempfile.TemporaryDirectory(prefix="bt-") as runtime, _logged() as log:
        master = Path(runtime) / "master"
        master.touch(mode=0o600)
        master.write_text(new_master())
        settings = load(database_url=url, runtime_dir=Path(runtime), master_key_file=master)
        with (
            closing_ledger(settings) as ledger,
            _worker(settings, run.processes, log) as worker,
            closing(database.connect(url)) as connection,
        ):
            ledger.create()
            done = partial(database.ledger_done, connection)
            _campaign(done, ledger, Order("migrate", options={"limit": WARM}, batch_size=10), WARM)
            meter = Meter(worker.pid, database.server_process(url), runtime)
            order = Order("migrate", batch_size=run.batch_size)
            figures: Figures = {"users": run.users, "seconds": _campaign(done, ledger, order, run.users)}
            figures |= meter.read(run.users)
            figures["ledger_bytes_per_user"] = database.ledger_bytes(url) / total
            run.agree(url, "all users")
    return {"encrypted": figures}


def _campaign(done: Callable[[int], bool], ledger: Ledger, order: Order, expected: int) -> float:
    """How many seconds passed from opening the campaign to its last commit."""
    begin = time.perf_counter()
    campaign = open_campaign(ledger, find(MIGRATION), order)
    until(lambda: done(campaign.id), f"the end of {campaign.name}")
    seconds = time.perf_counter() - begin
    with ledger.store.transaction(write=False) as tx:
        tally = ledger.campaigns.progress(tx, [campaign.id])[campaign.id].tally
    if tally.failed or tally.migrated + tally.rolled_back != expected:
        raise Wrong(f"{campaign.kind} of {expected} entities: {tally}")
    return seconds


def _verify(ledger: Ledger, settings: Settings) -> float:
    begin = time.perf_counter()
    document = Verifier(ledger, find(MIGRATION), jobs=cores(), opening=partial(open_ledger, settings)).run()
    if not document["ok"]:
        raise Wrong(f"verify finds problems: {document}")
    return time.perf_counter() - begin


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


@contextmanager
def closing_ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = open_ledger(settings)
    try:
        yield ledger
    finally:
        ledger.store.close()


@contextmanager
def _worker(settings: Settings, processes: int, log: int) -> Iterator[subprocess.Popen[bytes]]:
    worker = start_worker(settings, concurrency=processes, log=log)
    try:
        yield worker
    finally:
        _end(worker)


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


MEASURES = {"bulk": run_bulk, "backtrail": run_backtrail, "encrypted": run_encrypted, "naive": run_naive}
"""All measures by name, in the order in which they take turns."""
