"""What a campaign's status is: from the database, never from the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtrail.stores.base import Transaction
from ledger.campaigns import Campaign
from ledger.ledger import Ledger
from ledger.presence import Worker, milliseconds
from ledger.progress import Progress, Tally
from producer.crew import held, iso
from producer.pace import time_left
from producer.waves import bounds, wave_of


def status(
    ledger: Ledger, tx: Transaction, campaigns: Sequence[Campaign], alive: Sequence[Worker] | None = None
) -> list[dict[str, Any]]:
    """The status document of each campaign; the workers that are alive are looked up where they are not given."""
    progress = ledger.campaigns.progress(tx, [campaign.id for campaign in campaigns])
    if alive is None:
        alive = ledger.presence.alive(tx)
    now = milliseconds(tx)
    return [document(campaign, progress[campaign.id], now, alive) for campaign in campaigns]


def document(campaign: Campaign, progress: Progress, now: int, alive: Sequence[Worker] = ()) -> dict[str, Any]:
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
        "held": held(campaign, alive),
        "rate_limit": campaign.options.get("rate"),
        "later": campaign.cursor.get("later", 0),
        "waves": waves(campaign, progress, total),
        "batches": {"ready": progress.ready, "sent": progress.sent, "done": progress.done},
        "opened_at": iso(campaign.opened_at),
        "started_at": iso(campaign.started_at),
        "ended_at": iso(campaign.ended_at),
        "params": campaign.params,
    }


def waves(campaign: Campaign, progress: Progress, total: int) -> list[dict[str, Any]]:
    """The campaign's waves in their order, each with how far it is and what its gate said; empty where it has none."""
    # A gate may be asked again, after a resume: the last answer holds.
    gates: dict[int, Mapping[str, Any]] = {int(gate["wave"]): gate for gate in campaign.cursor.get("gates", ())}
    shares: Sequence[float] = campaign.options.get("waves") or ()
    ends = [*campaign.options.get("bounds", bounds(shares, total)), total]
    found = []
    for at, share in enumerate(shares):
        tally = progress.waves[at].tally if at in progress.waves else Tally()
        found.append(
            {
                "share": share,
                "bound": min(ends[at], total),
                "state": _wave_state(campaign, at, gates.get(at)),
                "done": tally.done,
                **tally.values(),
                "gate": dict(gates[at]) if at in gates else None,
            }
        )
    return found


def _wave_state(campaign: Campaign, at: int, gate: Mapping[str, Any] | None) -> str:
    if gate is not None and not gate.get("passed"):
        return "failed"
    if gate is not None or at < wave_of(campaign) or campaign.state == "completed":
        return "passed"
    return "running" if at == wave_of(campaign) else "ahead"


def _pace(campaign: Campaign, done: int, pending: int, now: int) -> tuple[float, float | None]:
    """Entities a second since the campaign started, and how many seconds are left; None where nobody can know."""
    if campaign.started_at is None:
        return 0.0, None
    seconds = max(((campaign.ended_at or now) - campaign.started_at) / 1000, 0.001)
    rate = done / seconds
    left = time_left(pending, rate if campaign.state == "running" else None)
    return round(rate, 1), None if left is None else round(left, 1)
