"""The queues of RabbitMQ as whoever sends, works and looks after them declares them: all the same, or the broker refuses the second.

    NAME        a quorum queue behind a direct exchange of the same name, where a user's right to write can end
    NAME.dead   what was refused, or came back too often, to be looked at; nothing here ever reads it, and the oldest goes first

What is lost of either is sent again: the database is the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from kombu.entity import Exchange, Queue

from backtrail.errors import UnsuitableBroker

DELIVERIES = 10
"""How often a message may come back, from processes that died over it or workers that ended, before it is put aside."""

DEAD = 10_000
"""How many messages that were put aside are kept, and at most `DEAD_BYTES` of them: whoever may send may send much."""

DEAD_BYTES = 50_000_000


def is_amqp(broker_url: str) -> bool:
    """Whether the broker is RabbitMQ."""
    return broker_url.startswith(("amqp://", "amqps://"))


def main_queue(name: str) -> Queue:
    """The queue of batches; `declare` makes it, and nothing that only uses it does."""
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERIES,
        "x-dead-letter-exchange": f"{name}.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once goes with nothing else
    }
    return _queue(name, arguments)


def dead_queue(name: str) -> Queue:
    """The queue of what was put aside."""
    return _queue(f"{name}.dead", {"x-queue-type": "quorum", "x-max-length": DEAD, "x-max-length-bytes": DEAD_BYTES})


def _queue(name: str, arguments: dict[str, Any]) -> Queue:
    exchange = Exchange(name, "direct", durable=True, no_declare=True)  # type: ignore[no-untyped-call] # kombu types some
    # To the exchange, whatever key a message that is put aside had: it is that of the queue it was in.
    key = name.removesuffix(".dead")
    return Queue(name, exchange, key, queue_arguments=arguments, durable=True, no_declare=True)  # type: ignore[no-untyped-call] # as above


def declare(connection: Any, name: str) -> int:
    """How many messages wait in the queue; it and the one for what is put aside are there.

    A user that may not make them finds that they are there.

    Raises:
        UnsuitableBroker: they are there with other settings, or missing, and this user may not make them.
    """
    _declare(connection, dead_queue(name))
    return _declare(connection, main_queue(name))


def waiting(connection: Any, name: str) -> int | None:
    """How many messages wait in the queue; None where there is no such queue."""
    try:
        return _on_channel(connection, lambda channel: _look(channel, name))
    except NotFound:
        return None


def _declare(connection: Any, queue: Any) -> int:
    try:
        return _on_channel(connection, lambda channel: _make(channel, queue))
    except PreconditionFailed:
        raise UnsuitableBroker(
            f"the broker has a queue or an exchange {queue.name} with other settings: delete it once it is empty, or give another name as the"
            " setting queue"
        ) from None
    except AccessRefused:
        pass
    try:
        return _on_channel(connection, lambda channel: _look(channel, queue.name))
    except (NotFound, AccessRefused):
        raise UnsuitableBroker(
            f"the broker's user may not make the queue {queue.name}: grant it what docs/rabbitmq.md says, or start a worker first"
        ) from None


def _make(channel: Any, queue: Any) -> int:
    exchange = queue.exchange
    channel.exchange_declare(exchange=exchange.name, type=exchange.type, durable=True, auto_delete=False)
    made = channel.queue_declare(queue=queue.name, durable=True, auto_delete=False, arguments=queue.queue_arguments)
    channel.queue_bind(queue=queue.name, exchange=exchange.name, routing_key=queue.routing_key)
    return int(made.message_count)


def _look(channel: Any, name: str) -> int:
    return int(channel.queue_declare(queue=name, passive=True).message_count)


def _on_channel(connection: Any, act: Callable[[Any], int]) -> int:
    # A channel of its own: the broker closes the one on which something is refused.
    channel = connection.channel()
    try:
        return act(channel)
    finally:
        if channel.connection is not None:
            channel.close()
