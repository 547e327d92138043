"""The steps of earlier runs, found again by their place."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail.errors import UsageError
from backtrail.schema.step import Step

_MEND = "add new steps at the end, or take everything back first with expand --undo"


class Earlier:
    """All steps of earlier runs, in their order."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self._place = 0

    def has(self, step: Step) -> bool:
        """Whether the next thing that the author asks for is done already.

        Raises:
            UsageError: something else was done at this place.
        """
        if self._place == len(self._steps):
            return False
        before = self._steps[self._place]
        if before != step:
            now = f"{step}" if str(before) != str(step) else "written differently"
            raise UsageError(f"step {self._place + 1} was {before} and is now {now}: {_MEND}")
        self._place += 1
        return True

    def finish(self) -> None:
        """Nothing, where every one of them was asked for again."""
        if self._place < len(self._steps):
            raise UsageError(f"{self._steps[self._place]} was done and is not asked for any more: {_MEND}")
