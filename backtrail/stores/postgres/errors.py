"""The driver's errors as ours."""

from __future__ import annotations

import re

import psycopg

from backtrail.errors import (
    BacktrailError,
    BadValue,
    ConstraintFailed,
    Contended,
    DatabaseFault,
    PermissionMissing,
    Retry,
    SchemaChanged,
    StorageFull,
    UnsuitableDatabase,
    clash,
)

REFUSALS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "is not permitted to log in",
)
"""What a server says to whom it does not let in; libpq passes its words on, and no code."""

VALUES = re.compile(r'invalid (\w+) value: "|for connection option "(\w+)"')
"""What libpq says of an option of the address whose value it does not take; it quotes the value."""

REFUSED = "the database refuses this user, or does not exist: check the user, password and name of the database in database_url"


def translated(error: psycopg.Error) -> BacktrailError:
    """One of ours, by the error's SQLSTATE (PostgreSQL's documentation, appendix A).

    Only names go into the message: the server's own text quotes values of the user's columns.
    """
    diag, state = error.diag, error.sqlstate
    name = type(error).__name__
    if state is None:
        return _without_answer(error)
    where = ".".join(part for part in (diag.table_name, diag.column_name) if part)
    function = re.search(r"function (\S+?)\(", diag.context or "")
    what = name + "".join(
        f"{word}{part}"
        for word, part in (
            (" on ", where),
            (", constraint ", diag.constraint_name),
            (", in the function ", function and function[1]),
        )
        if part
    )
    if state in {"40P01", "55P03"}:
        return Contended(what)
    if state in {"40001", "57014", "57P01", "57P02", "57P03", "53300", "25P03", "57P05"} or state.startswith("08"):
        return Retry(what)
    if state.startswith("28") or state == "3D000":
        return UnsuitableDatabase(f"the database refuses this user or does not exist ({name}): check database_url")
    if state in {"42501", "25006"}:
        return PermissionMissing(f"{diag.message_primary}: {_mend(diag)}")
    if state.startswith(("53", "58")):
        return StorageFull(f"{what}: the server has no room or cannot write its files")
    if state == "0A000" and "cached plan" in str(error):
        return Retry(what)
    if state in {"23505", "23P01"}:
        return clash(what)
    if state.startswith(("22", "23", "P0", "44", "27", "54", "21", "09", "2F", "38", "39")):
        return ConstraintFailed(what)
    if state.startswith("42"):
        # The statements are ours and right for the schema that was reflected, so it is another now.
        return SchemaChanged(f"{what}: {diag.message_primary}" if state in {"42P01", "42703"} else what)
    return DatabaseFault(f"{what} ({state})")


def _mend(diag: psycopg.errors.Diagnostic) -> str:
    # The server's words are in its language, its source's names are not.
    hidden = diag.source_function == "check_enable_rls"
    return "run as its owner, or as a user with BYPASSRLS" if hidden else "the database user may not do what the migration does"


def _without_answer(error: psycopg.Error) -> BacktrailError:
    """One of ours for an error of the driver's own: the connection was not made, or was lost, or a value cannot be sent."""
    name, said = type(error).__name__, str(error)
    if isinstance(error, psycopg.DataError):
        return BadValue(f"a value cannot be sent to the database ({name})")
    if not isinstance(error, psycopg.OperationalError):
        return DatabaseFault(name)
    if any(words in said for words in REFUSALS):
        return UnsuitableDatabase(REFUSED)
    option = VALUES.search(said)
    if option is not None:
        return UnsuitableDatabase(f"database_url: {option[1] or option[2]} has a value that PostgreSQL's driver does not take")
    return Retry("the connection to the database was lost or refused")
