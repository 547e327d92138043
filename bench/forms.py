"""What is run: the default form, the full one, and one that is only there to see that everything works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STORES = ("postgresql", "sqlite", "mongodb")


def _sized(sql: int, documents: int) -> dict[str, int]:
    return {"postgresql": sql, "sqlite": sql, "mongodb": documents}


@dataclass(frozen=True)
class Form:
    """The sizes of everything, and how often it is repeated."""

    users: Mapping[str, int]
    naive_users: tuple[int, ...]
    small: Mapping[str, int]
    large: Mapping[str, int]
    """The two sizes at which the cost of a user is compared."""
    many: tuple[int, int]
    """Rows of the one large entity, and how many small ones it is among."""
    repeats: Mapping[str, int]
    """Of each measure; those that are not named are not measured."""
    minutes: float | None = None
    """No other repeat begins later than this, however slow the machine."""


DEFAULT = Form(
    users=_sized(20_000, 10_000),
    naive_users=(1_000,),
    small=_sized(10_000, 10_000),
    large=_sized(100_000, 50_000),
    many=(100_000, 10_000),
    repeats={"set_based": 3, "bulk": 3, "backtrail": 3, "naive": 3, "bad": 3, "encrypted": 1, "giant": 1, "sizes": 1},
    minutes=27,
)
FULL = Form(
    users=_sized(100_000, 30_000),
    naive_users=(1_000, 10_000),
    small=_sized(10_000, 10_000),
    large=_sized(1_000_000, 100_000),
    many=(100_000, 10_000),
    repeats={"set_based": 5, "bulk": 5, "backtrail": 5, "naive": 3, "bad": 5, "encrypted": 3, "giant": 3, "sizes": 1},
)
TINY = Form(
    users=_sized(160, 160),
    naive_users=(40,),
    small=_sized(60, 60),
    large=_sized(120, 120),
    many=(1_000, 80),
    repeats=dict.fromkeys(DEFAULT.repeats, 1),
)
FORMS = {"default": DEFAULT, "full": FULL, "tiny": TINY}
