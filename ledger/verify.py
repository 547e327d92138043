"""Whether the ledger and the data are what they should be: recomputed from every payload, compared with every live row, decided again.

The work is cut into parts: stretches of streams, and what is asked about all entities at once. One process does them one after the
other, or several share them; what they found is put together in the order of the streams, so that the document is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any

from backtrail.discovery import Found
from backtrail.stores.base import Transaction
from ledger.examine import Scope
from ledger.finding import ASKED, Findings
from ledger.ledger import Ledger
from ledger.parts import Asked, Coverage, Expanded, Lost, Part, Stretch
from ledger.processes import Opening, Pool, Recipe, in_order
from ledger.streams import FIRST, ids_after, rows_after

STRETCH = 1000
"""How many streams are one part."""

SMALL = 2
"""Fewer stretches than this are done sooner than other processes have started."""

Begin = Callable[[Part[Findings]], Callable[[], Findings]]
"""What begins a part, now or when it is waited for, and gives what waits for it."""


class Verifier:
    """Verifies one migration."""

    def __init__(
        self,
        ledger: Ledger,
        found: Found,
        chosen: Callable[[str], bool] | None = None,
        *,
        jobs: int = 1,
        opening: Opening | None = None,
        params: Mapping[str, Any] | None = None,
        code: bool = True,
    ) -> None:
        """A verifier.

        Args:
            ledger: where the streams are.
            found: the migration's code as it is now.
            chosen: which keys are looked at; None for all. With several processes it can be pickled.
            jobs: how many processes share the work, if it is enough for that; 1 leaves it to this one.
            opening: what opens the ledger in another process, and can be pickled; without it there is none.
            params: the values that `found` is bound with.
            code: whether the author's code is asked again: `migrate`, `check` and `account`.
        """
        self.scope = Scope(ledger, found, chosen, code=code)
        self._jobs = jobs
        self._recipe: Recipe | None = None
        if opening is not None and jobs > 1:
            self._recipe = Recipe(opening, found.source, found.fingerprint, dict(params or {}), chosen, self.scope.types, code)

    def run(self, progress: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """The verification document.

        Args:
            progress: called with the number of entities verified since the last call.
        """
        findings = Findings()
        stretches = self._stretches()
        first = list(islice(stretches, SMALL))
        with self._hands(len(first) == SMALL) as begin:
            # Begun first, where there are several processes: one of them may need as long as all of the stretches.
            rest = [begin(part) for part in self._rest()]
            for stretch, found in in_order(begin, chain(first, stretches), self._jobs):
                findings.add(found)
                progress(stretch.count)
            for waiting in rest:
                findings.add(waiting())
        if not self.scope.code:
            for name in ASKED:
                findings[name].note = "not asked"
        return findings.document()

    @contextmanager
    def _hands(self, large: bool) -> Iterator[Begin]:
        if self._recipe is None or not large:
            yield lambda part: partial(part.find, self.scope)
            return
        with Pool(self.scope, self._recipe, self._jobs, mend="verify with --jobs 1") as pool:
            yield pool.begin

    def _stretches(self) -> Iterator[Stretch]:
        after = FIRST
        while True:
            with self.scope.ledger.store.transaction(write=False) as tx:
                stretch, wanted = self._following(tx, after)
            if stretch is None:
                return
            if wanted:
                yield stretch
            after = stretch.until

    def _following(self, tx: Transaction, after: int) -> tuple[Stretch | None, bool]:
        """The next stretch, None where there is none, and whether somebody in it is looked at."""
        journal, name = self.scope.ledger.journal, self.scope.cls.name
        if self.scope.whole:
            ids = ids_after(journal, tx, name, after, STRETCH)
            return None if ids is None else Stretch(after, ids[1], ids[0]), True
        rows = rows_after(journal, tx, name, after, STRETCH)
        if rows is None:
            return None, False
        return Stretch(after, rows.last, len(rows.heads)), bool(rows.unreadable or self.scope.heads(rows.heads))

    def _rest(self) -> list[Part[Findings]]:
        cls = self.scope.cls
        coverage = [Coverage(source) for source in range(len(cls.all_keys()))]
        return [Expanded(), *coverage, Lost(), *(Asked(number) for number in range(len(cls.invariants)))]
