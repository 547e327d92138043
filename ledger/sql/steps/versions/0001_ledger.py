"""The first form of the ledger: its tables, and triggers that keep events and shapes append-only."""

from alembic import op

from ledger.sql.tables import ledger_tables

revision = "0001"
down_revision = None

POSTGRES = """
CREATE FUNCTION backtrail.append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$
"""


def upgrade() -> None:
    """The tables, with rules that nothing in the ledger changes once it is written."""
    connection = op.get_bind()
    tables = ledger_tables(connection.dialect.name)
    tables.metadata.create_all(connection, checkfirst=False)
    protected = [tables.events, tables.shapes]
    if connection.dialect.name == "postgresql":
        op.execute(POSTGRES)
        for table in protected:
            # Both kinds, and ALWAYS: TRUNCATE passes row triggers by, and session_replication_role = replica all ordinary ones.
            for name, event, level in (("rows", "UPDATE OR DELETE", "ROW"), ("whole", "TRUNCATE", "STATEMENT")):
                trigger = f"append_only_{name}"
                op.execute(
                    f"CREATE TRIGGER {trigger} BEFORE {event} ON {table.fullname} FOR EACH {level} EXECUTE FUNCTION backtrail.append_only()"
                )
                op.execute(f"ALTER TABLE {table.fullname} ENABLE ALWAYS TRIGGER {trigger}")
        return
    for table in protected:
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table.name}_no_{event.lower()} BEFORE {event} ON {table.name}"
                f" BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        # INSERT OR REPLACE deletes without firing the delete trigger, so an existing key is refused on the way in: any unique one.
        unique = [list(table.primary_key), *([column] for column in table.columns if column.unique)]
        same = " OR ".join(" AND ".join(f"{column.name} = NEW.{column.name}" for column in key) for key in unique)
        op.execute(
            f"CREATE TRIGGER {table.name}_no_replace BEFORE INSERT ON {table.name}"
            f" WHEN EXISTS (SELECT 1 FROM {table.name} WHERE {same})"
            f" BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: it exists already'); END"
        )
