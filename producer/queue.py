"""Messages into the queue; the only module of the producer that knows Celery. The queue is a hint: the database is the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis
from amqp.exceptions import MessageNacked
from celery import Celery
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.messaging import Producer
from kombu.transport.pyamqp import Transport

from backtrail import amqp, job
from backtrail.errors import UnsuitableBroker
from backtrail.failpoint import reach
from backtrail.urls import redact

LOOK_S = 1.0
"""How often the broker is asked how much waits there."""

QUIET_S, LONGEST_QUIET_S = 10.0, 120.0
"""How long nothing may move, with nothing waiting, before what was sent is sent again; each time in vain twice as long."""

PATIENCE_S = 30.0
"""How long a broker may take over an answer."""

CONFIRM_S = 10.0
"""How long RabbitMQ may take over the next confirm. One that was just started has lost some now and then; a second message does no harm."""

IDLE_S = 60.0
"""After how long without use a connection to RabbitMQ is made anew: whoever is between may have cut it unseen."""


class Queue:
    """The queue at a broker's address."""

    def __init__(self, broker_url: str, name: str) -> None:
        self.url, self.name = broker_url, name
        self.app = Celery("backtrail", broker=broker_url, set_as_current=False)
        self.app.conf.update(task_serializer="json", task_ignore_result=True, task_default_queue=name)
        self._broker = _broker(self.app, broker_url, name)
        self._quiet = Quiet()
        self._looked = -LOOK_S

    def forgot(self, sent: Callable[[], int] = lambda: 0) -> bool:
        """Whether the broker may have lost what was in it since this was last asked.

        It was started again and keeps nothing, its queue was deleted, or it is empty and nothing has moved for a while.

        Args:
            sent: gives the number of batches that were sent and are not done, as the database says.

        Raises:
            UnsuitableBroker: the broker cannot be reached.
        """
        if time.monotonic() - self._looked < LOOK_S:
            return False
        with self._told():
            lost = self._broker.lost()
            waiting = self._broker.waiting()
        self._looked = time.monotonic()
        return lost or (waiting is not None and self._quiet.too_long(waiting, sent))

    def waiting(self) -> int | None:
        """How many messages wait in the queue and are in nobody's hand; None where that cannot be known.

        Raises:
            UnsuitableBroker: the broker cannot be reached.
        """
        with self._told():
            return self._broker.waiting()

    def publish(self, campaign: int, batches: Sequence[int]) -> None:
        """Nothing; a message of each batch is in the queue, and RabbitMQ has confirmed it.

        Raises:
            UnsuitableBroker: the broker cannot be reached; some of the messages may be there, which does no harm.
        """
        self._quiet.published()
        with self._told(), self._broker.producer() as producer:
            for batch in batches:
                arguments = job.message(campaign, batch)
                self.app.send_task(
                    job.TASK,
                    kwargs=arguments,
                    producer=producer,
                    retry=False,
                    kwargsrepr=repr(arguments),
                    argsrepr="()",
                    **self._broker.place,
                )
                reach("feeder.mid-publish")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except UnsuitableBroker:
            self._broker.drop()
            raise
        except self._broker.failures as error:
            self._broker.drop()
            raise UnsuitableBroker(f"the broker at {redact(self.url)} cannot be reached") from error


class Quiet:
    """Whether nothing has moved for so long that messages must be missing, or stuck in dead hands."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent = 0
        self._since, self._pause = clock(), QUIET_S

    def published(self) -> None:
        """Nothing; it is not quiet now. What was sent again in vain may be sent again in vain once more: that takes as long as it did."""
        self._since = self._clock()

    def too_long(self, waiting: int, sent: Callable[[], int]) -> bool:
        """Whether messages must be missing; once, and then not before twice as long.

        Args:
            waiting: how many messages wait in the queue. While there are some, workers have what they need.
            sent: gives how many batches were sent and are not done.
        """
        now = self._clock()
        if waiting:
            self._since = now
            return False
        if (number := sent()) != self._sent:
            self._sent = number
            self._since, self._pause = now, QUIET_S
        if not number or now - self._since < self._pause:
            return False
        self._since, self._pause = now, min(2 * self._pause, LONGEST_QUIET_S)
        return True


class Broker:
    """What differs from broker to broker; as it is here, it is one within this process, for tests."""

    failures: tuple[type[Exception], ...] = (OperationalError, OSError)
    """What its library raises when it cannot be reached, or refuses."""

    def __init__(self, app: Celery, url: str, name: str) -> None:
        self.app, self.url, self.name = app, url, name
        self.place: dict[str, Any] = {"queue": name}
        """Where messages go, in Celery's words."""

    def producer(self) -> Any:
        """A context with Celery's producer; at its end the messages are in the queue."""
        return self.app.producer_or_acquire()

    def lost(self) -> bool:
        """Whether what was in it is known to be gone since this was last asked."""
        return False

    def waiting(self) -> int | None:
        """How many messages wait in the queue and are in nobody's hand; None where that cannot be known."""
        return None

    def drop(self) -> None:
        """Nothing; what was kept of a connection that failed is given up. Celery's own pool sees to that by itself."""
        return


class Redis(Broker):
    """Redis, which keeps its queues in memory, or a second late on disk."""

    failures = (*Broker.failures, redis.RedisError)

    def __init__(self, app: Celery, url: str, name: str) -> None:
        super().__init__(app, url, name)
        app.conf.broker_transport_options = {"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True}
        address = url.replace("redis+socket://", "unix://", 1)
        self.client = redis.Redis.from_url(address, socket_timeout=5, socket_connect_timeout=5, decode_responses=True)

    def lost(self) -> bool:
        try:
            run = str(self.client.info("server")["run_id"])
            return bool(self.client.set(f"{self.name}.run", run, get=True) != run)
        except redis.ResponseError:
            return False  # a user that may not ask, or an old server: what is lost is sent again later, by the batches' age

    def waiting(self) -> int | None:
        try:
            return int(self.client.llen(self.name))
        except redis.ResponseError:
            return None


class RabbitMQ(Broker):
    """RabbitMQ, which keeps what it has confirmed, unless somebody empties the queue."""

    failures = (*Broker.failures, *Transport.connection_errors, *Transport.channel_errors, MessageNacked)

    def __init__(self, app: Celery, url: str, name: str) -> None:
        super().__init__(app, url, name)
        app.conf.task_queues = [amqp.main_queue(name)]
        self.place = {"exchange": name, "routing_key": name, "mandatory": True}
        self._connection: Any = None
        self._used = 0.0

    def connection(self) -> Any:
        """A connection on which the queue was declared."""
        if time.monotonic() - self._used > IDLE_S:
            self.drop()
        if self._connection is None:
            options = {"read_timeout": PATIENCE_S, "write_timeout": PATIENCE_S}
            self._connection = Connection(  # type: ignore[no-untyped-call] # kombu types only some of its functions
                self.url, connect_timeout=5, transport_options=options
            )
            amqp.declare(self._connection.connection, self.name)
            self._confirms = Confirms(self._connection)
        self._used = time.monotonic()
        return self._connection

    @contextmanager
    def producer(self) -> Iterator[Producer]:
        connection = self.connection()
        yield Producer(self._confirms.channel, auto_declare=False)  # type: ignore[no-untyped-call] # as above
        self._confirms.wait(connection)

    def lost(self) -> bool:
        if amqp.waiting(self.connection().connection, self.name) is not None:
            return False
        self.drop()  # somebody deleted the queue: it is made anew with the next connection
        return True

    def waiting(self) -> int | None:
        return amqp.waiting(self.connection().connection, self.name)

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*self.failures, AttributeError):  # of py-amqp, where the connection is half gone
                connection.collect(socket_timeout=1)


class Confirms:
    """What the broker has not confirmed yet of a channel's messages. All are sent first: one at a time, each would wait for the disk."""

    def __init__(self, connection: Any) -> None:
        self.channel = connection.channel()
        self.channel.confirm_select()
        self.channel.events["basic_ack"].add(self._confirmed)
        self.channel.events["basic_nack"].add(self._refused)
        self._send, self.channel.basic_publish = self.channel.basic_publish, self._publish
        self._number = 0
        self._open: set[int] = set()

    def wait(self, connection: Any) -> None:
        """Nothing; the broker has all messages.

        Raises:
            MessageNacked: it does not take one.
        """
        while self._open:
            connection.drain_events(timeout=CONFIRM_S)

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        self._number += 1
        self._open.add(self._number)
        return self._send(*args, **kwargs)

    def _confirmed(self, tag: int, multiple: bool) -> None:
        self._open -= {number for number in self._open if number <= tag} if multiple else {tag}

    def _refused(self, tag: int, multiple: bool) -> None:
        raise MessageNacked("the broker does not take a message")


def _broker(app: Celery, url: str, name: str) -> Broker:
    if url.startswith("redis"):
        return Redis(app, url, name)
    return (RabbitMQ if amqp.is_amqp(url) else Broker)(app, url, name)
