"""A pytest plugin that keeps of the tests those that need no server, the quick ones first: thousands of runs are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import ledger

SERVERS = {"postgres_url", "mongo_url", "broker_url"}
DATABASES = {"database", "everywhere"}
"""Fixtures that ask for a server by their parameter."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Nothing; what needs a server is left out, and what needs a file comes last."""
    assert Path(str(ledger.__file__)).is_relative_to(Path.cwd()), "it is the mutated copy that is tested"
    kept = [item for item in items if not _needs_server(item)]
    config.hook.pytest_deselected(items=[item for item in items if _needs_server(item)])
    items[:] = sorted(kept, key=lambda item: "sqlite" in item.nodeid or "sqlite" in _fixtures(item))


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _needs_server(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return bool(_fixtures(item) & SERVERS) or any(
        name in DATABASES and value in {"postgres", "mongo"} for name, value in parameters.items()
    )
