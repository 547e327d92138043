"""The gate at the end of a wave: its entities are verified before the next wave begins, a portion at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backtrail.discovery import Found
from ledger.campaigns import Campaign
from ledger.completeness import invariant
from ledger.examine import Scope, examine
from ledger.finding import Finding, Findings
from ledger.ledger import Ledger
from producer.sources import in_sample
from producer.waves import Limit, forgiven

PORTION = 10
"""How many batches are read at once."""

VERIFIED = 20_000
"""About so many entities of a wave are verified at the most: the sample that `--sample` takes."""

CHECKS = ("ledger", "drift", "checks", "invariants", "decisions", "accounting")
"""The checks of `verify` that look at the wave's own entities."""

LIVED_WITH = {"drift": Limit(share=0.05), "decisions": Limit(share=0.05)}
"""What an application that goes on writing does to some: rows that changed since, and sources that changed since."""


class Inspection:
    """The verification of one wave."""

    def __init__(self, ledger: Ledger, found: Found, campaign: Campaign, wave: int, size: int) -> None:
        """An inspection.

        Args:
            ledger: where the wave's batches and streams are.
            found: the migration's code.
            campaign: the campaign.
            wave: its wave, from 0.
            size: how many entities are in the wave.
        """
        self.ledger, self.campaign, self.wave = ledger, campaign, wave
        self.share = min(1.0, VERIFIED / max(size, 1))
        self.scope = Scope(ledger, found, None)
        self.findings = Findings()
        self.checked = 0
        """How many entities were verified."""
        self._work = self._portions()

    def go_on(self) -> bool:
        """Whether there is more to do; a portion of it was done."""
        return next(self._work, None) is not None

    def _portions(self) -> Iterator[int]:
        after = 0
        while True:
            with self.ledger.store.transaction(write=False) as tx:
                batches = self.ledger.campaigns.keys_of(tx, self.campaign.id, after, PORTION)
                keys = [key for batch in batches if batch.wave == self.wave for key in batch.keys if in_sample(key, self.share)]
                heads = self.ledger.journal.heads(tx, self.campaign.migration, keys, lock=False)
                self.findings.add(examine(self.scope, tx, list(heads.values())))
            self.checked += len(heads)
            if not batches or batches[-1].wave > self.wave:
                break
            after = batches[-1].number
            yield len(keys)
        for number in range(len(self.scope.cls.invariants)):
            self.findings.add(invariant(self.scope, number))
            yield 0

    def wrong(self) -> str | None:
        """What is wrong with the wave, so that the next one must not begin; None where nothing is that was not known."""
        known = forgiven(self.campaign).get("problems", {})
        bad = [finding for finding in map(self.findings.__getitem__, CHECKS) if _stops(finding, known.get(finding.name, 0))]
        return "; ".join(_said(finding) for finding in bad) or None

    def document(self) -> dict[str, Any]:
        """What is remembered of it: the number of problems by check, those that have some."""
        return {name: self.findings[name].problems for name in CHECKS if self.findings[name].problems}


def _stops(finding: Finding, known: int) -> bool:
    limit = LIVED_WITH.get(finding.name, Limit(number=0))
    return limit.exceeded(finding.problems - known, finding.checked)


def _said(finding: Finding) -> str:
    return f"verify found {finding.problems:,} problems in {finding.name}"
