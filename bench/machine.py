"""The machine, and where its processor time and memory go."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("backtrail", "celery", "psycopg", "pymongo", "SQLAlchemy", "orjson")


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


class Spent:
    """Processor time of some processes and all that they started, by role, from its making on."""

    def __init__(self, **roots: int | None) -> None:
        self.roots = {role: root for role, root in roots.items() if root is not None}
        self.begin = {role: _cpu_seconds(root) for role, root in self.roots.items()}

    def per_user(self, users: int) -> dict[str, float]:
        """Microseconds a user until now, by role."""
        return {f"{role}_us_per_user": (_cpu_seconds(root) - self.begin[role]) / users * 1e6 for role, root in self.roots.items()}


def broker_of(folder: str) -> int | None:
    """The embedded broker whose files are in that folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "valkey" in process.name() and any(folder in part for part in process.cmdline()):
                return int(process.pid)
    return None


def peak_mb(worker: int) -> float:
    """The peak of a worker's largest process."""
    with suppress(psutil.Error):
        return max(map(_peak_mb, psutil.Process(worker).children(recursive=True)), default=0.0)
    return 0.0


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
