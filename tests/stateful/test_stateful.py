"""Migrate, redeliver, edit, roll back, redo, re-run, erase, seal and verify in any order: Backtrail is what a model of plain dicts is.

`make stateful` is the long form: more and longer lives, drawn anew each time. A failure prints its steps, and the seed that draws them again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from ledger.entry import Entry
from ledger.event import Event
from ledger.history import Standing, fold
from ledger.journal import Journal
from ledger.sql.journal import SqlJournal
from tests import servers
from tests.stateful.machine import Machine
from worker import execute, restore, tasks

Fresh = Callable[[], AbstractContextManager[str]]

LONG = "BACKTRAIL_STATEFUL_SEED" in os.environ
"""Whether this is the long form; 0 or nothing draws a seed."""

SHORT_STEPS, LONG_STEPS = 12, 30


def live(
    fresh: Fresh, examples: int, steps: int, *, seed: int | None = None, phases: Sequence[Phase] = (Phase.generate, Phase.shrink)
) -> None:
    """Nothing, where everything that is drawn goes well; without a seed it is the same every time."""
    machine = type("Life", (Machine,), {"fresh": staticmethod(fresh)})
    if seed is not None:
        machine = with_seed(seed)(machine)  # type: ignore[assignment] # it marks whatever it is given
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=seed is None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def live_long_or_short(fresh: Fresh, short: int, long: int) -> None:
    if not LONG:
        live(fresh, short, SHORT_STEPS)
        return
    seed = int(os.environ["BACKTRAIL_STATEFUL_SEED"] or 0) or random.SystemRandom().randrange(1, 2**31)
    print(f"\nBACKTRAIL_STATEFUL_SEED={seed}")  # noqa: T201 -- whoever sees it fail can have it again
    live(fresh, long, LONG_STEPS, seed=seed)


@contextmanager
def sqlite_file() -> Any:
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'data.db'}"


def test_any_order_on_sqlite() -> None:
    """Whatever is done in whatever order, the tables, flags, histories, checkpoints and `verify` are what the model says, on SQLite."""
    live_long_or_short(sqlite_file, 8, 300)


@pytest.mark.long
def test_any_order_on_postgres(postgres_url: str) -> None:
    """The same on PostgreSQL."""
    live_long_or_short(lambda: servers.postgres_database(postgres_url), 3, 60)


@pytest.mark.long
def test_any_order_on_mongo(mongo_url: str) -> None:
    """The same on MongoDB."""
    live_long_or_short(lambda: servers.mongo_database(mongo_url), 3, 60)


# -- the machine can fail ---------------------------------------------------------------------------------------------


def ignore_drift(patch: pytest.MonkeyPatch) -> None:
    """A rollback overwrites what others wrote since."""
    patch.setattr(restore, "drift", lambda *_, **__: [])


def forget_compensations(patch: pytest.MonkeyPatch) -> None:
    """What was taken back counts as standing still."""

    def forgetful(events: Sequence[Event]) -> Standing:
        return fold([event for event in events if event.kind != "compensated"])

    patch.setattr(execute, "fold", forgetful)


def write_no_flag(patch: pytest.MonkeyPatch) -> None:
    """The flag stays what it was before a rollback."""
    append = Journal.append

    def unflagged(self: Journal, tx: Any, campaign: int, at: int, entries: Sequence[Entry]) -> None:
        kept = [replace(entry, state="migrated") if entry.state == "rolled_back" else entry for entry in entries]
        append(self, tx, campaign, at, kept)

    patch.setattr(Journal, "append", unflagged)


def redact_nothing(patch: pytest.MonkeyPatch) -> None:
    """An erased person's events can still be read."""
    patch.setattr(SqlJournal, "redact", lambda *_: None)


def act_twice(patch: pytest.MonkeyPatch) -> None:
    """A message of an older campaign does something, as if nothing newer had been done."""
    action = execute.action
    patch.setattr(execute, "action", lambda campaign, head: action(campaign, head._replace(campaign=0)))


def forget_one_change(patch: pytest.MonkeyPatch) -> None:
    """Going back leaves out the oldest change, and does not miss it."""
    back, originals = restore.back, restore.originals
    patch.setattr(restore, "back", lambda changes, live: back(changes[1:], live))
    patch.setattr(restore, "originals", lambda changes: originals(changes[1:]))


MUTANTS = {ignore_drift: 2, forget_compensations: 2, write_no_flag: 2, redact_nothing: 12, act_twice: 10, forget_one_change: 2}
"""With a seed that comes to it soon: others may need longer lives."""


@pytest.mark.long
@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_the_machine_finds(mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is wrong in one way is found in a short run."""
    mutate(monkeypatch)
    # What it does wrong may look like something to be tried again.
    monkeypatch.setattr(tasks, "PATIENCE_S", 3.0)
    # What two threads do at once may not go wrong a second time.
    with pytest.raises((AssertionError, Flaky)):
        for more in range(20):
            live(sqlite_file, 3, SHORT_STEPS, seed=MUTANTS[mutate] + more, phases=(Phase.generate,))
