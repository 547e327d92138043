"""What holds for all documents at every moment, before the migration too.

There is little of that: old data may hold two assignments for one week, links that lead nowhere, and weeks without a response, all of
which stay as they are. Those of the plan's checks that need to know what the migration did are asked per series, in `checks`.
"""

from __future__ import annotations

from typing import Any, Final

from backtrail import Invariant
from backtrail.catalog.checkin_series.series import ASSIGNMENTS, RESPONSES


def _converted(field: str, to: str) -> dict[str, Any]:
    return {"$convert": {"input": field, "to": to, "onError": None, "onNull": None}}


def _differ(field: str) -> dict[str, Any]:
    # A document that names no client or no form belongs to no series, and contradicts none.
    both = [{"$gt": [f"${field}", None]}, {"$gt": [f"$response.{field}", None]}]
    return {"$and": [*both, {"$ne": [f"${field}", f"$response.{field}"]}]}


LINKED_ACROSS: Final[list[dict[str, Any]]] = [
    {"$match": {"responseId": {"$ne": None}}},
    # Links may be kept as the text of an id; by all its forms together the response is found in the index.
    {
        "$project": {
            "clientId": 1,
            "formId": 1,
            "forms": ["$responseId", _converted("$responseId", "string"), _converted("$responseId", "objectId")],
        }
    },
    {"$lookup": {"from": RESPONSES, "localField": "forms", "foreignField": "_id", "as": "response"}},
    {"$unwind": "$response"},
    {
        "$match": {
            "$expr": {
                "$and": [
                    {"$gt": [_converted("$_id", "string"), None]},
                    {"$eq": [_converted("$response.assignmentId", "string"), _converted("$_id", "string")]},
                    {"$or": [_differ("clientId"), _differ("formId")]},
                ]
            }
        }
    },
    {"$project": {"_id": 1}},
]
"""Assignments that name a response which names them, though it is another client's or form's."""

INVARIANTS: Final = (
    Invariant(
        "an assignment and a response that name each other are of one client and form", LINKED_ACROSS, collection=ASSIGNMENTS
    ),
)
