"""What somebody who can push to the queue of a worker may push there: malformed, hostile, and what only looks so."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import subprocess
from pathlib import Path
from typing import Any

from tests.worker.test_guard import EMBED, MALFORMED, SECRET, message

TASK = "backtrail.batch"
SIGNATURE = {"task": TASK, "args": [SECRET], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}


class Bomb:
    """An object whose unpickling runs a program that makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (subprocess.call, (["touch", str(self.proof)],))


def coded(body: bytes) -> str:
    """The body as Celery puts it into a message."""
    return base64.b64encode(body).decode()


def asking(kwargs: Any, args: Any = (), embed: Any = None, **headers: Any) -> str:
    """A message as the feeder sends it, asking for that."""
    whole = message(task=TASK)
    whole["headers"] |= headers
    whole["properties"]["delivery_info"]["routing_key"] = "bt"
    whole["body"] = coded(json.dumps([list(args), kwargs, EMBED if embed is None else EMBED | embed]).encode())
    return json.dumps(whole)


def duplicate(campaign: int, batch: int, **headers: Any) -> str:
    """What the feeder sent once already: no harm is meant by it, and none is done."""
    return asking({"v": 1, "campaign": f"c{campaign}", "batch": batch}, **headers)


def of_type(content_type: str, body: bytes, **headers: Any) -> str:
    """A message with a body of that type."""
    whole = message(task=TASK) | {"content-type": content_type, "body": coded(body)}
    whole["headers"] |= headers
    return json.dumps(whole)


def malformed() -> dict[str, str | bytes]:
    """Every malformed message that the guard is tried with, for the worker's own task."""
    return {name: raw.replace("test.remember", TASK) if isinstance(raw, str) else raw for name, raw in MALFORMED.items()}


def hostile(proof: Path) -> dict[str, str | bytes]:
    """What asks for something that nobody may ask for.

    Args:
        proof: a file that is there once somebody has run what lies in a message.
    """
    batch = {"v": 1, "campaign": "c1", "batch": 1}
    pickled = pickle.dumps(Bomb(proof))
    yaml = f"!!python/object/apply:subprocess.call [[touch, {proof}]]".encode()
    twice = asking(batch).replace(f'"task": "{TASK}"', f'"task": "{TASK}", "task": "os.system"')
    assert twice.count('"task"') == 2
    deep = ("[" * 50_000 + "]" * 50_000).encode()
    return {
        **{name: asking(batch, task=f"celery.{name}") for name in ("chain", "chord", "group", "map", "starmap", "chunks")},
        **{name: asking(batch, task=name) for name in ("celery.backend_cleanup", "celery.accumulate", "os.system", "")},
        **{f"as {name}": asking(batch, embed={name: [SIGNATURE]}) for name in ("callbacks", "errbacks", "chain", "chord")},
        "pickle": of_type("application/x-python-serialize", pickled),
        "pickle that says it is JSON": of_type("application/json", pickled),
        "pickle in JSON": asking({"v": 1, "campaign": {"py/reduce": coded(pickled)}, "batch": 1}),
        "yaml": of_type("application/x-yaml", yaml),
        "yaml that says it is JSON": of_type("application/json", yaml),
        "message pack": of_type("application/x-msgpack", b"\x93\x90\x80\x80"),
        "bomb": of_type("application/json", gzip.compress(b" " * 50_000_000), compression="application/x-gzip"),
        "batch that does not exist": asking(batch | {"batch": 999_999}),
        "campaign that does not exist": asking(batch | {"campaign": "c99"}),
        "negative batch": asking(batch | {"batch": -1}),
        "huge batch": asking(batch | {"batch": 2**40}),
        "huge campaign": asking(batch | {"campaign": "c999999999999999999"}),
        "truth as batch": asking(batch | {"batch": True}),
        "SQL as batch": asking(batch | {"batch": "1; DROP TABLE users"}),
        "SQL as campaign": asking(batch | {"campaign": "c1'; DROP TABLE users --"}),
        "other digits": asking(batch | {"campaign": "c\u0661"}),
        "query as batch": asking(batch | {"batch": {"$gt": 0}}),
        "no format": asking({"campaign": "c1", "batch": 1}),
        "truth as format": asking(batch | {"v": True}),
        "newer format of nothing": asking(batch | {"v": 2, "batch": 999_999}),
        "arguments without names": asking({}, args=(1, "c1", 1)),
        "arguments of its own": asking(batch | {"settings": SECRET}),
        "6 MB": asking(batch | {"batch": SECRET * 500_000}),
        "deep": of_type("application/json", deep),
        "soon": asking(batch, eta="2099-01-01T00:00:00+00:00"),
        "late": asking(batch, expires="1999-01-01T00:00:00+00:00"),
        "in no time": asking(batch, timelimit=[0.001, 0.001]),
        "two tasks in one": twice,
        "remote control": json.dumps({"method": "shutdown", "arguments": {}, "destination": None}),
    }
