"""Campaigns and who works on them, as one look at the database shows them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from backtrail.stores.base import Transaction
from ledger.campaigns import GOING, UNFINISHED, Campaign
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from producer.crew import leader, workers
from producer.failures import failures
from producer.status import status

FAILURES_MS = 5_000
"""How often failures are counted by class, at the most: it reads the entities that failed."""

FAILURES = 2_000
"""How many of the entities that failed in a campaign are looked at for it."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What one look has shown. Times are milliseconds since 1970, by the database's clock."""

    at: int
    campaigns: list[dict[str, Any]]
    """Their status documents, with `errors` (failures by class) and `refused` (why workers would not have batches)."""
    workers: list[dict[str, Any]]
    rejected: int
    """How many messages made no sense to a worker."""

    @property
    def leader(self) -> str | None:
        """The id of the worker whose feeder leads, if one says so."""
        return leader(self.workers)


@dataclass(slots=True)
class _Classes:
    """Failures by class as they were counted, when, and at how many."""

    at: int
    failed: int
    errors: dict[str, int]


@dataclass
class Looker:
    """Looks at a ledger again and again, and remembers what is dear to count."""

    ledger: Ledger
    _classes: dict[int, _Classes] = field(default_factory=dict)

    def look(self, choose: Collection[int] | None = None, also: Collection[int] = ()) -> Overview:
        """What there is just now.

        Args:
            choose: the ids of the campaigns to look at; None for all that are not over.
            also: the ids of more.
        """
        with self.ledger.store.transaction(write=False) as tx:
            if not self.ledger.exists(tx):
                return Overview(milliseconds(tx), [], [], 0)
            return self.survey(tx, self._chosen(tx, choose, also))

    def survey(self, tx: Transaction, campaigns: list[Campaign]) -> Overview:
        """What there is about those campaigns."""
        alive = self.ledger.presence.alive(tx)
        documents = status(self.ledger, tx, campaigns, alive)
        for campaign, document in zip(campaigns, documents, strict=True):
            document["errors"] = self._errors(tx, campaign, document["failed"])
            document["refused"] = self.ledger.campaigns.notes(tx, campaign.id) if campaign.state in GOING else []
        return Overview(milliseconds(tx), documents, workers(alive), self.ledger.rejections.count(tx))

    def _chosen(self, tx: Transaction, choose: Collection[int] | None, also: Collection[int]) -> list[Campaign]:
        if choose is None:
            going = self.ledger.campaigns.all(tx, states=UNFINISHED)
            also = set(also) - {campaign.id for campaign in going}
        else:
            going, also = [], {*choose, *also}
        others = (self.ledger.campaigns.get(tx, number) for number in also)
        return sorted((*going, *(one for one in others if one is not None)), key=lambda one: one.id)

    def _errors(self, tx: Transaction, campaign: Campaign, failed: int) -> dict[str, int]:
        now, known = milliseconds(tx), self._classes.get(campaign.id)
        if not failed:
            return {}
        if known is None or (known.failed != failed and now - known.at >= FAILURES_MS):
            known = _Classes(now, failed, failures(self.ledger, tx, campaign, at_most=FAILURES)["errors"])
            self._classes[campaign.id] = known
        return known.errors
