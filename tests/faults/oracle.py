"""What the ledger's own tables say, asked in the databases' own languages: who was done how often, and by which campaign."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.eyes import Eye
from tests.acceptance.mongo_eye import MongoEye
from tests.acceptance.sql_eyes import KINDS, SqlEye

OPENINGS, ENDS, FAILURES = "begin", "end", "failed"


@dataclass(frozen=True)
class Done:
    """What one campaign did: jobs begun, ended and failed."""

    begun: int = 0
    ended: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Seen:
    """The whole ledger, counted."""

    campaigns: dict[int, Done]
    """By campaign what it did."""
    twice: list[Any]
    """Streams with more than one job of one campaign."""
    gaps: list[Any]
    """Streams whose versions are not 1, 2, 3 …"""
    streams: int
    planned: dict[int, int]
    """By campaign how many entities are in its batches."""
    open_batches: int
    states: dict[str, int] = field(default_factory=dict)


class Oracle(ABC):
    """Who counts a ledger."""

    def look(self, migration: str) -> Seen:
        """The ledger as it is now."""
        kinds = self.kinds()
        campaigns = {
            campaign: Done(*(kinds[campaign, kind] for kind in (OPENINGS, ENDS, FAILURES)))
            for campaign in {one for one, _ in kinds}
        }
        states = self.eye.states(migration)
        planned, unfinished = self.batches()
        return Seen(campaigns, self.twice(), self.eye.gaps(migration), sum(states.values()), planned, unfinished, states)

    eye: Eye

    @abstractmethod
    def kinds(self) -> Counter[tuple[int, str]]:
        """How many events of each campaign and kind there are."""

    @abstractmethod
    def twice(self) -> list[Any]:
        """The streams in which one campaign has begun twice."""

    @abstractmethod
    def batches(self) -> tuple[dict[int, int], int]:
        """By campaign the sum of its batches' sizes; and how many batches are not done."""


class SqlOracle(Oracle):
    """Who counts with SQL."""

    def __init__(self, eye: SqlEye) -> None:
        self.eye: SqlEye = eye

    def kinds(self) -> Counter[tuple[int, str]]:
        rows = self.eye.rows(f"SELECT campaign, kind, count(*) FROM {self.eye.ledger('events')} GROUP BY 1, 2")
        return Counter({(campaign, KINDS[kind]): count for campaign, kind, count in rows})

    def twice(self) -> list[Any]:
        events = self.eye.ledger("events")
        return self.eye.rows(
            f"SELECT stream, campaign, count(*) FROM {events} WHERE kind = 'b' GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY 1, 2"
        )

    def batches(self) -> tuple[dict[int, int], int]:
        batches = self.eye.ledger("batches")
        sizes = self.eye.rows(f"SELECT campaign, sum(size) FROM {batches} GROUP BY 1")
        return {campaign: int(size) for campaign, size in sizes}, int(
            self.eye.one(f"SELECT count(*) FROM {batches} WHERE state <> 'done'")
        )


class MongoOracle(Oracle):
    """Who counts with aggregations."""

    def __init__(self, eye: MongoEye) -> None:
        self.eye: MongoEye = eye

    def kinds(self) -> Counter[tuple[int, str]]:
        stages = [{"$group": {"_id": {"c": "$campaign", "k": "$kind"}, "n": {"$sum": 1}}}]
        found = self.eye.ledger["events"].aggregate(stages)
        return Counter({(int(one["_id"]["c"]), one["_id"]["k"]): one["n"] for one in found})

    def twice(self) -> list[Any]:
        stages: list[dict[str, Any]] = [
            {"$match": {"kind": OPENINGS}},
            {"$group": {"_id": {"s": "$_id.s", "c": "$campaign"}, "n": {"$sum": 1}}},
            {"$match": {"n": {"$gt": 1}}},
        ]
        return list(self.eye.ledger["events"].aggregate(stages))

    def batches(self) -> tuple[dict[int, int], int]:
        stages = [{"$group": {"_id": "$_id.campaign", "n": {"$sum": "$size"}}}]
        sizes = {int(one["_id"]): int(one["n"]) for one in self.eye.ledger["batches"].aggregate(stages)}
        return sizes, self.eye.ledger["batches"].count_documents({"state": {"$ne": "done"}})


def oracle_of(eye: Eye) -> Oracle:
    """The oracle for the eye's database."""
    if isinstance(eye, MongoEye):
        return MongoOracle(eye)
    assert isinstance(eye, SqlEye)
    return SqlOracle(eye)
