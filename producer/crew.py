"""Who is at work, which of them feeds the queue, and why a campaign is held back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from ledger.campaigns import GOING, Campaign
from ledger.presence import Worker


def workers(alive: Sequence[Worker]) -> list[dict[str, Any]]:
    """The workers as documents: what each said of itself, when it was seen, and whether its feeder leads."""
    return [
        {**worker.info, "id": worker.id, "seen": iso(worker.seen_at), "leads": bool(worker.info.get("leads"))} for worker in alive
    ]


def leader(alive: Sequence[Mapping[str, Any]]) -> str | None:
    """The id of the worker whose feeder leads; None while none of those documents says so."""
    return next((one["id"] for one in alive if one.get("leads")), None)


def refusals(campaign: Campaign, alive: Sequence[Worker]) -> list[str]:
    """Which workers cannot feed the campaign or anything, and why."""
    found = ((worker.id.partition("/")[0], worker.info.get("refuses", {})) for worker in alive)
    return [f"{name}: {refuses[key]}" for name, refuses in found for key in (campaign.name, "*") if key in refuses]


def held(campaign: Campaign, alive: Sequence[Worker]) -> str | None:
    """Why nothing of the campaign is sent just now; None where nothing is in its way, or it is over."""
    if campaign.state == "halted":
        return campaign.halted or "it is halted"
    if campaign.state == "paused":
        return _paused(campaign)
    if campaign.state not in GOING:
        return None
    if not alive:
        return "no worker is alive"
    reasons = (worker.info.get("held", {}).get(campaign.name) for worker in alive if worker.info.get("leads"))
    return next((str(reason) for reason in reasons if reason), None)


def _paused(campaign: Campaign) -> str:
    moves: Sequence[Mapping[str, Any]] = campaign.options.get("moves", ())
    last = next((move for move in reversed(moves) if move.get("to") == "paused"), None)
    if last is None:
        return "it is paused"
    return f"paused by {last.get('by')}" + (f": {last['reason']}" if last.get("reason") else "")


def iso(milliseconds: int | None) -> str | None:
    """The time, given in milliseconds since 1970, as ISO 8601 has it."""
    if milliseconds is None:
        return None
    return dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.UTC).isoformat(timespec="milliseconds")
