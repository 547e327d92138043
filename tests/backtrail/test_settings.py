"""Settings: where they come from, what is refused, and that no password is shown."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest

from backtrail.errors import UnknownName, UsageError
from backtrail.settings import NAMES, load
from backtrail.urls import redact


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and no BACKTRAIL_* variable."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(f"BACKTRAIL_{name}".upper(), raising=False)
    return tmp_path


def refused(**overrides: object) -> str:
    with pytest.raises(UsageError) as caught:
        load(**overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return message


def test_defaults():
    """With nothing said, everything has a default except the database."""
    settings = load()
    assert asdict(settings) == {
        "database_url": None,
        "broker_url": None,
        "queue": "bt",
        "concurrency": None,
        "batch_size": 500,
        "lock_timeout_ms": 300,
        "runtime_dir": None,
        "master_key_file": None,
        "signing_key_file": None,
        "titles_url": None,
        "titles_key": None,
        "titles_model": "gpt-4o-mini",
        "titles_timeout_s": 20,
        "max_replication_lag_s": 10,
        "max_connections_share": 0.9,
        "max_lock_waits": 10,
        "probe_command": None,
        "probe_every_s": 5,
        "flower_password": None,
    }
    with pytest.raises(UsageError, match=r"BACKTRAIL_DATABASE_URL.*backtrail.toml.*--database-url"):
        settings.database()


def test_precedence(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """An option beats a variable, which beats the file, which beats the default; an option not given is no option."""
    (folder / "backtrail.toml").write_text("batch_size = 7\n")
    assert load().batch_size == 7
    monkeypatch.setenv("BACKTRAIL_BATCH_SIZE", "8")
    assert load().batch_size == 8
    assert load(batch_size=9).batch_size == 9
    assert load(batch_size=None).batch_size == 8
    monkeypatch.setenv("BACKTRAIL_BATCH_SIZE", "")
    assert load().batch_size == 7


def test_other_variables_are_not_ours(monkeypatch: pytest.MonkeyPatch):
    """A BACKTRAIL_ variable that is no setting, such as the tests' server, disturbs nobody."""
    monkeypatch.setenv("BACKTRAIL_TEST_POSTGRES_URL", "postgresql://elsewhere/db")
    assert load() == load(batch_size=500)


def test_frozen():
    """Settings do not change under a running command."""
    with pytest.raises(FrozenInstanceError):
        load().batch_size = 5  # type: ignore[misc]


@pytest.mark.parametrize("size", [0, 5001, -1, "many", 1.5])
def test_batch_size_limits(size: object):
    """A batch holds 1 to 5000 jobs, and the message says which option was wrong."""
    assert refused(batch_size=size).startswith("batch_size (--batch-size): ")


@pytest.mark.parametrize("name", ["a b", "", "x" * 65, "a\nb", "*"])
def test_queue_names(name: str):
    """A queue's name is one that every broker takes."""
    assert refused(queue=name).startswith("queue (--queue): ")


def test_message_names_the_source(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever is wrong learns where the wrong value stands."""
    (folder / "backtrail.toml").write_text("concurrency = 0\n")
    assert refused().startswith("concurrency (backtrail.toml): ")
    monkeypatch.setenv("BACKTRAIL_CONCURRENCY", "0")
    assert refused().startswith("concurrency (BACKTRAIL_CONCURRENCY): ")


def test_unknown_key_in_file(folder: Path):
    """A mistyped key is answered with the nearest right one."""
    (folder / "backtrail.toml").write_text('databse_url = "sqlite:///x.db"\n')
    with pytest.raises(UnknownName, match="'databse_url': did you mean 'database_url'"):
        load()


@pytest.mark.parametrize("content", [b"batch_size = \n", b"\xff\xfe", b"[[["])
def test_file_that_is_no_toml(folder: Path, content: bytes):
    """A broken file is one line, not a traceback."""
    (folder / "backtrail.toml").write_bytes(content)
    assert "backtrail.toml" in refused()


@pytest.mark.parametrize("text", ["a\0b", "s3cret\udcff"])
@pytest.mark.parametrize("name", ["database_url", "master_key_file", "queue", "probe_command", "titles_key"])
def test_what_is_no_text_of_one_line(name: str, text: str):
    """A character that no system call takes, and bytes that are no UTF-8, are refused here and not where they come to."""
    message = refused(**{name: text})
    assert message.startswith(f"{name} (--{name.replace('_', '-')}): ")
    assert "s3cret" not in message


def test_an_sqlite_file_behind_links_in_a_circle(folder: Path):
    """It is no file, and is found to be none when it is looked for."""
    (folder / "circle").symlink_to("circle")
    assert load(database_url="sqlite:///circle").database_url == f"sqlite:///{folder}/circle"


def test_sqlite_becomes_absolute(folder: Path):
    """A relative file means the same from every folder, and a link means the file behind it."""
    assert load(database_url="sqlite:///a b.db").database() == f"sqlite:///{folder.resolve()}/a b.db"
    assert load(database_url="sqlite:///x.db?timeout=3").database() == f"sqlite:///{folder.resolve()}/x.db?timeout=3"
    (folder / "link.db").symlink_to(folder / "real.db")
    assert load(database_url="sqlite:///link.db").database() == f"sqlite:///{folder.resolve()}/real.db"
    assert load(database_url="sqlite:////srv/x.db").database() == "sqlite:////srv/x.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_sqlite_in_memory(url: str):
    """A database that no worker could see is refused with that reason."""
    assert "no worker can see it" in refused(database_url=url)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+psycopg://u:p@h:5432/d", "postgresql://u:p@h:5432/d"),
        ("  postgresql:///d?host=/run/postgresql ", "postgresql:///d?host=/run/postgresql"),
        ("POSTGRESQL://u@[::1]:5432/d", "postgresql://u@[::1]:5432/d"),
        ("mongodb://a:1,b:2/d?replicaSet=r", "mongodb://a:1,b:2/d?replicaSet=r"),
        ("mongodb+srv://u:p@h/d", "mongodb+srv://u:p@h/d"),
        ("mongodb://u:p%40ss%2Fw@h:1/my-shop_2?authSource=admin", "mongodb://u:p%40ss%2Fw@h:1/my-shop_2?authSource=admin"),
        ("mongodb://h/", "mongodb://h/"),
    ],
)
def test_database_urls(given: str, meant: str):
    """Every spelling of a database ends up as one."""
    assert load(database_url=given).database() == meant


@pytest.mark.parametrize(
    "url",
    [
        "redis://:p@h:6379/1",
        "rediss://h?ssl_cert_reqs=none",
        "redis+socket:///run/x.sock",
        "amqp://u:p@h//",
        "amqps://h/v",
        "memory://",
    ],
)
def test_broker_urls(url: str):
    """The brokers that are understood are left as they are."""
    assert load(broker_url=url).broker_url == url


def test_tls_checks_certificates():
    """TLS to a broker checks the server's certificate unless somebody says otherwise."""
    assert load(broker_url="rediss://h").broker_url == "rediss://h?ssl_cert_reqs=required"
    assert load(broker_url="rediss://h/1?x=1").broker_url == "rediss://h/1?x=1&ssl_cert_reqs=required"


@pytest.mark.parametrize(
    ("setting", "url", "mend"),
    [
        ("database_url", "nonsense", "sqlite:///data.db"),
        ("database_url", "", "sqlite:///data.db"),
        ("database_url", "postgre://u:s3cret@h/d", "did you mean postgres"),
        ("database_url", "mysql://u:s3cret@h/d", "begin with sqlite://"),
        ("database_url", "postgresql://u:s3cret@h:port/d", "postgresql://user:password@host:5432/database"),
        ("database_url", "postgresql://u:s3cret/x@h/d", "%XX"),
        ("database_url", "postgresql://u:p@h:99999/d", "host:5432"),
        ("database_url", "host=h password=s3cret", "postgresql://"),
        ("database_url", "mongodb://u:s3cret@ss/w@127.0.0.1:27017/shop", "special characters of a password as %XX"),
        ("database_url", "mongodb+srv://u:s3cret@ss/w@h/shop", "special characters of a password as %XX"),
        ("database_url", "mongodb://127.0.0.1/shop:37117", "has a port after the database"),
        ("database_url", "mongodb://127.0.0.1/shop.users", "names no database that can be"),
        ("database_url", "mongodb://127.0.0.1/my%20shop?replicaSet=r", "names no database that can be"),
        ("database_url", "mongodb://127.0.0.1/a/b", "names no database that can be"),
        ("database_url", "u:s3cret@h/d", "is no URL"),
        ("database_url", "sqlite://data.db", "sqlite:///relative.db"),
        ("database_url", "sqlite:////tmp", "is a folder"),
        ("broker_url", "localhost:6379", "redis://"),
        ("broker_url", "reddis://:s3cret@h", "did you mean redis"),
        ("broker_url", "redis://:s3cret@h/main", "is a number"),
        ("broker_url", "redis+socket://run/x.sock", "absolute path"),
        ("broker_url", "kafka://h", "begin with redis://"),
    ],
)
def test_malformed_urls(setting: str, url: str, mend: str):
    """A malformed URL is answered with the setting's name and an example, never with the password in it."""
    message = refused(**{setting: url})
    assert message.startswith(f"{setting} (--{setting.replace('_', '-')}): ")
    assert mend in message
    assert "s3cret" not in message


def test_no_password_in_text():
    """However settings are shown, no password is among it, and the real URL still has it."""
    settings = load(database_url="postgresql://u:s3cret@h/d", broker_url="redis://:s3cret@h/0")
    assert "s3cret" in settings.database()
    for text in (repr(settings), str(settings), f"{settings!r}", f"{settings}"):
        assert "s3cret" not in text
        assert "postgresql://u:***@h/d" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("redis://:s3cret@h/0", "redis://:***@h/0"),
        ("postgresql://h/d?user=u&password=s3cret&sslmode=require", "postgresql://h/d?user=u&password=***&sslmode=require"),
        ("mongodb://h/?tlsCertificateKeyFilePassword=s3cret", "mongodb://h/?tlsCertificateKeyFilePassword=***"),
        ("amqp://u:s3@cret/x?y#z@h/v", "amqp://u:***@h/v"),
        ("sqlite:////home/a:b@c/x.db", "sqlite:////home/a:b@c/x.db"),
        ("redis+socket:///tmp/x@y/broker.sock", "redis+socket:///tmp/x@y/broker.sock"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_redact(url: str, shown: str):
    """Only what is secret is hidden."""
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("HTTP://localhost:11434/v1/", "http://localhost:11434/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
    ],
)
def test_titles_urls(given: str, meant: str):
    """The endpoint's base is meant, whether or not its path was copied with it."""
    assert load(titles_url=given).titles_url == meant


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("api.example.com/v1", "https://api.example.com/v1"),
        ("ftp://h/v1", "https://api.example.com/v1"),
        ("https:///v1", "names no host"),
        ("https://:80/v1", "names no host"),
        ("https://u:s3cret@h/v1", "titles_key"),
        ("https://h/v1?key=s3cret", "titles_key"),
        ("https://h:port/v1", "https://api.example.com/v1"),
    ],
)
def test_malformed_titles_urls(url: str, mend: str):
    """An address that cannot be meant, or has the secret in it, is refused without showing it."""
    message = refused(titles_url=url)
    assert message.startswith("titles_url (--titles-url): ")
    assert mend in message
    assert "s3cret" not in message


@pytest.mark.parametrize("seconds", [0, -1, "inf", "nan", 601, "soon"])
def test_titles_timeout_limits(seconds: object):
    """Nobody waits forever for a title."""
    assert refused(titles_timeout_s=seconds).startswith("titles_timeout_s (--titles-timeout-s): ")


def test_the_key_of_the_titles_is_never_shown(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither as text nor in a dump, wherever it comes from; whoever asks for it gets it."""
    monkeypatch.setenv("BACKTRAIL_TITLES_KEY", "s3cret")
    settings = load(titles_url="https://h/v1")
    assert settings.titles_key is not None
    assert settings.titles_key.reveal() == "s3cret"
    for text in (repr(settings), str(settings), str(vars(settings)), str(asdict(settings)), f"{settings.titles_key}"):
        assert "s3cret" not in text
