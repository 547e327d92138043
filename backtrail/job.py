"""The message that producer and worker share, and nothing else that they share.

A message carries ids of rows only. What a job does is read from the database, so that whoever can write to the queue can at most have
work looked at that is there already.
"""

from __future__ import annotations

from typing import Any

TASK = "backtrail.batch"
"""The one task that travels; its name is a metric's label and never changes."""

FORMAT = 1
"""The version of the message's form. A worker refuses one that it does not know."""


def message(campaign: int, batch: int) -> dict[str, Any]:
    """The arguments of the task for one batch of one campaign."""
    return {"v": FORMAT, "campaign": f"c{campaign}", "batch": batch}


def parse(v: Any, campaign: Any, batch: Any) -> tuple[int, int]:
    """The campaign's and the batch's numbers.

    Raises:
        ValueError: the message makes no sense; it says which part, and not what it held.
    """
    if v != FORMAT:
        raise ValueError("a message of another format")
    if not (isinstance(campaign, str) and campaign[:1] == "c" and campaign[1:].isdecimal() and len(campaign) < 20):
        raise ValueError("a message without a campaign")
    if not (isinstance(batch, int) and not isinstance(batch, bool) and 0 < batch < 2**31):
        raise ValueError("a message without a batch")
    return int(campaign[1:]), batch
