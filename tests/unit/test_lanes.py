"""A lane walks the candidates of its open posts: in order, in turn, never past an older post."""

from datetime import UTC, datetime

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.lanes import DONE, TOGETHER, WINDOW, Lane, Window, WindowState
from xmpprelay.core.model import OWN_LANE, Follow, Mode, Person, Post
from xmpprelay.core.work import pairs

ALICE, ERIN = 101, 102
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def graph() -> Graph:
    """Alice is followed by 1 to 9, Erin by 7 to 9."""
    graph = Graph(["own"])
    for person in (*range(1, 21), ALICE, ERIN):
        graph.add_person(Person(person, f"p{person}@own", None))
    for person in range(1, 10):
        graph.add_follow(Follow(person, ALICE, Mode.HOME, 1))
    for person in range(7, 10):
        graph.add_follow(Follow(person, ERIN, Mode.HOME, 1))
    return graph


@pytest.fixture
def lane() -> Lane:
    lane = Lane(OWN_LANE)
    lane.live.update(range(1, 10))
    return lane


def take_up(graph: Graph, lane: Lane, number: int, author: int = ALICE) -> None:
    lane.take_up(graph, Post(number, author, "", None, NOW))


def fill(lane: Lane, room: int) -> list[tuple[int, int]]:
    return [(person, post.number) for person, post in pairs(lane.fill(room))]


# One post


def test_a_post_goes_to_each_candidate_once_in_ascending_id(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    written = [item for _ in range(4) for item in fill(lane, 4)]
    assert written == [(person, 40) for person in range(1, 10)]
    assert not lane.open


def test_how_far_it_has_come_is_told_and_the_end_is_done(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    fill(lane, 4)
    assert lane.through == {40: 4}
    assert [lane.passed(40, person) for person in (4, 5)] == [True, False]
    fill(lane, 100)
    assert lane.through == {40: DONE}
    assert lane.passed(40, 9)


def test_who_is_not_live_is_passed_over_and_takes_no_room(graph: Graph, lane: Lane) -> None:
    lane.live.clear()
    lane.live.update((2, 9))
    take_up(graph, lane, 40)
    assert fill(lane, 2) == [(2, 40), (9, 40)]
    assert not lane.open


def test_what_routing_refuses_now_is_not_written(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    graph.block(5, f"p{ALICE}@own")
    assert fill(lane, 100) == [(person, 40) for person in range(1, 10) if person != 5]


def test_without_room_nothing_moves(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    assert fill(lane, 0) == []
    assert not lane.through


def test_a_post_without_candidates_is_through_at_once(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40, author=20)
    assert fill(lane, 1) == []
    assert lane.through == {40: DONE}


# Several posts


def test_inside_a_window_posts_are_merged_follower_by_follower(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    take_up(graph, lane, 41, ERIN)
    assert fill(lane, 100)[-6:] == [(7, 40), (7, 41), (8, 40), (8, 41), (9, 40), (9, 41)]


def test_each_open_post_has_a_fair_slice(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    take_up(graph, lane, 41, ERIN)
    assert fill(lane, 6) == [(1, 40), (2, 40), (3, 40), (7, 41), (8, 41), (9, 41)]


def test_what_one_post_does_not_need_goes_to_the_others(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    take_up(graph, lane, 41, ERIN)
    assert len(fill(lane, 12)) == 12


def test_with_room_for_one_the_posts_take_turns(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    take_up(graph, lane, 41, ERIN)
    assert [fill(lane, 1)[0][1] for _ in range(4)] == [40, 41, 40, 41]


def test_a_post_does_not_pass_an_older_one_of_its_author(graph: Graph, lane: Lane) -> None:
    for number in (40, 41, 42):
        take_up(graph, lane, number)
    had: dict[int, int] = {}
    while lane.open:
        for person, number in fill(lane, 2):
            assert number == had.get(person, 39) + 1
            had[person] = number
    assert had == dict.fromkeys(range(1, 10), 42)


def test_a_post_waits_for_one_that_is_just_behind_and_they_go_together(
    graph: Graph, lane: Lane
) -> None:
    take_up(graph, lane, 40)
    assert fill(lane, 2) == [(1, 40), (2, 40)]
    take_up(graph, lane, 41)
    assert fill(lane, 2) == [(1, 41), (2, 41)]
    take_up(graph, lane, 42)
    assert fill(lane, 2) == [(1, 42), (2, 42)]
    [part] = lane.fill(7)  # the room for one more would set them apart
    assert (part.people, [post.number for post in part.posts]) == ((3, 4), [40, 41, 42])


def test_a_post_that_is_far_ahead_goes_on(graph: Graph, lane: Lane) -> None:
    """However many an author adds, those who come last get the first of them."""
    lane.size = 1  # so that two windows are two followers
    take_up(graph, lane, 40)
    fill(lane, 3)
    take_up(graph, lane, 41)
    assert fill(lane, 2) == [(1, 41), (4, 40)]
    assert fill(lane, 4) == [(2, 41), (3, 41), (5, 40), (6, 40)]


def test_a_post_waits_for_nobody_whom_the_next_one_does_not_go_to(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    fill(lane, 2)
    lane.take_up(graph, Post(41, ALICE, "", None, NOW, targets=(ERIN,)))  # a reply to Erin
    assert fill(lane, 2) == [(3, 40), (4, 40)]


def test_of_many_posts_of_an_author_the_oldest_are_under_way(graph: Graph, lane: Lane) -> None:
    """The others cost no window anything, and nobody is looked for who may have them."""
    last = 40 + TOGETHER
    for number in range(40, last + 1):
        take_up(graph, lane, number)
    assert fill(lane, 2 * TOGETHER) == [(p, n) for p in (1, 2) for n in range(40, last)]
    assert lane.open[last].position == 0
    assert len(fill(lane, 7 * TOGETHER)) == 7 * TOGETHER
    assert fill(lane, 100) == [(person, last) for person in range(1, 10)]


def test_posts_of_others_do_not_wait_for_it(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    take_up(graph, lane, 41)
    take_up(graph, lane, 42, ERIN)
    assert (7, 42) in fill(lane, 3)


def test_candidates_who_go_in_between_end_both_posts_in_order(graph: Graph, lane: Lane) -> None:
    """The younger post must not be through before the older one, whoever is left."""
    take_up(graph, lane, 40)
    take_up(graph, lane, 41)
    fill(lane, 12)
    for person in range(7, 10):
        graph.end_follow(person, ALICE)
    take_up(graph, lane, 42)
    while lane.open:
        assert fill(lane, 2) or lane.through
    assert lane.through == dict.fromkeys((40, 41, 42), DONE)


def test_an_author_whose_posts_are_through_begins_anew(graph: Graph, lane: Lane) -> None:
    take_up(graph, lane, 40)
    fill(lane, 100)
    take_up(graph, lane, 41)
    assert len(fill(lane, 100)) == 9


# What is ahead, and what is under way


@pytest.mark.parametrize("people", [{3}, {3, 8}, {1, 3, 8, 15}])
def test_ahead_of_people_is_what_has_not_passed_them(
    graph: Graph, lane: Lane, people: set[int]
) -> None:
    take_up(graph, lane, 40)
    take_up(graph, lane, 41, ERIN)
    fill(lane, 8)  # 40 has come to 5, 41 is through
    take_up(graph, lane, 42, ERIN)
    ahead = {(person, 40) for person in people & {6, 7, 8, 9}}
    ahead |= {(person, 42) for person in people & {7, 8, 9}}
    assert set(lane.ahead(people)) == ahead


def test_unsettled_is_what_was_written_and_not_settled(lane: Lane) -> None:
    for at, state in enumerate(WindowState):
        window = Window(at, lane, state=state)
        window.add((5,), (40 + at,))
        window.add((6,), (90,))
        lane.windows.append(window)
    assert lane.unsettled(5) == {40, 41, 42}  # the last is being stored: it is settled
    assert lane.unsettled(7) == set()
    assert lane.in_flight() == 6


def test_a_lane_is_remote_by_its_name() -> None:
    assert not Lane(OWN_LANE).remote
    assert Lane("far.example").remote
    assert Lane(OWN_LANE).size == Lane(OWN_LANE).limit == WINDOW == 100
