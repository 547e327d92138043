"""The first form of the ledger: its tables, with triggers that keep them append-only."""

from alembic import op

from ledger.sql.steps.script import run

revision = "0002"
down_revision = None


def upgrade() -> None:
    """As the file of the database's kind says."""
    run(op.get_bind(), revision)
