"""Places where a process can be made to die, for our own fault tests; it is no feature, and unset it does nothing.

BACKTRAIL_FAILPOINTS names them, divided by commas: `NAME=WHEN` or `NAME=WHEN!WHAT`.

    WHEN   0.03   at one pass of this process in so many, drawn from a generator of its own
           #5     at the fifth pass of this process
           #3-9   at a pass that is drawn for each process, from the third to the ninth
    WHAT   process  (the default) this process gets signal 9
           worker   the whole worker does: its main process, its pool and its companion
           cut      the pass fails as if the database's connection had been lost
           note     nothing but the line in the log
           wait     the pass takes a tenth of a second
           hold     the pass takes as long as there is a file with the name of the log and `.hold`

Each that fires is a line in the file that BACKTRAIL_FAILPOINT_LOG names: its name, what it did, and the process's id. BACKTRAIL_FAILPOINT_SEED
makes what is drawn repeatable as far as process ids are.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backtrail.errors import Retry, UnknownName, UsageError

VARIABLE = "BACKTRAIL_FAILPOINTS"
LOG = "BACKTRAIL_FAILPOINT_LOG"
SEED = "BACKTRAIL_FAILPOINT_SEED"

NAMES = (
    "worker.received",
    "worker.mid-transaction",
    "worker.after-ledger",
    "worker.after-commit",
    "worker.mid-rollback",
    "worker.halving",
    "worker.recall",
    "worker.giving-back",
    "feeder.mid-plan",
    "feeder.after-plan",
    "feeder.before-publish",
    "feeder.mid-publish",
    "feeder.after-publish",
    "feeder.before-gate",
    "feeder.before-complete",
)
"""Every failpoint there is, in the order in which a batch comes by."""

DEEDS = ("process", "worker", "cut", "note", "wait", "hold")

WAIT_S = 0.1

_PLAN = re.compile(r"([a-z.-]+)=(?:(0?\.\d+|[01])|#(\d+)(?:-(\d+))?)(?:!([a-z]+))?\Z")


@dataclass(slots=True)
class Trigger:
    """When one failpoint fires, and what it does then."""

    name: str
    share: float = 0.0
    first: int = 0
    last: int = 0
    deed: str = "process"
    at: int = 0
    passes: int = 0

    def draw(self, source: random.Random) -> None:
        """Nothing; the passes are counted from the start of this process."""
        self.at, self.passes = source.randint(self.first, self.last), 0

    def fires(self, source: random.Random) -> bool:
        """Whether it does, at this pass."""
        self.passes += 1
        return source.random() < self.share or self.passes == self.at


def parse(text: str) -> dict[str, Trigger]:
    """The triggers by their failpoints.

    Raises:
        UsageError: it cannot be meant so; UnknownName where a failpoint does not exist.
    """
    triggers = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = _PLAN.match(part)
        if match is None or (match[5] or "process") not in DEEDS:
            raise UsageError(
                f"{VARIABLE}: {part!r} is none: write NAME=0.03, NAME=#5 or NAME=#3-9, and perhaps !{'|'.join(DEEDS)}"
            )
        name, share, first, last, deed = match.groups()
        if name not in NAMES:
            raise UnknownName("failpoint", name, list(NAMES))
        first = int(first or 0)
        triggers[name] = Trigger(name, float(share or 0), first, max(first, int(last or 0)), deed or "process")
    return triggers


_triggers = parse(os.environ.get(VARIABLE, ""))
_random = random.Random()  # noqa: S311 -- what dies when is no secret


def _begin() -> None:
    _random.seed(int(os.environ.get(SEED, "0")) * 1_000_003 + os.getpid())
    for trigger in _triggers.values():
        trigger.draw(_random)


if _triggers:
    _begin()
    os.register_at_fork(after_in_child=_begin)


def reach(name: str) -> None:
    """Nothing, unless the environment says that this is the end."""
    if _triggers:
        _pass(name)


def _pass(name: str) -> None:
    trigger = _triggers.get(name)
    if trigger is None or not trigger.fires(_random):
        return
    if trigger.deed == "wait":
        time.sleep(WAIT_S)
        return
    if trigger.deed == "hold":
        while Path(f"{os.environ.get(LOG)}.hold").exists():
            time.sleep(WAIT_S)
        return
    _log(trigger)
    if trigger.deed == "cut":
        raise Retry("the connection was cut by a failpoint")
    if trigger.deed == "worker":
        _kill_worker()
    if trigger.deed in {"process", "worker"}:
        os.kill(os.getpid(), signal.SIGKILL)


def _log(trigger: Trigger) -> None:
    if path := os.environ.get(LOG):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{trigger.name} {trigger.deed} {os.getpid()}\n".encode())
        os.close(handle)


def _kill_worker() -> None:
    """Nothing; the worker's main process is this one's parent, whether this is of its pool or its companion, and it goes first."""
    main = os.getppid()
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    for pid in (main, *(int(child) for child in children if int(child) != os.getpid())):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
