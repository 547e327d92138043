"""Campaigns and their batches as the database holds them: what every worker and command looks at, and the queue only hints at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from backtrail.errors import Tampered, UnknownName, UsageError
from backtrail.stores.base import Transaction
from ledger.keyring import Keyring
from ledger.progress import Progress, Sum, Tally, progress_of

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

SETTLED = 200
"""How many more batches have to be done for their sums to be kept."""

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
    state: State = "open"
    options: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    key_types: tuple[str, ...] = ()
    fingerprint: str = ""
    total: int = 0
    null_keys: int = 0
    by: str = ""
    reason: str | None = None
    halted: str | None = None
    cursor: dict[str, Any] = field(default_factory=dict)
    fed: bool = False
    opened_at: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    settled: dict[str, Any] = field(default_factory=dict)
    """The sums of its first batches, which are all done: so its progress is known without looking at each of them."""

    @property
    def name(self) -> str:
        """What people call it: c1, c2 and so on."""
        return f"c{self.id}"

    def in_the_way(self, how: str) -> str:
        """Why something else cannot begin before it is over, and what can be done about that."""
        return (
            f"{self.name} ({self.kind} of {self.migration}) is {self.state} and {how}:"
            f" wait for its end, or `backtrail pause {self.name}`, then `backtrail cancel {self.name}`"
        )

    @property
    def ways(self) -> str:
        """What can be done about it once it was halted."""
        words = (
            f"look at `backtrail status {self.name}`; `backtrail resume {self.name}` goes on, in spite of it or with mended code"
        )
        if self.kind in GOING_BACK:
            return words
        return f"{words}, `backtrail rollback {self.migration} --campaign {self.name}` takes back what was done"


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs that travel in one message."""

    campaign: int
    number: int
    keys: list[str]
    state: str
    attempts: int = 0
    sent_at: int | None = None
    wave: int = 0
    note: str | None = None
    size: int = 0
    """How many jobs it has, also where its keys were not read."""


class Unreadable(Tampered):
    """A campaign or a batch holds what none ever held."""


@contextmanager
def readable(what: str) -> Iterator[None]:
    """What cannot be read of it leaves as Unreadable."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise Unreadable(f"{what} cannot be read: somebody changed it, and `backtrail verify` says more") from error


def demand_texts(values: Any) -> list[str]:
    """The list of texts that was read.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise TypeError("no list of texts")
    return list(values)


def demand_objects(*values: Any) -> None:
    """Nothing, where all of them are JSON objects.

    Raises:
        TypeError: one is not.
    """
    if not all(isinstance(value, dict) for value in values):
        raise TypeError("no object")


class Campaigns(ABC):
    """The campaigns of a ledger, and their batches. Whatever reads a row that nobody can read raises Unreadable."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    @abstractmethod
    def open(self, tx: Transaction, campaign: Campaign) -> Campaign:
        """The campaign as it stands in the database, with its id."""

    @abstractmethod
    def get(self, tx: Transaction, number: int) -> Campaign | None:
        """The campaign of that id, or None."""

    @abstractmethod
    def ids(self, tx: Transaction) -> list[int]:
        """The ids of all campaigns, in their order, also of those that cannot be read."""

    def all_readable(self, tx: Transaction, migration: str) -> list[Campaign]:
        """Those of the migration's campaigns that can be read, in the order in which they were opened."""
        found = []
        for number in self.ids(tx):
            with suppress(Unreadable):
                found.append(self.get(tx, number))
        return [one for one in found if one is not None and one.migration == migration]

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

    def requiring(self, tx: Transaction, migration: str) -> dict[str, bool]:
        """The migrations of which a campaign ever required this one, and whether entity by entity."""
        return {
            one.migration: migration in one.options["requires_each"]
            for one in self.all(tx)
            if migration in one.options.get("requires", ())
        }

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
    def add_batches(
        self, tx: Transaction, campaign: Campaign, first: int, keys: Sequence[Sequence[str]], waves: Sequence[int] = ()
    ) -> None:
        """Nothing; batches of those keys are ready to be sent, each in its wave."""

    @abstractmethod
    def add_skipped(self, tx: Transaction, campaign: Campaign, number: int, count: int, now: int, wave: int = 0) -> None:
        """Nothing; that many entities with nothing to do are counted in a batch that needs no worker."""

    @abstractmethod
    def claim(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        """The batch, locked to the end of the transaction; None where it does not exist. Whoever comes second waits here."""

    @abstractmethod
    def count(self, tx: Transaction, batch: Batch, tally: Tally) -> None:
        """Nothing; the batch, which is not done, has those counts so far."""

    @abstractmethod
    def finish(self, tx: Transaction, batch: Batch, tally: Tally, now: int) -> None:
        """Nothing; the batch is done, with those counts."""

    @abstractmethod
    def peek(self, tx: Transaction, campaign: int, number: int) -> Batch | None:
        """The batch, as it stands and not locked; None where it does not exist."""

    @abstractmethod
    def give_back(self, tx: Transaction, campaign: int, number: int, note: str | None = None) -> None:
        """Nothing; the batch is to be sent again. The note says why a worker would not have it, and counts from now."""

    @abstractmethod
    def remark(self, tx: Transaction, campaign: int, number: int, note: str) -> None:
        """Nothing; the batch has that note, whoever has it in hand."""

    @abstractmethod
    def recall_sent(self, tx: Transaction, campaign: int) -> None:
        """Nothing; batches that are not done are to be sent again, whatever was noted about them: some may have been given back unseen."""

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
        up_to_wave: int | None = None,
    ) -> list[Batch]:
        """Some of the campaign's batches in those states, lowest number first, without their keys.

        Those that a worker would not have are among them only if that was before a time; those of later waves only if none is named.
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
    def numbers(self, tx: Transaction, campaign: int, after: int, limit: int) -> list[int]:
        """The numbers of the campaign's batches after a number, also of those that cannot be read; what is no number is left out."""

    def progress(self, tx: Transaction, campaigns: Sequence[int]) -> dict[int, Progress]:
        """How far each of the campaigns is."""
        settled = self.settled(tx, campaigns)
        rows = self.sums(tx, {campaign: int(settled[campaign].get("to", 0)) for campaign in settled})
        return {campaign: progress_of(settled.get(campaign, {}), rows.get(campaign, ())) for campaign in campaigns}

    def settle(self, tx: Transaction, campaign: int, at_least: int) -> None:
        """Nothing; the sums of batches before the first that is not done stand with the campaign, if there are enough more of them."""
        known = self.settled(tx, [campaign]).get(campaign, {})
        after, to = int(known.get("to", 0)), self.done_up_to(tx, campaign)
        if to - after >= at_least:
            done = progress_of(known, self.sums(tx, {campaign: after}, up_to=to).get(campaign, ()))
            self.keep_settled(tx, campaign, {"to": to, "sums": done.sums()})

    @abstractmethod
    def settled(self, tx: Transaction, campaigns: Sequence[int]) -> dict[int, dict[str, Any]]:
        """What stands with each of the campaigns of the sums of its first batches."""

    @abstractmethod
    def keep_settled(self, tx: Transaction, campaign: int, settled: dict[str, Any]) -> None:
        """Nothing; that stands with the campaign."""

    @abstractmethod
    def sums(self, tx: Transaction, after: Mapping[int, int], up_to: int | None = None) -> dict[int, list[Sum]]:
        """What batches come to, by campaign: those with a number over the one that is given for it, up to another."""

    @abstractmethod
    def done_up_to(self, tx: Transaction, campaign: int) -> int:
        """The number before that of the campaign's first batch that is not done; its last one where all are."""

    @abstractmethod
    def rewrite(self, tx: Transaction, campaign: Campaign) -> None:
        """Nothing; the campaign has these options, parameters, cursor and reasons, in which something was erased."""

    @abstractmethod
    def rewrite_keys(self, tx: Transaction, batch: Batch, keys: Sequence[str]) -> None:
        """Nothing; the batch has these keys, some of which were erased."""
