"""Remote control that a worker obeys: looking at it. Whoever can publish to the broker could otherwise stop, starve or crash it.

A campaign is held by `backtrail pause`, a worker is ended by its machine: neither goes by the broker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery.worker.control import Panel

from worker.refused import refused

log = logging.getLogger(__name__)

CONTROL = frozenset(
    (
        *("ping", "stats", "conf", "clock", "active_queues", "query_task", "enable_events", "heartbeat"),
        *("active", "reserved", "scheduled", "revoked", "registered"),
        *("dump_active", "dump_reserved", "dump_schedule", "dump_revoked", "dump_tasks", "dump_conf"),
    )
)
"""The commands that a worker obeys: what Flower and `celery inspect` look at."""

FIELDS = {"method", "arguments", "destination", "pattern", "matcher", "reply_to", "ticket"}
"""What kombu puts into a command."""

NAME = 256
"""The longest name of anything, in characters."""


def control_fault(body: object) -> str | None:
    """Why a worker does not obey this command; None if it does."""
    if not isinstance(body, Mapping) or not body.keys() <= FIELDS:
        return "it is no remote control command"
    method, arguments = body.get("method"), body.get("arguments")
    if not (isinstance(method, str) and method in CONTROL):
        return "the remote control command is not allowed"
    if body.get("pattern") is not None:
        return "remote control by a pattern is not allowed"  # a regular expression can take for ever
    if not (arguments is None or isinstance(arguments, dict)):
        return "the arguments of remote control are no object"
    return _address_fault(body)


def _address_fault(body: Mapping[str, Any]) -> str | None:
    destination, reply_to, ticket = body.get("destination"), body.get("reply_to"), body.get("ticket")
    if not (destination is None or (isinstance(destination, list) and all(map(_is_name, destination)))):
        return "the destination of remote control is no list of names"
    if not (ticket is None or _is_name(ticket)):
        return "the ticket of remote control is no name"
    if reply_to is None:
        return None
    known = isinstance(reply_to, Mapping) and _is_name(reply_to.get("exchange")) and _is_name(reply_to.get("routing_key"))
    return None if known else "remote control is to be answered nowhere"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= NAME


def look_only(box: Any) -> None:
    """Nothing; the worker's mailbox for remote control lets nothing else through."""
    box.node.handlers = {name: _told(handler) for name, handler in Panel.data.items() if name in CONTROL}
    handle = box.node.handle_message

    def guarded(body: Any, message: Any = None) -> Any:
        fault = control_fault(body)
        if fault is None:
            return handle(body, message)
        log.critical("refused remote control: %s", fault)
        refused.add(fault, body)
        return None

    box.node.handle_message = guarded


def _told(handler: Any) -> Any:
    """The handler, whose failure is told in one word: kombu would log and publish whatever it was given."""

    def handled(state: Any, /, **arguments: Any) -> Any:
        try:
            return handler(state, **arguments)
        except Exception as error:  # noqa: BLE001 -- other people's arguments
            log.critical("a remote control command failed: %s", type(error).__name__)
            refused.add("a remote control command failed", arguments)
            return {"error": type(error).__name__}

    return handled
