"""The steps of the ledger, which are text that nobody edits, lead to the tables that the code describes."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ledger.sql.tables import KEYS, SCHEMA, ledger_tables
from tests.engine import Engine


def test_the_steps_make_the_tables_that_the_code_describes(engine: Engine) -> None:
    """Nothing is missing, nothing is there twice, and every column has its type."""
    engine.ledger.create()
    metadata = ledger_tables("postgresql" if engine.postgres else "sqlite").metadata
    ours = {table.name for table in metadata.tables.values()}
    assert len(ours) > 10
    options = {
        "include_schemas": engine.postgres,
        "compare_type": True,
        "version_table": "version" if engine.postgres else "backtrail_version",
        "version_table_schema": SCHEMA if engine.postgres else None,
        "include_name": lambda name, kind, _: kind != "schema" or not engine.postgres or name in (SCHEMA, KEYS),
        "include_object": lambda _, name, kind, __, ___: kind != "table" or name in ours,
    }
    with engine.store.transaction(write=False) as tx:
        assert compare_metadata(MigrationContext.configure(tx.connection, opts=options), metadata) == []
