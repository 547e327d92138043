"""What is said of a PostgreSQL address that cannot be used: the option, never its value."""

from __future__ import annotations

from contextlib import closing

import pytest

from backtrail.errors import UsageError
from backtrail.stores.postgres.store import PostgresStore


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("pasword=s3cret", "'pasword': did you mean 'password'"),
        ("row_factory=s3cret", "'row_factory'"),
        ("sslmode=require&plugin=s3cret", "'plugin'"),
        ("sslmode=s3cret", "sslmode has a value"),
        ("keepalives=s3cret", "keepalives has a value"),
    ],
)
def test_options_that_cannot_be(options: str, said: str) -> None:
    """One that libpq does not know is answered with the nearest that it does, before anybody is connected to."""
    with (
        closing(PostgresStore(f"postgresql://u:s3cret@127.0.0.1:1/x?{options}", 1000)) as store,
        pytest.raises(UsageError) as caught,
        store.transaction(write=False),
    ):
        pass
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
