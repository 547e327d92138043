"""Titles of sessions: from the endpoint that the settings name, else from the built-in generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtrail.catalog.coaching_redesign.endpoint import Endpoint, NoTitle
from backtrail.catalog.coaching_redesign.extract import built_in
from backtrail.recall import alone
from backtrail.settings import load

Title = dict[str, Any]
"""`title`, `by` (`built-in` or `endpoint`), and `why` where an endpoint is set and the title is not its."""


def _alone(sessions: Sequence[Mapping[str, Any]]) -> list[Title] | None:
    """The titles of the built-in generator; None where an endpoint is set."""
    return [_built_in(session) for session in sessions] if load().titles_url is None else None


@alone(_alone)
def make_titles(sessions: Sequence[Mapping[str, Any]]) -> list[Title]:
    """A title for each excerpt of a session, in their order. To be called through `entity.recall`.

    Raises:
        UsageError: the settings are wrong, or name an endpoint while httpx is not installed.
    """
    if (made := _alone(sessions)) is not None:
        return made
    settings = load()
    with Endpoint(settings) as endpoint:
        return _asked(endpoint, sessions)


def _asked(endpoint: Endpoint, sessions: Sequence[Mapping[str, Any]]) -> list[Title]:
    results: list[Title] = []
    away: str | None = None
    for session in sessions:
        if away is None:
            try:
                results.append({"title": endpoint.title(session), "by": "endpoint"})
            except NoTitle as failure:
                results.append(_built_in(session, str(failure)))
                # Whoever does not answer after all tries is not waited for once more for each of a user's sessions.
                away = str(failure) if failure.final else None
        else:
            results.append(_built_in(session, away))
    return results


def _built_in(session: Mapping[str, Any], why: str | None = None) -> Title:
    title: Title = {"title": built_in(session), "by": "built-in"}
    return title if why is None else {**title, "why": why}
