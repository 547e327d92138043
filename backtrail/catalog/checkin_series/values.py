"""What the fields of documents say: week numbers, times, due dates, links. Pure functions, and none of them fails on odd data."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Mapping
from typing import Any, Final

MOST_WEEKS: Final = 520
"""Ten years. A series that says it is longer says something else, and no week beyond is created."""

COMPLETION: Final = ("submittedAt", "completedAt", "createdAt")
"""Where a response tells when it was given; the first field that holds a time counts."""

_LARGEST: Final = 10**9
_DIGITS: Final = re.compile(r"\s*(\d{1,9})(\.0+)?\s*", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?!\d)", re.ASCII)


def week_number(value: Any) -> int | None:
    """The whole number from 1 on that the value is, also as 2.0 or "2"; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = _DIGITS.fullmatch(value)
        return (int(found[1]) or None) if found else None
    if isinstance(value, decimal.Decimal) and not value.is_finite():
        return None
    # NaN and infinity are in no range.
    if isinstance(value, (int, float, decimal.Decimal)) and 1 <= value <= _LARGEST and value == int(value):
        return int(value)
    return None


def flag(value: Any) -> bool | None:
    """Whether the value says yes or no; None where it says neither."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, (bool, int, float)) and value in {0, 1} else None


def time_of(value: Any) -> dt.datetime | None:
    """The moment that a date, or the ISO text of one, stands for, aware; None for anything else."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value) if _DATE.match(value) else None
        except ValueError:
            return None
    if not isinstance(value, dt.datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)


def completion(response: Mapping[str, Any]) -> Any:
    """When the response was given, as its document holds it; None where no field tells."""
    return next((value for name in COMPLETION if time_of(value := response.get(name)) is not None), None)


def weeks_later(due: Any, weeks: int) -> Any:
    """The due date so many times 7 days later, in the form it had (a text keeps its time and zone); None where it is no date.

    Days are counted in UTC, or in a text's own zone: a clock that changes in between does not shift the stored moment.
    """
    if time_of(due) is None:
        return None
    try:
        if isinstance(due, str):
            return (dt.date.fromisoformat(due[:10]) + dt.timedelta(weeks=weeks)).isoformat() + due[10:]
        return due + dt.timedelta(weeks=weeks)
    except OverflowError:
        return None


def names(link: Any, document_id: Any) -> bool:
    """Whether the link is the document's id, or its text, as applications keep the ids of ObjectIds."""
    return link is not None and text(link) == text(document_id)


def text(link: Any) -> str:
    """The text by which documents of a series are told apart."""
    return str(link)


def same(left: Any, right: Any) -> bool:
    """Whether the two are one value: 85 is 85.0, and a date is its text."""
    moments = time_of(left), time_of(right)
    if None not in moments:
        return moments[0] == moments[1]
    if type(left) is type(right) and str(left) == str(right):
        return True  # NaN too, which equals nothing
    try:
        return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
    except decimal.InvalidOperation:  # a signaling NaN cannot be compared
        return False
