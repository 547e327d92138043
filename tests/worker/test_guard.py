"""The guard: a worker that survives what lies in its queue and what happens to its broker.

This module is also the worker's own application: `celery -A tests.worker.test_guard worker`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests import servers
from tests.servers import until
from worker.guard import GuardedTransport, body_fault, envelope_fault, guard_redis, task_fault

ROOT = Path(__file__).parents[2]
URL = "GUARD_TEST_BROKER"
SECRET = "s3cret-of-a-user"
QUEUE = "guarded"

guard_redis()
app = Celery("guarded", broker=os.environ.get(URL, "memory://"))
app.conf.update(
    accept_content=["json"],
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    result_backend=None,
    task_acks_late=True,
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    task_retry_on_worker_lost=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_consumer="worker.guard:GuardedConsumer",
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
)


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url.replace("redis+socket://", "unix://"), decode_responses=True)


@app.task(name="test.remember")
def remember(word: str) -> str:
    client(os.environ[URL]).sadd("remembered", word)
    return "ok"


@app.task(name="test.dawdle")
def dawdle(word: str) -> None:
    client(os.environ[URL]).sadd("begun", word)
    time.sleep(30)


# No delay: a delayed retry is a message with an eta, which the guard refuses.
@app.task(name="test.stumble", default_retry_delay=0, max_retries=3)
def stumble(word: str) -> None:
    if client(os.environ[URL]).sadd("begun", word):
        os.kill(os.getpid(), signal.SIGKILL)
    client(os.environ[URL]).sadd("remembered", word)


def message(word: str = "good", task: str = "test.remember") -> dict[str, Any]:
    """A message as Celery itself writes it to Redis."""
    task_id = str(uuid.uuid4())
    body = json.dumps([[word], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "gen1@host",
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


MISSING = object()


def changed(*path: str, to: Any = MISSING) -> str:
    """A good message with one field changed, or left out."""
    whole = message(SECRET)
    inner = whole
    for name in path[:-1]:
        inner = inner[name]
    if to is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return json.dumps(whole)


def with_body(body: Any) -> str:
    return changed("body", to=base64.b64encode(json.dumps(body).encode()).decode())


EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": "test.remember", "args": [SECRET], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}

MALFORMED: dict[str, str | bytes] = {
    "nothing": "",
    "no JSON": f"{{{SECRET}",
    "no UTF-8": b"\xff\xfe\x00" + SECRET.encode(),
    "array": json.dumps([SECRET]),
    "text": json.dumps(SECRET),
    "number": "17",
    "null": "null",
    "deep": "[" * 100_000,
    "NaN": "NaN",
    "broken hook": json.dumps({"__type__": "uuid", "__value__": SECRET}),
    "broken decimal hook": json.dumps({"__type__": "decimal", "__value__": SECRET}),
    "no headers": changed("headers"),
    "null headers": changed("headers", to=None),
    "list of headers": changed("headers", to=[SECRET]),
    "no properties": changed("properties"),
    "null properties": changed("properties", to=None),
    "no body": changed("body"),
    "null body": changed("body", to=None),
    "number as body": changed("body", to=17),
    "bad base64": changed("body", to="***"),
    "huge body": changed("body", to="A" * 2_000_000),
    "unknown encoding of the body": changed("properties", "body_encoding", to="rot13"),
    "no delivery tag": changed("properties", "delivery_tag"),
    "object as delivery tag": changed("properties", "delivery_tag", to={"a": 1}),
    "null delivery tag": changed("properties", "delivery_tag", to=None),
    "no delivery info": changed("properties", "delivery_info"),
    "null delivery info": changed("properties", "delivery_info", to=None),
    "no exchange": changed("properties", "delivery_info", "exchange"),
    "list as routing key": changed("properties", "delivery_info", "routing_key", to=[SECRET]),
    "object as reply_to": changed("properties", "reply_to", to={"a": SECRET}),
    "content type pickle": changed("content-type", to="application/x-python-serialize"),
    "content type yaml": changed("content-type", to="application/x-yaml"),
    "no content type": changed("content-type"),
    "unknown encoding": changed("content-encoding", to="utf-99"),
    "binary encoding": changed("content-encoding", to="binary"),
    "compressed": changed("headers", "compression", to="application/x-gzip"),
    "no task": changed("headers", "task"),
    "null task": changed("headers", "task", to=None),
    "list as task": changed("headers", "task", to=["test.remember"]),
    "unknown task": changed("headers", "task", to=SECRET),
    "Celery's own task": changed("headers", "task", to="celery.map"),
    "no id": changed("headers", "id"),
    "null id": changed("headers", "id", to=None),
    "list as id": changed("headers", "id", to=[1]),
    "id of two lines": changed("headers", "id", to=f"a\n{SECRET}"),
    "long id": changed("headers", "id", to="a" * 10_000),
    "bad time limit": changed("headers", "timelimit", to="soon"),
    "time limit of one": changed("headers", "timelimit", to=[1]),
    "short time limit": changed("headers", "timelimit", to=[0.001, 0.001]),
    "eta": changed("headers", "eta", to="2099-01-01T00:00:00+00:00"),
    "bad eta": changed("headers", "eta", to="soon"),
    "expired": changed("headers", "expires", to="1999-01-01T00:00:00+00:00"),
    "object as retries": changed("headers", "retries", to={}),
    "many retries": changed("headers", "retries", to=10**30),
    "long repr": changed("headers", "argsrepr", to=SECRET * 1000),
    "list as repr": changed("headers", "kwargsrepr", to=[SECRET]),
    "other name": changed("headers", "shadow", to=SECRET),
    "stamps": changed("headers", "stamped_headers", to=["a"]),
    "group": changed("headers", "group", to="a-group"),
    "object as root": changed("headers", "root_id", to={"a": 1}),
    "null as payload": with_body(None),
    "empty payload": with_body([]),
    "object as payload": with_body({"args": [SECRET], "kwargs": {}}),
    "short payload": with_body([[SECRET], {}]),
    "text as args": with_body([SECRET, {}, EMBED]),
    "list as kwargs": with_body([[], [SECRET], EMBED]),
    "null embed": with_body([[SECRET], {}, None]),
    "callbacks": with_body([[SECRET], {}, {**EMBED, "callbacks": [SIGNATURE]}]),
    "chain": with_body([[SECRET], {}, {**EMBED, "chain": [SIGNATURE]}]),
    "chord": with_body([[SECRET], {}, {**EMBED, "chord": SIGNATURE}]),
    "payload that is no JSON": changed("body", to=base64.b64encode(b"{" + SECRET.encode()).decode()),
    "payload that is no UTF-8": changed("body", to=base64.b64encode(b"\xff\xfe").decode()),
    "deep payload": changed("body", to=base64.b64encode(b"[" * 100_000).decode()),
    "protocol 1": json.dumps(
        {**message(), "headers": {}, "body": base64.b64encode(b'{"task": "test.remember", "id": "1", "args": ["x"]}').decode()}
    ),
}


class Worker:
    """A real prefork worker."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tests.worker.test_guard", "worker", "-c", "2", "-l", "INFO"],
                cwd=ROOT,
                env={**os.environ, URL: url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, true: Callable[[], object], what: str, timeout: float = 40) -> None:
        def holds() -> bool:
            assert self.alive(), f"the worker ended: {self.said()[-3000:]}"
            with suppress(redis.ConnectionError):
                return bool(true())
            return False

        try:
            until(holds, what=what, timeout=timeout)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.said()[-3000:]}") from error

    def does(self, word: str) -> None:
        """The word is remembered, through a good message."""
        client(self.url).lpush(QUEUE, json.dumps(message(word)))
        self.until(lambda: client(self.url).sismember("remembered", word), f"the execution of {word}")

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@pytest.fixture
def worker(broker: str, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(broker, tmp_path / "worker.log")
    try:
        worker.until(lambda: "ready." in worker.said(), "the start of the worker")
        yield worker
    finally:
        worker.end()


def test_the_good_message_is_good():
    """The message that all malformed ones are made from passes."""
    good = message()
    assert envelope_fault(good) is None
    assert task_fault(good["headers"], {"test.remember"}) is None
    assert body_fault(json.loads(base64.b64decode(good["body"]))) is None


def test_celery_writes_what_passes(broker: str):
    """What the installed Celery itself publishes passes, also with the readable arguments that Flower shows."""
    producer = Celery("producer", broker=broker)
    producer.conf.update(task_default_queue=QUEUE, task_ignore_result=True)
    producer.send_task("test.remember", kwargs={"word": "x"}, kwargsrepr="{'campaign': 'c1', 'batch': 17}")
    sent = json.loads(client(broker).rpop(QUEUE))
    assert envelope_fault(sent) is None
    assert task_fault(sent["headers"], {"test.remember"}) is None
    assert body_fault(json.loads(base64.b64decode(sent["body"]))) is None


def test_every_redis_url_is_guarded():
    """The guard is there over TCP, TLS and a socket, and TLS stays TLS."""
    for url in ("redis://h", "rediss://h?ssl_cert_reqs=required", "redis+socket:///tmp/x.sock"):
        connection = app.connection_for_read(url)
        assert connection.get_transport_cls() is GuardedTransport, url
        assert bool(connection.ssl) == url.startswith("rediss")


def test_survives_all_that_is_malformed(worker: Worker):
    """A prefork worker with every malformed message in its queue goes on with the good ones among them, and tells no content."""
    assert len(MALFORMED) >= 25
    worker.does("before")
    pid = worker.process.pid
    with client(worker.url) as redis_client:
        for number, raw in enumerate(MALFORMED.values()):
            redis_client.lpush(QUEUE, raw)
            if number % 10 == 0:
                redis_client.lpush(QUEUE, json.dumps(message(f"among {number}")))
        worker.does("after")
        expected = {"before", "after", *(f"among {number}" for number in range(0, len(MALFORMED), 10))}
        worker.until(lambda: redis_client.smembers("remembered") >= expected, "the execution of all good messages")
        assert redis_client.smembers("remembered") == expected
        worker.until(lambda: not redis_client.hlen("unacked"), "the acknowledgement of everything")
        assert redis_client.llen(QUEUE) == 0
    assert worker.process.pid == pid
    said = worker.said()
    assert SECRET not in said
    assert "Traceback" not in said
    assert "Connection to broker lost" not in said
    assert len(re.findall(r"(?:dropped|rejected) a m", said)) == len(MALFORMED)


@pytest.mark.parametrize("name", MALFORMED)
def test_each_alone_is_refused(name: str):
    """No malformed message gets past the guard's own decisions, without help from what reads it."""
    try:
        whole = json.loads(MALFORMED[name])
        fault = envelope_fault(whole)
        fault = fault or task_fault(whole["headers"], {"test.remember", "celery.map"})
        fault = fault or body_fault(json.loads(base64.b64decode(whole["body"], validate=True)))
    except (ValueError, RecursionError):
        return  # what cannot be decoded is the channel's
    assert fault
    assert SECRET not in fault


def test_survives_garbage_in_broadcasts(worker: Worker):
    """What is published to a worker's own channels harms as little, and remote control still works."""
    with client(worker.url) as redis_client:
        for channel in ("/0.celery.pidbox", "/0.celeryev/worker.heartbeat"):
            for raw in MALFORMED.values():
                # Celery subscribes anew after every command that it could not make sense of.
                worker.until(lambda c=channel, r=raw: redis_client.publish(c, r), f"the subscription to {channel}")
    worker.does("after")
    assert Celery("operator", broker=worker.url).control.inspect(timeout=10, limit=1).ping()
    assert SECRET not in worker.said()
    assert "Connection to broker lost" not in worker.said()


def test_lets_retries_through(worker: Worker):
    """What Celery itself sends again, after a process of the worker was lost, passes."""
    client(worker.url).lpush(QUEUE, json.dumps(message("again", task="test.stumble")))
    worker.until(lambda: client(worker.url).sismember("remembered", "again"), "the second run")
    assert "malformed" not in worker.said()


def test_survives_a_killed_broker(tmp_path: Path):
    """A broker that is killed while a late-acknowledged task runs takes no worker with it."""
    port = servers.free_port()
    with servers.valkey(port=port) as url:
        worker = Worker(url, tmp_path / "worker.log")
        try:
            worker.does("before")
            client(url).lpush(QUEUE, json.dumps(message("slow", task="test.dawdle")))
            worker.until(lambda: client(url).sismember("begun", "slow"), "the begin of the slow task")
            os.kill(int(client(url).info("server")["process_id"]), signal.SIGKILL)
            worker.until(lambda: "Connection to broker lost" in worker.said(), "the notice of the loss")
            with servers.valkey(port=port):
                worker.does("after")
        finally:
            worker.end()
