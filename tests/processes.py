"""The program as its users run it: real processes in sessions of their own, ended by their own ids, their words kept in files.

A program that is still there when its context ends is killed with all of its session; its log is a file of the place's folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.servers import until

ROOT = Path(__file__).parents[1]
SHOWN = 6000  # characters of a log, from its end


@dataclass(frozen=True)
class Answer:
    """What a command that ended has said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        """The one JSON document on standard output; nothing else may be there."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit code {self.code} after {self.seconds:.1f} s\n--- out\n{self.out}\n--- err\n{self.err}"


class Program:
    """One process of ours that goes on running."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self.log = name, process, log

    @property
    def pid(self) -> int:
        """Its id, which is also its session's."""
        return self.process.pid

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    def says(self, words: str, timeout: float = 30.0) -> None:
        """Returns once it has said the words."""

        def said() -> bool:
            if words not in self.text and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode} without a word of {words!r}")
            return words in self.text

        until(said, what=f"{words!r} from {self.name}", timeout=timeout)

    def family(self) -> list[psutil.Process]:
        """It and all that it has started, as they are now."""
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.pid)
            return [own, *own.children(recursive=True)]
        return []

    def kill(self) -> None:
        """Signal 9 for it alone; what it has started has to notice by itself."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def kill_session(self) -> None:
        """Signal 9 for all processes of its session at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def end(self, how: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Its exit code after that signal."""
        if self.process.poll() is None:
            os.kill(self.pid, how)
        return self.process.wait(timeout)


@dataclass
class Place:
    """A folder and a database in which commands run, and the environment that they see; nothing of the caller's own settings."""

    folder: Path
    database: str
    broker: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What every command of this place has in its environment."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BACKTRAIL_", "CELERY", "REMAP_"))}
        own |= {"PYTHONPATH": str(ROOT), "BACKTRAIL_DATABASE_URL": self.database, "BACKTRAIL_RUNTIME_DIR": str(self.folder / "r")}
        if self.broker is not None:
            own["BACKTRAIL_BROKER_URL"] = self.broker
        return own | dict(self.more)

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 90.0, **variables: str) -> Answer:
        """What `backtrail …` said; its exit code is `code`, unless that is None."""
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "producer.cli", *arguments],
            cwd=self.folder,
            env=self.environment() | variables,
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)
        assert code is None or answer.code == code, f"backtrail {' '.join(arguments)}: {answer}"
        return answer

    def refused(self, *arguments: str, words: str) -> Answer:
        """The answer to a command that cannot be meant so: one line, and nothing else."""
        answer = self.run(*arguments, code=2)
        lines = answer.err.strip().splitlines()
        assert len(lines) == 1, answer
        assert lines[0].startswith("backtrail: ") and words in lines[0], answer
        assert "Traceback" not in answer.err and answer.out == "", answer
        return answer

    def json(self, *arguments: str, code: int | None = 0, timeout: float = 90.0, **variables: str) -> Any:
        """The JSON document of `backtrail … --json`."""
        return self.run(*arguments, "--json", code=code, timeout=timeout, **variables).document

    @contextmanager
    def program(self, name: str, *command: str, **variables: str) -> Iterator[Program]:
        """A Python program that goes on running: `command` as after `python -m`."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as words:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=self.environment() | {"PYTHONUNBUFFERED": "1"} | variables,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        program = Program(name, process, log)
        try:
            yield program
        finally:
            if process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    program.end()
            program.kill_session()

    @contextmanager
    def worker(self, name: str = "worker", processes: int = 2, **variables: str) -> Iterator[Program]:
        """A worker that is ready."""
        with self.program(name, "producer.cli", "worker", "-c", str(processes), **variables) as program:
            program.says(" ready")
            yield program


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and was not collected does not. It may end at any moment, also while it is looked at."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of the processes is there any more."""
    return not any(map(alive, processes))


def command(process: psutil.Process) -> str:
    """Its command line; nothing of one that has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def killed(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that were still there; they got signal 9."""
    found = []
    for process in filter(alive, processes):
        with suppress(psutil.NoSuchProcess):
            process.kill()
            found.append(process)
    return found


def killed_at_once(find: Callable[[], Iterable[psutil.Process]]) -> None:
    """Nothing; all that `find` gives got signal 9, and none of them began another in between: they were stopped before.

    Killed one by one, the broker's supervisor may start a new server for the one just killed, and then be killed itself. That
    server waits for the next command on its database, with which it also ends; but no power cut leaves it.
    """
    stopped: set[psutil.Process] = set()
    while new := set(find()) - stopped:
        for process in new:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped |= new
    killed(stopped)


def those_with(words: str) -> list[psutil.Process]:
    """The processes of this machine whose command line or environment holds the words; ours, as they name our own folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            text = " ".join(process.cmdline()) + " ".join(process.environ().values())
            if words in text and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
