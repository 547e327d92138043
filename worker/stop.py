"""A worker that is told to end: it takes nothing new, has a while for what it has in hand, and gives back what it did not end by then."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import suppress
from typing import Any

from celery import platforms, signals

log = logging.getLogger(__name__)

GRACE_S = 20.0
"""How long batches may go on once the worker is told to end. Told again, it does not wait."""


class Stop:
    """The end of a worker, once it comes.

    Celery's soft shutdown would always wait to the end of its time, with its messages unacknowledged. So this lets it end warmly, as soon as
    nothing is in hand, and takes away the processes that are in its way: a message whose process died goes back at once, on every broker.
    Ctrl-C tells it as SIGTERM does. Told again, or by SIGQUIT, it does that without delay; Celery's own answer to these would wait, inside
    its handler of the signal, for every batch that had not quite begun.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._told = False
        self._main = os.getpid()

    def watch(self) -> None:
        """Nothing; it is told what happens to this process's worker."""
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_shutting_down.connect(self._ending, weak=False)

    def _ready(self, sender: Any = None, **_: Any) -> None:
        self._pool = getattr(sender, "pool", None)
        platforms.signals["SIGINT"] = lambda *_: self._tell()
        platforms.signals["SIGQUIT"] = lambda *_: self._tell(again=True)

    def _tell(self, *, again: bool = False) -> None:
        if os.getpid() != self._main:
            os._exit(1)  # a process of the pool that was forked since
        self._told = self._told or again
        signal.raise_signal(signal.SIGTERM)

    def _ending(self, **_: Any) -> None:
        patience, self._told = 0.0 if self._told else GRACE_S, True
        deadline = threading.Timer(patience, self._give_back)
        deadline.daemon = True
        deadline.start()

    def _give_back(self) -> None:
        if self._pool is None or self._pool._pool is None:  # it never began, or ended by itself
            return
        log.warning("the worker ends: batches that are not done go back")
        for process in self._pool.info["processes"]:
            # Not SIGTERM: a process that waits for SQLite's lock would see it up to 20 s later.
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
