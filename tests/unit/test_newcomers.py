"""What the people of another domain, all together, may make grow here."""

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.newcomers import DomainLimits, Newcomers
from xmpprelay.errors import TooMany

LIMITS = DomainLimits(joins_per_hour=2, follows_per_minute=3, people=2)


def newcomers(*people: Person) -> Newcomers:
    graph = Graph(["example.test"])
    for person in people:
        graph.add_person(person)
    return Newcomers(graph, LIMITS)


def test_handles_are_given_at_a_rate_and_the_answer_says_when() -> None:
    them = newcomers()
    for n in range(2):
        them.join(f"u{n}@far.test", 0.0)
    with pytest.raises(TooMany, match=r"try again in 30 minutes") as told:
        them.join("u3@far.test", 0.0)
    assert (told.value.condition, told.value.type) == ("resource-constraint", "wait")
    them.join("u3@other.test", 0.0)
    them.join("u3@far.test", 1800.0)
    with pytest.raises(TooMany):
        them.join("u4@far.test", 1800.0)


def test_new_follows_have_a_rate() -> None:
    them = newcomers()
    for n in range(3):
        them.follow(f"u{n}@far.test", 0.0)
    with pytest.raises(TooMany, match="try again in 20 s"):
        them.follow("u0@far.test", 0.0)
    them.follow("u0@far.test", 20.0)


def test_what_came_to_nothing_is_given_back() -> None:
    them = newcomers()
    for _ in range(5):
        them.join("u0@far.test", 0.0)
        them.did_not_join("u0@far.test", 0.0)
        them.follow("u0@far.test", 0.0)
        them.did_not_follow("u0@far.test", 0.0)
        them.become_known("u0@far.test")
        them.are_still_unknown("u0@far.test")
    for _ in range(10):
        them.did_not_join("u0@far.test", 0.0)
    for _ in range(2):
        them.join("u0@far.test", 0.0)
    with pytest.raises(TooMany):
        them.join("u0@far.test", 0.0)


def test_people_without_a_handle_have_a_bound_for_each_domain() -> None:
    them = newcomers(Person(1, "a@far.test", None), Person(2, "b@far.test", "bob"))
    them.become_known("c@far.test")
    with pytest.raises(TooMany, match="ask the operator"):
        them.become_known("d@far.test")
    them.become_known("d@other.test")
    them.have_a_handle("a@far.test")
    them.become_known("d@far.test")
    with pytest.raises(TooMany):
        them.become_known("e@far.test")


def test_a_handle_makes_room_also_when_nobody_was_counted_yet() -> None:
    them = newcomers(Person(1, "a@far.test", None), Person(2, "b@far.test", None))
    them.have_a_handle("a@far.test")  # said before the graph knows it
    them.become_known("c@far.test")
    with pytest.raises(TooMany):
        them.become_known("d@far.test")


def test_the_servers_own_people_have_no_limit() -> None:
    them = newcomers()
    for n in range(100):
        jid = f"u{n}@example.test"
        them.join(jid, 0.0)
        them.follow(jid, 0.0)
        them.become_known(jid)


def test_after_an_import_everybody_is_counted_again() -> None:
    graph = Graph(["example.test"])
    them = Newcomers(graph, LIMITS)
    them.become_known("a@far.test")
    graph.add_person(Person(1, "a@far.test", None))
    for n in range(5):
        graph.add_person(Person(10 + n, f"u{n}@far.test", None))
    them.change()
    with pytest.raises(TooMany):
        them.become_known("d@far.test")
