"""The message: what the producer makes the worker takes, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail import job


@given(st.integers(1, 10**18 - 1), st.integers(1, 2**31 - 1))
def test_what_is_sent_is_understood(campaign: int, batch: int) -> None:
    """Through JSON and back, the ids are the same."""
    assert job.parse(**json.loads(json.dumps(job.message(campaign, batch)))) == (campaign, batch)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, "c1", 1),
        (True, "c1", 1),
        (2**15, "c1", 1),
        (1, "c\u0661", 1),
        (None, "c1", 1),
        ("1", "c1", 1),
        (1, "1", 1),
        (1, 1, 1),
        (1, "c", 1),
        (1, "c-1", 1),
        (1, "c1; DROP TABLE users", 1),
        (1, "c" + "9" * 40, 1),
        (1, ["c1"], 1),
        (1, None, 1),
        (1, "c1", 0),
        (1, "c1", -1),
        (1, "c1", True),
        (1, "c1", 1.0),
        (1, "c1", "1"),
        (1, "c1", 2**31),
        (1, "c1", None),
        (1, "c1", {"a": 1}),
    ],
)
def test_nonsense_is_refused(arguments: tuple[Any, Any, Any]) -> None:
    """Anything else is a ValueError that does not repeat what it was given."""
    with pytest.raises(ValueError, match="a message") as error:
        job.parse(*arguments)
    assert "DROP" not in str(error.value)


@given(st.integers(job.FORMAT + 1, 2**15 - 1), st.integers(1, 10**18 - 1), st.integers(1, 2**31 - 1))
def test_a_newer_format_is_known_as_such(v: int, campaign: int, batch: int) -> None:
    """It says whose batch it is, so that it can go back."""
    with pytest.raises(job.NewerFormat) as newer:
        job.parse(v, f"c{campaign}", batch)
    assert (newer.value.format, newer.value.campaign, newer.value.batch) == (v, campaign, batch)


@given(st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers())), st.one_of(st.text(), st.integers()), st.text())
def test_no_message_gets_past_with_another_error(v: Any, campaign: Any, batch: Any) -> None:
    """Whatever arrives, the answer is ids or a ValueError."""
    with pytest.raises(ValueError, match="a message"):
        job.parse(v, campaign, batch)
