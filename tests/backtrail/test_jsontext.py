"""JSON as text: the standard library's own, character by character."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest

from backtrail.jsontext import json_writer


class Colour(enum.StrEnum):
    RED = "red"


class Names(dict[str, Any]):
    pass


VALUES: list[Any] = [
    *("", "text", 'quote " and \\', "\0\x1f\x7f\n\t", "käse \u2028 \U0001f600", "\ud800", Colour.RED),
    *(0, -1, 2**80, True, False, None, 0.1, -0.0, 1e300, 1e-7),
    *([], {}, (), [[]], [{}], {"a": []}, (1, 2)),
    {"a": [1, {"b": None}], "é": "ü", 1: "number", 1.5: "float", None: "none", False: "false"},
    Names(one=1, two=[Names()]),
    [[[[[1], 2], 3], 4], 5],
]


@pytest.mark.parametrize(("item", "key"), [(", ", ": "), (",", ":")])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_has_the_text_that_the_standard_library_gives_it(value: Any, item: str, key: str) -> None:
    """What was written before is written again: ledgers tell decisions apart by it."""
    assert json_writer(item=item, key=key)(value) == json.dumps(value, ensure_ascii=False, separators=(item, key))


def test_a_number_that_is_none_has_a_text_only_where_it_may() -> None:
    """NaN and infinity are no JSON."""
    assert json_writer()([float("nan"), float("-inf")]) == "[NaN, -Infinity]"
    for value in (float("nan"), {"a": float("inf")}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            json_writer(allow_nan=False)(value)


def test_what_has_no_text_is_refused_and_the_next_value_is_none_the_worse() -> None:
    """Neither a foreign object nor a circle, nor a value in which one was met before."""
    write = json_writer()
    circle: list[Any] = [1]
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        write(circle)
    shared = [1]
    for value in ([shared, object()], {"a": shared, "b": {1, 2}}, {(1, 2): shared}):
        with pytest.raises(TypeError):
            write(value)
    assert write([shared, shared]) == "[[1], [1]]"
