"""(a) to (c): what the same migration takes without Backtrail."""

from __future__ import annotations

import time

from bench import script, tasks
from bench.machine import Spent
from bench.processes import end
from bench.run import Figures, Run, logged
from tests import servers


def run_set_based(run: Run) -> dict[str, Figures]:
    """(a) The database alone, without ledger."""
    with run.fresh() as url:
        spent = Spent(server=run.database.server_process(url))
        begin = time.perf_counter()
        run.workload.set_based(url)
        seconds = time.perf_counter() - begin
        figures = {"users": run.users + run.warm, "seconds": seconds, **spent.per_user(run.users + run.warm)}
        run.agree(url, loose=True)
    return {"set_based": figures}


def run_bulk(run: Run) -> dict[str, Figures]:
    """(b) The hand-written bulk script without ledger."""
    users = run.users + run.warm
    with run.fresh() as url:
        spent = Spent(server=run.database.server_process(url))
        took = script.run(run.workload.connect(), url, run.processes)
        figures = {"users": users, "seconds": took["seconds"], "client_us_per_user": took["client_cpu_s"] / users * 1e6}
        figures |= spent.per_user(users)
        run.agree(url)
        run.agree(url, loose=True)
        for number in run.naive_users:
            run.agree(url, users=number + run.warm)
    return {"bulk": figures}


def run_naive(run: Run) -> dict[str, Figures]:
    """(c) One Celery task and one transaction per user, with so many users of each number."""
    first, *more = run.naive_users
    return _naive(run, "naive", first) | {
        name: figures for number in more for name, figures in _naive(run, "naive_more", number).items()
    }


def _naive(run: Run, name: str, users: int) -> dict[str, Figures]:
    module = run.workload.naive
    with run.fresh() as url, servers.valkey() as broker, logged() as log:
        keys = run.keys[: users + run.warm]
        worker = tasks.start_worker(module, url, broker, run.processes, log)
        try:
            tasks.send(module, broker, keys[: run.warm])
            begin = time.perf_counter()
            tasks.send(module, broker, keys[run.warm :])
            seconds = time.perf_counter() - begin
        finally:
            end(worker)
        run.agree(url, users=users + run.warm)
    return {name: {"users": users, "seconds": seconds}}
