"""Other programs that a command becomes or starts, and keeps no longer than it lives itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from backtrail import program
from backtrail.settings import Settings

STOP_S = 25.0
"""How long a worker that is told to end may take: its soft shutdown takes up to 20 s."""

KEEPER = """
import os, signal, subprocess, sys, threading
program = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
told = threading.Event()
def watch():
    sys.stdin.read()
    told.set()
    program.terminate()
    try:
        program.wait(float(sys.argv[1]))
    finally:
        os.killpg(0, signal.SIGKILL)
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
code = program.wait()
if told.is_set():
    watcher.join()
sys.exit(code if code >= 0 else 128 - code)
"""
"""Runs a command until it ends, or until our pipe to it closes: the kernel closes that when we end, however we do. A worker whose broker is
away waits for it even when it is told to end, so that it gets its time and no more. Its own processes end with it."""


def run_worker(settings: Settings, *, concurrency: int | None, log_level: str) -> None:
    """Becomes a Celery worker; it does not return."""
    processes = concurrency or settings.concurrency or os.cpu_count() or 1
    command = program.command("worker", "--quiet", "worker", "--concurrency", str(processes))
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
        "--hostname",  # two workers of one machine must not go by one name
        f"worker-{os.getpid()}@%h",
    ]
    sys.stdout.flush()
    os.execve(sys.executable, command, program.environment(environment_of(settings)))  # noqa: S606 -- our own interpreter


def start_worker(settings: Settings, *, concurrency: int, log: int) -> subprocess.Popen[bytes]:
    """A worker as a child process in a session of its own, writing to an open file."""
    command, environment = worker_command(concurrency), program.environment(environment_of(settings))
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 -- our own module


@contextmanager
def kept_worker(settings: Settings, *, concurrency: int, log: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The keeper of a worker that ends with the context, and with this process however that ends.

    Args:
        settings: all that the worker goes by: it has no broker_url of the environment.
        concurrency: its processes.
        log: the open file that it writes to.
        folder: where it runs, so that no backtrail.toml of the user's folder is read.
    """
    environment = program.environment({"BACKTRAIL_BROKER_URL": ""} | environment_of(settings))
    with kept(worker_command(concurrency), environment, out=log, folder=folder) as keeper:
        yield keeper


@contextmanager
def kept(
    command: Sequence[str], environment: Mapping[str, str], *, out: int, folder: Path | None = None, patience: float = STOP_S
) -> Iterator[subprocess.Popen[bytes]]:
    """The keeper of a program that ends with the context, and with this process however that ends.

    Args:
        command: what is run.
        environment: its variables.
        out: what it writes to, or subprocess.PIPE.
        folder: where it runs; without one, here.
        patience: how long it may take to end, in seconds.
    """
    keeper = subprocess.Popen(  # noqa: S603 -- our own interpreter
        [sys.executable, "-P", "-c", KEEPER, str(patience), *command],
        env=environment,
        cwd=folder,
        stdout=out,
        stderr=out if out != subprocess.PIPE else subprocess.STDOUT,
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal reaches the program only through us
    )
    try:
        yield keeper
    finally:
        try:
            if keeper.stdin is not None:
                keeper.stdin.close()
            keeper.wait()
        finally:
            # Whoever is left of its session, also after a second Ctrl-C and where it had died by itself.
            with suppress(ProcessLookupError):
                os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()


def worker_command(concurrency: int | None, log_level: str = "WARNING") -> list[str]:
    """What runs a worker; as many processes as the settings say, where no number is given."""
    processes = [] if concurrency is None else ["--concurrency", str(concurrency)]
    return program.command("producer.cli", "worker", *processes, "--log-level", log_level)


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as variables: addresses hold passwords, and stay out of the list of processes."""
    values = {
        "BACKTRAIL_DATABASE_URL": settings.database_url,
        "BACKTRAIL_BROKER_URL": settings.broker_url,
        "BACKTRAIL_QUEUE": settings.queue,
        "BACKTRAIL_LOCK_TIMEOUT_MS": str(settings.lock_timeout_ms),
        "BACKTRAIL_RUNTIME_DIR": None if settings.runtime_dir is None else str(settings.runtime_dir),
        "BACKTRAIL_MASTER_KEY_FILE": None if settings.master_key_file is None else str(settings.master_key_file),
    }
    return {name: value for name, value in values.items() if value is not None}
