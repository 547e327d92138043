"""`checkpoint`, `prove` and `verify --checkpoint` as they are typed: keys, files, what is printed, and exit codes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymerkle import InclusionProof, InmemoryTree

from producer.cli import main
from tests.engine import Engine
from tests.ledger.sealing import USERS, Raw, compared, populated, shouting


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


DOCS = Path(__file__).parents[2] / "docs" / "checkpoint.md"
Run = Callable[..., Answer]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The program in this process, in a folder of its own; `url=` names the database from then on."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BACKTRAIL_")]:
        monkeypatch.delenv(name)

    def command(*arguments: str, url: str | None = None) -> Answer:
        if url is not None:
            monkeypatch.setenv("BACKTRAIL_DATABASE_URL", url)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        return Answer(int(ended.value.code or 0), printed.out, printed.err)

    yield command


@pytest.fixture
def key(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The verifier key of a new signing key, which the settings name."""
    made = run("checkpoint", "--new-key", "key.pem", "--name", "ledger.example/app")
    assert made.code == 0
    monkeypatch.setenv("BACKTRAIL_SIGNING_KEY_FILE", str(tmp_path / "key.pem"))
    return made.out.strip()


MODULE = """
from backtrail import Keys, Migration, Rows

class Shouting(Migration):
    name = "shouting"
    keys = Keys("users", "ID")
    reads = (Rows("users", "ID"),)
    writes = ("users",)

    def migrate(self, user):
        row = user.one("users")
        user.update(row, set={"name": f"{row['name']}!"})
"""


def lived(engine: Engine) -> None:
    populated(engine)
    engine.migrate(shouting(engine))
    Path("shouting.py").write_text(MODULE.replace("ID", engine.id))


def test_a_key_is_made_and_said(run: Run) -> None:
    """The private key lies in a file of mode 0600, the line on standard output is the verifier key; an existing file stays as it is."""
    made = run("checkpoint", "--new-key", "key.pem", "--name", "ledger.example/app")
    name, number, encoded = made.out.strip().split("+", 2)
    raw = base64.b64decode(encoded)
    assert (made.code, name, raw[0], len(raw)) == (0, "ledger.example/app", 1, 33)
    assert number == hashlib.sha256(b"ledger.example/app\n" + raw).hexdigest()[:8]
    assert stat.S_IMODE(Path("key.pem").stat().st_mode) == 0o600
    again = run("checkpoint", "--new-key", "key.pem")
    assert (again.code, again.out) == (2, "")
    assert "never overwritten" in again.err
    unnamed = run("checkpoint", "--new-key", "other.pem", "--json").json
    assert unnamed["name"].startswith("backtrail/")
    assert unnamed["verifier"].startswith(unnamed["name"] + "+")
    assert run("checkpoint", "--name", "x").code == 2


def test_without_a_key_it_says_how(run: Run, on_sqlite: Engine) -> None:
    """Exit code 2 and one line; a key that others may read is refused too, and a database without a ledger."""
    answer = run("checkpoint", url=on_sqlite.url)
    assert (answer.code, answer.out) == (2, "")
    assert "backtrail checkpoint --new-key FILE" in answer.err
    assert run("prove", "x", "1").code == 2


def test_a_checkpoint_is_written_verified_and_grown(run: Run, key: str, everywhere: Engine) -> None:
    """On every store: sealed to a file, compared with it, grown into it, proved consistent, and a cut tail found by it, with exit codes to match."""
    engine = everywhere
    lived(engine)
    first = run("checkpoint", "--to", "first.txt", "--reason", "nightly", url=engine.url)
    assert (first.code, first.out) == (0, "")
    assert f"sealed {USERS} heads of streams, {USERS} in all" in first.err
    note = Path("first.txt").read_text()
    text, _, below = note.rpartition("\n\n")
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key.split("+", 2)[2])[1:]).verify(
        base64.b64decode(below.rpartition(" ")[2])[4:], f"{text}\n".encode()
    )
    earlier = {name: Raw(engine).rows(name) for name in ("events", "streams")}
    engine.rollback(shouting(engine), only=["2"])
    Path("grown.txt").write_text(note)
    grown = run("checkpoint", "--to", "grown.txt", "--consistent-with", "first.txt", "--json")
    document = grown.json
    assert grown.code == 0
    assert (document["size"], document["sealed"], document["refused"], document["verifier"]) == (USERS + 1, 1, [], key)
    assert document["note"] == Path("grown.txt").read_text() != note
    assert (document["consistency"]["old_size"], document["consistency"]["size"]) == (USERS, USERS + 1)
    for arguments in (["shouting.py", "--checkpoint", "grown.txt"], ["--checkpoint", "first.txt", "--verifier", key]):
        good = run("verify", *arguments, "--json")
        assert (good.code, good.json["ok"]) == (0, True), good.out
        check = good.json["checks"][-1]
        assert (check["name"], check["ok"], check["problems"]) == ("checkpoint", True, 0)
    assert check["sums"]["unsealed_streams"] == 1
    assert "are not covered" in check["note"]
    for name, rows in earlier.items():
        Raw(engine).put(name, rows)
    bad = run("verify", "--checkpoint", "grown.txt", "--json")
    assert (bad.code, bad.json["ok"]) == (1, False)
    assert bad.json["checks"][0]["examples"][0].startswith("2: version ")
    refused = run("checkpoint", "--to", "grown.txt")
    assert refused.code == 1
    assert "not sealed: 2: version " in refused.err
    assert "are not sealed yet" not in refused.err, "what is cut off leaves nothing that could be sealed"


def test_a_proof_can_be_checked_by_others(run: Run, key: str, everywhere: Engine) -> None:
    """The document of `prove` has all that pymerkle needs: the leaf's bytes, its place, the path and the root that the note has."""
    engine = everywhere
    lived(engine)
    assert run("checkpoint", url=engine.url).code == 0
    engine.rollback(shouting(engine), only=["4"])
    proof = run("prove", "shouting.py", "4").json
    root, path = base64.b64decode(proof["root"]), [base64.b64decode(one) for one in proof["proof"]]
    assert proof["checkpoint"].split("\n")[1:3] == [str(USERS), proof["root"]]
    leaf = hashlib.sha256(b"\0" + base64.b64decode(proof["leaf"])).digest()
    assert base64.b64decode(proof["leaf_hash"]) == leaf
    shape = InmemoryTree(algorithm="sha256")
    shape.append_entries([b""] * proof["size"])
    theirs = shape.prove_inclusion(proof["index"] + 1)
    InclusionProof(theirs.algorithm, theirs.security, proof["size"], proof["index"] + 1, theirs.rule, [leaf, *path]).verify(
        leaf, root
    )
    documented: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)[0], documented)
    assert documented["root_of"](proof) == root
    assert documented["root_of"](proof | {"index": proof["index"] ^ 1}) != root
    events = engine.events(shouting(engine), "4")
    assert proof["head"].startswith(events[proof["version"] - 1].hash.hex()), "the ledger keeps its first 16 bytes"
    assert proof["later_events"] == len(events) - proof["version"] > 0


def test_a_proof_of_what_is_not_covered_is_refused(run: Run, key: str, on_sqlite: Engine) -> None:
    """An entity that nobody did, one that came later, and a database without a checkpoint: exit code 2; one that was changed: 1."""
    engine = on_sqlite
    lived(engine)
    assert "make one by backtrail checkpoint" in run("prove", "shouting.py", "4", url=engine.url).err
    assert run("checkpoint", "--to", "c.txt").code == 0
    assert "nothing was ever done about '99'" in run("prove", "shouting.py", "99").err
    engine.add("users", (7, "late"))
    engine.migrate(shouting(engine))
    late = run("prove", "shouting.py", "7", "--checkpoint", "c.txt")
    assert (late.code, late.out) == (2, "")
    assert "make another" in late.err
    Raw(engine).edit(
        "events", lambda rows: [row | {"kind": "remark"} if row["stream"] == 4 and row["version"] == 2 else row for row in rows]
    )
    changed = run("prove", "shouting.py", "4")
    assert (changed.code, changed.out) == (1, "")
    assert "version 2 (remark) is not what was appended" in changed.err


def test_files_are_never_overwritten_by_another_history(run: Run, key: str, on_sqlite: Engine) -> None:
    """A file that is no checkpoint, or of another key, stays; so does one of leaves that are no more, with exit code 1."""
    engine = on_sqlite
    lived(engine)
    Path("c.txt").write_text("mine")
    answer = run("checkpoint", "--to", "c.txt", url=engine.url)
    assert (answer.code, Path("c.txt").read_text()) == (2, "mine")
    assert "it is not overwritten" in answer.err
    assert run("checkpoint", "--to", "d.txt").code == 0
    before = Path("d.txt").read_text()
    raw = Raw(engine)
    for name in ("leaves", "checkpoints"):
        raw.put(name, [])
    raw.edit("streams", lambda rows: rows[1:])
    answer = run("checkpoint", "--to", "d.txt")
    assert (answer.code, Path("d.txt").read_text()) == (1, before)
    assert f"the older checkpoint covers {USERS} leaves" in answer.err
    assert raw.rows("checkpoints") == []
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_what_verify_cannot_begin_with(run: Run, key: str, on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No migration and no checkpoint, no key, another key, no file: exit code 2 and a line that says how; a forged file is a finding."""
    engine = on_sqlite
    lived(engine)
    run("checkpoint", "--to", "c.txt", url=engine.url)
    other = run("checkpoint", "--new-key", "other.pem").out.strip()
    for arguments in (
        [],
        ["--checkpoint", "none.txt"],
        ["--checkpoint", "c.txt", "--verifier", other],
        ["--checkpoint", "c.txt", "--verifier", "x"],
        ["--checkpoint", "c.txt", "--only", "1"],
    ):
        answer = run("verify", *arguments)
        assert (answer.code, answer.out) == (2, ""), arguments
        assert answer.err.startswith("backtrail: ")
    Path("forged.txt").write_text(Path("c.txt").read_text().replace(f"\n{USERS}\n", "\n3\n"))
    forged = run("verify", "shouting.py", "--checkpoint", "forged.txt", "--json")
    assert forged.code == 1
    assert "was changed after it was signed" in forged.json["checks"][-1]["examples"][0]
    monkeypatch.delenv("BACKTRAIL_SIGNING_KEY_FILE")
    assert "--verifier" in run("verify", "--checkpoint", "c.txt").err
    Path("v.txt").write_text(key)
    assert run("verify", "--checkpoint", "c.txt", "--verifier", "v.txt").code == 0


def test_a_consistency_proof_is_printed_as_a_witness_takes_it(run: Run, key: str, on_sqlite: Engine) -> None:
    """`old SIZE`, the hashes, an empty line, the checkpoint: the body that c2sp.org/tlog-witness asks for."""
    engine = on_sqlite
    lived(engine)
    old = run("checkpoint", url=engine.url).out
    Path("old.txt").write_text(old)
    engine.rollback(shouting(engine), only=["1", "5", "6"])
    answer = run("checkpoint", "--consistent-with", "old.txt")
    head, _, note = answer.out.partition("\n\n")
    first, *proof = head.split("\n")
    assert (answer.code, first) == (0, f"old {USERS}")
    assert all(len(base64.b64decode(one)) == 32 for one in proof)
    assert len(proof) == 4, "of 6 in 9: two nodes of two, one of four, the ninth leaf"
    assert note.split("\n")[1] == str(USERS + 3)
    from ledger.note import SigningKey

    assert compared(engine, note, key=SigningKey.load(Path("key.pem"))).problems == 0


def test_a_checkpoint_outlives_an_erasure(run: Run, key: str, everywhere: Engine) -> None:
    """What was sealed before a person was erased is still what was sealed; the erasure itself is sealed next."""
    lived(everywhere)
    assert run("checkpoint", "--to", "c.txt", url=everywhere.url).code == 0
    assert run("erase", "2").code == 0
    before = run("verify", "--checkpoint", "c.txt", "--json").json["checks"][0]
    assert (before["problems"], before["checked"], before["sums"]["unsealed_streams"]) == (0, USERS, 1)
    grown = run("checkpoint", "--to", "c.txt", "--json")
    assert (grown.code, grown.json["sealed"], grown.json["refused"]) == (0, 1, [])
    after = run("verify", "--checkpoint", "c.txt", "--json").json["checks"][0]
    assert (after["problems"], after["checked"], after["sums"]["unsealed_streams"]) == (0, USERS + 1, 0)
