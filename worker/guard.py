"""What keeps a worker alive and harmless whatever lies in its queue, and whenever its broker goes.

Whoever can push to Redis can push anything. Left alone, Celery and kombu (5.6 and 5.7) stop, loop for ever or reconnect without
end on some of it. Here it is refused in the order of its arrival:

    GuardedChannel    what is no JSON
    GuardedTransport  what is no envelope: the outer layer that kombu reads
    GuardedConsumer   what is no message of a task of ours, and remote control that is more than looking
    GuardedRequest    what the task itself made no sense of

All are counted (worker/refused.py). Nothing of a refused message is logged but the reason: it may hold anything, personal data too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from queue import Empty
from typing import Any

import redis.exceptions
from celery.exceptions import Reject
from celery.worker.consumer import Consumer
from celery.worker.consumer.control import Control
from celery.worker.request import Request
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from worker.refused import refused
from worker.remote import look_only

log = logging.getLogger(__name__)

MAX_BODY = 1 << 20  # characters; a job's own is about 100, a worker's buffered events can be some 100,000
MAX_REPR = 512  # characters; they travel through logs, events and Flower
MAX_RETRIES = 1000

_PUBLISHED = (b"message", b"pmessage", "message", "pmessage")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{0,256}\Z")


def guard_redis() -> None:
    """Every Redis connection of this process is guarded from now on, over TCP, TLS or a socket.

    By the scheme and not by `broker_transport`: kombu ignores that for `redis+socket://`, and forgets with it that `rediss://`
    means TLS.
    """
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.guard:GuardedTransport"
    kombu_redis.loads = _loads_or_tells  # type: ignore[attr-defined,assignment] # where the text is still known


class Unreadable(ValueError):
    """Text from a broker that is no JSON; it has the text, which no message or log of it shows."""

    def __init__(self, fault: str, text: object) -> None:
        super().__init__(fault)
        self.text = text


def _loads_or_tells(text: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return loads(text, *args, **kwargs)  # type: ignore[no-untyped-call] # kombu types some
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 -- kombu's own hooks raise anything on other people's text
        raise Unreadable(type(error).__name__, text) from None


def envelope_fault(envelope: object) -> str | None:
    """Why this cannot be a message that kombu sent; None if it can."""
    if not isinstance(envelope, Mapping):
        return "the envelope is no object"
    headers, properties, body = envelope.get("headers"), envelope.get("properties"), envelope.get("body")
    if not isinstance(headers, Mapping):
        return "headers is no object"
    if headers.get("compression"):
        return "the body is compressed"  # never done by us, and a small message could fill the memory
    if not isinstance(body, str) or len(body) > MAX_BODY:
        return "the body is no text, or too long"
    if not isinstance(properties, Mapping):
        return "properties is no object"
    return _properties_fault(properties) or _types_fault(envelope)


def _properties_fault(properties: Mapping[str, Any]) -> str | None:
    tag, delivery = properties.get("delivery_tag"), properties.get("delivery_info")
    if not (isinstance(tag, str) and _ID.match(tag)):
        return "delivery_tag is no id"
    if properties.get("body_encoding") not in {None, "base64", "utf-8"}:
        return "body_encoding is unknown"
    for name in ("correlation_id", "reply_to"):
        if not _is_name(properties.get(name)):
            return f"{name} is no name"
    if not isinstance(delivery, Mapping):
        return "delivery_info is no object"
    if not all(isinstance(delivery.get(name), str) and _is_name(delivery[name]) for name in ("exchange", "routing_key")):
        return "delivery_info has no exchange and routing key"
    return None


def _types_fault(envelope: Mapping[str, Any]) -> str | None:
    content_type, encoding = envelope.get("content-type"), envelope.get("content-encoding")
    if content_type != "application/json":
        return "the content is no JSON"
    return None if encoding == "utf-8" else "the content is not UTF-8"


def _is_name(value: object) -> bool:
    return value is None or (isinstance(value, str) and _NAME.match(value) is not None)


def task_fault(headers: object, tasks: Collection[str]) -> str | None:
    """Why these headers cannot be those of a job for one of `tasks`; None if they can."""
    if not isinstance(headers, Mapping):
        return "headers is no object"
    task, task_id = headers.get("task"), headers.get("id")
    if not isinstance(task, str) or task not in tasks:
        return "there is no such task"
    if task.startswith("celery."):
        return "the task is one of Celery's own"  # chain, map and chord run others, with any arguments
    if not (isinstance(task_id, str) and _ID.match(task_id)):
        return "id is no id"
    for header, allowed in _HEADERS.items():
        if not allowed(headers.get(header)):
            return f"{header} is not allowed"
    return None


def body_fault(body: object) -> str | None:
    """Why this decoded body cannot be a job's; None if it can."""
    if not (isinstance(body, list | tuple) and len(body) == 3):
        return "the body is not arguments, keywords and callbacks"
    args, kwargs, embed = body
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(embed, dict)):
        return "the body is not arguments, keywords and callbacks"
    if any(embed.values()):
        return "there are callbacks, a chain or a chord"
    return None


def _is_nothing(value: object) -> bool:
    return value in (None, "", [], {})


def _is_repr(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= MAX_REPR)


# What Celery acts upon before a task runs. Other headers are only carried along, and a later Celery may have more of them.
_HEADERS: dict[str, Callable[[Any], bool]] = {
    "eta": _is_nothing,  # would be kept in the worker's memory
    "expires": _is_nothing,
    "group": _is_nothing,
    "stamped_headers": _is_nothing,
    "stamps": _is_nothing,
    "timelimit": lambda value: value in (None, [None, None]),  # the time limits are ours
    "retries": lambda value: value is None or (type(value) is int and 0 <= value <= MAX_RETRIES),
    "replaced_task_nesting": lambda value: value is None or (type(value) is int and 0 <= value <= MAX_RETRIES),
    "ignore_result": lambda value: value is None or isinstance(value, bool),
    "argsrepr": _is_repr,
    "kwargsrepr": _is_repr,
    "shadow": _is_nothing,  # another name in logs and in Flower
    "root_id": _is_name,
    "parent_id": _is_name,
    "origin": _is_name,
    "lang": _is_name,
}


def _connection_was_lost(error: Exception, connection_errors: tuple[type[Exception], ...]) -> bool:
    # kombu 5.7 counts KeyError among them, which any missing field of a message raises.
    return isinstance(error, connection_errors) and not isinstance(error, KeyError)


class GuardedChannel(kombu_redis.Channel):
    """A channel on which what cannot be read is dropped and reported, as if nothing had come."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call] # kombu types some
        except Exception as error:
            if not self._dropped(error):
                raise
            raise Empty from None

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)  # type: ignore[no-untyped-call] # kombu types some
        except Exception as error:
            if not self._dropped(error):
                raise
            return False  # not Empty: there may be more to read behind it

    def _handle_message(self, client: Any, response: Any) -> Any:
        payload = super()._handle_message(client, response)  # type: ignore[no-untyped-call] # kombu types some
        if payload["data"] and payload["type"] in _PUBLISHED:
            # Before kombu does it, which would log the whole of what fails.
            _loads_or_tells(bytes_to_str(payload["data"]))  # type: ignore[no-untyped-call] # kombu types some
        return payload

    def _dropped(self, error: Exception) -> bool:
        if isinstance(error, Empty | MemoryError) or _connection_was_lost(error, self.connection_errors):
            return False
        fault, text = type(error).__name__, getattr(error, "object", "")  # UnicodeDecodeError has it
        if isinstance(error, Unreadable):
            fault, text = str(error), error.text
        log.critical("dropped a message that cannot be read: %s", fault)
        refused.add(fault, text)
        return True

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        # A channel of a connection that was closed while a task ran: kombu's AttributeError would end the worker, this one
        # makes it connect again.
        if self.connection is None or self.connection.client is None:
            raise redis.exceptions.ConnectionError("the channel's connection was closed")
        return super()._connparams(*args, **kwargs)  # type: ignore[no-untyped-call] # kombu types some


class GuardedTransport(kombu_redis.Transport):
    """Redis as a transport that delivers nothing but proper envelopes."""

    Channel = GuardedChannel

    def _deliver(self, message: Any, queue: Any) -> None:
        fault = envelope_fault(message)
        if fault is None:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call] # kombu types some
        else:
            # Not acknowledged: nothing has been noted down yet that could bring it back.
            log.critical("dropped a malformed message: %s", fault)
            refused.add(fault, message)


class GuardedConsumer(Consumer):
    """A consumer that rejects everything but well-formed messages of the worker's own tasks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for step in self.steps:
            if isinstance(step, Control):
                look_only(step.box)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with every message."""
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> None:
            try:
                fault = task_fault(message.headers, self.strategies) or body_fault(message.payload)
                if fault is None:
                    handle(message)
                    return
            except MemoryError:
                raise
            except Exception as error:
                if _connection_was_lost(error, (*self.connection_errors, *self.channel_errors)):
                    raise
                fault = type(error).__name__
            self._reject(message, fault)

        return guarded

    # Celery's own versions of these four log the body.

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """The message is rejected."""
        self._reject(message, type(exc).__name__)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """The message is rejected."""
        self._reject(message, "no task is named")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """The message is rejected."""
        self._reject(message, "there is no such task")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """The message is rejected."""
        self._reject(message, type(exc).__name__)

    def _reject(self, message: Any, fault: str) -> None:
        log.critical("rejected a malformed message: %s", fault)
        refused.add(fault, {"headers": message.headers, "properties": message.properties, "body": message.body})
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)


class GuardedRequest(Request):
    """A message at work; one that the task refuses is counted."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """As Celery's own."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, Reject) and not error.requeue:
            refused.add(str(error.reason), {"id": self.id, "args": self.args, "kwargs": self.kwargs})
        return super().on_failure(exc_info, *args, **kwargs)
