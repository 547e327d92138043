"""The edge cases of the sample: what of an ordinary user's documents is another with each of them."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping
from typing import Any, Final

from backtrail.catalog.coaching_redesign import sample_texts as texts

Document = dict[str, Any]

EDGES: Final = (
    "only a coach",
    "plain",
    "own title",
    "null title",
    "own entry type",
    "own detected goals",
    "bare session",
    "no session date",
    "celebrations as text",
    "no sessions",
    "many sessions",
    "failed session",
    "both statements",
    "no goal statement",
    "null goal statement",
    "no success vision",
    "own progress history",
    "no progress",
    "own big idea",
    "decimal progress",
    "coach and client",
    "no goals",
    "no profile",
    "two profiles",
    "half-filled identity",
    "null identity",
    "identity as text",
    "own freemium status",
    "half-filled preferences",
    "empty feature flags",
    "no relationship",
    "pending relationship",
    "inactive relationship",
    "declined relationship",
    "no status",
    "null status",
    "unknown status",
    "two coaches",
    "invited by email",
    "ownerless documents",
)
"""One for each user of a period, in this order."""

STATUSES: Final[Mapping[str, str | None]] = {
    "pending relationship": "pending",
    "inactive relationship": "inactive",
    "declined relationship": "declined",
    "null status": None,
    "unknown status": "paused",
    "invited by email": "pending",
}
"""Of the relationship; of everybody else it is active."""

_PROFILES: Final[Mapping[str, Document]] = {
    "half-filled identity": {
        "identity_foundation": {
            "clifton_strengths": list(texts.STRENGTHS[:2]),
            "values": "honesty, curiosity",
            "motto": "slowly, but surely",
            "enneagram_type": None,
        }
    },
    "null identity": {"identity_foundation": None},
    "identity as text": {"identity_foundation": "values: honesty"},
    "own freemium status": {"freemium_status": {"has_coach": False, "entries_count": 99, "max_free_entries": 5}},
    "half-filled preferences": {"dashboard_preferences": {"preferred_landing_tab": "quotes", "tooltips_shown": None}},
    "empty feature flags": {"redesign_features": {}},
}
_SESSIONS: Final[Mapping[str, Document]] = {
    "own title": {"title": "My own words ✍️"},
    "null title": {"title": None},
    "own entry type": {"entry_type": "fresh_thought"},
    "own detected goals": {"detected_goals": [{"goal_statement": "Rest", "confidence": 0.5, "suggested": True}]},
    "no session date": {"transcript_content": None},
    "celebrations as text": {
        "celebrations": "Told the board about the delay. Write to me at someone@example.org or call +33 1 23 45 67 89"
    },
    "failed session": {
        "status": "failed",
        "processing_error": "timeout",
        "completed_at": None,
        **dict.fromkeys(("celebrations", "intentions", "client_discoveries", "action_items")),
    },
}
_UNSAID: Final = ("session_date", "celebrations", "intentions", "client_discoveries", "action_items", "tags")
_BARE: Final = ("_id", "client_user_id", "session_date", "created_at")
_GOALS: Final[Mapping[str, Document]] = {
    "both statements": {"destination_statement": "Lead a team of nine"},
    "null goal statement": {"goal_statement": None},
    "own big idea": {"is_big_idea": True, "big_idea_rank": 1, "priority": "high", "category": "career"},
    "decimal progress": {"progress_percentage": decimal.Decimal("33.30")},
}
_GOALS_LACK: Final[Mapping[str, tuple[str, ...]]] = {
    "no goal statement": ("goal_statement",),
    "no success vision": ("success_vision",),
    "no progress": ("progress_percentage", "progress_emoji", "progress_notes"),
}


def profile(edge: str) -> Document:
    """What the profile already has of the redesign."""
    return dict(_PROFILES.get(edge, {}))


def spoil_session(edge: str, session: Document) -> None:
    """Nothing; the session is what the edge case says."""
    lacks = {"bare session": [name for name in session if name not in _BARE], "no session date": list(_UNSAID)}
    for name in lacks.get(edge, ()):
        del session[name]
    session |= _SESSIONS.get(edge, {})


def spoil_goal(edge: str, goal: Document, since: dt.datetime) -> None:
    """Nothing; the goal is what the edge case says."""
    for name in _GOALS_LACK.get(edge, ()):
        del goal[name]
    goal |= _GOALS.get(edge, {})
    if edge == "own progress history":
        goal["progress_history"] = [{"emoji": "🌱", "notes": None, "percentage": 1, "timestamp": since}]
