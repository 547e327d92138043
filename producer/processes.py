"""Other programs that a command becomes or starts: a worker."""

from __future__ import annotations

import os
import subprocess
import sys

from backtrail.settings import Settings


def run_worker(settings: Settings, *, concurrency: int | None, log_level: str) -> None:
    """Becomes a Celery worker; it does not return."""
    environment = os.environ | environment_of(settings)
    processes = concurrency or settings.concurrency or os.cpu_count() or 1
    command = [sys.executable, "-m", "celery", "--app", "worker", "--quiet", "worker", "--concurrency", str(processes)]
    # -O fair: a process gets its next message when it is free, and not while it is still at a long one.
    command += [
        "--loglevel",
        log_level,
        "--optimization",
        "fair",
        "--without-mingle",
        "--without-gossip",
        "--queues",
        settings.queue,
    ]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 -- our own interpreter


def start_worker(settings: Settings, *, concurrency: int, log: int) -> subprocess.Popen[bytes]:
    """A worker as a child process in a session of its own, writing to an open file."""
    command = [sys.executable, "-m", "producer.cli", "worker", "--concurrency", str(concurrency), "--log-level", "WARNING"]
    environment = os.environ | environment_of(settings)
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 -- our own module


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as variables: addresses hold passwords, and stay out of the list of processes."""
    values = {
        "BACKTRAIL_DATABASE_URL": settings.database_url,
        "BACKTRAIL_BROKER_URL": settings.broker_url,
        "BACKTRAIL_QUEUE": settings.queue,
        "BACKTRAIL_LOCK_TIMEOUT_MS": str(settings.lock_timeout_ms),
        "BACKTRAIL_RUNTIME_DIR": None if settings.runtime_dir is None else str(settings.runtime_dir),
    }
    return {name: value for name, value in values.items() if value is not None}
