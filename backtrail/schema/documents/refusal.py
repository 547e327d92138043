"""What MongoDB says to a step, in Backtrail's words: naming the step, and never a value of a document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure, PyMongoError

from backtrail.errors import AuthorMistake, Retry, UnsuitableDatabase, UsageError

THERE = "it exists already, and expand did not create it: rename or drop it, or take the step out"

_REASONS = {
    13: "the database user may not do this: grant it, or use the owner's account",
    18: "the database user may not do this: grant it, or use the owner's account",
    26: "it names a collection that does not exist",
    27: "it names an index that does not exist",
    48: THERE,
    68: THERE,
    85: THERE,
    86: THERE,
    121: "a document would break the collection's validator",
    11000: "documents that are there already would break it: two of them are alike, or one has this _id",
    14031: "the disk is full",
}

_OF_THE_COMMAND = {2, 9, 14, 40, 59, 67, 72, 73, 115, 197, 238, 40414, 40415, 51024}
"""Codes that speak of the command itself; others may quote what documents hold."""


@contextmanager
def told(step: object) -> Iterator[None]:
    """The errors of the driver, and of values that it cannot send, as ours."""
    try:
        with answered(step):
            yield
    except (BSONError, TypeError, ValueError, OverflowError) as error:
        raise AuthorMistake(f"{step}: a value that BSON does not have ({type(error).__name__})") from error


@contextmanager
def answered(what: object) -> Iterator[None]:
    """The errors of the driver as ours."""
    try:
        yield
    except AutoReconnect as error:
        raise Retry(f"{what}: the connection was lost; start it again, and it goes on where it ended") from error
    except OperationFailure as error:
        if error.timeout or error.has_error_label("TransientTransactionError") or error.code == 112:
            raise Retry(f"{what}: somebody else is at it; try again later") from error
        raise UsageError(f"{what}: {_reason(error)}") from error
    except PyMongoError as error:
        if error.timeout:
            raise Retry(f"{what}: the database did not answer in time; start it again, and it goes on where it ended") from error
        raise UnsuitableDatabase(f"{what}: the driver refused it ({type(error).__name__})") from error


def _reason(error: OperationFailure) -> str:
    code = error.code
    details = error.details or {}
    if isinstance(error, BulkWriteError):
        code = next((one.get("code") for one in details.get("writeErrors", ())), code)
    if code in _REASONS:
        return _REASONS[code]
    if code in _OF_THE_COMMAND:
        return (str(details.get("errmsg", "")).splitlines() or ["the database refused it"])[0]
    return f"the database refused it ({details.get('codeName') or code})"
