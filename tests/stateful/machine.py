"""Everything that can happen to migrated users, in any order; after every step the database must be what the model says."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backtrail.errors import UsageError
from ledger import campaigns as ledger_campaigns
from ledger.checkpoint import read_checkpoint
from ledger.erase import Erasure
from ledger.keyring import new_master
from ledger.verify import Verifier
from producer.drift import DriftFound
from tests.ledger.sealing import KEY, compared, seal
from tests.stateful import campaigns
from tests.stateful.drawn import USERS, Edit, deliveries, edits, fact, meanwhile, note, person, several, sizes, users
from tests.stateful.driver import MIGRATION, Driver, carded, options_of
from tests.stateful.eyes import Eyes
from tests.stateful.model import TABLES, UNIQUE, Campaign, Place
from tests.stateful.world import World


class Machine(RuleBasedStateMachine):
    """Backtrail on a fresh database beside its model."""

    fresh: ClassVar[Callable[[], AbstractContextManager[str]]]
    """What gives the URL of a fresh database."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.ids = 100
        self.notes: list[str] = []
        self.bytes: dict[tuple[Place, int], bytes] = {}
        self.recalled: list[str] = []

    # -- beginning and end ----------------------------------------------------------------------------------------

    @initialize(
        encrypted=st.booleans(),
        people=st.lists(person, min_size=3, max_size=len(USERS)),
        facts=st.lists(fact, max_size=4),
        notes=st.lists(note, max_size=5, unique_by=lambda one: one["code"]),
        migrated=st.booleans(),
    )
    def begin(self, encrypted: bool, people: list[Any], facts: list[Any], notes: list[Any], migrated: bool) -> None:
        """A database with some users, perhaps migrated."""
        self.url = self.stack.enter_context(type(self).fresh())
        self.encrypted = encrypted
        self.engine = Driver(self.url, self._masters() if encrypted else None)
        self.stack.callback(self._close)
        self.model = World(references=not self.engine.mongo)
        self._tables()
        self.eyes = Eyes(self.url, TABLES)
        self.stack.callback(self.eyes.close)
        self.cls = carded(self.engine.id)
        for number, values in enumerate(people, 1):
            self._write(("users", number), values)
        for table, rows in (("facts", facts), ("notes", notes)):
            for values in rows:
                self._write((table, self._id()), values)
        assert len(self.model.tables["users"]) >= 3
        if migrated:
            self._campaign(Campaign(0, "migrate"), "once", None)

    def _close(self) -> None:
        self.engine.close()

    def _masters(self) -> Path:
        path = Path(self.stack.enter_context(TemporaryDirectory())) / "masters"
        path.write_text(new_master() + "\n")
        path.chmod(0o600)
        # The flag is read by an application with settings of its own.
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("BACKTRAIL_MASTER_KEY_FILE", str(path))
        return path

    def _tables(self) -> None:
        engine = self.engine
        engine.table("users", id=int, kind=str, email=str, done=str, score=float)
        engine.table("facts", id=int, user_id=int, text=str)
        engine.table("notes", id=int, user_id=int, code=str, score=float, unique=[UNIQUE["notes"]])
        engine.table("cards", id=int, user_id=int, handle=str, title=str, unique=[UNIQUE["cards"]])
        engine.table("badges", id=int, card_id="bigint REFERENCES cards (id)")

    def teardown(self) -> None:
        """Nothing is left behind."""
        self.stack.close()

    # -- the application ------------------------------------------------------------------------------------------

    @rule(some=st.lists(edits, min_size=1, max_size=4))
    def outside(self, some: list[Edit]) -> None:
        """The application writes rows."""
        for edit in some:
            self._edit(edit)

    def _edit(self, edit: Edit) -> None:
        verb, table, number, values = edit
        rows = sorted(self.model.tables[table])
        place = (table, rows[number % len(rows)] if rows else 0)
        if verb == "put":
            place = (table, number)
        elif verb in ("add", "refer"):
            place = (table, self._id())
        elif verb == "again":
            gone = sorted(self.model.used - set(rows))
            place = (table, gone[number % len(gone)] if gone else self._id())
        if verb in ("change", "remove") and not rows:
            return
        if verb == "refer":
            cards = sorted(self.model.tables["cards"])
            if cards:
                self._write(place, {"card_id": cards[number % len(cards)]})
        elif verb == "remove":
            # One user stays: keys have no type where there are none.
            if place != ("users", 1):
                self._write(place, None)
        else:
            self._write(place, values)

    def _write(self, place: Place, values: dict[str, Any] | None) -> None:
        """Nothing; the row has these values beside those that it had, in the model and in the database."""
        table, key = place
        before = self.model.at(place)
        whole = None if values is None else {"id": key, **(before.values if before else {}), **values}
        if whole == (before.values if before else None) or not self.model.outside(place, whole):
            return
        if whole is None:
            self.engine.remove(table, id=key)
        elif before is None:
            self.engine.add(table, [whole[column] for column in TABLES[table]])
        else:
            self.engine.change(table, values or {}, id=key)

    def _id(self) -> int:
        self.ids += 1
        return self.ids

    # -- campaigns ------------------------------------------------------------------------------------------------

    @rule(only=st.one_of(st.none(), several), size=sizes, delivery=deliveries, edit=meanwhile)
    def migrate(self, only: list[int] | None, size: int, delivery: str, edit: Edit | None) -> None:
        """All users, or some."""
        self._campaign(Campaign(0, "migrate", only=only, size=size), delivery, edit)

    @rule(only=st.one_of(st.none(), several), skip=st.booleans(), size=sizes, delivery=deliveries, edit=meanwhile)
    def rollback(self, only: list[int] | None, skip: bool, size: int, delivery: str, edit: Edit | None) -> None:
        """All users, or some."""
        streams = "migrated" if only is None else None
        self._campaign(Campaign(0, "rollback", only=only, streams=streams, skip=skip, size=size), delivery, edit)

    @precondition(lambda self: self.model.campaigns)
    @rule(back=st.integers(0, 3), skip=st.booleans(), size=sizes, delivery=deliveries, edit=meanwhile)
    def rollback_campaign(self, back: int, skip: bool, size: int, delivery: str, edit: Edit | None) -> None:
        """What a campaign did is taken back; what a rollback did is brought again."""
        ids = sorted(self.model.campaigns, reverse=True)
        of = ids[back % len(ids)]
        kind = "redo" if self.model.campaigns[of].kind == "rollback" else "rollback"
        self._campaign(Campaign(0, kind, of=of, skip=skip, size=size), delivery, edit)

    @rule(how=st.sampled_from(["failed", "stale", "only"]), only=several, size=sizes, delivery=deliveries, edit=meanwhile)
    def rerun(self, how: str, only: list[int], size: int, delivery: str, edit: Edit | None) -> None:
        """Those that failed, those that would be decided otherwise, or some."""
        streams = {"failed": "failed", "stale": "migrated", "only": None}[how]
        campaign = Campaign(
            0,
            "rerun",
            only=only if how == "only" else None,
            streams=streams,
            stale=how == "stale",
            failed=how == "failed",
            size=size,
        )
        self._campaign(campaign, delivery, edit)

    @rule(only=st.one_of(st.none(), several), later=several, size=sizes, delivery=deliveries)
    def overtaken(self, only: list[int] | None, later: list[int], size: int, delivery: str) -> None:
        """Of two campaigns, the later one's messages come first."""
        pair = [Campaign(0, "migrate", only=only, size=size), Campaign(0, "migrate", only=later, size=size)]
        opened = [self._open(campaign) for campaign in pair]
        going = [(campaign, one) for campaign, one in zip(pair, opened, strict=True) if one is not None]
        if not going:
            return
        self.engine.feeder.step()
        self.engine.queue.messages.sort(key=lambda message: (-message[0], message[1]))
        for campaign, _ in going:
            campaigns.feed(self.model, campaign)
        for campaign, _ in reversed(going):
            campaigns.work(self.model, campaign)
        self._deliver(delivery, self.engine.work)
        for campaign, one in going:
            self._ended(campaign, self.engine.run(one))

    @rule(only=st.one_of(st.none(), several))
    def cancelled(self, only: list[int] | None) -> None:
        """A campaign ends before its messages have come; they come later, if at all."""
        campaign = Campaign(0, "migrate", only=only)
        one = self._open(campaign)
        if one is None:
            return
        self.engine.feeder.step()
        campaigns.feed(self.model, campaign)
        self.engine.sent += self.engine.queue.messages
        self.engine.queue.messages = []
        with self.engine.store.transaction() as tx:
            now = self.engine.ledger.campaigns.get(tx, one.id)
            assert now is not None
            assert self.engine.ledger.campaigns.move(tx, now, "cancelled", now=1)

    @precondition(lambda self: self.model.campaigns)
    @rule(seed=st.integers(0, 9), delivery=deliveries)
    def redeliver(self, seed: int, delivery: str) -> None:
        """Old messages come again, in another order."""
        again = self.engine.sent[-8:]
        random.Random(seed).shuffle(again)
        self._deliver(delivery, lambda: [self.engine.deliver(message) for message in again])

    def _campaign(self, campaign: Campaign, delivery: str, edit: Edit | None) -> None:
        one = self._open(campaign)
        if one is None:
            return
        if edit is not None:
            self._edit(edit)
        campaigns.feed(self.model, campaign)
        campaigns.work(self.model, campaign)
        self._deliver(delivery, lambda: self._ended(campaign, self.engine.run(one)))

    def _open(self, campaign: Campaign) -> ledger_campaigns.Campaign | None:
        """The campaign, with its id in the model; None where it is refused, as it has to be."""
        refused = campaigns.refused(self.model, campaign)
        order = {"only": None if campaign.only is None else [str(key) for key in campaign.only], "batch_size": campaign.size}
        try:
            one = self.engine.open(self.cls, campaign.kind, options=options_of(campaign), **order)
        except DriftFound as found:
            assert refused == {int(key) for key in found.drifted}
            return None
        except UsageError as error:
            assert refused is None or (not self._ledger() and campaign.kind != "migrate"), error
            return None
        assert refused == set()
        campaign.id = one.id
        return one

    def _ledger(self) -> bool:
        with self.engine.store.transaction(write=False) as tx:
            return self.engine.ledger.exists(tx)

    def _deliver(self, delivery: str, act: Callable[[], Any]) -> None:
        self.engine.delivery = delivery
        try:
            act()
        finally:
            self.engine.delivery = "once"

    def _ended(self, campaign: Campaign, state: dict[str, Any]) -> None:
        assert state["state"] == "completed", state
        found = {name: state[name] for name in campaign.counts}
        assert found == campaign.counts, (found, campaign, self.engine.failures(self.cls), self.engine.answers[-5:])

    @precondition(lambda self: not self.encrypted)
    @rule()
    def encrypt(self) -> None:
        """Everything is started anew with a master key: from the next campaign on, the ledger is encrypted."""
        self.encrypted = True
        before = self.engine
        before.close()
        self.engine = Driver(self.url, self._masters())
        self.engine.sent, self.engine._columns = before.sent, before._columns

    # -- the ledger -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.lives)
    @rule(key=users)
    def erase(self, key: int) -> None:
        """A person is erased."""
        done = Erasure(self.engine.ledger, str(key)).run(by="ada@tests", reason=f"user {key} asked")
        life = self.model.lives.get(key)
        assert done.streams == (life is not None and not life.erased)
        self.model.erase(key)

    @precondition(lambda self: self.model.campaigns)
    @rule()
    def checkpoint(self) -> None:
        """Everything so far is sealed, and begins with what was sealed before."""
        olds = [read_checkpoint(note, KEY.verifier) for note in self.notes]
        made = seal(self.engine, olds=olds)
        assert not made.refused
        assert made.uncovered.events == 0
        self.notes.append(made.note)

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def rows_are_the_models(self) -> None:
        """Every table holds what the model says; a row that came back is the same bytes."""
        seen = self.eyes.see()
        assert {table: {key: values for key, (values, _) in rows.items()} for table, rows in seen.items()} == {
            table: {key: row.values for key, row in rows.items()} for table, rows in self.model.tables.items()
        }
        for table, rows in self.model.tables.items():
            for key, row in rows.items():
                found = seen[table][key][1]
                assert self.bytes.setdefault(((table, key), row.stamp), found) == found, (table, key)

    @invariant()
    def lives_are_the_models(self) -> None:
        """States, flags and versions."""
        if not self.model.lives:
            return
        journal = self.engine.ledger.journal
        with self.engine.store.transaction(write=False) as tx:
            heads = journal.heads(tx, MIGRATION, [str(key) for key in USERS], lock=False)
            events = journal.events(tx, [head.id or 0 for head in heads.values()])
        assert {int(key): (head.state, head.failed, head.campaign, head.erased) for key, head in heads.items()} == {
            key: (life.state, life.failed, life.campaign, life.erased) for key, life in self.model.lives.items()
        }
        for key, life in self.model.lives.items():
            assert self.eyes.migrated(MIGRATION, key) == (life.state == "migrated")
            stream = events[heads[str(key)].id or 0]
            assert [event.version for event in stream] == [*range(1, life.events + 1)]
            assert any(event.erased for event in stream) == life.erased
        assert not any(self.eyes.migrated(MIGRATION, key) for key in set(USERS) - set(self.model.lives))

    @invariant()
    def verify_says_what_the_model_says(self) -> None:
        """Each check names whom the model names, and nobody else."""
        if not self.model.campaigns:
            return
        document = Verifier(self.engine.ledger, self.engine.found(self.cls)).run()
        checks = {check["name"]: check for check in document["checks"]}
        expected = self.model.findings()
        assert {name: sorted(line.partition(":")[0] for line in checks[name]["examples"]) for name in expected} == expected
        assert document["ok"] == (not any(expected.values()))
        erased = sum(life.erased for life in self.model.lives.values())
        assert checks["ledger"].get("sums", {}).get("erased", 0) == erased

    @invariant()
    def checkpoints_hold(self) -> None:
        """Every one that was taken so far."""
        for one in self.notes:
            finding = compared(self.engine, one)
            assert finding.problems == 0, finding.examples
