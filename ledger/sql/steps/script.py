"""Steps written as SQL, one file for each kind of database."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import Connection


def run(connection: Connection, step: str) -> None:
    """Nothing; the statements of `versions/STEP_DIALECT.sql` were executed."""
    script = (Path(__file__).parent / "versions" / f"{step}_{connection.dialect.name}.sql").read_text()
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
