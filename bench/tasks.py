"""One Celery task per user, as most people would write it: what the naive references have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import redis
from celery import Celery

from bench.run import until

DATABASE, BROKER = "BENCH_DATABASE_URL", "BENCH_BROKER_URL"
QUEUE, IN_HAND = "celery", "unacked"
"""Where Celery keeps its messages on Redis: those that wait, and those that a worker has."""


def make_app(module: str) -> Celery:
    """The app of that module; a task is acknowledged when it is done."""
    app = Celery(module, broker=os.environ.get(BROKER, "memory://"))
    app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=4)
    return app


def start_worker(module: str, database_url: str, broker_url: str, processes: int, log: int) -> subprocess.Popen[bytes]:
    """A worker with that many processes."""
    environment = os.environ | {DATABASE: database_url, BROKER: broker_url}
    command = [sys.executable, "-m", "celery", "--quiet", "--app", module, "worker", "--concurrency", str(processes)]
    command += ["--loglevel", "WARNING", "--without-mingle", "--without-gossip"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def send(module: str, broker_url: str, keys: Sequence[Any]) -> None:
    """A task for each of the keys is done."""
    with Celery("bench", broker=broker_url, set_as_current=False) as app, closing(redis.Redis.from_url(broker_url)) as broker:
        for key in keys:
            app.send_task(f"{module}.migrate", args=(str(key),))
        seen = 0

        def idle() -> bool:
            # Twice in a row: between waiting and in hand a message is in neither for a moment.
            nonlocal seen
            seen = 0 if int(broker.llen(QUEUE)) + int(broker.hlen(IN_HAND)) else seen + 1
            return seen > 1

        until(idle, "the last of the tasks")
