"""`expand` or `contract` carried out, or only shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.engine import Connection

from backtrail.schema.recorder import Schema
from backtrail.schema.statements import check_at_once
from backtrail.schema.step import Step

Body = Callable[[Schema], None]


def run(connection: Connection, body: Body, *, allow_irreversible: bool = False, done: Sequence[Step] = ()) -> list[Step]:
    """The steps that `body` performed now, in the connection's transaction, which the caller commits.

    Args:
        connection: in a transaction; on SQLite in a real one, begun by BEGIN.
        body: `migration.expand` or `migration.contract`.
        allow_irreversible: whether it is `contract`, which may drop, and whose steps have no way back.
        done: all steps of earlier runs, in their order. They are not performed again, and are not in the result.

    Raises:
        UsageError: the database refused a step, or `body` is no longer what was done. Nothing is changed.
        AuthorMistake: `body` asks for what has no inverse.
        Retry: a lock could not be had.
    """
    schema = Schema(connection, irreversible=allow_irreversible, done=done)
    with connection.begin_nested():
        check_at_once(connection)
        body(schema)
        schema.finish()
    return schema.steps


def script(connection: Connection, body: Body, *, allow_irreversible: bool = False, done: Sequence[Step] = ()) -> list[str]:
    """The SQL that `run` would execute. The database is only read."""
    schema = Schema(connection, irreversible=allow_irreversible, done=done, dry=True)
    body(schema)
    schema.finish()
    return schema.script
