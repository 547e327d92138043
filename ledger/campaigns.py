"""Campaigns and their batches as the database holds them: what every worker and command looks at, and the queue only hints at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backtrail.errors import UnknownName, UsageError
from backtrail.stores.base import Transaction
from ledger.keyring import Keyring

COUNTS = ("migrated", "rolled_back", "skipped", "failed", "conflicts", "unmapped")
"""What a batch counts: entities by outcome, those with conflicts, and those with unmapped fields."""

Kind = Literal["migrate", "rollback", "rerun", "redo"]
GOING_BACK: tuple[Kind, ...] = ("rollback", "redo")
"""The kinds that bring recorded images and ask the author's code nothing."""

State = Literal["open", "running", "paused", "halted", "completed", "cancelled"]

ARROWS: Mapping[State, Mapping[State, str]] = {
    "open": {
        "running": "the feeder has sent its first batch",
        "completed": "there was nothing to do",
        "paused": "somebody holds it",
        "halted": "it cannot go on for anybody",
        "cancelled": "somebody ends it",
    },
    "running": {
        "completed": "every batch is done",
        "paused": "somebody holds it",
        "halted": "it cannot go on for anybody",
        "cancelled": "somebody ends it",
    },
    "paused": {"running": "somebody lets it go on", "cancelled": "somebody ends it"},
    "halted": {"running": "the reason is mended", "cancelled": "somebody ends it"},
    "completed": {},
    "cancelled": {},
}
"""Which state may follow which, and why. Completed and cancelled campaigns are history."""

GOING: tuple[State, ...] = ("open", "running")
"""The states in which batches are sent and worked on."""

UNFINISHED: tuple[State, ...] = ("open", "running", "paused", "halted")
"""The states in which a campaign still owns its entities."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One run of one migration. Times are milliseconds since 1970, UTC."""

    id: int
    migration: str
    source: str
    """Where the migration's code is found: a name, `package.module:Class` or `/path/to/file.py:Class`."""
    kind: Kind
    state: State
    options: dict[str, Any]
    params: dict[str, Any]
    key_types: tuple[str, ...]
    fingerprint: str
    total: int
    null_keys: int
    by: str
    reason: str | None
    halted: str | None
    cursor: dict[str, Any]
    fed: bool
    opened_at: int
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def name(self) -> str:
        """What people call it: c1, c2 and so on."""
        return f"c{self.id}"


@dataclass(slots=True)
class Tally:
    """What became of the entities of a batch or campaign; conflicts and unmapped count entities that have some."""

    migrated: int = 0
    rolled_back: int = 0
    skipped: int = 0
    failed: int = 0
    conflicts: int = 0
    unmapped: int = 0

    def add(self, outcome: str, notes: Mapping[str, int] = {}) -> None:
        """Counts one entity with that outcome and those numbers of notes."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.conflicts += notes.get("conflict", 0) > 0
        self.unmapped += notes.get("unmapped", 0) > 0

    @property
    def done(self) -> int:
        """How many entities are counted."""
        return self.migrated + self.rolled_back + self.skipped + self.failed

    def values(self) -> dict[str, int]:
        """The counts by their names."""
        return {name: getattr(self, name) for name in COUNTS}

    def __str__(self) -> str:
        shown = {"ok": self.migrated + self.rolled_back, "skipped": self.skipped, "failed": self.failed}
        return " ".join(f"{name}={count}" for name, count in shown.items() if count or name == "ok")


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs that travel in one message."""

    campaign: int
    number: int
    keys: list[str]
    state: str
    attempts: int = 0
    sent_at: int | None = None


@dataclass(slots=True)
class Progress:
    """How far a campaign is."""

    tally: Tally = field(default_factory=Tally)
    planned: int = 0
    """How many entities are in batches by now."""
    ready: int = 0
    sent: int = 0
    done: int = 0


class Campaigns(ABC):
    """The campaigns of a ledger, and their batches."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    @abstractmethod
    def open(self, tx: Transaction, campaign: Campaign) -> Campaign:
        """The campaign as it stands in the database, with its id."""

    @abstractmethod
    def get(self, tx: Transaction, number: int) -> Campaign | None:
        """The campaign of that id, or None."""

    def find(self, tx: Transaction, name: str) -> Campaign:
        """The campaign that people call so, `c12` or `12`.

        Raises:
            UnknownName: there is none.
        """
        number = name[1:] if name[:1] == "c" else name
        campaign = self.get(tx, int(number)) if number.isdecimal() and len(number) < 18 else None
        if campaign is None:
            raise UnknownName("campaign", name, [one.name for one in self.all(tx)[-12:]])
        return campaign

    @abstractmethod
    def all(self, tx: Transaction, *, states: Sequence[str] | None = None, migration: str | None = None) -> list[Campaign]:
        """The campaigns in the order in which they were opened."""

    @abstractmethod
    def move(
        self,
        tx: Transaction,
        campaign: Campaign,
        state: State,
        *,
        now: int,
        halted: str | None = None,
        leaving: State | None = None,
    ) -> bool:
        """Whether the campaign is now in that state; False where an arrow from its state, or from `leaving` alone, to that one is missing."""

    def demand(self, tx: Transaction, campaign: Campaign, state: State, *, now: int) -> None:
        """Nothing; the campaign is in that state.

        Raises:
            UsageError: it cannot come there from where it is.
        """
        if campaign.state != state and not self.move(tx, campaign, state, now=now):
            raise UsageError(f"{campaign.name} is {campaign.state} and cannot be {state}")

    @abstractmethod
    def record_move(self, tx: Transaction, campaign: Campaign, move: dict[str, Any], fingerprint: str | None = None) -> None:
        """Nothing; the campaign remembers who moved it, when and why, and the code that it goes on with, if that is another."""

    @abstractmethod
    def advance(
        self, tx: Transaction, campaign: Campaign, cursor: dict[str, Any], *, fed: bool, total: int | None = None
    ) -> None:
        """Nothing; the feeder has come to that place among the keys."""

    @abstractmethod
    def add_batches(self, tx: Transaction, campaign: Campaign, first: int, keys: Sequence[Sequence[str]]) -> None:
        """Nothing; batches of those keys are ready to be sent."""

    @abstractmethod
    def add_skipped(self, tx: Transaction, campaign: Campaign, number: int, count: int, now: int) -> None:
        """Nothing; that many entities with nothing to do are counted in a batch that needs no worker."""

    @abstractmethod
    def claim(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        """The batch, locked to the end of the transaction; None where it does not exist. Whoever comes second waits here."""

    @abstractmethod
    def finish(self, tx: Transaction, batch: Batch, tally: Tally, now: int) -> None:
        """Nothing; the batch is done, with those counts."""

    @abstractmethod
    def peek(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        """The batch, as it stands and not locked; None where it does not exist."""

    @abstractmethod
    def give_back(self, tx: Transaction, campaign: int, number: int, note: str | None = None) -> None:
        """Nothing; the batch is to be sent again. The note says why a worker would not have it."""

    @abstractmethod
    def recall_sent(self, tx: Transaction, campaign: int) -> None:
        """Nothing; batches whose messages were sent and not done are to be sent again: some may have been given back unseen."""

    @abstractmethod
    def sent(self, tx: Transaction, campaign: int, batches: Sequence[Batch], now: int) -> None:
        """Nothing; messages of those batches are in the queue.

        A batch that a fast worker has done or given back since it was looked up stays as that left it: its attempts have grown.
        """

    @abstractmethod
    def unfinished(
        self,
        tx: Transaction,
        campaign: int,
        states: Sequence[str],
        limit: int,
        sent_before: int | None = None,
        refused_before: int | None = None,
    ) -> list[Batch]:
        """Some of the campaign's batches in those states, lowest number first, without their keys.

        Those that a worker would not have are among them only if they were sent before a time.
        """

    @abstractmethod
    def owns(self, tx: Transaction, campaign: int, keys: set[str]) -> bool:
        """Whether one of the keys is in a batch of the campaign that is not done."""

    @abstractmethod
    def notes(self, tx: Transaction, campaign: int) -> list[str]:
        """Why workers would not have batches of the campaign, each reason once."""

    @abstractmethod
    def last_number(self, tx: Transaction, campaign: int) -> int:
        """The highest number of the campaign's batches; 0 where there is none."""

    @abstractmethod
    def keys_of(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[Batch]:
        """The campaign's batches after a number, with their keys."""

    @abstractmethod
    def progress(self, tx: Transaction, campaigns: Sequence[int]) -> dict[int, Progress]:
        """How far each of the campaigns is."""

    @abstractmethod
    def rewrite(self, tx: Transaction, campaign: Campaign) -> None:
        """Nothing; the campaign has these options, parameters, cursor and reasons, in which something was erased."""

    @abstractmethod
    def rewrite_keys(self, tx: Transaction, batch: Batch, keys: Sequence[str]) -> None:
        """Nothing; the batch has these keys, some of which were erased."""
