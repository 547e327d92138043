"""`backtrail up`: broker, worker and Flower of one machine in one terminal, ended together."""

from __future__ import annotations

import base64
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from rich.console import Console
from rich.text import Text

from backtrail import broker, program
from backtrail.urls import redact
from producer import flower
from producer.context import Context
from producer.processes import STOP_S, environment_of, kept, worker_command

LOOK_S = 0.2
WORKER_S = 30.0
"""How long the address is kept back until the page shows a worker."""
FLOWER_STOP_S = 5.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""To our own page without a detour by the proxy of the environment."""
STYLES = {"worker": "cyan", "flower": "magenta"}


def run(context: Context, *, concurrency: int | None, port: int, log_level: str) -> int:
    """The exit code, after everything has ended: 0 if it was told to, 1 if a part ended by itself.

    Raises:
        UsageError: Flower cannot listen there, or the broker does not start.
    """
    settings = context.settings
    place = flower.access(settings, port=port)
    with _told() as told, ExitStack() as stack:
        if settings.broker_url is None:
            # Ours too, so that worker and Flower find it running, and it outlives both.
            stack.enter_context(broker.embedded(settings.database(), settings.runtime_dir))
        both = Together(context.err, stack)
        both.start("worker", worker_command(concurrency, log_level), program.environment(environment_of(settings)), STOP_S)
        both.start("flower", flower.command(place), flower.environment(settings, place), FLOWER_STOP_S)
        said, began = False, time.monotonic()
        while not told.is_set() and not both.ended():
            if not said and _is_open(place, with_worker=time.monotonic() - began < WORKER_S):
                said = True
                _say(context, place)
            told.wait(LOOK_S)
        if told.is_set():
            context.err.print("ending; Ctrl-C once more does not wait for what is in hand")
        return both.report()


@dataclass
class Together:
    """Programs whose words come out on one console, and which end with the stack."""

    console: Console
    stack: ExitStack
    keepers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], patience: float) -> None:
        """Nothing; the program runs."""
        readers = self.stack.enter_context(_joined())
        keeper = self.stack.enter_context(kept(command, environment, out=subprocess.PIPE, patience=patience))
        self.keepers[name] = keeper
        reader = threading.Thread(target=self._repeat, args=(name, keeper), daemon=True)
        reader.start()
        readers.append(reader)

    def _repeat(self, name: str, keeper: subprocess.Popen[bytes]) -> None:
        assert keeper.stdout is not None  # noqa: S101 -- it was started with a pipe
        for line in keeper.stdout:
            words = line.decode(errors="replace").rstrip()
            self.console.print(Text.assemble((f"{name} | ", STYLES[name]), words))

    def ended(self) -> list[str]:
        """The programs that do not run any more."""
        return [name for name, keeper in self.keepers.items() if keeper.poll() is not None]

    def report(self) -> int:
        """1 if one ended without being told, which is said; else 0."""
        for name in (gone := self.ended()):
            others = " and ".join(other for other in self.keepers if other not in gone) or "nothing else"
            self.console.print(
                f"{name} ended by itself with exit code {self.keepers[name].returncode}; ending {others}",
                style="red",
                markup=False,
            )
        return 1 if gone else 0


@contextmanager
def _joined() -> Iterator[list[threading.Thread]]:
    """A list of threads, which have come to their end with the context; whoever still holds their pipe is not waited for."""
    threads: list[threading.Thread] = []
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join(1)


@contextmanager
def _told() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and the closing of the terminal set; a second time they interrupt."""
    told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_open(place: flower.Access, *, with_worker: bool) -> bool:
    """Whether the page is there, and has heard of a worker if that is wanted."""
    words = base64.b64encode(f"{flower.USER}:{place.password}".encode()).decode()
    request = urllib.request.Request(f"{place.url}api/workers?status=1", headers={"Authorization": f"Basic {words}"})  # noqa: S310 -- our own
    try:
        with DIRECT.open(request, timeout=2) as answer:
            return not with_worker or b"true" in answer.read()
    except OSError:
        return False


def _say(context: Context, place: flower.Access) -> None:
    settings = context.settings
    lines = (
        "",
        str(place),
        f"database: {redact(settings.database())}  broker: {redact(settings.broker_url or 'embedded')}",
        "what to type next, in another terminal with the same settings:",
        "   backtrail migrations",
        "   backtrail expand MIGRATION",
        "   backtrail enqueue MIGRATION",
        "   backtrail status --watch",
        "in Flower, under Tasks, kwargs:campaign=c1 finds the messages of campaign c1; Ctrl-C here ends everything",
        "",
    )
    for line in lines:
        context.err.print(line, markup=False)
