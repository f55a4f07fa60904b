"""The audience function: each rule by its number, and which one decides where two apply."""

from datetime import UTC, datetime

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Mode, Person, Post
from xmpprelay.core.routing import FOLLOWED_LATER, FOLLOWS, NO_FOLLOWER, OWN_POST, Decision, decide

ALICE, BOB, CAROL = 1, 2, 3
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def post(number: int, author: int = ALICE) -> Post:
    return Post(number, author, "hello", None, NOW)


@pytest.fixture
def graph() -> Graph:
    graph = Graph(["example.org"])
    for person, name in ((ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")):
        graph.add_person(Person(person, f"{name}@example.org", name))
    graph.add_follow(Follow(BOB, ALICE, Mode.AUTHOR, since=40))
    return graph


@pytest.mark.parametrize(
    ("number", "person", "decision"),
    [
        (40, BOB, FOLLOWS),
        (99, BOB, FOLLOWS),
        (39, BOB, FOLLOWED_LATER),
        (40, CAROL, NO_FOLLOWER),
        (40, ALICE, OWN_POST),
    ],
)
def test_each_rule(graph: Graph, number: int, person: int, decision: Decision) -> None:
    assert decide(graph, post(number), person) is decision


def test_an_author_who_follows_himself_gets_no_echo(graph: Graph) -> None:  # S1.7
    graph.add_follow(Follow(ALICE, ALICE, Mode.HOME, since=1))
    assert decide(graph, post(40), ALICE) is OWN_POST


def test_following_the_other_way_round_says_nothing(graph: Graph) -> None:
    assert decide(graph, post(40, author=BOB), ALICE) is NO_FOLLOWER


def test_an_unfollow_holds_at_once_for_a_post_that_is_under_way(graph: Graph) -> None:
    under_way = post(50)
    assert decide(graph, under_way, BOB).yes
    graph.end_follow(BOB, ALICE)
    assert decide(graph, under_way, BOB) is NO_FOLLOWER


def test_who_follows_again_gets_only_what_is_posted_from_then_on(graph: Graph) -> None:
    graph.end_follow(BOB, ALICE)
    graph.add_follow(Follow(BOB, ALICE, Mode.HOME, since=60))
    assert decide(graph, post(59), BOB) is FOLLOWED_LATER
    assert decide(graph, post(60), BOB) is FOLLOWS


def test_each_answer_names_its_rule_and_reads_as_a_clause() -> None:
    for decision in (FOLLOWS, FOLLOWED_LATER, NO_FOLLOWER, OWN_POST):
        assert decision.rule.startswith("S")
        assert decision.reason[0].islower()
        assert not decision.reason.endswith(".")
