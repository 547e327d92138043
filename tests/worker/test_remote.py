"""Remote control: looking is allowed, all else is refused without repeating a word of it."""

from __future__ import annotations

from typing import Any

import pytest
from celery.worker.control import Panel

from worker.remote import CONTROL, control_fault

SECRET = "s3cret-of-a-user"
PING: dict[str, Any] = {"method": "ping", "arguments": {}, "destination": None, "pattern": None, "matcher": None}
REPLY = {"exchange": "reply.celery.pidbox", "routing_key": "x"}


def test_looking_is_allowed() -> None:
    """What Flower and `celery inspect` ask is answered."""
    for method in sorted(CONTROL):
        assert control_fault(PING | {"method": method, "reply_to": REPLY, "ticket": "t", "destination": ["worker@host"]}) is None


def test_every_command_of_celery_is_decided_upon() -> None:
    """A command that a new Celery brings is refused until somebody has looked at it; none of those that act is allowed."""
    assert set(Panel.data) >= CONTROL
    acting = {name for name, meta in Panel.meta.items() if meta.type == "control"}
    assert len(acting) > 10
    assert acting & CONTROL == {"enable_events", "heartbeat"}
    for method in set(Panel.data) - CONTROL:
        assert control_fault(PING | {"method": method})


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], "ping", {}, {"method": SECRET}, {"method": ["ping"]}, PING | {SECRET: 1}, PING | {"arguments": [SECRET]}),
        *(PING | {"pattern": "(a+)+$", "matcher": "pcre"}, PING | {"destination": SECRET}, PING | {"destination": [{"a": 1}]}),
        *(PING | {"reply_to": SECRET}, PING | {"reply_to": {"exchange": 1, "routing_key": "x"}}, PING | {"ticket": {SECRET: 1}}),
        PING | {"reply_to": {"exchange": "x" * 1000, "routing_key": "x"}},
    ],
)
def test_anything_else_is_refused(body: object) -> None:
    """By a reason that repeats nothing of it."""
    fault = control_fault(body)
    assert fault and SECRET not in fault
