"""The message that producer and worker share, and nothing else that they share.

A message carries ids of rows only. What a job does is read from the database, so that whoever can write to the queue can at most have
work looked at that is there already.
"""

from __future__ import annotations

import re
from typing import Any

TASK = "backtrail.batch"
"""The one task that travels; its name is a metric's label and never changes."""

FORMAT = 1
"""The version of the message's form. A batch whose message has a newer one goes back, to be done by a worker that knows it."""

OLDEST = 1
"""The oldest form that is understood: messages lie in queues while workers are upgraded."""


class NewerFormat(ValueError):
    """A message of a newer format, which still says what batch it is of."""

    def __init__(self, format: int, campaign: int, batch: int) -> None:
        super().__init__(f"a message of format {format}")
        self.format, self.campaign, self.batch = format, campaign, batch


_CAMPAIGN = re.compile(r"c[0-9]{1,18}")


def message(campaign: int, batch: int) -> dict[str, Any]:
    """The arguments of the task for one batch of one campaign."""
    return {"v": FORMAT, "campaign": f"c{campaign}", "batch": batch}


def parse(v: Any, campaign: Any, batch: Any) -> tuple[int, int]:
    """The campaign's and the batch's numbers.

    Raises:
        NewerFormat: a newer version has sent the message.
        ValueError: the message makes no sense; it says which part, and not what it held.
    """
    if type(v) is not int or not OLDEST <= v < 2**15:
        raise ValueError("a message of another format")
    if not (isinstance(campaign, str) and _CAMPAIGN.fullmatch(campaign)):
        raise ValueError("a message without a campaign")
    if not (isinstance(batch, int) and not isinstance(batch, bool) and 0 < batch < 2**31):
        raise ValueError("a message without a batch")
    if v > FORMAT:
        raise NewerFormat(v, int(campaign[1:]), batch)
    return int(campaign[1:]), batch
