"""Runs an expert's bulk script in several processes, started and connected before the clock starts."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

START_S = 60.0


class Script(Protocol):
    """A bulk script with a connection of its own."""

    def parts(self) -> Sequence[Any]:
        """The parts of the work, the same in every process."""

    def do(self, part: Any) -> None:
        """One part, committed."""


Connect = Callable[[str], Script]


def run(connect: Connect, url: str, processes: int) -> dict[str, float]:
    """How many seconds the whole migration took, and how many of processor time the processes."""
    context = multiprocessing.get_context("spawn")
    ready, go, spent = context.Semaphore(0), context.Event(), context.Queue()
    workers = [
        context.Process(target=_work, args=(connect, url, number, processes, ready, go, spent)) for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        if not ready.acquire(timeout=START_S):
            raise TimeoutError("the bulk script does not start")
    begin = time.perf_counter()
    go.set()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - begin
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("the bulk script failed")
    return {"seconds": seconds, "client_cpu_s": sum(spent.get(timeout=START_S) for _ in workers)}


def _work(connect: Connect, url: str, number: int, processes: int, ready: Any, go: Any, spent: Any) -> None:
    script = connect(url)
    ready.release()
    go.wait()
    begin = time.process_time()
    for part in script.parts()[number::processes]:
        script.do(part)
    spent.put(time.process_time() - begin)
