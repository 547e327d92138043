"""What the database itself put into the rows of a new column, told from what somebody wrote there since."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backtrail.errors import AuthorMistake
from backtrail.schema import catalogue
from backtrail.schema.exact import Exact
from backtrail.schema.operations import OWN_VALUES
from backtrail.schema.step import Step


def filling(connection: Connection, step: Step, column: sa.Column[Any]) -> dict[str, Any]:
    """What the column that was just added holds in every row.

    Raises:
        AuthorMistake: each row has a value of its own.
    """
    if column.computed is not None:
        return {"computed": True}
    default = catalogue.columns(connection, step)[str(step.name)]["default"]
    if default is None:
        return {}
    if connection.dialect.name == "sqlite":
        return {"default": default}  # a constant: SQLite takes no other for a table with rows
    # now() gave every row the time of this transaction, and would give another one when it is asked again.
    return {"fill": _fill(connection, step, default)}


def _fill(connection: Connection, step: Step, default: str) -> str | None:
    exact, name = Exact(connection, step), str(step.name)
    given = exact.text(exact.typed(name, sa.literal_column(f"({default})")))
    fill: str | None = connection.execute(sa.select(given)).scalar_one()
    first = sa.select(exact.text(sa.column(name))).select_from(catalogue.table(step)).limit(1)
    if connection.execute(first).scalar() not in (None, fill):
        raise AuthorMistake(f"{step}: {OWN_VALUES}")
    return fill


def written(connection: Connection, step: Step) -> sa.ColumnElement[bool]:
    """The condition for a row whose value in the added column is not the database's doing."""
    column: sa.ColumnElement[Any] = sa.column(str(step.name))
    if step.back.get("computed"):
        return sa.false()
    if "fill" in step.back:
        own = Exact(connection, step).is_same(str(step.name), step.back["fill"])
    elif "default" in step.back:
        own = column.is_not_distinct_from(sa.literal_column(f"({step.back['default']})"))
    else:
        own = sa.false()
    return sa.and_(column.is_not(None), sa.not_(own))
