"""What the entities of one transaction recall: known results, and those that are made on the spot because nobody else is needed for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from backtrail.decide import place
from backtrail.errors import RecallFailed
from backtrail.recall import RecallNeeded
from backtrail.stores.base import Transaction
from worker.jobs import Job
from worker.work import Work

T = TypeVar("T")

Known = dict[str, dict[tuple[str, str], Any]]
"""Results by the entity's key, then by label and digest of the call."""


def called(label: str, call: Callable[[], T]) -> T:
    """What the call gives.

    Raises:
        RecallFailed: it raised an error.
    """
    try:
        return call()
    except Exception as error:
        # Whatever it is, it is retried and named.
        raise RecallFailed(f"recall {label!r} failed: {place(error)}") from error


class Recalls:
    """The recalls of one transaction.

    A result that is made on the spot is stored in the transaction of the changes that were decided with it: it cost nothing, so that both are
    kept, or neither.
    """

    def __init__(self, work: Work, tx: Transaction) -> None:
        self.work, self.tx = work, tx
        self._made: dict[str, dict[tuple[str, str], str]] = {}

    def of(self, jobs: Sequence[Job]) -> Known:
        """What is known for the jobs, each time anew: it is the author's to change."""
        if not self.work.uses_recalls:
            return {}
        subjects = {job.text: self.work.subject(job.text) for job in jobs}
        known: Known = self.work.ledger.journal.recalls(self.tx, self.work.campaign.migration, subjects)
        for key in subjects.keys() & self._made.keys():
            known[key] = known.get(key, {}) | {call: json.loads(text) for call, text in self._made[key].items()}
        return known

    def making(self, job: Job) -> Callable[[RecallNeeded], Any]:
        """What makes a result for the job that nobody has; it raises RecallNeeded where that takes others, and RecallFailed where it fails."""
        return partial(self._make, job.text)

    def _make(self, key: str, needed: RecallNeeded) -> Any:
        # Until something was recalled, nobody has looked whether it is known.
        if needed.alone is None or not (self.work.calls and self.work.uses_recalls):
            raise needed
        text = called(needed.label, partial(_as_json, needed.alone))
        if text == "null":
            raise needed
        self._made.setdefault(key, {})[needed.label, needed.digest] = text
        return json.loads(text)

    def looking_up(self, jobs: Sequence[Job]) -> Callable[[Job], Callable[[RecallNeeded], Any]]:
        """What gives results for each of the jobs that are known, and raises RecallNeeded for others. Most of the time, nobody asks."""
        known: Known | None = None

        def look_up(key: str, needed: RecallNeeded) -> Any:
            nonlocal known
            known = self.of(jobs) if known is None else known
            try:
                return known[key][needed.label, needed.digest]
            except KeyError:
                raise needed from None

        return lambda job: partial(look_up, job.text)

    def store(self) -> None:
        """Nothing; what was made on the spot stands in the ledger.

        Raises:
            Retry: somebody else was first with one of the calls, and theirs is the result that counts.
        """
        results = [
            (key, self.work.subject(key), call, json.loads(text))
            for key, made in self._made.items()
            for call, text in made.items()
        ]
        if results:
            self.work.ledger.journal.store_recalls(self.tx, self.work.campaign.migration, results, new=True)


def _as_json(call: Callable[[], Any]) -> str:
    return json.dumps(call())
