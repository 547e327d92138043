"""What campaigns in production need: waves, sums of what is done for good, and messages that were rejected."""

from alembic import op

from ledger.sql.steps.script import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """As the file of the database's kind says."""
    run(op.get_bind(), revision)
