"""What is to be done about one entity: decided by what its stream says, before anything is read."""

from __future__ import annotations

from typing import Literal

from ledger.campaigns import Campaign
from ledger.entry import Head

Action = Literal["migrate", "undo", "redo", "again", "refresh", "skip"]
"""`again` takes back what stands and migrates anew; `refresh` does so only where `migrate` would now decide otherwise."""


def action(campaign: Campaign, head: Head) -> Action:
    """What the campaign does about the entity.

    A campaign acts on an entity at most once, and a message of a campaign that is older than the stream's last job does nothing.
    """
    if head.campaign >= campaign.id:
        return "skip"
    match campaign.kind:
        case "migrate":
            if head.erased and not campaign.options.get("only"):
                return "skip"  # whoever names it is told why nothing can be done
            if head.state == "migrated" or (head.state == "rolled_back" and not campaign.options.get("only")):
                return "skip"
            return "redo" if head.state == "rolled_back" else "migrate"
        case "rollback":
            return "undo" if head.state == "migrated" else "skip"
        case "redo":
            return "redo" if head.state == "rolled_back" else "skip"
        case "rerun":
            return _rerun(campaign, head)


def _rerun(campaign: Campaign, head: Head) -> Action:
    if campaign.options.get("stale"):
        return "refresh" if head.state == "migrated" else "skip"
    if campaign.options.get("failed") and not head.failed:
        return "skip"
    if head.state == "migrated":
        return "again"
    return "redo" if head.state == "rolled_back" else "migrate"
