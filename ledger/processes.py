"""Parts of a look at the whole ledger in processes of their own: what it computes is Python's, of which one process does one thing at a time.

A forked process goes on with the scope as it was, over connections of its own; one that is started anew makes it again. Ctrl-C is the
first process's to hear: it ends the others, and so does its own end, however that comes.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from backtrail.discovery import find
from backtrail.errors import BacktrailError, OtherCode, UnsuitableDatabase
from backtrail.keys import KeyType
from ledger.examine import Scope
from ledger.ledger import Ledger
from ledger.parts import Part

P = TypeVar("P")
R = TypeVar("R")

START = "fork" if sys.platform == "linux" else "spawn"
"""How another process begins: forked, where system libraries bear it, it need not import anew what takes a third of a second."""

Opening = Callable[[], Ledger]
"""What opens the ledger, in whichever process it is called."""


def cores() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Recipe:
    """All that another process needs to make the same scope for itself; it can be pickled."""

    opening: Opening
    source: str
    fingerprint: str
    params: dict[str, Any]
    chosen: Callable[[str], bool] | None
    types: tuple[KeyType, ...]
    code: bool = True

    def scope(self) -> Scope:
        """The scope, with a ledger of its own.

        Raises:
            OtherCode: the migration's file is not what it was.
        """
        found = find(self.source).bound(self.params)
        if found.fingerprint != self.fingerprint:
            raise OtherCode(f"the code of {found.name} was changed while it was verified: verify again")
        return Scope(self.opening(), found, self.chosen, self.types, code=self.code)


@dataclass(frozen=True)
class Raised:
    """An error that another process met. Not every exception can be pickled: what it is made of can."""

    kind: type[BacktrailError]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def again(self) -> BacktrailError:
        """The error."""
        error = self.kind.__new__(self.kind, *self.arguments)
        vars(error).update(self.state)
        return error


class Pool:
    """Processes that do parts of one look at the ledger, until the end of the `with` block."""

    def __init__(self, scope: Scope, recipe: Recipe | None, jobs: int, *, mend: str) -> None:
        """A pool.

        Args:
            scope: this process's. Its store is closed, so that a fork shares no connection; whoever uses it next opens it anew.
            recipe: what makes the scope again; of use only where processes are not forked, and needed there.
            jobs: how many processes.
            mend: what to do if there is no memory for so many.
        """
        self._store, self._mend = scope.ledger.store, mend
        context = multiprocessing.get_context(START)
        make = recipe.scope if recipe is not None and START != "fork" else lambda: scope
        self._executor = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(make,))

    def __enter__(self) -> Pool:
        self._store.close()
        with _interrupts_held():  # a process inherits that, and then no Ctrl-C reaches it
            self._executor.submit(int)  # with the first task all are forked
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def begin(self, part: Part[R]) -> Callable[[], R]:
        """What waits for the part to be done, and gives what it found; it begins now, if a process is free."""
        with _interrupts_held():  # where processes are spawned, they begin one by one
            future = self._executor.submit(_perform, part)

        def result() -> R:
            try:
                outcome = future.result()
            except BrokenProcessPool as error:
                raise UnsuitableDatabase(f"a process was ended from outside, by want of memory perhaps: {self._mend}") from error
            if isinstance(outcome, Raised):
                raise outcome.again()
            return outcome

        return result


def in_order(begin: Callable[[P], Callable[[], R]], parts: Iterable[P], jobs: int) -> Iterator[tuple[P, R]]:
    """Each part, in their order, with what it found; as many are begun ahead as keep so many processes busy."""
    begun: deque[tuple[P, Callable[[], R]]] = deque()
    for part in parts:
        begun.append((part, begin(part)))
        if len(begun) > 2 * jobs:
            done, found = begun.popleft()
            yield done, found()
    for part, found in begun:
        yield part, found()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the other process ---------------------------------------------------------------------------------------------

_made: list[Callable[[], Scope]] = []
"""What makes this process's own scope, once for all parts: a pool's tasks can be handed nothing that stays."""


def _begin(scope: Callable[[], Scope]) -> None:
    os.dup2(2, 1)  # what an author's file prints is no part of the document on standard output
    # Anew: a thread that shows progress may have been writing when this process was forked, and would hold their locks here for ever.
    stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 -- open to the end
    sys.stdout = sys.stderr = stderr
    gc.freeze()  # what was there before is not looked through again and again
    gc.set_threshold(50_000)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _made.append(cache(scope))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _perform(part: Part[R]) -> R | Raised:
    try:
        return part.find(_made[0]())
    except BacktrailError as error:
        return Raised(type(error), error.args, vars(error))
