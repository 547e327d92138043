"""Runs the schema steps of the ledger on the connection that it is handed."""

from alembic import context

connection = context.config.attributes["connection"]
postgres = connection.dialect.name == "postgresql"
context.configure(
    connection=connection,
    version_table="version" if postgres else "backtrail_version",
    version_table_schema="backtrail" if postgres else None,
    transactional_ddl=False,  # the caller's transaction holds all of it
)
context.run_migrations()
