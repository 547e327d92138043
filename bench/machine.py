"""The machine, and where its processor time goes."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("backtrail", "celery", "psycopg", "SQLAlchemy", "orjson")


def machine() -> dict[str, str | int]:
    """What the figures depend on."""
    found: dict[str, str | int] = {"cores": os.cpu_count() or 0, "memory_gb": round(psutil.virtual_memory().total / 1e9)}
    found["cpu"] = _cpu()
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["python"] = platform.python_version()
    for name in PACKAGES:
        with suppress(ModuleNotFoundError):  # from a tree that is not installed
            found[name] = version(name)
    return found


def _cpu() -> str:
    with suppress(OSError):
        if match := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return match[1]
    return platform.processor() or "unknown"


class Meter:
    """Microseconds of processor time per user, of worker, server and broker, from its making on."""

    def __init__(self, worker: int, server: int | None, broker: str) -> None:
        self.roots = {"worker": [worker], "server": [] if server is None else [server], "broker": _users_of(broker)}
        self.begin = {name: sum(map(_cpu_seconds, roots)) for name, roots in self.roots.items()}

    def read(self, users: int) -> dict[str, float]:
        """The figures until now."""
        figures = {
            f"{name}_us_per_user": (sum(map(_cpu_seconds, roots)) - self.begin[name]) / users * 1e6
            for name, roots in self.roots.items()
        }
        figures["worker_peak_mb"] = max(
            map(_peak_mb, psutil.Process(self.roots["worker"][0]).children(recursive=True)), default=0.0
        )
        return figures


def _users_of(folder: str) -> list[int]:
    """The servers that were started with that folder on their command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(folder in part for part in process.cmdline()) and "valkey" in process.name():
                found.append(process.pid)
    return found


def _cpu_seconds(pid: int) -> float:
    total = 0.0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                # Of children that have ended the parent has the sum.
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _peak_mb(process: psutil.Process) -> float:
    with suppress(OSError):
        if match := re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()):
            return int(match[1]) / 1000
    return 0.0
