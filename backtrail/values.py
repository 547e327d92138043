"""Values that authors meet and Python has no type for."""

from __future__ import annotations

from typing import Any


class Opaque:
    """A value of the database that Python cannot hold: year 44 BC, infinity, text in a date column.

    It shows its text, can be passed on as a value, and is then written exactly as it was. Two are equal where their exact forms are.
    """

    __slots__ = ("exact", "text")

    def __init__(self, text: str, exact: Any = None) -> None:
        self.text = text
        self.exact = text if exact is None else exact

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Opaque({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.exact == self.exact

    def __hash__(self) -> int:
        return hash(self.exact)
