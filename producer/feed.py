"""The companion of a worker: it shows that the worker is alive, and feeds the queue when it is the one that leads.

`python -m producer.feed NAME PROCESSES` is the companion of the worker of that name; it ends when its standard input does.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

from backtrail._version import __version__
from backtrail.errors import BacktrailError, LedgerTooNew, Retry
from backtrail.settings import load
from backtrail.stores import open_store
from ledger.keyring import read_masters
from ledger.ledger import Ledger
from producer.feeder import Feeder
from producer.inbox import Inbox
from producer.probes import Probes
from producer.queue import Queue

log = logging.getLogger(__name__)

IDLE_S = 0.1
"""How long the feeder rests when there is nothing to feed."""

PRESENCE_S = 4.0
"""How often a worker shows that it is alive."""


class Companion:
    """Shows that a worker is alive, and feeds when it leads, until told to stop."""

    def __init__(
        self, ledger: Ledger, queue: Queue, worker: str, processes: int = 1, hold: Callable[[], str | None] = lambda: None
    ) -> None:
        """A companion.

        Args:
            ledger: where the worker is shown to be alive.
            queue: what it feeds.
            worker: the worker's name.
            processes: how many the worker has.
            hold: says why nothing is to be sent just now, if so.
        """
        self.ledger, self.worker, self.processes = ledger, worker, processes
        self.owner = f"{worker}/{uuid.uuid4().hex[:8]}"
        self.feeder = Feeder(ledger, queue, self.owner, hold)
        self.inbox = Inbox(worker)
        self.stop = self.inbox.stopping

    def run(self) -> None:
        """Nothing; it returns when it is told to stop."""
        info = {"release": __version__, "host": platform.node(), "pid": os.getppid(), "processes": self.processes}
        seen, shown = 0.0, self.feeder.news
        while not self.stop.is_set():
            busy = False
            try:
                if seen <= 0 or shown != self.feeder.news:
                    shown = self.feeder.news
                    self._show(info | shown)
                    seen = PRESENCE_S
                busy = self.feeder.step()
                self.inbox.record(self.ledger)
            except Retry as error:
                log.info("the feeder waits: %s", error)
            except BacktrailError as error:
                log.warning("the feeder waits: %s", error)
                self.stop.wait(1.0)
                seen -= 1.0
            rest = IDLE_S / 2 if busy else IDLE_S
            seen -= rest
            self.stop.wait(rest)
        self._leave()

    def _show(self, info: dict[str, Any]) -> None:
        refuses = dict(self.feeder.refuses)
        try:
            self.ledger.create()
        except LedgerTooNew as error:
            refuses["*"] = f"release {__version__}: {error}"
        # Also in a ledger of a newer form: what a worker says of itself all releases write alike, and `status` shall name this one.
        with self.ledger.store.transaction() as tx:
            self.ledger.presence.show(tx, self.owner, info | {"refuses": refuses})

    def record_the_rest(self) -> None:
        """Nothing; it returns when the worker has ended, and all is recorded that it had to say."""
        while not self.inbox.ended.wait(0.5):
            self.inbox.record(self.ledger)
        self.inbox.record(self.ledger)

    def _leave(self) -> None:
        try:
            with self.ledger.store.transaction() as tx:
                self.ledger.presence.leave(tx, self.owner)
        except BacktrailError as error:
            log.info("the feeder leaves without a word: %s", error)


def main() -> None:
    """Runs the companion of the worker named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("alembic", "kombu", "celery"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = load()
    store = open_store(settings.database(), lock_timeout_ms=max(settings.lock_timeout_ms, 5000))
    ledger = Ledger(store, read_masters(settings.master_key_file))
    queue, processes = Queue(str(settings.broker_url), settings.queue), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    companion = Companion(ledger, queue, sys.argv[1], processes, Probes(settings, store).hold)

    # The pipe from the worker closes when the worker ends, however it ends.
    threading.Thread(target=companion.inbox.read, args=(0,), daemon=True).start()
    companion.run()
    companion.record_the_rest()


if __name__ == "__main__":
    main()
