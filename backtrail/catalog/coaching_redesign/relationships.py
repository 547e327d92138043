"""Coaching relationships get what the redesign asks of them. Each is written once, by its client."""

from __future__ import annotations

from backtrail import Entity, Row
from backtrail.catalog.coaching_redesign.fields import RELATIONSHIP, STATUSES, misfits, missing


def enhance_relationships(user: Entity) -> None:
    """Nothing; every relationship in which the user is the client has the new fields."""
    for relationship in user.rows("relationships"):
        if new := missing(relationship, RELATIONSHIP):
            user.update(relationship, set=new)
        _note(user, relationship)


def has_coach(user: Entity) -> bool:
    """Whether a coach works with the user: in a relationship as a client, active or (as before the redesign) without a status."""
    return any(
        relationship.get("coach_user_id") is not None and relationship.get("status") in (None, "active")
        for relationship in user.rows("relationships")
    )


def _note(user: Entity, relationship: Row) -> None:
    where = {"collection": "relationships", "id": relationship["_id"]}
    odd = misfits(relationship, RELATIONSHIP)
    if odd:
        user.unmapped(odd, **where)
    status = relationship.get("status")
    if status is not None and "status" not in odd and status not in STATUSES:
        user.remark("a relationship has a status that the plan does not know: it stays, and does not count as active", **where)
