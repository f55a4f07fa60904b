"""Whom a block hides, and what its target can be (S6)."""

import itertools

import pytest

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.errors import BadCommand, Refused, UnknownHandle
from xmpprelay.keeping_out import read_target, spare_relay

ALICE, BOB, CAROL = 1, 2, 3
JIDS = {ALICE: "alice@example.org", BOB: "bob@other.org", CAROL: "carol@a.other.org"}
HANDLES = {"alice": JIDS[ALICE], "bob": JIDS[BOB]}


@pytest.fixture
def graph() -> Graph:
    graph = Graph(["example.org"])
    for who, jid in JIDS.items():
        graph.add_person(Person(who, jid, jid.partition("@")[0]))
    return graph


@pytest.mark.parametrize("owner", [ALICE, BOB, CAROL, OPERATOR])
@pytest.mark.parametrize("target", [*JIDS.values(), "other.org", "*.other.org", "*.org"])
def test_who_is_cut_off_does_not_exist_in_either_direction(
    graph: Graph, owner: int, target: str
) -> None:
    graph.block(owner, target)
    for one, other in itertools.permutations(JIDS, 2):
        assert graph.hides(JIDS[one], other) is graph.cut(one, other)
    assert not any(graph.hides(jid, who) for who, jid in JIDS.items()), "to himself he exists"


def test_somebody_who_is_not_known_is_kept_out_as_well(graph: Graph) -> None:
    graph.block(ALICE, "*.spam.org")
    assert graph.hides("x@a.spam.org", ALICE)
    assert not graph.hides("x@a.spam.org", BOB)
    assert not graph.hides("x@spam.org", ALICE)
    graph.block(OPERATOR, "spam.org")
    assert graph.hides("x@spam.org", BOB)
    assert graph.barred("x@spam.org")
    assert not graph.barred("x@a.spam.org")
    assert graph.unblock(OPERATOR, "spam.org")
    assert not graph.hides("x@spam.org", BOB)


@pytest.mark.parametrize(
    ("typed", "target"),
    [
        ("@alice", JIDS[ALICE]),
        (" Alice ", JIDS[ALICE]),
        ("bob@relay.test", JIDS[BOB]),
        ("Bob@RELAY.test", JIDS[BOB]),
        ("Eve@Far.Test", "eve@far.test"),
        ("Spam.ORG", "spam.org"),
        ("*.Spam.ORG", "*.spam.org"),
        ("bücher.example", "bücher.example"),
        ("xn--bcher-kva.example", "bücher.example"),
    ],
)
def test_a_target_is_read_in_the_form_in_which_jids_are_compared(typed: str, target: str) -> None:
    assert read_target(typed, "relay.test", HANDLES.get) == target


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("@carol", UnknownHandle),
        ("carol@relay.test", UnknownHandle),
        ("", BadCommand),
        ("@", BadCommand),
        ("*.", BadCommand),
        ("*.bob", BadCommand),
        ("bob@far.test/phone", BadCommand),
        ("127.0.0.1", BadCommand),
        ("a..b", BadCommand),
    ],
)
def test_what_is_no_target_is_refused(typed: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_target(typed, "relay.test", HANDLES.get)


def test_the_relay_itself_is_spared() -> None:
    for target in ("relay.example.org", "*.example.org", "*.org"):
        with pytest.raises(Refused, match="is this relay itself"):
            spare_relay(target, "relay.example.org")
    for target in ("example.org", "*.relay.example.org", "relay.example.org.test", "a@example.org"):
        spare_relay(target, "relay.example.org")
