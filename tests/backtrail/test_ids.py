"""Ids that are the same on every run, in every process, for ever."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from backtrail import ids
from backtrail.errors import AuthorMistake
from tests.processes import ROOT

CODE = """
from backtrail import ids
print(ids.new_uuid("m", "5", ("profile", 1)), ids.new_object_id("m", "5", ("profile", 1)))
print(ids.arguments_digest(({"b", "a", "c"}, {"x": {1, 2}}), {"k": frozenset("xyz")}))
"""


def test_ids_are_the_same_in_every_process() -> None:
    """Neither hash seeds nor time go into an id or the digest of a recall's arguments."""
    answers = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1


def test_ids_are_those_of_older_versions() -> None:
    """Ids that stand in people's databases: whoever changes how they are made breaks redo and `of=`."""
    assert ids.new_uuid("split-names", "5", ("profile", 1)) == uuid.UUID("74cadfb6-1d7e-5a0f-9c1b-7373e7a67cbc")
    assert ids.new_object_id("split-names", "5", ("profile", 1)) == ObjectId("522df3ef33609a6e37e83cc1")


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.booleans(), st.uuids())))
def test_an_id_is_the_name_based_uuid_of_the_parts(key: str, label: list[object]) -> None:
    """It is version 5 of the standard library over the JSON array of migration, key and label."""
    import json

    from backtrail.keys import part_text

    if not any("\ud800" <= character <= "\udfff" for character in key + "".join(map(str, label))):
        name = json.dumps(["m", key, *map(part_text, label)], ensure_ascii=False)
        assert ids.new_uuid("m", key, tuple(label)) == uuid.uuid5(ids.NAMESPACE, name)


@given(
    st.lists(
        st.tuples(st.text(max_size=2), st.text(max_size=2), st.tuples(st.text(max_size=2))), min_size=2, max_size=2, unique=True
    )
)
def test_different_names_give_different_ids(names: list[tuple[str, str, tuple[str]]]) -> None:
    """No text can wander from the key to the label."""
    one, other = names
    assert ids.new_uuid(*one) != ids.new_uuid(*other)
    assert ids.new_object_id(*one) != ids.new_object_id(*other)


def test_arguments_tell_calls_apart() -> None:
    """Order, names and types of arguments count; mappings count by their items."""
    calls = [
        ((1,), {}),
        (("1",), {}),
        ((True,), {}),
        ((1, 2), {}),
        ((2, 1), {}),
        ((), {"a": 1}),
        ((), {"b": 1}),
        (([1],), {}),
        (({"a": 1},), {}),
    ]
    assert len({ids.arguments_digest(args, kwargs) for args, kwargs in calls}) == len(calls)
    assert ids.arguments_digest((), {"a": 1, "b": 2}) == ids.arguments_digest((), {"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1, None, True], "a": {"ü": ()}}, '{"a": {"ü": []}, "b": [1, null, true]}'),
        ({10: 1, 9: 2}, '{"10": 1, "9": 2}'),
        ({None: 1}, '{"None": 1}'),
        ([float("inf"), 1.5], '["inf", 1.5]'),
        ("\ud800", '"\\\\ud800"'),
        ({"a": "\udfff"}, '{"a": "\\\\udfff"}'),
        ([b"\x01"], '["\\\\x01"]'),
    ],
)
def test_arguments_are_told_by_their_json(value: object, text: str) -> None:
    """However fast it is found: the stored results of old calls are looked up by it."""
    whole = f"[[{text}], {{}}]"
    assert ids.arguments_digest((value,), {}) == hashlib.sha256(whole.encode()).hexdigest()


def test_arguments_without_a_form_of_their_own_are_refused() -> None:
    """An object that prints its address would be paid for anew in every run."""
    with pytest.raises(AuthorMistake, match="looks different in every run"):
        ids.arguments_digest((object(),), {})
