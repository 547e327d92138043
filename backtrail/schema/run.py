"""`expand` or `contract` carried out, or only shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Declared:
    """What a body itself says of how its steps are taken back."""

    undos: Set[tuple[str, ...]]
    """The statements of each `execute`."""
    types: Set[str]
    """The names of the types that its columns are of."""

    def says(self, step: Step) -> bool:
        """Whether the step is taken back by statements and types of the body's own."""
        back = step.back
        return ("statements" not in back or tuple(back["statements"]) in self.undos) and self.types >= set(back.get("types", ()))


def declared(connection: Connection, body: Body) -> Declared:
    """What `body` says of taking back. The database is only read."""
    schema = Schema(connection, dry=True)
    body(schema)
    return Declared(schema.undos, schema.types)


def script(connection: Connection, body: Body, *, allow_irreversible: bool = False, done: Sequence[Step] = ()) -> list[str]:
    """The SQL that `run` would execute. The database is only read."""
    schema = Schema(connection, irreversible=allow_irreversible, done=done, dry=True)
    body(schema)
    schema.finish()
    return schema.script
