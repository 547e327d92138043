"""Which entities failed in a campaign, and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from backtrail.stores.base import Transaction
from ledger.campaigns import Campaign
from ledger.ledger import Ledger

SHOWN = 20
PAGE = 500


def failures(ledger: Ledger, tx: Transaction, campaign: Campaign, *, at_most: int | None = None) -> dict[str, Any]:
    """The number of failures by class, and some of them with their reasons; an entity that was mended since is not among them.

    Args:
        ledger: where they are.
        tx: where to read.
        campaign: the campaign.
        at_most: how many of them are looked at, where there may be very many.
    """
    classes: Counter[str] = Counter()
    shown: list[dict[str, str]] = []
    after = 0
    while heads := ledger.journal.page(tx, campaign.migration, after, PAGE, failed=True, campaign=campaign.id):
        after = heads[-1].id or 0
        for key, event in ledger.journal.last_events(tx, heads).items():
            facts = event.facts
            classes[facts.get("error", event.kind)] += 1
            if len(shown) < SHOWN:
                shown.append({"key": key, "error": facts.get("error", ""), "reason": facts.get("reason", "")})
        if at_most is not None and sum(classes.values()) >= at_most:
            break
    return {"errors": dict(classes), "failures": shown}
