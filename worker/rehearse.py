"""A rehearsal: batches migrated, checked, rolled back and compared in transactions that never commit, through the worker's own code.

It is a program of its own, `python -m worker.rehearse`, which `backtrail rehearse` starts. Its settings are in its environment. Each line
that it reads and writes is JSON: first it reads the order ({"source", "fingerprint", "params", "options", "key_types"}), then batches, each a
list of keys; to each it answers with what became of it (`Outcome.document`). What ends all of it is the last answer: {"end": {"error",
"reason", "remedy"}}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from backtrail.discovery import Found, find
from backtrail.errors import BacktrailError, Contended, Quarantine, Retry, UsageError
from backtrail.settings import load
from backtrail.stores import open_store
from backtrail.stores.base import Store, Transaction
from ledger.campaigns import Campaign, Kind
from ledger.keyring import read_masters
from ledger.ledger import Ledger
from worker.caution import Caution
from worker.execute import Attempt
from worker.isolate import Isolation
from worker.jobs import Job, RecallsPending, Rejected
from worker.picture import Difference, Picture, compared
from worker.work import Work, columns_of

PATIENCE_S = 45.0
"""How long a batch is tried again for which the database has no time just now."""

LAST = 2**31 - 1
"""The number of the campaign that goes back: the largest that a ledger holds, so that all others are older."""


class _Over(Exception):
    """All was seen: the transaction is given up."""


class Unrecalled(Quarantine):
    """What `migrate` recalls is not known, and a rehearsal calls nobody."""


@dataclass
class Outcome:
    """What became of some entities."""

    counts: Counter[str] = field(default_factory=Counter)
    """Entities by what became of them; `recalls` not known and therefore not asked for; `compared` rows."""
    writes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, key: str, failure: BacktrailError, *, back: bool) -> None:
        """Counts an entity that cannot be migrated, or could not be rolled back."""
        self.counts["failed"] += 1
        reason = {"error": type(failure).__name__, "reason": str(failure)}
        self.failures.append({"key": key, "on": "the way back" if back else "the way there", **reason})

    def document(self) -> dict[str, Any]:
        """The outcome as JSON has it."""
        return {
            "counts": dict(self.counts),
            "writes": dict(self.writes),
            "failures": self.failures,
            "differences": self.differences,
        }


@contextmanager
def never_committed(store: Store) -> Iterator[Transaction]:
    """A transaction that writes, and is given up at the end of the block."""
    try:
        with store.transaction(small=True) as tx:
            yield tx
            raise _Over  # noqa: TRY301 -- the transaction must see it
    except _Over:
        return


class Rehearsal(Isolation):
    """One batch on its way there and back, through transactions that never commit."""

    def __init__(self, work: Work, returning: Campaign) -> None:
        super().__init__(work, 0)
        # It is not for speed, and whatever fails on the way back is told once.
        work.caution = Caution(dear=False)
        self.returning = returning
        self.outcome = Outcome()
        self._goes_back = False
        self._back: list[Quarantine] = []
        """What failed on the way back."""

    def overtaken(self, keys: Sequence[str]) -> set[str]:
        """Nobody: no campaign is newer."""
        return set()

    def once(self, keys: list[str], failures: dict[str, Quarantine], *, finish: bool, ordered: bool) -> None:
        """Nothing; the jobs were done and taken back, the rows compared, and the transaction given up."""
        try:
            with never_committed(self.work.store) as tx:
                there, back, left = self._there_and_back(tx, keys, failures, ordered=ordered)
        except RecallsPending as pending:
            raise Rejected(_unrecalled(pending)) from pending
        except Rejected as rejected:
            self._back += rejected.failures.values() if self._goes_back else ()
            raise
        except Quarantine as failure:
            self._back += [failure] if self._goes_back else []
            raise
        self._count(there, back)
        self._tell(left)

    def _there_and_back(
        self, tx: Transaction, keys: list[str], failures: dict[str, Quarantine], *, ordered: bool
    ) -> tuple[Attempt, Attempt, list[Difference]]:
        self._goes_back = False
        store = self.work.store
        ledger = self.work.ledger.within(tx)
        ledger.journal.remember_within(tx, [store.shape(name) for name in self.work.migration.writes])
        work = replace(self.work, ledger=ledger)
        work.caution = self.work.caution
        before = Picture.taken(work, tx, keys)
        there = Attempt(work, tx, keys, failures, ordered=ordered)
        there.run()
        tx.settle()
        self._goes_back = True
        back = Attempt(replace(work, campaign=self.returning), tx, keys, {}, ordered=ordered)
        back.run()
        tx.settle()
        failed = {job.text for job in back.jobs if job.failure is not None}
        before.add(job for job in there.jobs if job.text not in failed)
        self.outcome.counts["compared"] += before.size
        return there, back, compared(before, work, tx, keys, failed)

    def _count(self, there: Attempt, back: Attempt) -> None:
        stuck = {job.text: job.failure for job in back.jobs if job.failure is not None}
        for job in there.jobs:
            failure = stuck.get(job.text) or job.failure
            if isinstance(failure, Unrecalled):
                self.outcome.counts["recalls"] += 1
            elif failure is not None:
                self.tally.add("failed")
                self.outcome.fail(job.text, failure, back=job.text in stuck or any(failure is one for one in self._back))
            else:
                self._count_done(job)

    def _count_done(self, job: Job) -> None:
        self.tally.add(job.outcome, job.notes)
        counts = {job.outcome: 1, "conflicts": "conflict" in job.notes, "unmapped": "unmapped" in job.notes}
        self.outcome.counts.update({name: int(one) for name, one in counts.items() if one})
        self.outcome.writes.update(f"{fact.kind} {fact.written.ref.table}" for fact in job.facts if fact.written is not None)

    def _tell(self, left: Sequence[Difference]) -> None:
        """Nothing; what differs is told, but for what others have committed meanwhile."""
        if not left:
            return
        with self.work.store.transaction(write=False) as tx:
            committed = tx.fetch([one.ref for one in left if one.ref is not None], lock=False)
        for one in left:
            if one.ref is None or one.found != committed.get(one.ref):
                self.outcome.differences.append(one.document())


def _unrecalled(pending: RecallsPending) -> dict[str, Quarantine]:
    return {
        key: Unrecalled(f"recall {needed.label!r} is not known, and a rehearsal calls nobody") for key, needed in pending.needed
    }


class Stage:
    """Where the batches of one rehearsal are played."""

    def __init__(self, ledger: Ledger, found: Found, order: dict[str, Any]) -> None:
        """A stage.

        Args:
            ledger: of the database.
            found: the migration.
            order: its parameters and options, and the types of the keys.
        """
        self.store = ledger.store
        found = found.bound(order["params"])
        self.store.check(found.cls)
        tables = {name: columns_of(self.store, name) for name in {*found.cls.writes, *(rows.table for rows in found.cls.reads)}}
        going = _imagined(found, "migrate", LAST - 1, order)
        migration = found.instance(order["params"])
        self.work = Work(self.store, ledger, going, migration, tables, found, uses_recalls=True, calls=False)
        self.returning = _imagined(found, "rollback", LAST, order | {"options": {"on_drift": "refuse"}})

    def batch(self, keys: Sequence[str]) -> Outcome:
        """What became of the batch.

        Raises:
            BacktrailError: what would halt the campaign; or the database had no time, again and again.
        """
        parts = 1
        for attempt in Retrying(
            retry=retry_if_exception_type(Retry),
            wait=wait_random_exponential(multiplier=0.05, max=3),
            stop=stop_after_delay(PATIENCE_S),
            reraise=True,
        ):
            with attempt:
                rehearsal = Rehearsal(self.work, self.returning)
                try:
                    rehearsal.through(keys, parts)
                except Contended:
                    parts *= 2
                    raise
                return rehearsal.outcome
        raise AssertionError("tenacity ends with a result or an error")


def _imagined(found: Found, kind: Kind, number: int, order: dict[str, Any]) -> Campaign:
    asked = {"options": order["options"], "params": order["params"], "key_types": tuple(order["key_types"])}
    return Campaign(number, found.name, found.source, kind, "running", fingerprint=found.fingerprint, **asked)


def _stage(order: dict[str, Any]) -> Stage:
    settings = load()
    store = open_store(settings.database(), lock_timeout_ms=settings.lock_timeout_ms)
    found = find(order["source"])
    if found.fingerprint != order["fingerprint"]:
        raise UsageError(f"the code of {found.name} changed just now: start the rehearsal again")
    return Stage(Ledger(store, read_masters(settings.master_key_file)), found, order)


def play(lines: Iterator[str], answers: TextIO) -> None:
    """Nothing; every batch was answered, up to the one that would halt the campaign."""
    try:
        stage = _stage(json.loads(next(lines)))
        for line in lines:
            print(json.dumps(stage.batch(json.loads(line)).document()), file=answers, flush=True)
    except BacktrailError as error:
        end = {"error": type(error).__name__, "reason": str(error), "remedy": error.remedy}
        print(json.dumps({"end": end}), file=answers, flush=True)


def main() -> None:
    """Plays what standard input says. What an author's code prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command that started us sees to our end
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        play(iter(sys.stdin.readline, ""), answers)


if __name__ == "__main__":
    main()
