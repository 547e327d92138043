"""Two releases of Backtrail side by side: the newer one upgrades the ledger in mid-campaign, and the older one stands back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.sql_eyes import PostgresEye
from tests.acceptance.world import SLOWLY, World
from tests.processes import ROOT
from tests.servers import until

USERS = 600
RELEASE = "9.9.9"
STEP = "9001"

NEXT_STEP = f'''
from alembic import op

revision = "{STEP}"
down_revision = "OLD"

ON_POSTGRES = """
CREATE TABLE backtrail.strangers (at timestamptz DEFAULT now());
CREATE FUNCTION backtrail.stranger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('application_name') = 'backtrail' THEN INSERT INTO backtrail.strangers DEFAULT VALUES; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER stranger BEFORE INSERT OR UPDATE ON backtrail.events FOR EACH ROW EXECUTE FUNCTION backtrail.stranger();
CREATE TRIGGER stranger BEFORE INSERT OR UPDATE ON backtrail.streams FOR EACH ROW EXECUTE FUNCTION backtrail.stranger();
CREATE TRIGGER stranger BEFORE INSERT OR UPDATE ON backtrail.campaigns FOR EACH ROW EXECUTE FUNCTION backtrail.stranger();
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(ON_POSTGRES)
'''
"""On PostgreSQL the newer form of the ledger notes down who writes it in the older one; the newer release calls itself by another name."""


def changed(path: Path, *changes: tuple[str, str]) -> None:
    """Changes the file, in which each of those places is once."""
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, (path, old)
        text = text.replace(old, new)
    path.write_text(text)


def head(folder: Path) -> str:
    """The last step of the release in that folder."""
    return max(path.name[:4] for path in (folder / "ledger/sql/steps/versions").glob("[0-9]*.py"))


def newer_release(folder: Path) -> Path:
    """A folder with a release of Backtrail that has one more step of the ledger, and another format of messages."""
    for package in ("backtrail", "ledger", "producer", "worker"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    last = head(folder)
    (folder / f"ledger/sql/steps/versions/{STEP}_next.py").write_text(NEXT_STEP.replace("OLD", last))
    changed(folder / "ledger/sql/upgrade.py", (f'HEAD = "{last}"', f'HEAD = "{STEP}"'))
    changed(folder / "ledger/mongo/upgrade.py", (f"HEAD = {int(last)}", f"HEAD = {int(STEP)}"))
    changed(folder / "backtrail/job.py", ("FORMAT = 1\n", "FORMAT = 2\n"))
    changed(folder / "backtrail/stores/postgres/store.py", ('"application_name": APPLICATION', '"application_name": "newer"'))
    (folder / "backtrail/_version.py").write_text(f'"""The release."""\n\n__version__ = "{RELEASE}"\n')
    return folder


@pytest.mark.long
@pytest.mark.parametrize("alone", ["sqlite", "postgres"], indirect=True)
def test_the_newer_one_goes_on_alone(alone: World, broker: str, tmp_path: Path) -> None:
    """Every user once, the older release writes nothing once the ledger is upgraded, `status` names it, and `verify` is clean."""
    older = alone.at(broker)
    newer = replace(older, place=replace(older.place, more={"PYTHONPATH": str(newer_release(tmp_path / "newer"))}))
    older.write(SLOWLY.replace("0.002", "0.01"))
    older.populate(USERS)
    before = older.users()
    with older.place.worker("older", processes=1) as old:
        older.place.run("enqueue", older.source, "--batch-size", "10")
        older.until_done("c1", 50)
        newer.place.run("upgrade")
        with newer.place.worker("newer", processes=1) as new:
            until(lambda: f"worker-{old.pid}@" in "".join(newer.place.json("status", "c1")["notes"]), what="the older one's name")
            assert older.done("c1") < USERS
            ended = newer.place.json("status", "c1", "--watch")
            assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", USERS, 0)
            newer.demand_migrated(before)
            status = newer.place.json("status", "c1")
            assert "upgrade this installation" in "".join(status["notes"])
            assert {one["release"] for one in status["workers"]} == {RELEASE, _release()}
            assert newer.place.json("verify", newer.source)["ok"]
            older.place.refused("enqueue", older.source, words="newer version of Backtrail")
            if isinstance(older.eye, PostgresEye):
                assert older.eye.one("SELECT count(*) FROM backtrail.strangers") == 0
            assert "Traceback" not in old.text + new.text
            assert old.process.poll() is None
            assert status["rejected"] == 0


def _release() -> str:
    """The release that is tested."""
    return (ROOT / "backtrail/_version.py").read_text().split('"')[-2]
