"""What `keys new` prints; what `erase` does is looked at in tests/ledger/test_erase.py."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from click.testing import CliRunner

from producer.cli import backtrail


def test_a_new_master_key_for_people_and_for_scripts(tmp_path: Path) -> None:
    """A line, or a JSON document, of 32 bytes in base64; another one each time, and in a file where one is named."""
    plain = CliRunner().invoke(backtrail, ["keys", "new"]).stdout.strip()
    document = json.loads(CliRunner().invoke(backtrail, ["keys", "new", "--json"]).stdout)
    assert set(document) == {"key"}
    assert plain != document["key"]
    assert {len(base64.urlsafe_b64decode(text)) for text in (plain, document["key"])} == {32}
    file = tmp_path / "keys"
    document = json.loads(CliRunner().invoke(backtrail, ["keys", "new", "--to", str(file), "--json"]).stdout)
    assert document == {"file": str(file), "keys": 1}
