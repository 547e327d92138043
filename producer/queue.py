"""Messages into the queue; the only module of the producer that knows Celery. The queue is a hint: the database is the truth."""

from __future__ import annotations

from collections.abc import Sequence

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from backtrail import job
from backtrail.errors import UnsuitableBroker
from backtrail.settings import redact


class Queue:
    """The queue at a broker's address."""

    def __init__(self, broker_url: str, name: str) -> None:
        self.url, self.name = broker_url, name
        self.app = Celery("backtrail", broker=broker_url, set_as_current=False)
        self.app.conf.update(
            task_serializer="json",
            task_ignore_result=True,
            task_default_queue=name,
            broker_transport_options={"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True},
        )

        self.redis: redis.Redis | None = None
        if broker_url.startswith("redis"):
            address = broker_url.replace("redis+socket://", "unix://", 1)
            self.redis = redis.Redis.from_url(address, socket_timeout=5, socket_connect_timeout=5, decode_responses=True)

    def forgot(self) -> bool:
        """Whether the broker may have lost what was in it since this was last asked: it was started again, or emptied.

        Redis keeps its queues in memory, or a second late on disk; other brokers keep what they confirmed.

        Raises:
            UnsuitableBroker: the broker cannot be reached.
        """
        if self.redis is None:
            return False
        try:
            run = str(self.redis.info("server")["run_id"])
            return bool(self.redis.set(f"{self.name}.run", run, get=True) != run)
        except redis.ResponseError:
            return False  # a user that may not ask, or an old server: what is lost is sent again later, by the batches' age
        except redis.RedisError as error:
            raise UnsuitableBroker(f"the broker at {redact(self.url)} cannot be reached") from error

    def publish(self, campaign: int, batches: Sequence[int]) -> None:
        """Nothing; a message of each batch is in the queue.

        Raises:
            UnsuitableBroker: the broker cannot be reached; some of the messages may be there, which does no harm.
        """
        try:
            with self.app.producer_or_acquire() as producer:
                for batch in batches:
                    arguments = job.message(campaign, batch)
                    self.app.send_task(
                        job.TASK,
                        kwargs=arguments,
                        producer=producer,
                        retry=False,
                        kwargsrepr=repr(arguments),
                        argsrepr="()",
                        queue=self.name,
                    )
        except (OperationalError, OSError) as error:
            raise UnsuitableBroker(f"the broker at {redact(self.url)} cannot be reached") from error
