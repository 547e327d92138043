"""The database's refusal of a step, in one line that names the step and holds no value of a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError, StatementError

from backtrail.errors import AuthorMistake, BacktrailError, Retry, UsageError
from backtrail.schema.step import Step

_BROKEN = "rows that are there already break it: mend them first"
_DEPENDENTS = "other objects or rows depend on it: remove them first"


class _Reason(NamedTuple):
    states: tuple[str, ...]
    """PostgreSQL's: https://www.postgresql.org/docs/current/errcodes-appendix.html."""
    message: str
    """A pattern of SQLite's, which has no codes for these; its messages name things and never values."""
    text: str


_REASONS = (
    _Reason(
        ("42P06", "42P07", "42701", "42710"),
        r"already exists|already an(other)? |already a table|duplicate column name",
        "it exists already, and expand did not create it: rename or drop it, or take the step out",
    ),
    _Reason(
        ("42501", "25006"),
        r"readonly|read-only|not authorized",
        "the database user may not do this: grant it, or use the owner's account",
    ),
    _Reason(("2BP01",), r"after drop column|cannot drop .*column", _DEPENDENTS),
    _Reason(
        ("42P01", "42703", "42704"),
        r"no such|unknown column|has no column",
        "it names a table, column or type that does not exist",
    ),
    _Reason(
        ("23502",),
        r"cannot add a not null column|not null constraint failed",
        "rows that are there already would hold NULL: give a server_default, or add it nullable",
    ),
    _Reason(("23503", "23505", "23514"), r"constraint failed", _BROKEN),
    _Reason(("53100",), r"disk is full", "the disk is full"),
)


@contextmanager
def told(step: Step, *, undoing: bool = False) -> Iterator[None]:
    """The errors of the database and of Alembic as ours."""
    what = f"undo of {step}" if undoing else str(step)
    try:
        yield
    except BacktrailError:
        raise
    except DBAPIError as error:
        reason = _reason(error)
        if reason is None:
            raise Retry(f"{what}: somebody else holds a lock, or the connection was lost; try again later") from error
        # What is there already stands in the way of adding; of taking back, what refers to it.
        raise UsageError(f"{what}: {_DEPENDENTS if undoing and reason is _BROKEN else reason}") from error
    except StatementError as error:
        raise AuthorMistake(f"{what}: a value does not fit its column") from error
    except (SQLAlchemyError, CommandError, NotImplementedError, TypeError, ValueError) as error:
        raise AuthorMistake(f"{what}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error


def _reason(error: DBAPIError) -> str | None:
    """Why the database refused; None where the same can succeed later."""
    sqlite = hasattr(error.orig, "sqlite_errorname")
    state = getattr(error.orig, "sqlstate", None)
    message = (str(error.orig).splitlines() or [""])[0]
    for reason in _REASONS:
        if re.search(reason.message, message, re.IGNORECASE) if sqlite else state in reason.states:
            return reason.text
    if re.search("locked|busy", message) if sqlite else isinstance(error, OperationalError):
        return None
    # Class 42 speaks of the statement; other classes quote what rows hold.
    if sqlite or str(state).startswith(("42", "0A", "55", "25")):
        return message
    return f"the database refused it ({type(error.orig).__name__})"
