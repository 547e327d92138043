"""What `expand` and `contract` are handed on SQL: Alembic's operations, each recorded as it is done, so that it can be taken back.

A step is known by its place: a second `expand` finds its first steps done and performs only what the author added at the end.
"""

from backtrail.schema.presence import missing
from backtrail.schema.recorder import Schema
from backtrail.schema.run import declared, run, script
from backtrail.schema.step import Step
from backtrail.schema.undo import undo

__all__ = ["Schema", "Step", "declared", "missing", "run", "script", "undo"]
