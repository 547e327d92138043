"""One entity on its way through a transaction, and what can end the transaction for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backtrail.changes import Decision
from backtrail.errors import BacktrailError, Quarantine
from backtrail.recall import RecallNeeded
from backtrail.stores.base import Plan, Rowsets
from ledger.entry import Fact, Head
from ledger.history import Standing
from ledger.journal import to_json
from ledger.state import Action


class Rejected(Exception):
    """Jobs that failed after something of theirs was written: the transaction is given up, and made anew without them."""

    def __init__(self, failures: dict[str, Quarantine]) -> None:
        super().__init__(f"{len(failures)} jobs")
        self.failures = failures


class RecallsPending(Exception):
    """Results that `migrate` asked for and nobody has: they are fetched outside the transaction, which is then made anew."""

    def __init__(self, needed: list[tuple[str, RecallNeeded]]) -> None:
        super().__init__(f"{len(needed)} recalls")
        self.needed = needed


class NotGoing(Exception):
    """The campaign is paused, halted or ended: the batch is not worked on."""


@dataclass(slots=True)
class Job:
    """One entity on its way through the transaction."""

    head: Head
    key: Any
    action: Action
    outcome: str = ""
    facts: list[Fact] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    rows: Rowsets = field(default_factory=dict)
    plan: Plan | None = None
    decision: Decision | None = None
    notes: dict[str, int] = field(default_factory=dict)
    failure: Quarantine | None = None

    @property
    def text(self) -> str:
        """The entity's key as text."""
        return self.head.key

    @property
    def open(self) -> bool:
        """Whether there is still something to do."""
        return not self.outcome

    def fail(self, begin: Fact, failure: Quarantine) -> None:
        """Nothing; the job has failed, and that is all that it says."""
        self.failure, self.outcome, self.plan = failure, "failed", None
        self.facts = [begin, Fact("failed", to_json({"error": type(failure).__name__, "reason": str(failure)}))]

    def fail_late(self, begin: Fact, failure: Quarantine) -> None:
        """Fails a job that may have written: what it wrote goes only with the whole transaction."""
        if self.facts:
            raise Rejected({self.text: failure})
        self.fail(begin, failure)


def reason(failure: BacktrailError | None) -> str:
    """A failure as one line: its class and what it says."""
    return f"{type(failure).__name__}: {failure}"
