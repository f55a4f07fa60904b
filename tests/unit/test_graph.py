"""Who the people are and who follows whom, kept in memory in both directions."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Kind, Mode, Person, Post

ALICE, BOB, CAROL, DAVE = 1, 2, 3, 4
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def post(author: int = ALICE) -> Post:
    return Post(1, author, "hello", None, NOW)


@pytest.fixture
def graph() -> Graph:
    graph = Graph(["example.org", "example.net"])
    graph.add_person(Person(DAVE, "dave@far.example", None))
    graph.add_person(Person(ALICE, "alice@example.org", "alice"))
    graph.add_person(Person(CAROL, "carol@example.net", None))
    graph.add_person(Person(BOB, "bob@example.org", "bob"))
    return graph


def follow(
    graph: Graph, follower: int, author: int, since: int = 1, mode: Mode = Mode.HOME
) -> None:
    graph.add_follow(Follow(follower, author, mode, since))


# People


def test_people_are_found_by_id_jid_and_handle(graph: Graph) -> None:
    bob = graph.person(BOB)
    assert graph.by_jid("bob@example.org") is bob
    assert graph.by_handle("BoB") is bob
    assert graph.by_jid("nobody@example.org") is None
    assert graph.by_handle("nobody") is None
    with pytest.raises(KeyError):
        graph.person(99)


def test_a_new_handle_replaces_the_old_one(graph: Graph) -> None:
    graph.add_person(Person(BOB, "bob@example.org", "robert"))
    assert graph.by_handle("bob") is None
    assert graph.by_handle("robert") == Person(BOB, "bob@example.org", "robert")
    assert len(list(graph.people())) == 4


def test_a_handle_can_come_later_and_go(graph: Graph) -> None:
    graph.add_person(Person(CAROL, "carol@example.net", "carol"))
    assert graph.by_handle("carol") is not None
    graph.add_person(Person(CAROL, "carol@example.net", None))
    assert graph.by_handle("carol") is None


def test_the_servers_own_domains_are_one_lane_and_each_other_domain_is_its_own(
    graph: Graph,
) -> None:
    assert graph.lane(ALICE) == graph.lane(CAROL) == OWN_LANE
    assert graph.lane(DAVE) == "far.example"
    assert graph.lane_of_jid("sub.example.org") == "sub.example.org"  # a domain below is another


# Follows


def test_a_follow_is_known_from_both_sides(graph: Graph) -> None:
    follow(graph, BOB, ALICE, since=40, mode=Mode.AUTHOR)
    assert graph.follow(BOB, ALICE) == Follow(BOB, ALICE, Mode.AUTHOR, 40)
    assert graph.follows_since(BOB, ALICE) == 40
    assert [person.id for person in graph.following(BOB)] == [ALICE]
    assert [person.id for person in graph.followers(ALICE)] == [BOB]
    assert graph.follower_count(ALICE) == 1


def test_no_follow_is_none_not_an_error(graph: Graph) -> None:
    assert graph.follow(BOB, ALICE) is None
    assert graph.follows_since(BOB, ALICE) is None
    assert list(graph.following(BOB)) == list(graph.followers(ALICE)) == []
    assert graph.candidates(post(), OWN_LANE) == ()
    assert graph.lanes(post()) == []
    graph.end_follow(BOB, ALICE)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("since", [1, 2**40])
def test_mode_and_since_are_kept_whatever_they_are(graph: Graph, mode: Mode, since: int) -> None:
    follow(graph, BOB, ALICE, since, mode)
    assert graph.follow(BOB, ALICE) == Follow(BOB, ALICE, mode, since)


def test_another_mode_is_the_same_follow(graph: Graph) -> None:
    follow(graph, BOB, ALICE, 40, Mode.HOME)
    follow(graph, BOB, ALICE, 40, Mode.AUTHOR)
    assert graph.follower_count(ALICE) == 1
    kept = graph.follow(BOB, ALICE)
    assert kept is not None
    assert kept.mode is Mode.AUTHOR


def test_the_end_of_a_follow_is_known_from_both_sides(graph: Graph) -> None:
    follow(graph, BOB, ALICE)
    follow(graph, CAROL, ALICE)
    graph.end_follow(BOB, ALICE)
    assert graph.follow(BOB, ALICE) is None
    assert [person.id for person in graph.followers(ALICE)] == [CAROL]
    assert graph.candidates(post(), OWN_LANE) == (CAROL,)


# Candidates


def test_whom_a_post_names_is_a_candidate_in_his_lane(graph: Graph) -> None:
    follow(graph, CAROL, ALICE)
    named = replace(post(), targets=(DAVE, CAROL, ALICE), mentions=(BOB,))
    assert graph.lanes(named) == [OWN_LANE, "far.example"]
    assert graph.candidates(named, OWN_LANE) == (BOB, CAROL)
    assert graph.candidates(named, "far.example") == (DAVE,)


def test_a_direct_message_has_no_candidate_but_its_target(graph: Graph) -> None:
    follow(graph, BOB, ALICE)
    follow(graph, CAROL, ALICE)
    letter = replace(post(), kind=Kind.DIRECT, targets=(CAROL,))
    for entry in (letter, Post(2, ALICE, "", None, NOW, Kind.DELETE, original=letter)):
        assert graph.lanes(entry) == [OWN_LANE]
        assert graph.candidates(entry, OWN_LANE) == (CAROL,)


def test_a_change_concerns_whom_the_post_named(graph: Graph) -> None:
    original = replace(post(), targets=(DAVE,))
    edit = Post(2, ALICE, "new", None, NOW, Kind.EDIT, mentions=(BOB,), original=original)
    assert graph.lanes(edit) == [OWN_LANE, "far.example"]


def test_candidates_come_by_lane_in_ascending_id_and_lanes_sorted(graph: Graph) -> None:
    for person in (CAROL, DAVE, BOB):
        follow(graph, person, ALICE)
    assert graph.candidates(post(), OWN_LANE) == (BOB, CAROL)
    assert graph.candidates(post(), "far.example") == (DAVE,)
    assert graph.lanes(post()) == [OWN_LANE, "far.example"]


def test_an_author_is_no_candidate_of_his_own(graph: Graph) -> None:  # S1.7
    follow(graph, ALICE, ALICE)
    follow(graph, BOB, ALICE)
    assert graph.candidates(post(), OWN_LANE) == (BOB,)


def test_candidates_follow_every_change_and_a_lane_goes_with_its_last(graph: Graph) -> None:
    follow(graph, DAVE, ALICE)
    assert graph.lanes(post()) == ["far.example"]
    follow(graph, BOB, ALICE)
    assert graph.candidates(post(), OWN_LANE) == (BOB,)
    graph.end_follow(DAVE, ALICE)
    assert graph.lanes(post()) == [OWN_LANE]


def test_after_any_changes_it_says_the_same_as_a_list_of_pairs() -> None:
    rng = Random(1)
    people = range(1, 9)
    graph = Graph(["own"])
    for person in people:
        graph.add_person(Person(person, f"p{person}@{rng.choice(('own', 'one', 'two'))}", None))
    pairs: dict[tuple[int, int], int] = {}
    for since in range(1, 400):
        pair = rng.choice(people), rng.choice(people)
        if rng.random() < 0.6:
            pairs[pair] = since
            follow(graph, *pair, since=since)
        else:
            pairs.pop(pair, None)
            graph.end_follow(*pair)
        author = rng.choice(people)
        expected = sorted(f for f, a in pairs if a == author)
        assert [person.id for person in graph.followers(author)] == expected
        assert [
            (lane, person)
            for lane in graph.lanes(post(author))
            for person in graph.candidates(post(author), lane)
        ] == sorted((graph.lane(f), f) for f in expected if f != author)
    for pair, since in pairs.items():
        assert graph.follows_since(*pair) == since


def test_loaded_follows_are_as_if_they_had_come_one_by_one() -> None:
    rng = Random(2)
    people = [Person(n, f"p{n}@{rng.choice(('own', 'far'))}", None) for n in range(1, 9)]
    pairs = [(a, b) for a in people for b in people if rng.random() < 0.5]
    follows = [
        Follow(a.id, b.id, rng.choice(list(Mode)), rng.randrange(1, 10**6)) for a, b in pairs
    ]
    loaded, one_by_one = Graph(["own"]), Graph(["own"])
    for person in people:
        loaded.add_person(person)
        one_by_one.add_person(person)
    loaded.load_follows(iter(follows))
    for each in follows:
        one_by_one.add_follow(each)

    def seen(graph: Graph) -> list[object]:
        return [
            [graph.follow(a.id, b.id) for a in people for b in people],
            [list(graph.following(person.id)) for person in people],
            [list(graph.followers(person.id)) for person in people],
            [graph.lanes(post(person.id)) for person in people],
            [
                graph.reach(replace(post(person.id), number=number))
                for person in people
                for number in (1, *(each.since for each in follows), 10**6)
            ],
        ]

    assert seen(loaded) == seen(one_by_one)
    assert all(loaded.followed_at(person.id) > 0 for person in people)
    for graph in (loaded, one_by_one):  # and it goes on from there
        graph.end_follow(follows[0].follower, follows[0].author)
        graph.add_follow(Follow(8, 1, Mode.AUTHOR, 10**6))
    assert seen(loaded) == seen(one_by_one)
