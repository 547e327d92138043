"""The companion of a worker: it shows that the worker is alive, and feeds the queue when it is the one that leads.

`python -m producer.feed NAME` is the companion of the worker of that name; it ends when its standard input does.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import uuid

from backtrail._version import __version__
from backtrail.errors import BacktrailError, Retry
from backtrail.settings import load
from backtrail.stores import open_store
from ledger.keyring import read_masters
from ledger.ledger import Ledger
from producer.feeder import Feeder
from producer.queue import Queue

log = logging.getLogger(__name__)

IDLE_S = 0.25
"""How long the feeder rests when there is nothing to feed."""

PRESENCE_S = 4.0
"""How often a worker shows that it is alive."""


class Companion:
    """Shows that a worker is alive, and feeds when it leads, until told to stop."""

    def __init__(self, ledger: Ledger, queue: Queue, worker: str) -> None:
        self.ledger, self.worker = ledger, worker
        self.owner = f"{worker}/{uuid.uuid4().hex[:8]}"
        self.feeder = Feeder(ledger, queue, self.owner)
        self.stop = threading.Event()

    def run(self) -> None:
        """Nothing; it returns when it is told to stop."""
        info = {"release": __version__, "host": platform.node(), "pid": os.getppid()}
        seen = 0.0
        while not self.stop.is_set():
            busy = False
            try:
                if seen <= 0:
                    self.ledger.create()
                    with self.ledger.store.transaction() as tx:
                        self.ledger.presence.show(tx, self.owner, info)
                    seen = PRESENCE_S
                busy = self.feeder.step()
            except Retry as error:
                log.info("the feeder waits: %s", error)
            except BacktrailError as error:
                log.warning("the feeder waits: %s", error)
                self.stop.wait(1.0)
                seen -= 1.0
            rest = IDLE_S / 5 if busy else IDLE_S
            seen -= rest
            self.stop.wait(rest)
        self._leave()

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
    companion = Companion(ledger, Queue(str(settings.broker_url), settings.queue), sys.argv[1])

    def watch() -> None:
        # The pipe from the worker closes when the worker ends, however it ends.
        while os.read(0, 4096):
            pass
        companion.stop.set()

    threading.Thread(target=watch, daemon=True).start()
    companion.run()


if __name__ == "__main__":
    main()
