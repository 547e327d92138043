"""Workers that are started again whenever they have died, as a service manager would do it, and ways to kill them."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from tests.processes import Place, command, killed, those_with

LOOK_S = 0.1
"""How often the service manager looks."""


@dataclass
class Staff:
    """The workers of one place."""

    place: Place
    size: int
    processes: int
    variables: dict[str, str]
    random: random.Random
    starts: int = 0
    ends: Counter[int] = field(default_factory=Counter)
    """The exit codes of those that ended before they were told to; -9 of those that were killed."""
    _held: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _start(self, slot: int) -> subprocess.Popen[bytes]:
        self.starts += 1
        with (self.place.folder / f"worker{slot}.log").open("ab") as words:
            return subprocess.Popen(
                [sys.executable, "-m", "producer.cli", "worker", "-c", str(self.processes), "--log-level", "WARNING"],
                cwd=self.place.folder,
                env=self.place.environment() | {"PYTHONUNBUFFERED": "1"} | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )

    def manage(self) -> None:
        """Nothing; whoever has died is started again, until the end."""
        self._held = [self._start(slot) for slot in range(self.size)]
        while not self._stop.wait(LOOK_S):
            with self._lock:
                for slot, process in enumerate(self._held):
                    if (code := process.poll()) is not None:
                        self.ends[code] += 1
                        self._held[slot] = self._start(slot)

    def end(self) -> None:
        """Nothing; all of them are gone, with all that they started."""
        self._stop.set()
        with self._lock:
            for process in self._held:
                killed(_family(process.pid))
                process.wait(10)

    def kill_worker(self) -> int:
        """How many processes of one worker, all of them, were killed at once: main process, pool and companion; 0 while it starts."""
        with self._lock:
            family = _family(self.random.choice(self._held).pid)
            return len(killed(family)) if any(_is_companion(one) for one in family) else 0

    def kill_feeder(self) -> int:
        """How many companions were killed, and nothing else."""
        with self._lock:
            return len(killed(one for process in self._held for one in _family(process.pid)[1:] if _is_companion(one)))


def _family(pid: int) -> Sequence[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(pid)
        return [own, *own.children(recursive=True)]
    return []


def _is_companion(process: psutil.Process) -> bool:
    return "producer.feed" in command(process)


@contextmanager
def staff(place: Place, size: int, processes: int, variables: dict[str, str], source: random.Random) -> Iterator[Staff]:
    """So many workers, at work."""
    one = Staff(place, size, processes, variables, source)
    manager = threading.Thread(target=one.manage, daemon=True)
    manager.start()
    try:
        yield one
    finally:
        one._stop.set()
        manager.join(10)
        one.end()
        killed(those_with(str(place.folder)))
