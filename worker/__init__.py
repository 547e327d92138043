"""The worker: takes a message, does its batch in one transaction. `celery -A worker worker` works as `backtrail worker` does."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Made when Celery asks for it, and not by every import of this package: making it may start the embedded broker.
    if name == "celery":
        from worker.app import app_from_settings

        app = globals()["celery"] = app_from_settings()
        return app
    raise AttributeError(name)
