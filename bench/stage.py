"""Backtrail on one database: a ledger, the embedded broker, one warm worker, and campaigns that are timed."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backtrail.discovery import Found, find
from backtrail.settings import Settings, load
from bench.machine import Spent, broker_of, peak_mb
from bench.processes import worker
from bench.run import Figures, Run, Wrong, logged, until
from ledger.keyring import new_master
from ledger.ledger import Ledger
from ledger.processes import cores
from ledger.verify import Verifier
from producer.campaign import open_campaign
from producer.context import open_ledger
from producer.order import Order

WARM_BATCH = 10
"""So small that each of the processes gets some of the first users."""


@dataclass
class Stage:
    """What a measure of Backtrail plays on."""

    run: Run
    url: str
    settings: Settings
    ledger: Ledger
    worker: subprocess.Popen[bytes]
    done: Callable[[int], bool]

    @property
    def found(self) -> Found:
        """The migration's code."""
        return find(self.run.workload.source)

    def warm(self) -> None:
        """The first users are migrated."""
        warm = self.run.warm
        self.campaign(Order("migrate", options={"limit": warm}, batch_size=WARM_BATCH), warm)

    def migrate(self, users: int, failed: int = 0) -> Figures:
        """The figures of a campaign over all that are left: time, processor time by role, peak memory, the ledger's size."""
        runtime = str(self.settings.runtime_dir)
        server = self.run.database.server_process(self.url)
        spent = Spent(client=self.worker.pid, server=server, broker=broker_of(runtime))
        order = Order("migrate", options={"max_failures": "50%"} if failed else {}, batch_size=self.run.batch_size)
        figures: Figures = {"users": users, "seconds": self.campaign(order, users - failed, failed)}
        figures |= spent.per_user(users)
        figures["cpu_us_per_user"] = sum(value for name, value in figures.items() if name.endswith("_us_per_user"))
        figures["worker_peak_mb"] = peak_mb(self.worker.pid)
        figures["ledger_bytes_per_user"] = self.run.database.ledger_bytes(self.url) / (users + self.run.warm)
        return figures

    def again(self) -> Figures:
        """The figures of a campaign with nothing to do."""
        return {"users": self._all(), "seconds": self.campaign(Order("migrate", batch_size=self.run.batch_size), 0)}

    def rollback(self, users: int) -> Figures:
        """The figures of the rollback of all."""
        order = Order("rollback", options={"from": "streams", "state": "migrated"}, batch_size=self.run.batch_size)
        return {"users": users, "seconds": self.campaign(order, users)}

    def verify(self, *, code: bool) -> Figures:
        """The figures of verify; with the author's code asked again, or without."""
        opening = partial(open_ledger, self.settings)
        begin = time.perf_counter()
        document = Verifier(self.ledger, self.found.bound({}), jobs=cores(), opening=opening, code=code).run()
        if not document["ok"]:
            raise Wrong(f"verify finds problems: {document}")
        return {"users": self._all(), "seconds": time.perf_counter() - begin}

    def campaign(self, order: Order, expected: int, failed: int = 0) -> float:
        """How many seconds passed from opening the campaign to its last commit."""
        begin = time.perf_counter()
        campaign = open_campaign(self.ledger, self.found, order, jobs=cores())
        until(lambda: self.done(campaign.id), f"the end of {campaign.name}")
        seconds = time.perf_counter() - begin
        until(lambda: self._completed(campaign.id), f"the close of {campaign.name}")
        with self.ledger.store.transaction(write=False) as tx:
            tally = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id].tally
        if (tally.migrated + tally.rolled_back, tally.failed) != (expected, failed):
            raise Wrong(f"{campaign.kind} of {expected} entities, of which {failed} should fail: {tally}")
        return seconds

    def _completed(self, number: int) -> bool:
        with self.ledger.store.transaction(write=False) as tx:
            return self.ledger.campaigns.find(tx, str(number)).state == "completed"

    def _all(self) -> int:
        return self.run.users + self.run.warm


@contextmanager
def stage(run: Run, url: str, *, encrypted: bool = False) -> Iterator[Stage]:
    """Backtrail on that database, for as long as the context lasts."""
    with ExitStack() as stack:
        runtime = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bt-")))
        more: dict[str, Any] = {"master_key_file": _master(runtime)} if encrypted else {}
        settings = load(database_url=url, runtime_dir=runtime, **more)
        log = stack.enter_context(logged())
        ledger = open_ledger(settings)
        stack.enter_context(closing(ledger.store))
        if encrypted:
            ledger.create()
        process = stack.enter_context(worker(settings, run.processes, log))
        yield Stage(run, url, settings, ledger, process, stack.enter_context(run.database.progress(url)))


def _master(folder: Path) -> Path:
    master = folder / "master"
    master.touch(mode=0o600)
    master.write_text(new_master())
    return master
