"""What a worker does differently on RabbitMQ: it declares our queues, and refuses what only that broker can bring.

In the order of its arrival:

    GuardedMessage    properties that cannot be read
    GuardedChannel    what is compressed
    AmqpConsumer      what is too long or no JSON; the rest is GuardedConsumer's
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar

import amqp.method_framing
from amqp.basic_message import Message
from celery.worker.consumer import Consumer
from kombu.transport import TRANSPORT_ALIASES, pyamqp

from backtrail.amqp import declare, main_queue
from worker.guard import MAX_BODY, GuardedConsumer

SILENCE_S = 30
"""After how long a broker that went away without a word is given up."""


def guard_amqp() -> None:
    """Nothing; every AMQP connection of this process is guarded from now on."""
    TRANSPORT_ALIASES["amqp"] = "worker.amqp:GuardedTransport"
    TRANSPORT_ALIASES["amqps"] = "worker.amqp:GuardedSSLTransport"
    amqp.method_framing.Message = GuardedMessage


def settings_of(queue: str) -> dict[str, Any]:
    """Celery's settings on RabbitMQ; the reasons are in docs/rabbitmq.md."""
    return {
        "worker_consumer": "worker.amqp:AmqpConsumer",
        "task_queues": [main_queue(queue)],
        "task_default_queue": queue,
        "broker_heartbeat": SILENCE_S,
        "broker_transport_options": {"write_timeout": SILENCE_S, "socket_settings": {socket.TCP_USER_TIMEOUT: SILENCE_S * 1000}},
        # Other queues that die with their connection are deprecated since RabbitMQ 3.13, and refused by 4.3 unless it is told otherwise.
        "event_queue_exclusive": True,
        "event_queue_durable": False,
        "control_queue_exclusive": True,
        "control_queue_durable": False,
        "worker_detect_quorum_queues": True,
        "worker_enable_prefetch_count_reduction": False,  # Celery 5.6 would stay at the reduced count: quorum queues have no other
    }


class GuardedMessage(Message):
    """A message whose properties may be anything: a date after the year 9999, or text that is no UTF-8."""

    def _load_properties(self, class_id: Any, buf: Any, offset: int) -> Any:
        try:
            return super()._load_properties(class_id, buf, offset)
        except Exception:  # noqa: BLE001 -- whatever it is, it would end the worker, and come back to the next one
            self.properties: dict[str, Any] = {"application_headers": {}}
            return offset


class GuardedChannel(pyamqp.Channel):
    """A channel on which nothing is unpacked: a small message could fill the memory."""

    def message_to_python(self, raw_message: Any) -> Any:
        """The message as it came; what is compressed stays so, and is refused as no JSON."""
        headers = raw_message.properties.get("application_headers")
        if headers:
            headers.pop("compression", None)
        return super().message_to_python(raw_message)  # type: ignore[no-untyped-call] # kombu types some


class GuardedConnection(pyamqp.Connection):
    """A connection with such channels."""

    Channel = GuardedChannel


class GuardedTransport(pyamqp.Transport):
    """RabbitMQ as a transport whose messages cannot do harm before they are looked at."""

    Connection = GuardedConnection


class GuardedSSLTransport(pyamqp.SSLTransport):
    """The same over TLS."""

    Connection = GuardedConnection


class AmqpConsumer(GuardedConsumer):
    """A consumer of our queue, which is there."""

    class Blueprint(Consumer.Blueprint):
        """Without 28 queues and exchanges for delayed messages, which we never send."""

        default_steps: ClassVar = [step for step in Consumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")]

    def connect(self) -> Any:
        """The connection; the queue was declared on it."""
        connection = super().connect()
        declare(connection, self.app.conf.task_default_queue)
        return connection

    def _reject(self, message: Any, fault: str) -> None:
        if message.delivery_info.get("consumer_tag") in (message.channel.no_ack_consumers or ()):
            # Remote control and events take no answer: the broker would close the channel over one, and the worker end.
            message._state = "ACK"
        super()._reject(message, fault)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is called with every message."""
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> None:
            fault = content_fault(message)
            if fault is None:
                handle(message)
            else:
                self._reject(message, fault)

        return guarded


def content_fault(message: Any) -> str | None:
    """Why this cannot be a message that Celery sent; None if it can."""
    if len(message.body or b"") > MAX_BODY:
        return "the body is too long"
    if message.content_type != "application/json":
        return "the content is no JSON"
    return None if message.content_encoding == "utf-8" else "the content is not UTF-8"
