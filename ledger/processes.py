"""Parts of a verification in processes of their own: what it computes is Python's, of which one process does one thing at a time.

Each process opens a store and a ledger for itself. Ctrl-C is the first process's to hear: it ends the others, and so does its own end,
however that comes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backtrail.discovery import find
from backtrail.errors import BacktrailError, OtherCode, UnsuitableDatabase
from backtrail.keys import KeyType
from ledger.examine import Scope
from ledger.finding import Findings
from ledger.ledger import Ledger
from ledger.parts import Part

START = "fork" if sys.platform == "linux" else "spawn"
"""How another process begins: forked, where system libraries bear it, it need not import anew what takes a third of a second."""

Opening = Callable[[], Ledger]
"""What opens the ledger, in whichever process it is called."""


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
    """Processes that do parts of one verification, until the end of the `with` block.

    They begin with the first part. Until then nothing of this process's is open that a fork would share: its store is closed.
    """

    def __init__(self, recipe: Recipe, jobs: int) -> None:
        context = multiprocessing.get_context(START)
        self._executor = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(recipe,))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def begin(self, part: Part) -> Callable[[], Findings]:
        """What waits for the part to be done, and gives what it found; it begins now, if a process is free."""
        with _interrupts_held():  # a process inherits that, and then no Ctrl-C reaches it
            future = self._executor.submit(_perform, part)

        def result() -> Findings:
            try:
                outcome = future.result()
            except BrokenProcessPool as error:
                raise UnsuitableDatabase(
                    "a process of verify was ended from outside, by want of memory perhaps: verify with --jobs 1"
                ) from error
            if isinstance(outcome, Raised):
                raise outcome.again()
            return outcome

        return result


@contextmanager
def _interrupts_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the other process ---------------------------------------------------------------------------------------------

_scopes: list[Recipe | Scope] = []
"""This process's own recipe and, once a part needed it, the scope: a pool's tasks can be handed nothing that stays."""


def _begin(recipe: Recipe) -> None:
    os.dup2(2, 1)  # what an author's file prints is no part of the document on standard output
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _scopes.append(recipe)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _perform(part: Part) -> Findings | Raised:
    try:
        return part.find(_scope())
    except BacktrailError as error:
        return Raised(type(error), error.args, vars(error))


def _scope() -> Scope:
    here = _scopes[0]
    if isinstance(here, Recipe):
        here = _scopes[0] = here.scope()
    return here
