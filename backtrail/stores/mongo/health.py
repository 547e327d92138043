"""How far the members of a MongoDB replica set are behind their primary, as far as the user may see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from backtrail.stores.health import Health, Trail
from backtrail.stores.mongo.errors import DENIED

PRIMARY, FOLLOWING = 1, (2, 3)
"""The states of members: the primary; secondary and recovering. One that cannot be reached, and an arbiter, is not waited for."""

NOOP_S = 10.0
"""An idle primary writes into its log only so often: by so much a member may seem to be behind that is not."""

HIDDEN = 'replication lag is hidden from this user: grant it { role: "clusterMonitor", db: "admin" }'


def health(client: MongoClient[dict[str, Any]], trail: Trail) -> Health:
    """What the set shows."""
    try:
        members = client.admin.command("replSetGetStatus")["members"]
        delays = _delays(client)
    except OperationFailure as error:
        if error.code in DENIED:
            return Health(hidden=HIDDEN)
        raise
    primary = next((one for one in members if one["state"] == PRIMARY), None)
    # A member that is meant to be late never holds anything up.
    following = [one for one in members if one["state"] in FOLLOWING and not delays.get(one["_id"])]
    if primary is None or not following:
        return Health()
    sampled = trail.behind(_position(primary), [_position(one) for one in following]) or 0.0
    apart = (primary["optimeDate"] - min(one["optimeDate"] for one in following)).total_seconds()
    return Health(replication_lag_s=max(sampled, apart - NOOP_S))


def _delays(client: MongoClient[dict[str, Any]]) -> dict[int, int]:
    """The seconds by which members are meant to be late; version 5.0 gave the field its name."""
    members = client.admin.command("replSetGetConfig")["config"]["members"]
    return {one["_id"]: int(one.get("secondaryDelaySecs", 0)) for one in members}


def _position(member: Mapping[str, Any]) -> tuple[int, int]:
    at = member["optime"]["ts"]
    return at.time, at.inc
