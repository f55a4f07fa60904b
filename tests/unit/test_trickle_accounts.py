"""Whom a status means to name at the primary: the accounts of those whom the post names."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.trickle.accounts import Everybodys, Sort

ALICE, BOB, CAROL, DAVE = 1, 2, 3, 4
NAMES = {BOB: "bob@social.example", CAROL: "carol@other.example"}


@pytest.fixture
def accounts() -> Everybodys:
    """Bob and carol have linked an account each; dave is here and has none."""
    graph = Graph(["example.org"])
    for number, name in enumerate(("alice", "bob", "carol", "dave"), ALICE):
        graph.add_person(Person(number, f"{name}@example.org", name))
    links: Any = SimpleNamespace(
        linked=lambda who: SimpleNamespace(name=NAMES[who]) if who in NAMES else None
    )
    return Everybodys(graph, Sort.LINKED, epoch="ab", domain="relay.example.org", links=links)


@pytest.mark.parametrize(
    ("text", "addressed", "named"),
    [
        ("hello", (), ()),
        ("@bob hello", (BOB,), ("bob@social.example",)),
        ("@bob hello", (), ("bob@social.example",)),  # the name came with an edit
        ("hello", (BOB,), ("bob@social.example",)),
        ("@carol and @bob", (BOB,), ("bob@social.example", "carol@other.example")),
        ("@bob@example.org, @dave, @nobody, @bob@far.example", (), ("bob@social.example",)),
    ],
)
def test_those_are_meant_whose_names_are_in_the_text(
    accounts: Everybodys, text: str, addressed: tuple[int, ...], named: tuple[str, ...]
) -> None:
    post = Post(7, ALICE, text, None, datetime(2026, 3, 1, tzinfo=UTC), targets=addressed)
    assert accounts.draft(post).mentions == named
