"""The first form of the ledger."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from alembic import op

revision = "0002"
down_revision = None


def upgrade() -> None:
    """Its tables, with triggers that keep them append-only, as the file of the database's kind has them."""
    connection = op.get_bind()
    script = Path(__file__).with_name(f"0002_{connection.dialect.name}.sql").read_text()
    # psycopg takes all of it at once, and a % for a parameter.
    for statement in statements(script) if connection.dialect.name == "sqlite" else [script.replace("%", "%%")]:
        connection.exec_driver_sql(statement)


def statements(script: str) -> Iterator[str]:
    """The statements one by one, as SQLite's driver takes them inside a transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
