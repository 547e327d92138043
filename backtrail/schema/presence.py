"""Whether what the steps added is still there."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from backtrail.schema import catalogue
from backtrail.schema.inserted import Inserted
from backtrail.schema.step import Step


def missing(connection: Connection, steps: Sequence[Step]) -> list[str]:
    """What the steps added and is not there any more, one name a line of a report."""
    found = [_lack(connection, step) for step in steps if step.inverse is not None and step.operation != "execute"]
    return list(dict.fromkeys(lack for lack in found if lack is not None))


def is_there(connection: Connection, step: Step) -> bool:
    """Whether the step's own object exists."""
    match step.operation:
        case "create_table" | "insert":
            return catalogue.has_table(connection, step)
        case "add_column":
            return step.name in catalogue.columns(connection, step)
        case "alter_column":
            return bool(catalogue.state(connection, step) == step.back["after"])
        case _:
            return step.name in catalogue.attached(connection, step)


def _lack(connection: Connection, step: Step) -> str | None:
    if not catalogue.has_table(connection, step):
        return f"table {step.place}"
    if step.operation == "insert":
        gone = len(step.back["rows"]) - len(Inserted(connection, step))
        return f"{gone} rows of {step.place} that expand inserted" if gone else None
    if is_there(connection, step):
        return None
    match step.operation:
        case "add_column":
            return f"column {step.place}.{step.name}"
        case "alter_column":
            return f"column {step.place}.{step.name} as expand left it"
        case "create_index":
            return f"index {step.name} of {step.place}"
        case _:
            return f"constraint {step.name} of {step.place}"
