"""Probes: whether the database, and whoever was asked by a command, can bear more of a campaign just now.

While one says no, no batch is sent; what is in the queue is finished, and the campaign goes on by itself as soon as all say yes.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from backtrail.errors import BacktrailError, Retry, UsageError
from backtrail.settings import Settings
from backtrail.stores.base import Store
from backtrail.stores.health import Health

log = logging.getLogger(__name__)

LIMIT_S = 10.0
"""How long a probe command may take."""

LINE = 200
"""As much of what a probe command says is shown."""


class Probes:
    """What holds campaigns back, looked at every few seconds."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._command = Command(settings.probe_command) if settings.probe_command else None
        self._due = clock()
        self._told: set[str] = set()
        self._database: str | None = None

    def hold(self) -> str | None:
        """Why nothing more is to be sent just now; None where nothing is in the way. It never waits for a command.

        Raises:
            Retry: the database does not answer.
        """
        now = self._clock()
        if now >= self._due:
            self._due = now + self._settings.probe_every_s
            self._database = trouble(self._look(), self._settings)
            if self._command is not None:
                self._command.ask()
        return self._database or (self._command.says() if self._command is not None else None)

    def _look(self) -> Health:
        try:
            with self._store.transaction(write=False) as tx:
                health = self._store.health(tx)
        except Retry:
            raise
        except BacktrailError as error:
            # A server that lacks what is asked for can be migrated all the same.
            health = Health(hidden=f"the health of the database cannot be seen: {error}")
        if health.hidden is not None and health.hidden not in self._told:
            self._told.add(health.hidden)
            log.warning("campaigns go on without a probe: %s", health.hidden)
        return health


def trouble(health: Health, settings: Settings) -> str | None:
    """What is over its limit; None where nothing is."""
    lag, share, waits = health.replication_lag_s, health.connections_share, health.lock_waits
    if lag is not None and settings.max_replication_lag_s is not None and lag > settings.max_replication_lag_s:
        return f"replication lag of {lag:.1f} s is over {settings.max_replication_lag_s:g} s (max_replication_lag_s)"
    if share is not None and settings.max_connections_share is not None and share > settings.max_connections_share:
        over = f"over {settings.max_connections_share:.0%} (max_connections_share)"
        return f"{share:.0%} of the database's connections are in use, {over}"
    if waits is not None and settings.max_lock_waits is not None and waits > settings.max_lock_waits:
        return f"{waits} sessions wait for locks of Backtrail's, over {settings.max_lock_waits} (max_lock_waits)"
    return None


def demand_runnable(settings: Settings) -> None:
    """Nothing, where the probe command, if there is one, can be run here.

    Raises:
        UsageError: there is no such program, or it may not be run.
    """
    if settings.probe_command:
        program = shlex.split(settings.probe_command)[0]
        if shutil.which(program) is None:
            raise UsageError(f"probe_command: there is no program {program!r} that can be run here: give its whole path")


class Command:
    """A program of the user's own: exit code 0 lets campaigns go on, any other holds them, and its first line says why."""

    def __init__(self, line: str, limit_s: float = LIMIT_S) -> None:
        self._arguments = shlex.split(line)
        self._limit_s = limit_s
        self._running: threading.Thread | None = None
        self._answer: str | None = "the probe command has not answered yet"

    def ask(self) -> None:
        """Nothing; the program runs, unless it still does. Its last answer stands until the next."""
        if self._running is None or not self._running.is_alive():
            self._running = threading.Thread(target=self._ask, daemon=True)
            self._running.start()

    def says(self) -> str | None:
        """Why it holds; None where it does not."""
        return self._answer

    def _ask(self) -> None:
        try:
            self._answer = self._run()
        except OSError as error:
            self._answer = f"the probe command cannot be run: {error.strerror or type(error).__name__}"

    def _run(self) -> str | None:
        late = threading.Event()
        with subprocess.Popen(  # noqa: S603 -- the user's own program, without a shell
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that whatever it starts ends with it
        ) as process:

            def end() -> None:
                late.set()
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

            timer = threading.Timer(self._limit_s, end)
            timer.start()
            try:
                line = _first_line(process)
                code = process.wait()
            finally:
                timer.cancel()
        if late.is_set():
            return f"the probe command took longer than {self._limit_s:g} s"
        if code == 0:
            return None
        return f"probe command: {line}" if line else f"the probe command says no (exit code {code})"


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """The beginning of what it says; all of the rest is read and dropped, or it would wait for a reader."""
    assert process.stdout is not None  # noqa: S101 -- it was asked for as a pipe
    line = process.stdout.readline(4 * LINE)
    while process.stdout.read(65536):
        pass
    text = line.decode(errors="replace").strip()
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LINE]
