"""`docker-compose.yml` and the Dockerfile: right by the schema, nothing open to the network, and passwords from variables only."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SECRETS = {
    name: f"s3cret-{name.lower()}" for name in ("REDIS_PASSWORD", "POSTGRES_PASSWORD", "MONGO_PASSWORD", "FLOWER_PASSWORD")
}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^${}]*))?\}")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TEXT = (ROOT / "docker-compose.yml").read_text()
OURS = ("worker", "flower", "metrics", "producer")


def interpolated(text: str, variables: dict[str, str]) -> str:
    """The text with its variables filled in, the innermost first; KeyError where one is missing that is asked for."""

    def value(match: re.Match[str]) -> str:
        name, sign, word = match.groups()
        if variables.get(name):
            return variables[name]
        if sign == ":-":
            return str(word)
        raise KeyError(name)

    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    return text.replace("$$", "$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as Compose reads it."""
    return dict(yaml.safe_load(interpolated(TEXT, SECRETS)))


def strings(part: Any) -> Iterator[str]:
    """Every text in it, names included."""
    if isinstance(part, dict):
        for name, one in part.items():
            yield from strings(name)
            yield from strings(one)
    elif isinstance(part, list):
        for one in part:
            yield from strings(one)
    else:
        yield str(part)


def check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.long
def test_it_is_right_by_the_schema(tmp_path: Path) -> None:
    """The file as it is and with its variables filled in is valid by the schema of the Compose specification; a mistake in it would not be."""
    file = tmp_path / "docker-compose.yml"
    for text, right in (
        (TEXT, True),
        (interpolated(TEXT, SECRETS), True),
        (TEXT.replace("healthcheck:", "health_check:"), False),
        (TEXT.replace("condition: service_healthy", "condition: healthy"), False),
    ):
        file.write_text(text)
        answer = check(file)
        assert (answer.returncode == 0) is right, answer.stdout + answer.stderr


def test_every_password_must_be_given() -> None:
    """Without one of them nothing starts: there is no password that everybody knows."""
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            interpolated(TEXT, SECRETS | {name: ""})
    assert not re.search(r"(?i)password[^\n$]*[:=][ \t]*[\"']?[A-Za-z0-9]{4,}", re.sub(r"\$\{[^\n]*\}|#.*", "", TEXT))


def test_passwords_are_in_no_command(compose: dict[str, Any]) -> None:
    """They reach a container by its environment or a file, so that no list of processes shows them."""
    found = set()
    for name, service in compose["services"].items():
        shown = [
            text
            for part in ("command", "entrypoint", "healthcheck", "ports", "labels")
            for text in strings(service.get(part, []))
        ]
        assert not [text for text in shown if "s3cret" in text], name
        found |= {secret for text in strings(service.get("environment", {})) for secret in SECRETS.values() if secret in text}
    assert found == set(SECRETS.values())
    assert "s3cret-redis_password" in compose["configs"]["redis"]["content"]


def test_ports_are_open_on_the_loopback_only(compose: dict[str, Any]) -> None:
    """Whatever is published is published on 127.0.0.1."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) >= 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert not any("network_mode" in service for service in compose["services"].values())


def test_everything_that_stays_has_a_health_check(compose: dict[str, Any]) -> None:
    """Each service is looked after, comes back by itself, and waits for those that it needs to be healthy; the producer runs once."""
    services = compose["services"]
    assert {"redis", "postgres", "mongo", *OURS} <= services.keys()
    for name, service in services.items():
        if name != "producer":
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL") and service["healthcheck"]["retries"] > 0, name
            assert service["restart"] == "unless-stopped", name
    for name in OURS:
        assert services[name]["depends_on"] == {one: {"condition": "service_healthy"} for one in ("redis", "postgres", "mongo")}
        assert services[name]["cap_drop"] == ["ALL"] and "no-new-privileges:true" in services[name]["security_opt"]
        assert all(volume.endswith(":ro") for volume in services[name]["volumes"])
    assert services["producer"]["profiles"] and "restart" not in services["producer"]
    grace = int(services["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > 20  # a soft shutdown takes as long


def test_nothing_is_lost_with_a_container(compose: dict[str, Any]) -> None:
    """Redis keeps a file and throws nothing away, and each server's data is in a volume; MongoDB is a replica set that asks for a password."""
    redis = compose["configs"]["redis"]["content"].splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction", "dir /data"} <= set(redis)
    services = compose["services"]
    assert services["redis"]["configs"] == [{"source": "redis", "target": services["redis"]["command"][1]}]
    for name in ("redis", "postgres", "mongo"):
        assert [volume.split(":")[0] for volume in services[name]["volumes"]] == [name] and name in compose["volumes"]
    started = services["mongo"]["entrypoint"][-1]
    assert "--replSet rs0" in started and "--keyFile" in started
    assert "rs.initiate" in services["mongo"]["healthcheck"]["test"][1]


def test_images_are_named_with_a_version(compose: dict[str, Any]) -> None:
    """No image is whatever is the latest today; ours is built here."""
    for name, service in compose["services"].items():
        if name in OURS:
            assert service["build"] == "." and service["image"] == "backtrail"
        else:
            assert re.fullmatch(r"[a-z]+:\d+[\w.-]*", service["image"]), service["image"]


# -- the image --------------------------------------------------------------------------------------------------------


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage."""
    found: list[list[tuple[str, str]]] = []
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if word and not word.startswith("#"):
            found[-1].append((word, rest))
    return found


def test_the_image_is_small_and_does_not_run_as_root() -> None:
    """The last stage is a slim one of a fixed version, copies what was built and nothing else, and ends as a user of its own."""
    built, last = stages()
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS build)?", stage[0][1]) for stage in (built, last))
    words = [word for word, _ in last]
    assert words.count("COPY") == 1 and dict(last)["COPY"].startswith("--from=build /opt/backtrail")
    assert dict(last)["USER"] not in ("root", "0") and words.index("USER") < words.index("ENTRYPOINT")
    assert "--no-cache-dir" in dict(built)["RUN"]
    assert f"useradd --create-home --uid 10001 {dict(last)['USER']}" in dict(last)["RUN"]


def test_the_image_holds_no_secrets() -> None:
    """No variable or argument of the image is a secret, and only what is needed is sent to the builder."""
    named = [rest for stage in stages() for word, rest in stage if word in ("ENV", "ARG")]
    assert named and not [rest for rest in named if re.search(r"(?i)passw|secret|token|key|_url", rest)]
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for word, rest in stages()[0] if word == "COPY" for name in rest.split()[:-1]}
    assert sent == copied and all((ROOT / name).exists() for name in sent)


def test_the_image_has_what_the_services_need() -> None:
    """Every extra that a service of the Compose file uses is installed in it."""
    extras = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert extras is not None
    assert {"postgres", "mongo", "flower", "metrics"} <= set(extras[1].split(","))
