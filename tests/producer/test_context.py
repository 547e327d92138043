"""What commands print comes out as it is."""

from __future__ import annotations

import json

import pytest

from producer.context import Context

STRANGE = ":smile: [bold]x[/bold] é €1 2026-11-21"


def test_a_json_document_is_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in it is taken for markup, an emoji's name or a number to colour."""
    Context({}).print_json({"key": STRANGE})
    assert json.loads(capsys.readouterr().out) == {"key": STRANGE}


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_line_is_what_was_given(stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's key may be spelled like the name of an emoji."""
    getattr(Context({}), stream).print(STRANGE, markup=False)
    assert getattr(capsys.readouterr(), stream) == f"{STRANGE}\n"
