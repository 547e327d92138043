"""What a worker says of itself has no password in it."""

from __future__ import annotations

from celery.worker import control

from worker.inspection import mask_inspection, masked


def test_options_and_addresses_are_masked():
    """A TLS key's password and one in an address are gone; everything else stays as it is, in its place."""
    broker = {
        "hostname": "redis+socket:///run/broker.sock?password=s3cret",
        "alternates": ["amqp://user:s3cret@mq/shop"],
        "ssl": {"ssl_keyfile": "/etc/key.pem", "ssl_password": "s3cret", "ssl_cert_reqs": 2},
        "password": None,
        "port": 6379,
    }
    assert masked({"consumer": broker, "pid": 7, "pool": {"processes": [1, 2]}}) == {
        "consumer": {
            "hostname": "redis+socket:///run/broker.sock?password=***",
            "alternates": ["amqp://user:***@mq/shop"],
            "ssl": {"ssl_keyfile": "/etc/key.pem", "ssl_password": "***", "ssl_cert_reqs": 2},
            "password": None,
            "port": 6379,
        },
        "pid": 7,
        "pool": {"processes": [1, 2]},
    }


def test_the_workers_own_answer_is_masked(monkeypatch):
    """What remote control calls is ours, also when it was put there twice."""

    class Controller:
        def stats(self) -> dict[str, object]:
            return {"broker": {"ssl": {"ssl_password": "s3cret"}}, "pid": 7}

    class Consumer:
        controller = Controller()

    class State:
        consumer = Consumer()

    monkeypatch.setitem(control.Panel.data, "stats", control.stats)
    assert "s3cret" in str(control.Panel.data["stats"](State()))
    mask_inspection()
    mask_inspection()
    assert control.Panel.data["stats"](State()) == {"broker": {"ssl": {"ssl_password": "***"}}, "pid": 7}
