"""An application that lives on while its database is migrated: `python -m tests.live.application KIND FOLDER` runs it until it is told to end.

It is plain psycopg and knows nothing of Backtrail. Every statement is timed, and everything that was committed is counted, so that a write
that got lost is missed. Of two rows it takes the one with the larger key first, the other way round than Backtrail; among its own threads
that makes no deadlock.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

NAME = "application"
THREADS = 4
PAUSE_S = 0.015
"""How long a thread rests between two transactions."""


@dataclass(frozen=True)
class Kind:
    """The tables that an application writes."""

    table: str
    number: str
    """The column that it counts in."""
    new: tuple[str, ...]
    """How a new one of the table is made, with everything that it needs; the key is %(id)s."""
    gone: tuple[str, ...]
    """How it goes away again, what the migration made of it included; whoever it belongs to is locked first."""
    dependent: str
    key: Callable[[int], Any] = int


KINDS = {
    "people": Kind(
        "users",
        "visits",
        ("INSERT INTO users (id, full_name, visits) VALUES (%(id)s, 'New One', 0)",),
        (
            "SELECT id FROM users WHERE id = %(id)s FOR UPDATE",
            "DELETE FROM messages WHERE user_id = %(id)s",
            "DELETE FROM people WHERE user_id = %(id)s",
            "DELETE FROM users WHERE id = %(id)s",
        ),
        "INSERT INTO messages (user_id, text) VALUES (%(id)s, 'hello')",
    ),
    "profiles": Kind(
        "profiles",
        "completeness",
        (
            "INSERT INTO users (id, email, created_at) VALUES (%(id)s, 'new@example.org', now())",
            "INSERT INTO context_profiles (id, user_id, context_type, created_at) VALUES (%(id)s, %(id)s, 'dating', now())",
            "INSERT INTO profiles (id, context_profile_id, data, completeness, created_at, updated_at)"
            " VALUES (%(id)s, %(id)s, '{}', 0, now(), now())",
        ),
        (
            "SELECT id FROM users WHERE id = %(id)s FOR UPDATE",
            "DELETE FROM context_intents WHERE user_id = %(id)s",
            "DELETE FROM unified_profiles WHERE user_id = %(id)s",
            "DELETE FROM chat_messages WHERE context_profile_id = %(id)s",
            "DELETE FROM profiles WHERE context_profile_id = %(id)s",
            "DELETE FROM context_profiles WHERE user_id = %(id)s",
            "DELETE FROM users WHERE id = %(id)s",
        ),
        "INSERT INTO chat_messages (id, context_profile_id, role, content, created_at)"
        " SELECT gen_random_uuid()::text, context_profile_id, 'user', 'hello', now() FROM profiles WHERE id = %(id)s",
        key=lambda number: f"new-{number}",
    ),
}


@dataclass
class Account:
    """What was committed."""

    added: Counter[Any] = field(default_factory=Counter)
    created: set[Any] = field(default_factory=set)
    deleted: set[Any] = field(default_factory=set)
    dependent: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """How long each statement took."""


class User:
    """One thread of the application, with a connection of its own."""

    def __init__(self, url: str, kind: Kind, number: int) -> None:
        self.kind = kind
        self.account = Account()
        self.chance = random.Random(number)
        self.connection = psycopg.connect(url, application_name=NAME)
        self.keys = [key for (key,) in self.connection.execute(f"SELECT id FROM {kind.table} ORDER BY id").fetchall()]
        self.connection.commit()
        self.next = 1_000_000 * number

    def act(self) -> None:
        """Nothing; one transaction was committed and counted, or its error was."""
        what = self.chance.choices(
            (self.add, self.read_and_write, self.add_to_two, self.create, self.delete, self.depend), (30, 20, 20, 10, 5, 15)
        )[0]
        counted: list[Callable[[], None]] = []
        try:
            what(counted.append)
            self.execute("COMMIT")
        except psycopg.Error as error:
            self.account.errors[type(error).__name__] += 1
            self.connection.rollback()
            return
        for count in counted:
            count()

    def execute(self, sql: str, **values: Any) -> psycopg.Cursor[Any]:
        """The answer; the time is noted, that of a failing statement too."""
        begun = time.perf_counter()
        try:
            return self.connection.execute(sql, values)  # type: ignore[arg-type]
        finally:
            self.account.seconds.append(time.perf_counter() - begun)

    def pick(self) -> Any:
        return self.chance.choice(self.keys)

    def add(self, then: Callable[[Callable[[], None]], None]) -> None:
        """One more, by a plain update."""
        self._add(self.pick(), then)

    def _add(self, key: Any, then: Callable[[Callable[[], None]], None]) -> None:
        sql = f"UPDATE {self.kind.table} SET {self.kind.number} = {self.kind.number} + 1 WHERE id = %(id)s"
        if self.execute(sql, id=key).rowcount:
            then(lambda: self.account.added.update([key]))

    def read_and_write(self, then: Callable[[Callable[[], None]], None]) -> None:
        """One more than was read, under a lock."""
        key, table, number = self.pick(), self.kind.table, self.kind.number
        found = self.execute(f"SELECT {number} FROM {table} WHERE id = %(id)s FOR UPDATE", id=key).fetchone()
        if found is not None:
            self.execute(f"UPDATE {table} SET {number} = %(value)s WHERE id = %(id)s", id=key, value=found[0] + 1)
            then(lambda: self.account.added.update([key]))

    def add_to_two(self, then: Callable[[Callable[[], None]], None]) -> None:
        """One more for two, the larger key first."""
        for key in sorted({self.pick(), self.pick()}, reverse=True):
            self._add(key, then)

    def create(self, then: Callable[[Callable[[], None]], None]) -> None:
        """A new one, which only this thread deletes."""
        self.next += 1
        key = self.kind.key(self.next)
        for sql in self.kind.new:
            self.execute(sql, id=key)

        def count() -> None:
            self.account.created.add(key)
            self.keys.append(key)

        then(count)

    def delete(self, then: Callable[[Callable[[], None]], None]) -> None:
        """One that this thread made is gone, with all that belongs to it."""
        mine = sorted(self.account.created - self.account.deleted)
        if not mine:
            return
        key = self.chance.choice(mine)
        for sql in self.kind.gone:
            self.execute(sql, id=key)

        def count() -> None:
            self.account.deleted.add(key)
            self.keys.remove(key)

        then(count)

    def depend(self, then: Callable[[Callable[[], None]], None]) -> None:
        """A new row that refers to one that is migrated."""
        count = self.execute(self.kind.dependent, id=self.pick()).rowcount
        then(lambda: setattr(self.account, "dependent", self.account.dependent + count))


def run(url: str, kind: Kind, folder: Path) -> None:
    """Nothing; it ran until SIGTERM, and its account is in a file."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    users = [User(url, kind, number) for number in range(1, THREADS + 1)]

    def work(user: User) -> None:
        while not stop.is_set():
            user.act()
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=work, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    while not stop.wait(0.1):
        _write(folder / "statements", sum(len(user.account.seconds) for user in users))
    for thread in threads:
        thread.join()
    _write(folder / "account", account([user.account for user in users]))


def account(accounts: list[Account]) -> dict[str, Any]:
    """What all threads did together."""
    added = sum((one.added for one in accounts), Counter[Any]())
    created, deleted = set[Any]().union(*(one.created for one in accounts)), set[Any]().union(*(one.deleted for one in accounts))
    seconds = sorted(second for one in accounts for second in one.seconds)
    return {
        "added": [[key, count] for key, count in added.items()],
        "created": sorted(created),
        "deleted": sorted(deleted),
        "dependent": sum(one.dependent for one in accounts),
        "errors": dict(sum((one.errors for one in accounts), Counter[str]())),
        "statements": len(seconds),
        "longest": seconds[-1],
        "p99": seconds[int(len(seconds) * 0.99)],
    }


def _write(file: Path, document: Any) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(document))
    new.replace(file)


if __name__ == "__main__":
    run(os.environ["BACKTRAIL_DATABASE_URL"], KINDS[sys.argv[1]], Path(sys.argv[2]))
