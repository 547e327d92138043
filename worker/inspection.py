"""What a worker answers whoever inspects it: Flower shows it to people who have no business with passwords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.worker import control

from backtrail.urls import redact

SECRETS = ("pass", "secret", "token")


def mask_inspection() -> None:
    """Nothing; passwords that Celery leaves in a worker's statistics are masked from now on, those of a socket's address and of TLS keys."""
    answer = control.stats

    def stats(state: Any, **arguments: Any) -> Any:
        return masked(answer(state, **arguments))

    control.Panel.data["stats"] = stats


def masked(value: Any) -> Any:
    """The value without what addresses and options in it keep secret."""
    if isinstance(value, str):
        return redact(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {name: "***" if _is_secret(name) and part else masked(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [masked(part) for part in value]
    return value


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and any(word in name.lower() for word in SECRETS)
