"""Campaigns watched until they are over: a live view on a terminal, plain lines where there is none; both on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from backtrail.errors import Retry, UnsuitableDatabase
from ledger.campaigns import GOING, UNFINISHED
from producer.context import Context
from producer.live import line, screen
from producer.overview import Looker, Overview
from producer.pace import Pace

LOOK_S = 0.2
"""How often one campaign is looked at; whoever waits for it is told at once."""

LOOK_ALL_S = 0.5
"""How often all campaigns are looked at."""

LINE_S = 3.0
"""How often a line about a campaign is written at the most, unless its state changes."""

PATIENCE_S = 60.0
"""How long a database may be away that had answered before."""

GONE = 5
"""How many campaigns that ended meanwhile stay in sight."""

Each = Callable[[dict[str, Any]], None]


class View(Protocol):
    """Where what was seen is shown."""

    def show(self, overview: Overview, rates: dict[str, float | None]) -> None:
        """Nothing; it is shown."""

    def say(self, words: str) -> None:
        """Nothing; something besides is said."""


def watch(context: Context, campaign: int, each: Each = lambda _: None) -> dict[str, Any]:
    """The campaign's status once it is over or held, after showing it until then.

    Args:
        context: whose database is looked at.
        campaign: its number.
        each: called with the status whenever it is looked at; it may raise, to end the watch.
    """
    try:
        with view_of(context.err) as view:
            return Watch(Looker(context.ledger), view, GOING, campaign, each).run().campaigns[0]
    except KeyboardInterrupt:
        context.err.print(f"c{campaign} goes on: backtrail status c{campaign} --watch, or backtrail pause c{campaign}")
        raise


def watch_all(context: Context) -> None:
    """Nothing; all campaigns were shown, also those that were opened meanwhile, until nothing is unfinished.

    Where nobody looks at a terminal, those that are paused or halted are not waited for.
    """
    try:
        with view_of(context.err) as view:
            Watch(Looker(context.ledger), view, UNFINISHED if isinstance(view, Screen) else GOING).run()
    except KeyboardInterrupt:
        context.err.print("campaigns go on: backtrail status --watch, or backtrail pause CAMPAIGN")
        raise


class Watch:
    """Looks again and again, and says what it saw, until there is nothing to wait for."""

    def __init__(
        self, looker: Looker, view: View, waits_for: Collection[str], campaign: int | None = None, each: Each = lambda _: None
    ) -> None:
        self.looker, self.view, self.waits_for, self.campaign, self.each = looker, view, waits_for, campaign, each
        self.rests = LOOK_ALL_S if campaign is None else LOOK_S
        self._paces: dict[str, Pace] = {}
        self._ours: list[int] = []
        self._hinted = False
        self._since = self._answered = time.monotonic()

    def run(self) -> Overview:
        """What was seen last."""
        while True:
            overview = self._look()
            if overview is not None:
                if overview.campaigns:
                    self._show(overview)
                if not any(one["state"] in self.waits_for for one in overview.campaigns):
                    return overview
                if self.campaign is not None:
                    self.each(overview.campaigns[0])
                self._hint(overview)
            time.sleep(self.rests)

    def _look(self) -> Overview | None:
        """What there is; None while the database does not answer, which it may do again soon."""
        try:
            overview = self.looker.look(None if self.campaign is None else (self.campaign,), self._ours[-GONE:])
        except Retry as error:
            if time.monotonic() - self._answered > PATIENCE_S:
                raise UnsuitableDatabase(
                    f"the database has not answered for {PATIENCE_S:.0f} s: campaigns go on once it does"
                ) from error
            self.view.say("the database does not answer just now")
            return None
        self._answered = time.monotonic()
        if self.campaign is None:
            seen = [int(one["campaign"][1:]) for one in overview.campaigns]
            self._ours += [number for number in seen if number not in self._ours]
        return overview

    def _show(self, overview: Overview) -> None:
        rates = {}
        for one in overview.campaigns:
            pace = self._paces.setdefault(one["campaign"], Pace())
            pace.add(overview.at, one["migrated"] + one["rolled_back"] + one["failed"])
            rates[one["campaign"]] = pace.per_s
        self.view.show(overview, rates)

    def _hint(self, overview: Overview) -> None:
        if not overview.workers and not self._hinted and time.monotonic() - self._since > 2:
            self._hinted = True
            self.view.say("no worker is alive; start one in another terminal: backtrail worker")


class Screen:
    """A terminal, whose last lines are always what was seen last; at the end they make room for the command's result."""

    def __init__(self, console: Console) -> None:
        self.live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Screen:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def show(self, overview: Overview, rates: dict[str, float | None]) -> None:
        """Nothing; the view is what was seen."""
        self.live.update(screen(overview, rates), refresh=True)

    def say(self, words: str) -> None:
        """Nothing; the words stand above the view."""
        if not words.startswith("no worker"):  # which the view says by itself
            self.live.console.print(words, markup=False)


class Lines:
    """Standard error that is no terminal: a line for what is new, and not more often than somebody would read."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._written: dict[str, tuple[float, str, str]] = {}
        self._said = ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def show(self, overview: Overview, rates: dict[str, float | None]) -> None:
        """Nothing; there is a line for every campaign that has something new to tell."""
        self._said = ""
        for one in overview.campaigns:
            name, state, words = one["campaign"], one["state"], line(one, rates.get(one["campaign"]))
            at, before, written = self._written.get(name, (0.0, "", ""))
            if words != written and (state != before or time.monotonic() - at >= LINE_S):
                self._written[name] = (time.monotonic(), state, words)
                self.console.print(words, markup=False)

    def say(self, words: str) -> None:
        """Nothing; the words have a line, and not again while nothing else happens."""
        if words != self._said:
            self._said = words
            self.console.print(words, markup=False)


def view_of(console: Console) -> Screen | Lines:
    """What suits the console."""
    if not console.is_terminal or console.is_dumb_terminal:
        return Lines(console)
    # A console of its own: ours writes lines of any length, and a live view has to know where they end.
    return Screen(Console(file=console.file, highlight=False, emoji=False))
