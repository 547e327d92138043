"""The migration that is lived with, and the engine with a hand on its queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backtrail import Keys, Migration, Rows
from tests.engine import Engine
from tests.stateful.model import Campaign
from worker import tasks

MIGRATION = "carded"


def title_of(texts: str) -> str:
    """What a recall is asked for."""
    return f"<{texts}>"


def carded(identity: str) -> type[Migration]:
    """A migration that creates, updates and deletes a row of each user, and checks, notes and recalls."""

    class Carded(Migration):
        name = MIGRATION
        keys = Keys("users", identity)
        reads = (Rows("users", identity), Rows("facts", "user_id"), Rows("notes", "user_id"))
        writes = ("users", "notes", "cards")

        def migrate(self, user: Any) -> None:
            row = user.one("users")
            title = "+".join(fact["text"] for fact in user.rows("facts"))
            if row["kind"] == "called":
                title = user.recall("title", title_of, title)
            user.create("cards", {identity: user.key, "user_id": user.key, "handle": row["email"], "title": title})
            user.update(row, set={"done": "yes"})
            for note in user.rows("notes"):
                user.delete(note)
            if row["kind"] == "torn":
                user.conflict("kind", values=["a", "b"], chosen="a")

        def check(self, user: Any) -> Any:
            for row in user.rows("users"):
                if row["kind"] == "bad":
                    yield "a bad user"

    return Carded


class Driver(Engine):
    """The engine, with a hand on its queue."""

    def __init__(self, url: str, masters: Path | None) -> None:
        super().__init__(url, lock_timeout_ms=5000, masters=masters)
        self.delivery = "once"
        self.sent: list[tuple[int, int]] = []

    def work(self) -> None:
        """Every message in the queue is delivered, once or twice."""
        messages, self.queue.messages = self.queue.messages, []
        self.sent += messages
        for message in messages:
            self.deliver(message)

    def deliver(self, message: tuple[int, int]) -> None:
        """Nothing; the worker has answered the message."""
        if self.delivery == "at once":
            with ThreadPoolExecutor(2) as pool:
                self.answers += list(pool.map(self._deliver, [message] * 2))
            return
        for _ in range(2 if self.delivery == "twice" else 1):
            self.answers.append(self._deliver(message))

    def _deliver(self, message: tuple[int, int]) -> str:
        return tasks.run(self.settings, 1, f"c{message[0]}", message[1])


def options_of(campaign: Campaign) -> dict[str, Any]:
    """What the command line makes of such a campaign."""
    options: dict[str, Any] = {}
    if campaign.kind in ("rollback", "redo"):
        options["on_drift"] = "skip" if campaign.skip else "refuse"
    if campaign.of is not None:
        options |= {"from": "campaign", "campaign": campaign.of}
    elif campaign.streams is not None:
        options |= {"from": "streams", "failed": campaign.failed, "stale": campaign.stale}
    return options
