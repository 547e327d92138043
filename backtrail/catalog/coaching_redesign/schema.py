"""The seven new collections: what their documents must have, and the indexes for the queries of the redesign's services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from backtrail.catalog.coaching_redesign.fields import DESTINATION, ENTRY
from backtrail.catalog.coaching_redesign.quotes import documents

Index = dict[str, Any]
Properties = dict[str, Any]

ID: Final = {"bsonType": "objectId"}
TEXT: Final = {"bsonType": "string"}
FLAG: Final = {"bsonType": "bool"}
DATE: Final = {"bsonType": "date"}
TAGS: Final = {"bsonType": "array", "items": TEXT}
TIMES: Final = {"created_at": DATE, "updated_at": DATE}
COUNT: Final = {"bsonType": ["int", "long"], "minimum": 0}
MAYBE_ID: Final = {"bsonType": ["objectId", "null"]}
MAYBE_TEXT: Final = {"bsonType": ["string", "null"]}
MAYBE_DATE: Final = {"bsonType": ["date", "null"]}


def create_collections(schema: Any) -> None:
    """Nothing; the collections are there, and the first quotes in theirs. No old collection is touched."""
    for name, validator in VALIDATORS.items():
        schema.create_collection(name, validator={"$jsonSchema": validator}, indexes=INDEXES[name])
    schema.insert("quotes", documents())


def _one_of(*names: str) -> Properties:
    return {"enum": list(names)}


def _object(properties: Mapping[str, Any], optional: Sequence[str] = ()) -> Properties:
    """A document of which every property but the optional ones is required."""
    required = [name for name in properties if name not in optional]
    return {"bsonType": "object", "required": required, "properties": dict(properties)}


def _having(*names: str) -> Properties:
    # Names alone: a copy keeps whatever its original had, and one of another type must not keep a user from being migrated.
    return {"bsonType": "object", "required": list(names)}


def _index(*keys: str, **options: Any) -> Index:
    """The index of these fields, descending where the name begins with a hyphen; named as MongoDB itself would."""
    fields = [(key.removeprefix("-"), -1 if key.startswith("-") else 1) for key in keys]
    return {"keys": fields, "name": "_".join(f"{name}_{order}" for name, order in fields), **options}


VALIDATORS: Final[Mapping[str, Properties]] = {
    "entries": _having("client_user_id", *ENTRY),
    "destinations": _having("user_id", "destination_statement", *DESTINATION),
    "quotes": _object(
        {
            "quote_text": TEXT,
            "author": TEXT,
            "source": MAYBE_TEXT,
            "category": _one_of("motivation", "leadership", "growth", "courage"),
            "tags": TAGS,
            "display_count": COUNT,
            "like_count": COUNT,
            "active": FLAG,
            "created_by": TEXT,
            **TIMES,
        },
        optional=("source",),
    ),
    "user_quote_likes": _object({"user_id": ID, "quote_id": ID, "liked_at": DATE}),
    "small_steps": _object(
        {
            "user_id": ID,
            "step_text": TEXT,
            "completed": FLAG,
            "completed_at": MAYBE_DATE,
            "source_entry_id": ID,
            "ai_confidence": {"bsonType": "number", "minimum": 0, "maximum": 1},
            "related_destination_id": MAYBE_ID,
            **TIMES,
        },
        optional=("completed_at", "related_destination_id"),
    ),
    "coach_resources": _object(
        {
            "coach_user_id": ID,
            "title": TEXT,
            "description": MAYBE_TEXT,
            "resource_url": TEXT,
            "resource_type": _one_of("document", "article", "video", "tool"),
            "is_template": FLAG,
            "client_specific": FLAG,
            "target_client_id": MAYBE_ID,
            "category": _one_of("exercise", "assessment", "reading", "framework"),
            "tags": TAGS,
            "active": FLAG,
            **TIMES,
        },
        optional=("description", "target_client_id"),
    ),
    "coach_client_notes": _object(
        {
            "coach_user_id": ID,
            "client_user_id": ID,
            "note_of_moment": MAYBE_TEXT,
            "way_of_working": MAYBE_TEXT,
            "about_me": MAYBE_TEXT,
            "way_of_working_template_id": MAYBE_ID,
            "about_me_template_id": MAYBE_ID,
            **TIMES,
        },
        optional=("note_of_moment", "way_of_working", "about_me", "way_of_working_template_id", "about_me_template_id"),
    ),
}

INDEXES: Final[Mapping[str, tuple[Index, ...]]] = {
    "entries": (
        _index("client_user_id", "-created_at"),  # get_entries of all types
        _index("client_user_id", "entry_type", "-created_at"),  # … of one
        _index("coach_user_id", "-session_date"),
        _index("coaching_relationship_id", "-session_date"),
    ),
    "destinations": (
        _index("user_id", "status", "-created_at"),  # get_destinations
        _index("user_id", "big_idea_rank", partialFilterExpression={"is_big_idea": True}),  # get_three_big_ideas
        _index("source_entries"),  # which destinations came of an entry
    ),
    "quotes": (_index("active", "category", "display_count"),),
    "user_quote_likes": (
        _index("user_id", "quote_id", unique=True),  # like_quote toggles
        _index("user_id", "-liked_at"),  # get_user_favorites
        _index("quote_id"),
    ),
    "small_steps": (
        _index("user_id", "completed", "-created_at"),
        _index("source_entry_id"),
        _index("related_destination_id"),
    ),
    "coach_resources": (
        _index("coach_user_id", "active", "category"),
        _index("target_client_id", "active"),
    ),
    "coach_client_notes": (
        _index("coach_user_id", "client_user_id", unique=True),
        _index("client_user_id"),
    ),
}

COLLECTIONS: Final = tuple(VALIDATORS)
