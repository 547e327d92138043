"""Sessions become entries and goals destinations; profiles and coaching relationships are enhanced.

Documents belong to the user whose id they hold: a session, and a coaching relationship, to its client. `session_insights` and `goals`
are only read, and stay as the backup. What a document already has is kept, whatever it is: a default only fills what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, Field, field_validator

from backtrail import Entity, Keys, Migration, Rows
from backtrail.catalog.coaching_redesign.accounting import count_documents, problems
from backtrail.catalog.coaching_redesign.invariants import INVARIANTS
from backtrail.catalog.coaching_redesign.profiles import enhance_profiles
from backtrail.catalog.coaching_redesign.relationships import enhance_relationships
from backtrail.catalog.coaching_redesign.renamed import create_destinations, create_entries
from backtrail.catalog.coaching_redesign.schema import COLLECTIONS, create_collections


class Params(BaseModel):
    """What a campaign can be told."""

    relationships: str = Field("coaching_relationships", pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,119}$")
    """The collection of the coaching relationships."""

    @field_validator("relationships")
    @classmethod
    def _another_collection(cls, name: str) -> str:
        if name in {"session_insights", "goals", "profiles", *COLLECTIONS}:
            raise ValueError(f"{name} is another collection of this migration")
        return name


class CoachingRedesign(Migration):
    """Sessions become entries, goals destinations; profiles and coaching relationships are enhanced."""

    name = "coaching-redesign"
    params: Params
    keys = (
        Keys("profiles", "user_id"),
        Keys("session_insights", "client_user_id"),
        Keys("goals", "user_id"),
        Keys("{relationships}", "client_user_id"),
    )
    reads = (
        Rows("profiles", by="user_id"),
        Rows("session_insights", by="client_user_id"),
        Rows("goals", by="user_id"),
        Rows("{relationships}", by="client_user_id", name="relationships"),
    )
    writes = ("entries", "destinations", "profiles", "{relationships}")
    invariants = INVARIANTS

    def migrate(self, user: Entity) -> None:
        """Creates the user's entries and destinations, and enhances the profile and the relationships as a client."""
        create_entries(user)
        create_destinations(user)
        enhance_relationships(user)
        enhance_profiles(user)

    def check(self, user: Entity) -> Iterator[str]:
        """Yields what the plan's validation would find: counts that differ, fields that are missing, owners that are others."""
        return problems(user)

    def account(self, user: Entity) -> Mapping[str, int]:
        """What became of every document of the user: `in` is the sum of the others, unless one was lost.

        - `copied`: a session's entry, or a goal's destination, holds every field of it with the same value;
        - `enhanced`: a profile or relationship has everything that the plan adds;
        - `left`: a profile that keeps a value where the plan has an object: it is noted as unmapped.
        """
        return count_documents(user)

    def expand(self, schema: Any) -> None:
        """Adds the seven new collections with their validators and indexes, and the first quotes."""
        create_collections(schema)
