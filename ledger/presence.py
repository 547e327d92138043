"""Who is at work: workers that were seen lately, and the one feeder that leads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from backtrail.stores.base import Transaction

ALIVE_MS = 15_000
"""How long after it was last seen a worker counts as alive; it shows itself every few seconds."""

LEASE_MS = 5_000
"""How long a feeder leads without renewing: as long as nobody feeds after it was killed."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that was seen at `seen_at` (milliseconds since 1970), and what it said of itself."""

    id: str
    seen_at: int
    info: dict[str, Any]


class Presence(ABC):
    """The workers and the leases of a ledger."""

    @abstractmethod
    def show(self, tx: Transaction, worker: str, info: dict[str, Any]) -> None:
        """Nothing; the worker was seen now. Workers that were not seen for long are forgotten."""

    @abstractmethod
    def leave(self, tx: Transaction, worker: str) -> None:
        """Nothing; the worker is gone, and leads no more."""

    @abstractmethod
    def alive(self, tx: Transaction) -> list[Worker]:
        """The workers that were seen lately."""

    @abstractmethod
    def lead(self, tx: Transaction, name: str, owner: str, lasting: int = LEASE_MS) -> int | None:
        """The fence of the owner's lease, which grows with every change of leader; None while somebody else leads.

        The lease lasts so many milliseconds from now.
        """

    @abstractmethod
    def leader(self, tx: Transaction, name: str) -> str | None:
        """Whose lease of that name has not run out; None where nobody leads."""


def milliseconds(tx: Transaction) -> int:
    """The transaction's time, in milliseconds since 1970, UTC."""
    return round(tx.now.timestamp() * 1000)
