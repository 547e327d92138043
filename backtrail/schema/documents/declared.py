"""What the code's own `expand` asks for, whatever the database holds: what a record of steps is compared with before it is followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backtrail.schema.documents.catalogue import Catalogue, Facts
from backtrail.schema.documents.recorder import DocumentSchema
from backtrail.schema.step import Step


class Anywhere(Catalogue):
    """A database that has every collection, and in none of them an index."""

    def __init__(self) -> None:
        self.collections = {}

    def demand(self, name: str) -> Facts:
        return self.collections.get(name) or Facts()


def declared(body: Callable[[DocumentSchema], None]) -> list[Step]:
    """The steps that `body` asks for; the database is not asked."""
    schema = DocumentSchema(Anywhere())
    body(schema)
    return schema.steps


def unsaid(steps: Sequence[Step], said: Sequence[Step], part: str) -> tuple[int, Step] | None:
    """The first of the steps that would run commands which none of those that were said has, and its number from 1.

    Args:
        steps: what is to be carried out or taken back.
        said: what the code asks for.
        part: `commands`, or `undo`.
    """
    known = {tuple(step.back.get(part, ())) for step in said} | {()}
    return next(((number, step) for number, step in enumerate(steps, 1) if tuple(step.back.get(part, ())) not in known), None)
