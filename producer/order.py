"""What somebody asks for when a campaign is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.campaigns import Kind


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asks for."""

    kind: Kind
    only: Sequence[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    batch_size: int = 500
