"""The Celery application: its settings, its one task, and the companion process that feeds the queue beside it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from billiard import current_process
from celery import Celery, signals
from celery.exceptions import Reject

from backtrail import broker, job, program
from backtrail.amqp import is_amqp
from backtrail.settings import Settings, load
from worker import tasks
from worker.amqp import guard_amqp, settings_of
from worker.guard import guard_redis
from worker.inspection import mask_inspection
from worker.refused import STOP, Lines, refused
from worker.stop import GRACE_S, Stop

log = logging.getLogger(__name__)

CONF: dict[str, Any] = {
    # A message is acknowledged when its batch is done; one whose process died goes back at once; how often, the database knows (worker/alone.py).
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": True,
    "worker_prefetch_multiplier": 1,
    "worker_consumer": "worker.guard:GuardedConsumer",
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_soft_shutdown_timeout": 0,
    "task_ignore_result": True,
    "result_backend": None,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    "worker_send_task_events": True,
    "task_send_sent_event": False,
    "worker_hijack_root_logger": True,
    "worker_redirect_stdouts": False,
    "broker_transport_options": {
        "visibility_timeout": 900,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
}
"""Celery's settings; the reasons are in docs/operations.md."""

NICENESS = 10
"""How much more readily than others the processes that do the work give up a processor: to the application, to `status`, to their own feeder.

Not the most there is: meanwhile they hold locks, for a time that they learn to keep short however slow they are.
"""

LAST_WORDS_S = 2.0
"""How long a worker that ends waits for its companion to take what it has to say."""


def make_app(settings: Settings, broker_url: str) -> Celery:
    """The application for a database and a broker."""
    guard_redis()
    mask_inspection()
    guard_amqp()
    app = Celery("backtrail", broker=broker_url)
    app.conf.update(CONF, task_default_queue=settings.queue)
    if is_amqp(broker_url):
        app.conf.update(settings_of(settings.queue))

    # A retry with a delay would carry an eta, which the guard refuses.
    @app.task(name=job.TASK, max_retries=3, default_retry_delay=0, Request="worker.guard:GuardedRequest")
    def batch(*args: Any, **kwargs: Any) -> str:
        _end_at_once()
        try:
            request = app.current_task.request
            return tasks.answer(settings, args, kwargs, str(request.hostname), bool(request.delivery_info.get("redelivered")))
        except tasks.Rejected as error:
            log.critical("a message is rejected: %s", error)
            raise Reject(str(error), requeue=False) from None
        finally:
            # What a batch leaves behind in circles is little, but Python would look for it only after some hundred batches: by then it is 20 MB.
            gc.collect(1)

    signals.worker_process_init.connect(_give_way, weak=False)
    signals.worker_init.connect(_session_gives_way, weak=False)
    Stop().watch()
    logging.getLogger("celery.app.trace").addFilter(_is_told)
    companion = Companion(settings, broker_url, app)
    signals.worker_ready.connect(companion.start, weak=False)
    signals.worker_shutting_down.connect(companion.stop, weak=False)
    signals.worker_shutting_down.connect(companion.end_in_time, weak=False)
    signals.worker_shutdown.connect(companion.close, weak=False)
    return app


def _give_way(**_: Any) -> None:
    os.nice(NICENESS)


def _session_gives_way(**_: Any) -> None:
    # Where Linux shares the processors out by session, niceness counts inside each only; whoever leads one can make it nice as a whole (sched(7)).
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def _is_told(record: logging.LogRecord) -> bool:
    """Whether Celery is to tell it: of a rejected message we have told already, in a line and not in thirty."""
    return not (record.exc_info and isinstance(record.exc_info[1], Reject))


def _end_at_once() -> None:
    """Nothing; a process of the pool that is told to end does so without a word, and the database takes back what was not committed.

    The pool's own way is a SystemExit in the midst of whatever runs: of a query, which spoils its connection, or of `migrate`, which
    would look like the author's mistake. It is set here, since the pool sets its own after all signals that we could wait for.
    """
    if current_process().name != "MainProcess":
        for told in (signal.SIGTERM, signal.SIGQUIT):  # the pool uses the second where REMAP_SIGTERM names it
            signal.signal(told, lambda *_: os._exit(1))


class Companion:
    """The process beside a worker that shows that it is alive and, if it is the one elected, feeds the queue. It records refused messages.

    A process of its own: it lives as long as the worker's main process (it reads from a pipe that closes with it, however it ends), and
    no connection of it is inherited by the processes that do the work.
    """

    def __init__(self, settings: Settings, broker_url: str, app: Celery) -> None:
        self.settings, self.broker_url, self.app = settings, broker_url, app
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.lines = Lines()

    def start(self, sender: Any = None, **_: Any) -> None:
        """Nothing; the companion runs, and is started again if it dies."""
        self.hostname = getattr(sender, "hostname", None) or f"worker@{os.getpid()}"
        self.concurrency = int(getattr(getattr(sender, "pool", None), "num_processes", 1))
        self._spawn()
        atexit.register(self.close)  # a worker that is told to end at once sends no other word of it
        consumer = getattr(sender, "timer", None)
        if consumer is not None:
            consumer.call_repeatedly(1.0, self._look)

    def _spawn(self) -> None:
        environment = program.environment(
            {
                "BACKTRAIL_DATABASE_URL": self.settings.database(),
                "BACKTRAIL_BROKER_URL": self.broker_url,
                "BACKTRAIL_QUEUE": self.settings.queue,
            }
        )
        # Addresses hold passwords: they go through the environment, which other users cannot see, and not into the list of processes.
        self.lines.rewind()
        self.process = subprocess.Popen(  # noqa: S603 -- our own module, and the name that Celery gave this worker
            program.command("producer.feed", self.hostname, str(self.concurrency)),
            stdin=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )

    def _look(self) -> None:
        if not self.stopping and self.process is not None and self.process.poll() is not None:
            log.warning("the feeder ended with code %s and is started again", self.process.returncode)
            self._spawn()
        self._tell()

    def _tell(self, *, wait_s: float = 0.0, last: bool = False) -> None:
        """Nothing; the companion is told of messages that were refused, as far as the pipe takes it now or within that time."""
        for one in refused.take(self.lines.room, last=last):
            self.lines.add(one)
        if self.process is not None and self.process.stdin is not None and not self.process.stdin.closed:
            self.lines.write(self.process.stdin.fileno(), wait_s)

    def stop(self, **_: Any) -> None:
        """Nothing; the companion is told to leave its work to others."""
        if not self.stopping:
            self.stopping = True
            self.lines.add(STOP)
            self._tell()

    def close(self, **_: Any) -> None:
        """Nothing; the companion is told all that there is to tell, and to end, by the end of its input."""
        self.stop()
        for _again in range(2):  # there may be more than there was room for
            self._tell(wait_s=LAST_WORDS_S / 2, last=True)
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def end_in_time(self, **_: Any) -> None:
        """Nothing; the worker has a while to end in good order, and then ends anyway.

        Without a broker Celery would wait for its connection for ever. What was not done goes back in any case: by the database.
        """
        deadline = threading.Timer(GRACE_S + 5, self._end)
        deadline.daemon = True
        deadline.start()

    def _end(self) -> None:
        self.close()
        os._exit(0)


_stack = contextlib.ExitStack()


def app_from_settings(settings: Settings | None = None) -> Celery:
    """The application for the settings of this environment; without a broker_url, with the embedded broker.

    Raises:
        UsageError: the settings cannot be meant so.
    """
    settings = settings or load()
    url = settings.broker_url or _stack.enter_context(broker.embedded(settings.database(), settings.runtime_dir))
    return make_app(settings, url)
