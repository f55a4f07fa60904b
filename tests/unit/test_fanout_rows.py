"""The cursor rows of a post: one for each lane, also for one that came up with the post itself."""

from datetime import UTC, datetime

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Cursor, Follow, Mode, Person, Post, Standing
from xmpprelay.core.work import Store

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ALICE, BOB = Person(1, "alice@example.test", "alice"), Person(2, "bob@example.test", None)


def test_a_lane_without_a_row_gets_it_before_anybody_in_it_is_live() -> None:
    graph = Graph(["example.test"])
    delivery = Delivery(graph)
    delivery.load([], [], 1)
    delivery.stream_up(NOW)
    for person in (ALICE, BOB):
        graph.add_person(person)
    # Bob's follow and alice's post are committed together; the post asked for its lanes before.
    graph.add_follow(Follow(BOB.id, ALICE.id, Mode.HOME, since=1))
    delivery.standing_made(Standing(BOB.id, away_from=1, away_at=NOW), NOW)
    delivery.post_committed(Post(1, ALICE.id, "hello", None, NOW), stored_lanes=())
    stores = [work for work in delivery.take(NOW) if isinstance(work, Store)]
    assert Cursor(1, OWN_LANE, 0) in stores[0].rows.cursors


def test_a_lane_that_is_no_more_loses_its_row() -> None:
    graph = Graph(["example.test"])
    delivery = Delivery(graph)
    delivery.load([], [], 1)
    graph.add_person(ALICE)
    delivery.post_committed(Post(1, ALICE.id, "hello", None, NOW), stored_lanes=(OWN_LANE,))
    stores = [work for work in delivery.take(NOW) if isinstance(work, Store)]
    assert stores[0].rows.cursors == (Cursor(1, OWN_LANE, None),)
