"""Workers that are measured, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from backtrail.settings import Settings
from producer.processes import start_worker

END_S = 30.0


@contextmanager
def worker(settings: Settings, processes: int, log: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of Backtrail for as long as the context lasts."""
    process = start_worker(settings, concurrency=processes, log=log)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Nothing; the worker has ended, and its processes with it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
