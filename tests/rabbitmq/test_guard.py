"""What lies in a queue of RabbitMQ and is no message of ours: the worker lives, nothing is changed, and all of it is put aside."""

from __future__ import annotations

import json
import pickle
import struct
import uuid
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import amqp as py_amqp
from celery import Celery

from backtrail import amqp
from tests.acceptance.world import World
from tests.rabbitmq.node import Node
from tests.servers import until

SECRET = "s3cret-of-a-user"
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {
    "task": "backtrail.batch",
    "args": [],
    "kwargs": {"v": 1, "campaign": "c1", "batch": 1},
    "options": {"queue": "elsewhere"},
}


class Raw(py_amqp.Message):
    """A message whose properties are these bytes."""

    raw = b""

    def _serialize_properties(self) -> bytes:
        return self.raw


def message(
    headers: dict[str, Any] | None = None, body: bytes | None = None, kwargs: dict[str, Any] | None = None, **properties: Any
) -> py_amqp.Message:
    """A good message of batch 1 of campaign c1, but for what is given."""
    own = str(uuid.uuid4())
    good: dict[str, Any] = {
        "lang": "py",
        "task": "backtrail.batch",
        "id": own,
        "eta": None,
        "expires": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": own,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "gen1@host",
    }
    good |= headers or {}
    whole: dict[str, Any] = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2} | properties
    if body is None:
        body = json.dumps([[], kwargs or {"v": 1, "campaign": "c1", "batch": 1}, EMBED]).encode()
    return py_amqp.Message(body, application_headers={name: value for name, value in good.items() if value != "absent"}, **whole)


def raw(properties: bytes) -> py_amqp.Message:
    """A message with properties that py-amqp itself would not write."""
    one = Raw(message().body)
    one.raw = properties
    return one


def payload(*parts: Any) -> py_amqp.Message:
    """A message with another body of JSON."""
    return message(body=json.dumps(list(parts)).encode())


MALFORMED: dict[str, Callable[[], py_amqp.Message]] = {
    "nothing at all": lambda: py_amqp.Message(b""),
    "no properties": lambda: py_amqp.Message(SECRET.encode()),
    "no body": lambda: message(body=b""),
    "no JSON": lambda: message(body=b"{" + SECRET.encode()),
    "no UTF-8": lambda: message(body=b"\xff\xfe" + SECRET.encode()),
    "deep": lambda: message(body=b"[" * 100_000),
    "number": lambda: message(body=b"17"),
    "object": lambda: message(body=json.dumps({"args": [SECRET]}).encode()),
    "short": lambda: payload([], {}),
    "text as arguments": lambda: payload(SECRET, {}, EMBED),
    "list as keywords": lambda: payload([], [SECRET], EMBED),
    "null embed": lambda: payload([], {"v": 1, "campaign": "c1", "batch": 1}, None),
    "broken hook": lambda: message(body=json.dumps({"__type__": "uuid", "__value__": SECRET}).encode()),
    "content type yaml": lambda: message(content_type="application/x-yaml"),
    "no content type": lambda: message(content_type=None),
    "unknown encoding": lambda: message(content_encoding="utf-99"),
    "binary encoding": lambda: message(content_encoding="binary"),
    "no encoding": lambda: message(content_encoding=None),
    "no task": lambda: message({"task": "absent"}),
    "list as task": lambda: message({"task": ["backtrail.batch"]}),
    "object as task": lambda: message({"task": {"a": SECRET}}),
    "no id": lambda: message({"id": "absent"}),
    "number as id": lambda: message({"id": 7}),
    "id of two lines": lambda: message({"id": f"a\n{SECRET}"}),
    "long id": lambda: message({"id": "a" * 10_000}),
    "bad time limit": lambda: message({"timelimit": "soon"}),
    "short time limit": lambda: message({"timelimit": [1, 1]}),
    "eta": lambda: message({"eta": "2099-01-01T00:00:00+00:00"}),
    "date as eta": lambda: message({"eta": datetime(2099, 1, 1)}),
    "decimal as retries": lambda: message({"retries": Decimal("1.5")}),
    "long repr": lambda: message({"argsrepr": SECRET * 1000}),
    "date of no year": lambda: raw(struct.pack(">HQ", 1 << 6, 2**64 - 1)),
    "content type that is no UTF-8": lambda: raw(struct.pack(">HB", 1 << 15, 2) + b"\xff\xfe"),
    "header that is no UTF-8": lambda: raw(struct.pack(">HIB", 1 << 13, 8, 2) + b"\xff\xfe" + struct.pack(">cI", b"S", 0)),
    "header with a date of no year": lambda: raw(struct.pack(">HIB", 1 << 13, 11, 1) + b"a" + struct.pack(">cQ", b"T", 2**63)),
}
HOSTILE: dict[str, Callable[[], py_amqp.Message]] = {
    "unknown task": lambda: message({"task": "os.system"}, kwargs={"command": SECRET}),
    "Celery's own task": lambda: message({"task": "celery.map"}, kwargs={"task": SIGNATURE, "it": [[]]}),
    "pickle": lambda: message(
        body=pickle.dumps([[], {}, EMBED]), content_type="application/x-python-serialize", content_encoding="binary"
    ),
    "pickle that calls itself JSON": lambda: message(body=pickle.dumps([[], {}, EMBED])),
    "huge": lambda: message(body=b'"' + b"a" * 5_000_000 + b'"'),
    "bomb": lambda: message({"compression": "application/x-gzip"}, body=zlib.compress(b" " * 50_000_000)),
    "callback": lambda: payload([], {"v": 1, "campaign": "c1", "batch": 1}, {**EMBED, "callbacks": [SIGNATURE]}),
    "errback": lambda: payload([], {"v": 2}, {**EMBED, "errbacks": [SIGNATURE]}),
    "chain": lambda: payload([], {"v": 1, "campaign": "c1", "batch": 1}, {**EMBED, "chain": [SIGNATURE]}),
    "chord": lambda: payload([], {"v": 1, "campaign": "c1", "batch": 1}, {**EMBED, "chord": SIGNATURE}),
    "text as format": lambda: message(kwargs={"v": "1", "campaign": "c1", "batch": 1}),
    "a campaign that is not there": lambda: message(kwargs={"v": 1, "campaign": "c999", "batch": 1}),
    "a batch that is not there": lambda: message(kwargs={"v": 1, "campaign": "c1", "batch": 999}),
    "statement as batch": lambda: message(kwargs={"v": 1, "campaign": "c1", "batch": "1; DROP TABLE users"}),
    "unknown arguments": lambda: message(kwargs={"v": 1, "campaign": "c1", "batch": 1, "source": SECRET}),
}


def test_survives_all_that_is_malformed_or_hostile(world: World, queue: str, rabbit: Node, connection: Any) -> None:
    """A worker with all of it in its queue, twice and among good messages, goes on; nothing is changed, and all is put aside."""
    assert len(MALFORMED) >= 25 and len(HOSTILE) >= 10
    world.populate(60)
    before = world.users()
    with world.place.worker(processes=1) as worker:
        assert world.enqueue("--batch-size", "20")["migrated"] == 60
        stood = world.dump(but=("workers", "leases", "rejected", "sqlite_sequence"))
        channel = connection.channel()
        for make in [*MALFORMED.values(), *HOSTILE.values()]:
            channel.basic_publish(make(), exchange=queue, routing_key=queue)
            channel.basic_publish(message(), exchange=queue, routing_key=queue)
        expected = len(MALFORMED) + len(HOSTILE)
        until(lambda: (amqp.waiting(connection, f"{queue}.dead") or 0) >= expected, what="the end of what is refused", timeout=60)
        until(lambda: amqp.waiting(connection, queue) == 0, what="the end of the queue")
        assert amqp.waiting(connection, f"{queue}.dead") == expected
        assert world.dump(but=("workers", "leases", "rejected", "sqlite_sequence")) == stood
        assert world.rollback("--all")["rolled_back"] == 60
        assert world.users() == before
        assert worker.process.poll() is None
        assert SECRET not in worker.text and "Connection to broker lost" not in worker.text
        assert worker.text.count(" ready.") == 1


def test_survives_garbage_in_broadcasts(world: World, rabbit: Node, connection: Any) -> None:
    """What is published to remote control and to the events harms as little, and remote control still answers."""
    with world.place.worker(processes=1) as worker:
        channel = connection.channel()
        for make in [*MALFORMED.values(), *HOSTILE.values()]:
            channel.basic_publish(make(), exchange="celery.pidbox", routing_key="")
            channel.basic_publish(make(), exchange="celeryev", routing_key="worker.heartbeat")
        app = Celery(broker=rabbit.url("observer"))
        app.conf.update(control_queue_exclusive=True)
        assert app.control.inspect(timeout=10, limit=1).ping()
        assert worker.process.poll() is None
        assert SECRET not in worker.text and "Connection to broker lost" not in worker.text
