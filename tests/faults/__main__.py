"""`make faults`: campaigns on every kind of database while everything around them dies; exit code 1 if anybody is lost or done twice."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from backtrail.failpoint import NAMES
from tests.acceptance.world import World
from tests.faults import mortal
from tests.faults.mortal import Mortal
from tests.faults.page import markdown, placed, table
from tests.faults.scenarios import SCENARIOS, Result, Scenario, place, run
from tests.faults.scene import PREFIX, Reference, reference

STORES = ("sqlite", "postgres", "mongo")

QUOTAS = {"kills": 1000, "workers": 100, "feeders": 50}
"""How many kills of everything, of whole workers and of feeders a full run counts at least."""

SHORT = {
    "sqlite": ("processes", "workers"),
    "postgres": ("feeder", "database", "cuts"),
    "mongo": ("processes", "broker", "tenfold"),
}
"""What the short form does, so that each kind of scenario is there once."""


class Run:
    """All results so far, of scenarios side by side."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.results: list[Result] = []
        self.begun = time.monotonic()
        self._lock = threading.Lock()

    def add(self, result: Result) -> None:
        """Nothing; it is told and kept."""
        with self._lock:
            self.results.append(result)
            told = ", ".join(f"{what} {count}" for what, count in sorted(result.figures.items()))
            say(
                f"{result.store} {result.scenario}: {'VIOLATION' if result.violation else 'well'}; {result.seconds:.0f} s,"
                f" {kills(result)} kills; {told}"
            )
            if result.violation:
                say(f"  {result.violation}")

    def short_of(self) -> dict[str, int]:
        """What is still missing, by quota."""
        with self._lock:
            had = {
                "kills": sum(map(kills, self.results)),
                "workers": sum(whole(one) for one in self.results),
                "feeders": sum(feeders(one) for one in self.results),
            }
        wanted = QUOTAS | ({"kills": self.options.kills} if self.options.kills is not None else {})
        return {name: wanted[name] - had[name] for name in wanted if had[name] < wanted[name]}

    def wrong(self) -> bool:
        """Whether something was violated."""
        return any(one.violation for one in self.results)

    def over(self) -> bool:
        """Whether no other round is begun."""
        return self.options.seconds is not None and time.monotonic() - self.begun > self.options.seconds


def kills(result: Result) -> int:
    """How many processes or workers got signal 9 in it; a whole worker counts once, and servers not at all."""
    return sum(result.kills.values()) + result.figures["workers killed"] + result.figures["feeders killed"]


def whole(result: Result) -> int:
    """How many whole workers were killed."""
    return sum(count for (_, deed), count in result.kills.items() if deed == "worker") + result.figures["workers killed"]


def feeders(result: Result) -> int:
    """How many companions were killed, and nothing else."""
    own = sum(count for (name, deed), count in result.kills.items() if deed == "process" and name.startswith("feeder."))
    return own + result.figures["feeders killed"]


def say(line: str) -> None:
    """Writes the line now: a run takes long."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _server(store: str) -> Iterator[Mortal | None]:
    if store == "sqlite":
        yield None
        return
    with {"postgres": mortal.postgres, "mongo": mortal.mongod}[store]() as one:
        yield one


def chosen(options: argparse.Namespace, store: str) -> list[Scenario]:
    """The scenarios of that store in their order."""
    names = options.only or (SHORT[store] if options.short else [one.name for one in SCENARIOS])
    found = [one for one in SCENARIOS if one.name in names and store in one.stores]
    return [shortened(one) if options.short else one for one in found]


def shortened(scenario: Scenario) -> Scenario:
    """The same with fewer campaigns and workers."""
    steps = scenario.steps if scenario.name == "processes" else ("migrate", "rollback")
    return replace(scenario, steps=steps, workers=min(scenario.workers, 4))


def rounds(state: Run, store: str, server: Mortal | None, known: Reference) -> None:
    """Nothing; the store's scenarios were run, those that kill again and again until there were kills enough."""
    options = state.options
    scenarios = chosen(options, store)
    for scenario in scenarios:
        if not state.over():
            state.add(run(scenario, store, server, options.users, known, options.seed, options.keep))
    again = {"kills": "processes", "workers": "workers", "feeders": "feeder"}
    turn = 1
    while not (options.short or options.only or state.over() or state.wrong()) and (short := state.short_of()):
        for quota in short:
            scenario = next(one for one in SCENARIOS if one.name == again[quota])
            if not state.over() and quota in state.short_of():
                state.add(run(scenario, store, server, options.users, known, options.seed + turn, options.keep))
                turn += 1


def known_end(store: str, server: Mortal | None, users: int) -> Reference:
    """What a run without faults makes of the users."""
    with place(store, server, None) as home:
        return reference(World(home, PREFIX), users)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="each kind of scenario once, in two minutes")
    parser.add_argument("--store", action="append", choices=STORES, help="only this kind of database; may be given again")
    parser.add_argument("--only", action="append", choices=[one.name for one in SCENARIOS], help="only this scenario, once")
    parser.add_argument("--users", type=int, metavar="N", help="how many users each trip has")
    parser.add_argument("--kills", type=int, metavar="N", help="how many kills are wanted; 1000 unless told")
    parser.add_argument("--seconds", type=float, metavar="S", help="no scenario begins later than this")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is drawn")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the logs of what went wrong are kept")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the figures between the markers of this page too")
    options = parser.parse_args(arguments)
    options.users = options.users or (80 if options.short else 300)
    options.keep = options.keep or Path(tempfile.gettempdir()) / "backtrail-faults"
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code, after the figures."""
    options = parsed(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us wants all that we started to end too
    state = Run(options)
    stores = options.store or list(STORES)
    say(f"seed {options.seed}, {options.users} users a trip")

    def one(store: str, known: Reference, server: Mortal | None) -> None:
        rounds(state, store, server, known)

    with ExitStack() as stack:
        held = {store: stack.enter_context(_server(store)) for store in stores}
        ends = {store: known_end(store, held[store], options.users) for store in stores}
        with ThreadPoolExecutor(len(stores)) as pool:
            for future in [pool.submit(one, store, ends[store], held[store]) for store in stores]:
                future.result()
    return told(state)


def told(state: Run) -> int:
    """The exit code, after the figures of all results."""
    fired: Counter[tuple[str, str]] = Counter()
    figures: Counter[str] = Counter()
    for result in state.results:
        fired.update(result.kills)
        figures.update(result.figures)
    seconds = time.monotonic() - state.begun
    say("")
    say(table(NAMES, fired, figures, state.results, seconds))
    if state.options.markdown:
        page = state.options.markdown
        page.write_text(placed(page.read_text(), markdown(NAMES, fired, figures, state.results, seconds)))
    wrong = [one for one in state.results if one.violation]
    say(
        f"{len(state.results)} scenarios, {sum(map(kills, state.results))} kills ({sum(map(whole, state.results))} whole workers,"
        f" {sum(map(feeders, state.results))} feeders) in {seconds:.0f} s; {len(wrong)} violations"
    )
    full = not (state.options.short or state.options.only or state.options.store)
    short = state.short_of() if full else {}
    never = [name for name in NAMES if not any(one == name for one, _ in fired)] if full else []
    for name, count in short.items():
        say(f"too few: {count} more {name} were wanted")
    if never:
        say(f"never killed at: {', '.join(never)}")
    return 1 if wrong or short or never or not state.results else 0


if __name__ == "__main__":
    sys.exit(main())
