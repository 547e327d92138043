"""What can be drawn: users and their rows, what the application does to them, and how messages come."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

USERS = range(1, 6)

users = st.sampled_from(USERS)
several = st.lists(users, min_size=1, max_size=3, unique=True)
sizes = st.sampled_from([200, 200, 2, 1])
deliveries = st.sampled_from(["once", "once", "twice", "at once"])
some = st.integers(0, 5)
"""Which of the rows that are there."""
texts = st.sampled_from(["x", "y", ""])
scores = st.sampled_from([0.0, -0.0, 1e300, 0.1])
emails = st.sampled_from(["a", "b", "c", "d", "e", "f"])
kinds = st.sampled_from(["plain", "plain", "plain", "torn", "called", "called", "bad"])
person = st.fixed_dictionaries(
    {"kind": kinds, "email": emails, "done": st.sampled_from([None, None, "no", "yes"]), "score": scores}
)
fact = st.fixed_dictionaries({"user_id": users, "text": texts})
note = st.fixed_dictionaries({"user_id": users, "code": emails, "score": scores})
card = st.fixed_dictionaries({"user_id": st.none(), "handle": emails, "title": texts})


def _part(whole: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """One of the values."""
    return whole.flatmap(lambda values: st.sampled_from([{name: value} for name, value in values.items()]))


edits = st.one_of(
    st.tuples(st.just("change"), st.just("users"), some, _part(person)),
    st.tuples(st.just("change"), st.just("facts"), some, _part(fact)),
    st.tuples(st.just("change"), st.just("notes"), some, _part(note)),
    st.tuples(st.just("change"), st.just("notes"), some, st.fixed_dictionaries({"user_id": users})),
    st.tuples(st.just("change"), st.just("cards"), some, _part(card)),
    st.tuples(st.just("put"), st.just("users"), users, person),
    st.tuples(st.just("put"), st.just("cards"), users, card),
    st.tuples(st.just("add"), st.just("facts"), some, fact),
    st.tuples(st.just("add"), st.just("notes"), some, note),
    st.tuples(st.just("again"), st.just("notes"), some, note),
    st.tuples(st.just("refer"), st.just("badges"), some, st.just({})),
    st.tuples(st.just("remove"), st.sampled_from(["users", "facts", "notes", "cards", "badges", "badges"]), some, st.just({})),
)
Edit = tuple[str, str, int, dict[str, Any]]
meanwhile = st.one_of(st.none(), edits)
"""What the application does between the opening of a campaign and its work."""
