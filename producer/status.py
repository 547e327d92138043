"""What a campaign's status is: from the database, never from the queue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from backtrail.stores.base import Transaction
from ledger.campaigns import Campaign, Progress
from ledger.ledger import Ledger
from ledger.presence import milliseconds


def status(ledger: Ledger, tx: Transaction, campaigns: Sequence[Campaign]) -> list[dict[str, Any]]:
    """The status document of each campaign."""
    progress = ledger.campaigns.progress(tx, [campaign.id for campaign in campaigns])
    return [document(campaign, progress[campaign.id], milliseconds(tx)) for campaign in campaigns]


def document(campaign: Campaign, progress: Progress, now: int) -> dict[str, Any]:
    """The status document of a campaign at a time in milliseconds since 1970."""
    tally = progress.tally
    total = max(campaign.total, tally.done)
    pending = total - tally.done if campaign.state not in ("completed",) else 0
    rate, eta = _pace(campaign, tally.migrated + tally.rolled_back + tally.failed, pending, now)
    return {
        "campaign": campaign.name,
        "migration": campaign.migration,
        "kind": campaign.kind,
        "state": campaign.state,
        "total": total,
        "pending": pending,
        **tally.values(),
        "null_keys": campaign.null_keys,
        "nulls": campaign.options.get("nulls", {}),
        "rate_per_s": rate,
        "eta_s": eta,
        "by": campaign.by,
        "reason": campaign.reason,
        "halted": campaign.halted,
        "opened_at": _iso(campaign.opened_at),
        "started_at": _iso(campaign.started_at),
        "ended_at": _iso(campaign.ended_at),
        "params": campaign.params,
    }


def _pace(campaign: Campaign, done: int, pending: int, now: int) -> tuple[float, float | None]:
    """Entities a second since the campaign started, and how many seconds are left; None where nobody can know."""
    if campaign.started_at is None:
        return 0.0, None
    seconds = max(((campaign.ended_at or now) - campaign.started_at) / 1000, 0.001)
    rate = done / seconds
    if not pending:
        return round(rate, 1), 0.0
    return round(rate, 1), round(pending / rate, 1) if rate and campaign.state == "running" else None


def _iso(milliseconds_: int | None) -> str | None:
    if milliseconds_ is None:
        return None
    return dt.datetime.fromtimestamp(milliseconds_ / 1000, tz=dt.UTC).isoformat(timespec="milliseconds")
