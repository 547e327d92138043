"""Which fields there are, old and new: the names in the JSON of old profiles, their types, and the columns they go to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Fields = Mapping[str, type]
"""The JSON type of each field: `str`, `list` or `dict`."""

SHARED: Final[Fields] = {
    "coreValues": list,
    "beliefs": dict,
    "interactionStyle": dict,
    "lifestyle": dict,
    "constraints": list,
    "location": str,
    "ageRange": str,
    "name": str,
}
"""Fields that are one for the whole user."""

REQUIRED: Final[tuple[str, ...]] = tuple(field for field in SHARED if field != "name")
"""The shared fields that completeness counts: all but the legacy `name`."""

CONTEXTS: Final[Mapping[str, Fields]] = {
    "romantic": {
        "relationshipTimeline": str,
        "exclusivityExpectation": str,
        "familyIntentions": str,
        "attractionImportance": str,
    },
    "friendship": {
        "friendshipDepth": str,
        "groupActivityPreference": str,
        "emotionalSupportExpectation": str,
    },
    "professional": {
        "partnershipType": str,
        "commitmentHorizon": str,
        "complementarySkills": list,
        "equityOrRevShare": str,
    },
    "creative": {
        "creativeType": str,
        "roleNeeded": str,
        "processStyle": str,
        "egoBalance": str,
        "compensationExpectation": str,
    },
    "service": {
        "serviceType": str,
        "budgetRange": str,
        "timelineNeeded": str,
        "credentialsRequired": str,
    },
}
"""The fields of each context's own; all of them count for its completeness."""

IN_CONTEXT: Final[Mapping[str, Fields]] = {context: {**SHARED, **fields} for context, fields in CONTEXTS.items()}
"""All fields that an old profile of the context can hold and that have a place in the new tables."""

COLUMNS: Final[Mapping[str, str]] = {
    "coreValues": "core_values",
    "beliefs": "beliefs",
    "interactionStyle": "interaction_style",
    "lifestyle": "lifestyle",
    "constraints": "constraints",
    "location": "location",
    "ageRange": "age_range",
    "name": "name",
    "relationshipTimeline": "relationship_timeline",
    "exclusivityExpectation": "exclusivity_expectation",
    "familyIntentions": "family_intentions",
    "attractionImportance": "attraction_importance",
    "friendshipDepth": "friendship_depth",
    "groupActivityPreference": "group_activity_preference",
    "emotionalSupportExpectation": "emotional_support_expectation",
    "partnershipType": "partnership_type",
    "commitmentHorizon": "commitment_horizon",
    "complementarySkills": "complementary_skills",
    "equityOrRevShare": "equity_or_rev_share",
    "creativeType": "creative_type",
    "roleNeeded": "role_needed",
    "processStyle": "process_style",
    "egoBalance": "ego_balance",
    "compensationExpectation": "compensation_expectation",
    "serviceType": "service_type",
    "budgetRange": "budget_range",
    "timelineNeeded": "timeline_needed",
    "credentialsRequired": "credentials_required",
}
"""The column of every field."""

PROFILE_COLUMNS: Final[tuple[str, ...]] = (
    "id",
    "user_id",
    *(COLUMNS[field] for field in SHARED),
    "completeness",
    "missing",
    "legacy_data",
    "created_at",
    "updated_at",
)

INTENT_COLUMNS: Final[tuple[str, ...]] = (
    "id",
    "user_id",
    "context_type",
    *(COLUMNS[field] for fields in CONTEXTS.values() for field in fields),
    "completeness",
    "missing",
    "created_at",
    "updated_at",
)
