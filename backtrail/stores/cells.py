"""Cells of SQL rows: the exact values as the drivers give them, and their tagged text in images and references.

A cell of PostgreSQL is the server's text of the value; a cell of SQLite is a value of its own storage class. None is NULL in both.
The tags are explained in backtrail/image.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from json.scanner import make_scanner
from typing import Any


class RawText(bytes):
    """Text of SQLite that is not valid UTF-8."""

    __slots__ = ()


def tag_server_text(cell: str | None) -> str:
    """The tagged text of a cell of PostgreSQL."""
    return "n" if cell is None else "v" + cell


def tag_stored(cell: Any) -> str:
    """The tagged text of a cell of SQLite."""
    if cell is None:
        return "n"
    kind = type(cell)
    if kind is str:
        text: str = cell
        return "t" + text if "\0" not in text else "x" + text.encode().hex()
    if kind is int:
        return f"i{cell}"
    if kind is float:
        return f"r{cell!r}"
    if kind is RawText:
        return "x" + bytes(cell).hex()
    return "b" + bytes(cell).hex()


def tag_server_texts(cells: Iterable[str | None]) -> list[str]:
    """The tagged texts of cells of PostgreSQL: `tag_server_text` of each, in one go."""
    return ["n" if cell is None else "v" + cell for cell in cells]


def tag_stored_all(cells: Iterable[Any]) -> list[str]:
    """The tagged texts of cells of SQLite: `tag_stored` of each, in one go."""
    return ["n" if cell is None else "t" + cell if type(cell) is str and "\0" not in cell else tag_stored(cell) for cell in cells]


def untag_all(texts: Iterable[str]) -> list[Any]:
    """The cells of tagged texts: `untag` of each, in one go."""
    # Most cells of a wide row are NULL.
    return [None if text == "n" else text[1:] if text[0] in "vt" else untag(text) for text in texts]


def untag(text: str) -> Any:
    """The cell of one tagged text."""
    payload = text[1:]
    match text[0]:
        case "v" | "t":
            return payload
        case "n":
            return None
        case "i":
            return int(payload)
        case "r":
            return float(payload)
        case "b":
            return bytes.fromhex(payload)
        case "x":
            raw = bytes.fromhex(payload)
            try:
                return raw.decode()
            except UnicodeDecodeError:
                return RawText(raw)
        case unknown:
            raise ValueError(f"unknown tag {unknown!r} in an image")


def ref_key(tagged: Sequence[str]) -> str:
    """The tagged cells of a primary key as one text: itself, or a JSON array of several."""
    return tagged[0] if len(tagged) == 1 else json.dumps(tagged, ensure_ascii=False, separators=(",", ":"))


def ref_cells(key: str) -> list[Any]:
    """The cells of a primary key, from the text that `ref_key` gave."""
    return [untag(part) for part in (json.loads(key) if key.startswith("[") else (key,))]


def json_reader(otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What gives the value of JSON text at once where no space is around it, and what `otherwise` gives of any other cell."""
    # The standard library looks for the spaces first, which takes longer than a short value.
    scan = make_scanner(json.JSONDecoder())  # type: ignore[arg-type] # any object with its settings does

    def decode(cell: Any) -> Any:
        try:
            value, end = scan(cell, 0)
        except (StopIteration, TypeError, ValueError, RecursionError):
            return otherwise(cell)
        return value if end == len(cell) else otherwise(cell)

    return decode


def show_cell(cell: Any) -> Any:
    """A cell as JSON can show it."""
    if isinstance(cell, bytes):
        return "\\x" + cell.hex()
    if isinstance(cell, float) and not math.isfinite(cell):
        return repr(cell)
    return cell
