"""Titles of sessions, recalled: what made one is not asked again, so that nothing is paid twice and every run gives the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from backtrail import Entity, Row
from backtrail.catalog.coaching_redesign.excerpt import excerpt
from backtrail.catalog.coaching_redesign.titles import make_titles

TOGETHER = 25
"""Sessions in one recall: few round trips for a user with many, and a new session asks only for its own part anew."""


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
