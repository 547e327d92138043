"""How fast a campaign is just now, and what time is left."""

from __future__ import annotations

import pytest

from producer.pace import Pace, duration, time_left


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """What came before the window is forgotten: a campaign that was fast and stands still is at 0."""
    pace = Pace(10_000)
    for second in range(60):
        pace.add(second * 1000, 100 * second)
    assert pace.per_s == 100
    for second in range(60, 65):
        pace.add(second * 1000, 5900)
    assert pace.per_s == pytest.approx(50, abs=11)
    for second in range(65, 71):
        pace.add(second * 1000, 5900)
    assert pace.per_s == 0


def test_looks_that_are_rare_still_make_a_rate() -> None:
    """Two looks further apart than the window are enough."""
    pace = Pace(10_000)
    for at, count in ((0, 0), (60_000, 600), (120_000, 1800)):
        pace.add(at, count)
    assert pace.per_s == 20


def test_too_little_says_nothing() -> None:
    """Neither no look, nor one, nor two within the same batch."""
    pace = Pace()
    assert pace.per_s is None
    pace.add(0, 5)
    assert pace.per_s is None
    pace.add(400, 205)
    assert pace.per_s is None
    pace.add(1000, 205)
    assert pace.per_s == 200


def test_the_time_left() -> None:
    """Nobody knows it at a standstill; there is none where nothing is pending."""
    assert (time_left(100, 20.0), time_left(100, 0.0), time_left(100, None), time_left(0, None)) == (5.0, None, None, 0.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (599, "9 min 59 s"),
        (1199, "19 min"),
        (3600, "1 h"),
        (3 * 3600 + 20 * 60 + 5, "3 h 20 min"),
        (2 * 86400 + 3 * 3600, "2 d 3 h"),
        (40 * 86400, "40 d"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    """As people say them."""
    assert duration(seconds) == words
