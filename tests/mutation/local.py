"""A pytest plugin that keeps of the tests those that need no server, in the order of the group: thousands of runs are made of them."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest
from hypothesis import Phase, settings

import ledger

SERVERS = {"postgres_url", "mongo_url", "broker_url"}
DATABASES = {"database", "everywhere"}
"""Fixtures that ask for a server by their parameter."""

# That there is an example is enough: nobody reads the simplest one. And a mutant must meet the same examples in every run.
settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutation")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Nothing; what needs a server is left out, and what is listed first is tried first."""
    assert Path(str(ledger.__file__)).is_relative_to(Path.cwd()), "it is the mutated copy that is tested"
    kept = [item for item in items if not _needs_server(item)]
    config.hook.pytest_deselected(items=[item for item in items if _needs_server(item)])
    listed = _listed()
    items[:] = sorted(kept, key=lambda item: next((at for at, test in enumerate(listed) if item.nodeid.startswith(test)), 0))


def _listed() -> list[str]:
    parser = ConfigParser()
    parser.read("setup.cfg")
    return parser.get("mutmut", "pytest_add_cli_args_test_selection").split()


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _needs_server(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return bool(_fixtures(item) & SERVERS) or any(
        name in DATABASES and value in {"postgres", "mongo"} for name, value in parameters.items()
    )
