"""Messages that were refused, counted and on their way to the database: the worker's main process has no connection to it.

They go as lines of JSON through the pipe to the companion process, which records them. Nothing here ever waits for the pipe while the
worker works, and a flood of messages becomes a few samples and counts.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

SAMPLES = 200
"""How many samples may be taken at once; after that, one as often as `SAMPLE_S` says."""

SAMPLE_S = 5.0
"""After how many seconds a further sample may be taken; a worker that is flooded for a day keeps 17,000 of 2 kB."""

SAMPLE = 2000
"""How many characters of a message are kept."""

COUNTS_S = 10.0
"""How often at most the numbers of those without a sample are handed on."""

WAITING = 200
"""How many lines may wait for the pipe; beyond that, messages are only counted."""

STOP: dict[str, Any] = {"stop": True}
"""The line that tells the companion to leave its work to others; it goes on recording to the end of its input."""


class Refused:
    """The refused messages that nobody has been told of yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[dict[str, Any]] = deque()
        self._counts: Counter[str] = Counter()
        self._allowed, self._seen = float(SAMPLES), clock()
        self._counted = clock() - COUNTS_S

    def add(self, fault: str, content: object) -> None:
        """Nothing; a message is counted, and some of it kept if there were not too many of late.

        Args:
            fault: why it was refused; one of few, and nothing of what it held.
            content: the message, as text or bytes, or as what it was made into.
        """
        now = self._clock()
        self._allowed = min(SAMPLES, self._allowed + (now - self._seen) / SAMPLE_S)
        self._seen = now
        if self._allowed < 1 or len(self._samples) >= WAITING:
            self._counts[fault] += 1
            return
        self._allowed -= 1
        text = _text(content)
        self._samples.append({"fault": fault, "count": 1, "size": len(text), "sample": text[:SAMPLE]})

    def take(self, room: int, *, last: bool = False) -> Iterator[dict[str, Any]]:
        """What is to be recorded, at most so many; after that it is no longer here.

        Args:
            room: how many.
            last: whether nobody will ask again, so that counts do not wait.
        """
        while self._samples and room > 0:
            room -= 1
            yield self._samples.popleft()
        now = self._clock()
        if self._counts and room > 0 and (last or now - self._counted >= COUNTS_S):
            counts, self._counts, self._counted = self._counts, Counter(), now
            yield from ({"fault": fault, "count": count} for fault, count in counts.items())


def _text(content: object) -> str:
    if isinstance(content, bytes):
        return content.decode("utf-8", "backslashreplace")
    if isinstance(content, str):
        return content
    with suppress(Exception):
        return json.dumps(content, default=_part, ensure_ascii=False)
    return f"({type(content).__name__})"


def _part(value: object) -> str:
    # Headers of RabbitMQ can hold dates and decimals.
    return _text(value) if isinstance(value, bytes) else f"({type(value).__name__})"


class Lines:
    """Lines of JSON for a pipe that may be full, or closed by whoever read from it."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._written = 0
        self._busy = False

    @property
    def room(self) -> int:
        """How many more lines may wait."""
        return max(0, WAITING - len(self._lines))

    def add(self, document: dict[str, Any]) -> None:
        """Nothing; the line waits for the next `write`."""
        self._lines.append(json.dumps(document).encode() + b"\n")

    def rewind(self) -> None:
        """Nothing; what is written next goes into another pipe, and begins with a whole line."""
        self._written = 0

    def write(self, pipe: int, wait_s: float = 0.0) -> bool:
        """Whether all lines are in the pipe, which was waited for so long at most.

        A signal's handler may come here in the midst of another call: then it is that one which writes, and this says False.
        """
        if self._busy:
            return False
        self._busy = True
        try:
            return self._write(pipe, time.monotonic() + wait_s)
        except OSError:
            return False  # its reader is gone; the next one has another pipe
        finally:
            self._busy = False

    def _write(self, pipe: int, deadline: float) -> bool:
        os.set_blocking(pipe, False)
        while self._lines:
            try:
                self._written += os.write(pipe, self._lines[0][self._written :])
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))
                continue
            if self._written >= len(self._lines[0]):
                self._lines.popleft()
                self._written = 0
        return True


refused = Refused()
"""Of this process: the parts of Celery that refuse are made by Celery, and nothing can be handed to them."""
