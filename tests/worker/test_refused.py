"""Refused messages on their way to the companion: counted however many there are, and the worker never waits."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from worker.refused import COUNTS_S, SAMPLE, SAMPLE_S, SAMPLES, Lines, Refused


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        try:
            os.close(end)
        except OSError:
            continue


def test_a_message_keeps_its_beginning_and_its_size(clock: Clock) -> None:
    """Whatever it is: text, bytes that are no text, or what was decoded, also if that cannot be written down."""
    refused = Refused(clock)
    circle: list[object] = []
    circle.append(circle)
    for content in ("x" * 10_000, b"\xff\x00a", {"headers": {"é": b"\xfe"}}, circle):
        refused.add("no reason", content)
    long, raw, whole, strange = refused.take(10)
    assert (long["size"], len(long["sample"]), long["count"], long["fault"]) == (10_000, SAMPLE, 1, "no reason")
    assert (raw["sample"], whole["sample"]) == ("\\xff\0a", '{"headers": {"é": "\\\\xfe"}}')
    assert strange["sample"] == "(list)"


def test_a_flood_is_counted(clock: Clock) -> None:
    """Of very many messages some are kept and all are counted, by their fault; later, some more are kept."""
    refused = Refused(clock)
    for number in range(SAMPLES * 50):
        refused.add(f"fault {number % 3}", "x")
    taken = list(refused.take(10_000))
    assert sum("sample" in one for one in taken) == SAMPLES and len(taken) == SAMPLES + 3
    assert sum(one["count"] for one in taken) == SAMPLES * 50
    refused.add("late", "y")
    assert list(refused.take(10_000)) == [], "counts come in portions"
    clock.now += max(COUNTS_S, SAMPLE_S) + 1
    refused.add("later", "z")
    assert Counter({one["fault"]: one["count"] for one in refused.take(10_000)}) == {"late": 1, "later": 1}


def test_nothing_waits_at_the_end(clock: Clock) -> None:
    """Whoever takes for the last time gets the counts too."""
    refused = Refused(clock)
    for _ in range(SAMPLES + 5):
        refused.add("fault", "x")
    list(refused.take(10_000))
    refused.add("fault", "x")
    assert list(refused.take(10_000)) == []
    assert list(refused.take(10_000, last=True)) == [{"fault": "fault", "count": 1}]


def test_a_full_pipe_is_not_waited_for(pipe: tuple[int, int]) -> None:
    """What does not go into the pipe waits, and comes out whole and in order when somebody reads."""
    reader, writer = pipe
    lines = Lines()
    for number in range(100):
        lines.add({"fault": "x", "sample": "é" * 2000, "number": number})
    assert not lines.write(writer)
    assert 0 < lines.room < 200
    heard: list[bytes] = []

    def hear() -> None:
        while data := os.read(reader, 65_536):
            heard.append(data)

    thread = threading.Thread(target=hear)
    thread.start()
    assert lines.write(writer, wait_s=20)
    os.close(writer)
    thread.join()
    assert [json.loads(line)["number"] for line in b"".join(heard).splitlines()] == list(range(100))


def test_who_reads_next_gets_whole_lines(pipe: tuple[int, int]) -> None:
    """A reader that dies in the midst of a line takes it along; the next one gets it from its beginning."""
    reader, writer = pipe
    lines = Lines()
    for number in range(20):
        lines.add({"number": number, "sample": "x" * 10_000})
    assert not lines.write(writer)
    first = os.read(reader, 1 << 20).count(b"\n")
    os.close(reader)
    assert not lines.write(writer), "its reader is gone"
    lines.rewind()
    reader, writer = os.pipe()
    try:
        lines.write(writer)
        assert json.loads(os.read(reader, 1 << 20).splitlines()[0])["number"] == first
    finally:
        os.close(reader)
        os.close(writer)
