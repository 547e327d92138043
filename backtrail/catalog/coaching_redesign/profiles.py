"""Profiles get their four new sub-documents; what a half-filled one has stays as it is, to the byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtrail import Entity, Row
from backtrail.catalog.coaching_redesign.fields import PROFILE, Defaults, fresh, misfits, missing, same
from backtrail.catalog.coaching_redesign.relationships import has_coach


def enhance_profiles(user: Entity) -> None:
    """Nothing; the user's profile (or each, where there are several) has the new sub-documents."""
    profiles = user.rows("profiles")
    if not profiles:
        user.remark("a user without a profile: there is none to enhance")
    if len(profiles) > 1:
        user.remark(f"a user with {len(profiles)} profiles: each is enhanced", ids=[profile["_id"] for profile in profiles])
    derived = {"has_coach": has_coach(user), "entries_count": len(user.rows("session_insights"))}
    for profile in profiles:
        _enhance(user, profile, derived)


def _enhance(user: Entity, profile: Row, derived: Mapping[str, Any]) -> None:
    new: dict[str, Any] = {}
    for name, plan in PROFILE.items():
        defaults = {**plan, **derived} if name == "freemium_status" else plan
        new |= _sub_document(user, profile, name, defaults)
    if new:
        user.update(profile, set=new)
    status = profile.get("freemium_status")
    if isinstance(status, dict):
        _compare(user, profile, status, derived)


def _sub_document(user: Entity, profile: Row, name: str, defaults: Defaults) -> dict[str, Any]:
    """What is to be set, by path: the whole where there is nothing, else only what is missing in it."""
    value = profile.get(name)
    where = {"collection": "profiles", "id": profile["_id"]}
    if value is None:
        return {name: {field: fresh(default) for field, default in defaults.items()}}
    if not isinstance(value, dict):
        user.unmapped({name: value}, **where)
        user.remark(f"{name} of a profile is no object: it stays as it is", **where)
        return {}
    if odd := misfits(value, defaults):
        user.unmapped({f"{name}.{field}": held for field, held in odd.items()}, **where)
    return {f"{name}.{field}": default for field, default in missing(value, defaults).items()}


def _compare(user: Entity, profile: Row, status: Mapping[str, Any], derived: Mapping[str, Any]) -> None:
    for field, value in derived.items():
        kept = status.get(field)
        if kept is not None and not same(kept, value):
            where = {"collection": "profiles", "id": profile["_id"]}
            user.conflict(f"freemium_status.{field}", values=[kept, value], chosen=kept, **where)
