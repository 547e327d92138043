"""What a worker tells its companion through the pipe between them: messages that it refused, and that it is about to end."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from typing import Any

from backtrail.errors import BacktrailError
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from ledger.rejected import Rejection

KEPT = 1000
"""How many may wait for the database; of older ones the fault and the number stay."""

AT_ONCE = 100
"""How many are recorded in one transaction."""

LINE = 1 << 17
"""The longest line; a worker sends none that is longer."""


class Inbox:
    """The refused messages of a worker that are not yet recorded."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.stopping = threading.Event()
        """Whether the worker is about to end, or has ended."""
        self.ended = threading.Event()
        """Whether the worker has closed the pipe, so that nothing more will come."""
        self._waiting: deque[dict[str, Any]] = deque()
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, pipe: int) -> None:
        """Nothing; it returns when the worker closes the pipe or ends, however it ends."""
        rest = b""
        while data := os.read(pipe, 65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.hear(line)
            rest = b"" if len(rest) > LINE else rest
        self.stopping.set()
        self.ended.set()

    def hear(self, line: bytes) -> None:
        """Nothing; the line is understood, or is none that a worker of this version sends."""
        try:
            said = json.loads(line)
            if said.get("stop"):
                self.stopping.set()
            else:
                self._put({"fault": str(said["fault"]), "count": int(said["count"])} | _sample(said))
        except (ValueError, TypeError, KeyError, AttributeError):
            return

    def _put(self, one: dict[str, Any]) -> None:
        with self._lock:
            self._waiting.append(one)
            if len(self._waiting) > KEPT:
                old = self._waiting.popleft()
                self._counts[old["fault"]] = self._counts.get(old["fault"], 0) + old["count"]

    def record(self, ledger: Ledger) -> None:
        """Nothing; what came so far is in the database, or waits for the next time."""
        while batch := self._take():
            try:
                with ledger.writing() as tx:
                    ledger.keyring.open(tx, again=True)  # the ledger may be encrypted since the last time
                    at = milliseconds(tx)
                    ledger.rejections.add(tx, [Rejection(at=at, worker=self.worker, **one) for one in batch])
            except BaseException as error:
                for one in batch:
                    self._put(one)
                if isinstance(error, BacktrailError):
                    return
                raise

    def _take(self) -> list[dict[str, Any]]:
        with self._lock:
            counts, self._counts = self._counts, {}
            batch = [{"fault": fault, "count": count} for fault, count in counts.items()]
            while self._waiting and len(batch) < AT_ONCE:
                batch.append(self._waiting.popleft())
            return batch


def _sample(said: dict[str, Any]) -> dict[str, Any]:
    """The message's size and beginning, as text that any database holds."""
    if not isinstance(said.get("sample"), str):
        return {}
    text = said["sample"].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return {"size": int(said["size"]), "sample": text}
