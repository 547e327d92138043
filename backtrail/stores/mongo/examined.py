"""Invariants examined before a run: the server plans each pipeline, and executes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bson.errors import BSONError
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from backtrail.errors import BacktrailError, DatabaseFault, UsageError
from backtrail.migration import Invariant
from backtrail.stores.mongo.errors import DENIED, named, translate

LACKING = {26, 27}
"""A collection or an index that a stage needs: what does not exist yet may come."""

OF_THE_PIPELINE = {2, 9, 14, 15, 16, 20, 27, 40, 72, 73, 96}
"""Codes with a name whose sentence speaks of the pipeline; those without a name are of single checks of its parts, all of them."""


def demand_sound(database: Database[dict[str, Any]], invariant: Invariant, there: Collection[str], migration: str) -> None:
    """Nothing, where the server can run the invariant's pipeline, or this user may not ask it.

    Raises:
        UsageError: it is SQL, names no collection, or the server refuses it.
    """
    who = f"{migration}: the invariant {invariant.name!r}"
    if isinstance(invariant.query, str):
        raise UsageError(f"{who} is SQL: on MongoDB it is [stages …] and collection=")
    if invariant.collection is None:
        raise UsageError(f"{who} names no collection: give it collection=")
    if not all(isinstance(stage, Mapping) for stage in invariant.query):
        raise UsageError(f"{who} has a stage that is no document: on MongoDB it is a list of stages, as in [{{'$match': …}}]")
    # With the $limit that it is run with: after it, $out and $merge are refused.
    pipeline = [*(dict(stage) for stage in invariant.query), {"$limit": 1}]
    try:
        _explain(database, invariant.collection, pipeline)
    except OperationFailure as error:
        reason = _reason(error, there=invariant.collection in there)
        if reason is not None:
            raise UsageError(f"{who} is refused by MongoDB: {reason}") from error
    except PyMongoError as error:
        raise translate(error) from error
    except (BSONError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{who} has a value that BSON does not have ({type(error).__name__})") from error


def _explain(database: Database[dict[str, Any]], collection: str, pipeline: list[dict[str, Any]]) -> None:
    asked = {"aggregate": collection, "pipeline": pipeline, "cursor": {}}
    database.command({"explain": asked, "verbosity": "queryPlanner"})


def _reason(error: OperationFailure, *, there: bool) -> str | None:
    """Why the server refuses the pipeline; None where the pipeline is not to blame.

    Raises:
        BacktrailError: the server could not answer just now.
    """
    code, details = error.code or 0, error.details or {}
    if code in DENIED or (code in LACKING and not there):
        return None
    own: BacktrailError = translate(error)
    name = named(code, details)
    if name.startswith("Location") or code in OF_THE_PIPELINE:
        return (str(details.get("errmsg", "")).splitlines() or [name])[0][:300]
    if isinstance(own, DatabaseFault):
        return f"code {code}, {name}"
    raise own
