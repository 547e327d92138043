"""Titles of sessions, recalled: what made one is not asked again, so that nothing is paid twice and every run gives the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from backtrail import Entity, Row
from backtrail.catalog.coaching_redesign.excerpt import excerpt
from backtrail.catalog.coaching_redesign.titles import make_titles

TOGETHER = 100
"""Sessions in one recall. A user's recalls come one after the other, and for each the whole batch is decided anew: hardly anybody has two.

No more, because a new session asks for all of its own part again, and what is made so far is lost when the process ends.
"""


def titles(user: Entity, sessions: Sequence[Row]) -> dict[Any, str]:
    """The titles of these sessions by their ids; it is remarked where the endpoint of the settings could not make them."""
    made: dict[Any, str] = {}
    reasons: Counter[str] = Counter()
    for number, first in enumerate(range(0, len(sessions), TOGETHER), start=1):
        part = sessions[first : first + TOGETHER]
        results = user.recall(f"title:{number}", make_titles, [excerpt(session) for session in part])
        for session, result in zip(part, results, strict=True):
            made[session["_id"]] = result["title"]
            if result.get("why"):
                reasons[result["why"]] += 1
    for why, number in reasons.items():
        user.remark(f"titles come from the built-in generator: {why}", titles=number)
    return made
