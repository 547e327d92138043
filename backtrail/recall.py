"""Results of what is not pure: called once, outside every transaction, and given again on every later run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar


class RecallNeeded(BaseException):
    """Raised through `migrate` when a recalled result is not known yet: not an error, and no author's `except` may catch it."""

    def __init__(self, label: str, digest: str, call: Callable[[], Any], alone: Callable[[], Any] | None = None) -> None:
        super().__init__(label)
        self.label, self.digest, self.call = label, digest, call
        self.alone = alone
        """Calls what needs nobody else; None where there is no such thing."""


_Function = TypeVar("_Function", bound=Callable[..., Any])
ALONE = "__backtrail_alone__"
"""Under which a function keeps the one that needs nobody else."""


def alone(function: Callable[..., Any]) -> Callable[[_Function], _Function]:
    """A decorator of functions to be recalled, that names one for where nobody else is needed: it costs nothing, and is called on the spot.

    Args:
        function: gives the result, or None while it takes others. What it gives is kept together with the entity's changes.
    """

    def mark(recalled: _Function) -> _Function:
        setattr(recalled, ALONE, function)
        return recalled

    return mark
