"""The plan's new fields and their defaults: what is added where it is missing, and what an existing value should look like."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

Defaults = Mapping[str, Any]
"""By field. None stands for a field that may be null; every other default also takes the place of a null."""

ENTRY: Final[Defaults] = {"entry_type": "session", "title": "", "detected_goals": []}
DESTINATION: Final[Defaults] = {
    "is_big_idea": False,
    "big_idea_rank": None,
    "progress_notes": None,
    "progress_history": [],
    "priority": "medium",
    "category": "personal",
    "ai_suggested": False,
    "source_documents": [],
    "source_entries": [],
}
PROFILE: Final[Mapping[str, Defaults]] = {
    "identity_foundation": {
        "values": None,
        "energy_amplifiers": None,
        "energy_drainers": None,
        "personality_notes": None,
        "clifton_strengths": [],
        "enneagram_type": None,
        "disc_profile": None,
        "myers_briggs": None,
    },
    "freemium_status": {
        "has_coach": False,
        "entries_count": 0,
        "max_free_entries": 3,
        "coach_requested": False,
        "coach_request_date": None,
    },
    "dashboard_preferences": {
        "preferred_landing_tab": "journey",
        "quote_likes": [],
        "onboarding_completed": False,
        "tooltips_shown": False,
    },
    "redesign_features": {
        "unified_entries": False,
        "destinations_rebrand": False,
        "mountain_navigation": False,
        "freemium_gating": False,
    },
}
RELATIONSHIP: Final[Defaults] = {
    "status": "active",
    "invited_by_email": None,
    "invitation_accepted_at": None,
    "upgraded_from_freemium": False,
    "upgrade_date": None,
}
STATUSES: Final = ("active", "pending", "inactive", "declined")
"""What the plan knows a relationship to be."""


def missing(holder: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The fields that the holder lacks, with their defaults; a null counts as lacking where the field may not be null."""
    return {
        name: fresh(default)
        for name, default in defaults.items()
        if name not in holder or (default is not None and holder[name] is None)
    }


def fresh(default: Any) -> Any:
    """The default, for one document alone."""
    return deepcopy(default) if isinstance(default, (dict, list)) else default


def misfits(holder: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The holder's own values that are of another type than the plan's; they stay, and a person should look at them."""
    return {
        name: holder[name]
        for name, default in defaults.items()
        if default is not None and holder.get(name) is not None and not _fits(holder[name], default)
    }


def same(left: Any, right: Any) -> bool:
    """Whether the two are one value: true is not 1, a NaN is itself, and fields have no order."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, (float, decimal.Decimal)) and type(left) is type(right):
        return str(left) == str(right)
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _fits(value: Any, default: Any) -> bool:
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int):
        return isinstance(value, (int, float, decimal.Decimal))
    return isinstance(value, type(default))
