"""The exactness matrix: how many values of each kind were tried in each case, and which came back different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

CASES = ("created", "updated", "deleted", "copied", "untouched")
"""How a row that holds the value took part in the migration."""

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
"""What the table stands between in a page."""


@dataclass(frozen=True)
class Cell:
    """How the values of one kind fared in one case."""

    store: str
    kind: str
    """The type or storage class, as the docs name it."""
    case: str
    """One of CASES."""
    tried: int
    wrong: tuple[str, ...] = ()
    """A description of each value that came back different."""

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise ValueError(f"{self.case!r} is none of {', '.join(CASES)}")

    @property
    def text(self) -> str:
        """How many were tried, and how many of them are wrong if any is."""
        return f"{self.tried}, {len(self.wrong)} WRONG" if self.wrong else str(self.tried)


class Matrix:
    """Cells by store, kind and case; several cells of one place add up. A case without a cell does not exist for that kind."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells: dict[tuple[str, str, str], Cell] = {}
        for cell in cells:
            place = (cell.store, cell.kind, cell.case)
            before = self.cells.get(place)
            self.cells[place] = cell if before is None else _sum(before, cell)

    @property
    def stores(self) -> list[str]:
        """The stores in the order in which they came."""
        return list(dict.fromkeys(store for store, _, _ in self.cells))

    def kinds(self, store: str) -> list[str]:
        """The kinds of a store in the order in which they came."""
        return list(dict.fromkeys(kind for of, kind, _ in self.cells if of == store))

    def rows(self, store: str) -> Iterator[tuple[str, list[str]]]:
        """Each kind of a store with the texts of its cells in the order of CASES."""
        for kind in self.kinds(store):
            found = [self.cells.get((store, kind, case)) for case in CASES]
            yield kind, ["-" if cell is None else cell.text for cell in found]

    def total(self, store: str | None = None) -> tuple[int, int]:
        """How many values were tried and how many are wrong, of a store or in all."""
        cells = [cell for cell in self.cells.values() if store in (None, cell.store)]
        return sum(cell.tried for cell in cells), sum(len(cell.wrong) for cell in cells)

    def totals(self) -> list[str]:
        """A line for each store, and one for all."""
        lines = [f"{store}: {_said(*self.total(store))} ({len(self.kinds(store))} kinds)" for store in self.stores]
        return [*lines, f"in all: {_said(*self.total())}"]

    def problems(self) -> list[str]:
        """A line for every value that is wrong, and for every cell without values; empty where all is well."""
        problems = [] if self.cells else ["nothing was tried"]
        for cell in self.cells.values():
            place = f"{cell.store}, {cell.kind}, {cell.case}"
            problems += [f"{place}: {wrong}" for wrong in cell.wrong]
            if not cell.tried:
                problems.append(f"{place}: no values")
        return problems

    def text(self) -> str:
        """The tables as text for a terminal."""
        parts = []
        for store in self.stores:
            rows = [(store, list(CASES)), *self.rows(store)]
            wide = max(len(kind) for kind, _ in rows)
            parts += ["  ".join([kind.ljust(wide), *(text.rjust(9) for text in texts)]) for kind, texts in rows]
            parts.append("")
        return "\n".join(parts)

    def markdown(self) -> str:
        """The tables and totals as Markdown."""
        parts = []
        for store in self.stores:
            tried, wrong = self.total(store)
            parts += [f"### {store}: {_said(tried, wrong)}", "", _line("kind", CASES), _line("---", ["---:"] * len(CASES))]
            parts += [_line(_code(kind), texts) for kind, texts in self.rows(store)]
            parts.append("")
        return "\n".join([*parts, f"In all: **{_said(*self.total())}**."])


def placed(page: str, table: str) -> str:
    """The page with the table between its two marker comments.

    Raises:
        ValueError: the page lacks the markers.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the lines {BEGIN} and {END}, between which the table is written")
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def _sum(one: Cell, other: Cell) -> Cell:
    return Cell(one.store, one.kind, one.case, one.tried + other.tried, one.wrong + other.wrong)


def _said(tried: int, wrong: int) -> str:
    return f"{tried} values tried, {wrong} wrong"


def _line(kind: str, texts: Sequence[str]) -> str:
    return f"| {kind} | {' | '.join(texts)} |"


def _code(kind: str) -> str:
    return "`" + kind.replace("|", r"\|") + "`"
