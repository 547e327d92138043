"""What a production set-up has to grant, as statements to look through and run: nothing is changed here, and no password is in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from backtrail.errors import UsageError
from backtrail.stores.base import Store
from backtrail.urls import redact
from producer.needs import Needs, Part, Roles, Statement


def grants(url: str, needs: Needs, roles: Roles, store: Store | None, *, update: bool = False) -> list[Part]:
    """What is to be run, by whom, in this order.

    Args:
        url: of the database.
        needs: what the migrations do.
        roles: who is granted what.
        store: the database, if it can be asked.
        update: the roles are there already.

    Raises:
        UsageError: two roles have one name, or the URL names no database.
    """
    _demand_apart(roles)
    if url.startswith("sqlite:"):
        return [_sqlite(url)]
    database = unquote(urlsplit(url).path.removeprefix("/"))
    if not database:
        raise UsageError(f"database_url {redact(url)} names no database: grants are those of one")
    if url.startswith("mongodb"):
        from producer import grants_mongo

        return grants_mongo.parts(needs, roles, database, update=update)
    from producer import grants_postgres

    found = grants_postgres.seen(store, needs) if store is not None else grants_postgres.Seen()
    return grants_postgres.parts(needs, roles, database, found, update=update)


def _demand_apart(roles: Roles) -> None:
    names = [one for one in (roles.owner, roles.worker, roles.application, roles.reader) if one is not None]
    if "" in names or len(set(names)) < len(names):
        raise UsageError(f"owner, worker, application and reader must be different roles, not {', '.join(map(repr, names))}")


def _sqlite(url: str) -> Part:
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    return Part(
        "SQLite has no users: whoever may write the file may drop the triggers and write the ledger anew. The triggers refuse what"
        " happens by mistake, and `verify` finds what was edited, but not a ledger that was rewritten as a whole. So give the file a folder"
        " of its own (mode 2770) and a group of those who must write it, and keep what you must prove elsewhere; or take PostgreSQL or"
        " MongoDB",
        (Statement(f"chmod 660 {_word(path)}", "workers and the application are of its group; nobody else opens it"),),
    )


def _word(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def script(url: str, parts: Sequence[Part]) -> str:
    """The text to print: statements with the reasons as comments, as psql, mongosh or a shell reads it."""
    mark = "//" if url.startswith("mongodb") else "#" if url.startswith("sqlite:") else "--"
    return "\n".join(line for part in parts for line in _lines(part, mark))


def _lines(part: Part, mark: str) -> Iterator[str]:
    yield f"{mark} {part.title}:"
    last = ""
    for one in part.statements:
        if one.reason and one.reason != last:
            yield f"{mark} - {one.reason}"
        last = one.reason
        yield one.text
    yield ""


def document(parts: Sequence[Part]) -> dict[str, Any]:
    """The same as one JSON document; on MongoDB with each command, to which a user's password is to be added."""
    return {"statements": [_entry(part, one) for part in parts for one in part.statements]}


def _entry(part: Part, one: Statement) -> dict[str, Any]:
    entry: dict[str, Any] = {"statement": one.text, "reason": one.reason or None, "run": part.title}
    return entry if one.command is None else entry | {"command": dict(one.command)}
