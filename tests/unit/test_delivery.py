"""The fan-out step by step: filling, settling, leaving; the big world is in `tests/properties/`."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.by_hand import ALICE, BOB, CAROL, DAVE, DAY, ERIN, FAR, MINUTE, Relay, live
from xmpprelay.core.delivery import Sizes
from xmpprelay.core.model import OWN_LANE, Grant, Post, Standing
from xmpprelay.core.recipients import State
from xmpprelay.core.work import FillLater, Held, Probe

MS = timedelta(milliseconds=1)

# A day of bob, as docs/flow.md tells it


def test_a_day_of_bob() -> None:
    relay = Relay()
    assert relay.standing() == (40, ())

    relay.comes(BOB)  # the look finds nothing
    relay.store()
    assert relay.standing() == (None, ())

    assert relay.post() == 40
    assert relay.take_written() == [(BOB, 40)]

    relay.goes(BOB)  # before that window is settled
    relay.store()
    assert relay.standing() == (41, (40,))

    relay.answer()
    relay.store()
    assert relay.standing() == (41, ())

    relay.post()
    relay.post()  # 41 and 42 pass him
    relay.settle()
    assert relay.standing() == (41, ())
    assert relay.take_written() == []

    relay.comes(BOB)
    assert relay.take_written() == relay.held == [(BOB, 41), (BOB, 42)]
    relay.store()
    assert relay.standing() == (41, ())

    relay.post()  # 43 passes him while that window is under way
    assert relay.take_written() == []

    relay.answer()  # the window is confirmed
    relay.store()
    assert relay.standing() == (43, ())
    assert relay.take_written() == [(BOB, 43)]  # by the next look

    relay.settle()  # the one after it finds nothing
    assert relay.standing() == (None, ())

    relay.post()
    assert relay.take_written() == [(BOB, 44)]
    relay.restart()  # killed before the barrier; his cursor is below 17
    assert relay.standing() == (45, (44,))
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, 44)]  # once more, the same id
    relay.settle()

    relay.post()
    assert relay.take_written() == [(BOB, 45)]
    relay.settle()
    relay.later(MINUTE)
    relay.bounce(BOB, 45)  # his only device hibernated, and has timed out
    relay.answer_probe(BOB)  # the probe finds nobody
    relay.settle()
    assert relay.standing() == (46, (45,))
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, 45)]
    relay.settle()
    assert relay.standing() == (None, ())


def test_a_new_follower_has_a_row_before_he_is_seen() -> None:
    relay = Relay(())
    relay.add(BOB)
    relay.follow(BOB, ALICE)
    standing = Standing(BOB, 40, relay.now, grant=Grant.GRANTED)
    relay.delivery.standing_made(standing, relay.now)
    relay.post()
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, 40)]


def test_another_follow_leaves_a_standing_as_it_is() -> None:
    relay = live(BOB)
    relay.delivery.standing_made(Standing(BOB, 40, relay.now), relay.now)
    assert relay.state() is State.LIVE
    assert relay.delivery.grant_of(BOB) is Grant.GRANTED


# Filling (move 2)


def test_a_post_to_few_does_not_wait_for_one_to_many() -> None:
    many = tuple(range(100, 400))
    relay = live(*many)
    for person in many[:3]:
        relay.follow(person, ERIN)
    relay.commit(ALICE)
    erins = relay.commit(ERIN)
    relay.turn()
    first = relay.written[:100]  # the first window
    assert [item for item in first if item[1] == erins] == [(person, erins) for person in many[:3]]


def test_two_posts_of_one_author_never_overtake_each_other() -> None:
    people = tuple(range(100, 130))
    relay = live(*people, sizes=Sizes(window=7))
    for _ in range(5):
        relay.commit()
    relay.settle()
    for person in people:
        assert [n for p, n in relay.written if p == person] == [40, 41, 42, 43, 44]


def test_nothing_is_written_beyond_the_room_of_the_stream() -> None:
    people = tuple(range(100, 120))
    relay = live(*people)
    relay.commit()
    relay.turn(room=0)
    relay.turn(room=-5)
    assert relay.take_written() == []
    relay.turn(room=3)
    assert relay.take_written() == [(person, 40) for person in people[:3]]
    relay.turn()
    assert relay.take_written() == [(person, 40) for person in people[3:]]


def test_room_counts_for_those_who_return_as_well() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    for _ in range(5):
        relay.post()
    relay.settle()
    relay.delivery.available(BOB, "phone", 0, None, relay.now)
    relay.turn(room=2)
    assert relay.take_written() == [(BOB, 40), (BOB, 41)]


def test_the_stanzas_under_way_over_all_lanes_are_limited() -> None:
    relay = live(BOB, CAROL, sizes=Sizes(in_flight=3))
    for _ in range(4):
        relay.commit()
    relay.turn()
    assert len(relay.take_written()) == relay.delivery.in_flight() == 3
    relay.post()
    assert relay.take_written() == []
    relay.settle()
    assert len(relay.take_written()) == 7


def test_who_has_unfollowed_gets_nothing_of_what_is_open() -> None:
    people = tuple(range(100, 104))
    relay = live(*people, sizes=Sizes(window=1))
    relay.post()
    relay.graph.end_follow(103, ALICE)
    relay.settle()
    assert relay.written == [(100, 40), (101, 40), (102, 40)]


def test_half_of_a_window_is_for_those_who_return() -> None:
    relay = live(BOB, CAROL, sizes=Sizes(window=4))
    relay.goes(CAROL)
    for _ in range(8):
        relay.post()
    relay.settle()
    relay.take_written()
    for _ in range(8):
        relay.commit()
    relay.comes(CAROL)
    first = relay.written[:4]
    assert sorted(person for person, _ in first) == [BOB, BOB, CAROL, CAROL]


# Settling (move 3)


def test_two_windows_of_a_lane_are_under_way_and_no_more() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    assert len(relay.take_written()) == 6
    assert len(relay.asked) == 2


def test_a_slot_is_free_at_the_commit_not_at_the_barrier() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    relay.take_written()
    relay.answer()
    assert relay.take_written() == []
    relay.store()
    assert len(relay.take_written()) == 4


def paced(*, round_trip: timedelta, at_once: bool = True) -> Relay:
    """Four people, windows of two, and an answer after so long to both."""
    relay = Relay(range(3, 7), sizes=Sizes(window=2))
    relay.delivery.server_reads_all(at_once)
    relay.comes(*range(3, 7))
    relay.settle()
    relay.post(ALICE)
    relay.later(round_trip)
    relay.settle()
    relay.take_written()
    return relay


def test_the_next_window_waits_for_half_a_round_trip() -> None:
    relay = paced(round_trip=8 * MS)
    relay.post()
    assert len(relay.take_written()) == 2
    assert relay.of(FillLater) == [FillLater(OWN_LANE, 0.004)]
    relay.later(3 * MS)
    assert relay.take_written() == []
    assert relay.of(FillLater) == [], "it is said once"
    relay.later(1 * MS)
    assert len(relay.take_written()) == 2


@pytest.mark.parametrize(
    ("round_trip", "at_once"), [(8 * MS, False), (2 * MS, True)], ids=["elsewhere", "too short"]
)
def test_nothing_is_waited_for_where_it_brings_nothing(
    round_trip: timedelta, at_once: bool
) -> None:
    relay = paced(round_trip=round_trip, at_once=at_once)
    relay.post()
    assert len(relay.take_written()) == 4
    assert relay.of(FillLater) == []


def test_a_clock_that_is_set_back_is_no_round_trip() -> None:
    relay = paced(round_trip=8 * MS)
    for _ in range(80):
        relay.post()
        relay.now -= MINUTE
        relay.settle()
    assert len(relay.take_written()) == 80 * 4
    relay.post()
    relay.later(8 * MS)
    relay.settle()
    relay.post()
    assert relay.of(FillLater)[-1:] == [FillLater(OWN_LANE, 0.004)], "and it is learned anew"


def test_a_clock_that_is_set_back_makes_no_pause_longer() -> None:
    relay = paced(round_trip=8 * MS)
    relay.post()
    relay.of(FillLater)
    relay.now -= MINUTE
    relay.delivery.fill_due(OWN_LANE)
    relay.turn()
    assert relay.of(FillLater) == [FillLater(OWN_LANE, 0.004)]


def test_a_timer_that_is_early_is_set_again() -> None:
    relay = paced(round_trip=8 * MS)
    relay.post()
    relay.of(FillLater)
    relay.later(3 * MS)
    relay.delivery.fill_due(OWN_LANE)
    relay.turn()
    assert relay.of(FillLater) == [FillLater(OWN_LANE, 0.001)]


def test_no_cursor_passes_an_older_window() -> None:
    people = tuple(range(100, 104))
    relay = live(*people, sizes=Sizes(window=2))
    relay.post()
    younger = relay.asked.pop()
    relay.delivery.barrier_answered(younger.window, younger.lane, relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {(40, OWN_LANE): 0}
    relay.answer()
    relay.store()
    assert relay.fanout == {}


def test_the_cursor_is_where_the_confirmed_window_ends() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    relay.answer_first()
    relay.store()
    assert relay.fanout == {(40, OWN_LANE): 102}


def test_a_barrier_names_those_to_whom_something_was_written() -> None:
    relay = live(BOB, CAROL, DAVE)
    relay.goes(CAROL)
    relay.post()
    assert [ask.people for ask in relay.asked] == [(BOB, DAVE)]


def test_where_nobody_is_live_a_fan_out_is_done_without_a_barrier() -> None:
    relay = Relay((BOB,))
    relay.post()
    relay.store()
    assert relay.asked == []
    assert relay.fanout == {}


def test_a_lane_whose_last_follower_has_gone_meanwhile_is_done() -> None:
    relay = live(BOB)
    relay.fanout[40, OWN_LANE] = 0
    relay.graph.end_follow(BOB, ALICE)
    relay.delivery.post_committed(Post(40, ALICE, "", None, relay.now), (OWN_LANE,))
    relay.turn()
    relay.store()
    assert relay.fanout == {}


# Leaving (move 4)


def test_the_last_resource_that_takes_messages_counts() -> None:
    relay = live(BOB)
    relay.comes(BOB, resource="laptop", priority=-1)
    relay.comes(BOB, resource="desk", priority=5)
    relay.goes(BOB)
    assert relay.state() is State.LIVE
    relay.goes(BOB, "desk")
    assert relay.state() is State.AWAY


def test_a_priority_below_zero_is_as_good_as_gone() -> None:
    relay = live(BOB)
    relay.comes(BOB, priority=-1)
    assert relay.state() is State.AWAY
    relay.comes(BOB, priority=0)
    assert relay.state() is State.LIVE


def test_who_leaves_lacks_what_is_open_and_what_is_under_way() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.commit()
    relay.commit()
    relay.turn()  # 100 has both under way, 109 none
    relay.goes(109)
    relay.goes(100)
    relay.store()
    assert relay.standing(109) == relay.standing(100) == (42, (40, 41))
    relay.settle()
    assert relay.standing(100) == (42, ())
    assert relay.standing(109) == (42, (40, 41))


def test_who_leaves_while_he_catches_up_keeps_his_row() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    relay.settle()
    for _ in range(3):
        relay.post()
    relay.settle()
    relay.comes(BOB)
    assert relay.state() is State.CATCHING
    relay.goes(BOB)
    relay.store()
    assert relay.standing() == (40, ())
    relay.settle()
    assert relay.standing() == (43, ())


def test_a_lost_stream_leaves_nobody_live_and_no_fan_out_open() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {}
    assert {relay.standing(person) for person in people} == {(41, (40,))}
    assert relay.delivery.in_flight() == 0


def test_after_a_lost_stream_nobody_is_taken_to_be_there() -> None:
    relay = live(BOB, CAROL)
    relay.comes(CAROL, priority=-1)
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.store()
    relay.delivery.stream_up(relay.now)
    relay.post()
    relay.settle()
    assert relay.state(BOB) is relay.state(CAROL) is State.AWAY
    relay.comes(CAROL, resource="laptop", priority=-1)
    assert relay.state(CAROL) is State.AWAY
    assert relay.take_written() == []


def test_all_resources_can_go_at_once() -> None:
    relay = live(BOB)
    relay.comes(BOB, resource="laptop")
    relay.goes(BOB, None)
    assert relay.state() is State.AWAY
    relay.comes(BOB, resource="desk", priority=-1)
    assert relay.state() is State.AWAY


def test_a_window_that_was_through_ends_its_fan_out_when_the_stream_is_lost() -> None:
    relay = live(BOB)
    relay.post()  # it has passed everybody, and its only window is under way
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {}


def test_nothing_is_filled_after_a_lost_stream_until_that_is_stored() -> None:
    relay = live(BOB)
    relay.post()
    relay.take_written()
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.delivery.stream_up(relay.now)
    relay.comes(BOB)
    assert relay.take_written() == []
    relay.store()
    assert relay.take_written() == [(BOB, 40)]


def test_after_a_reconnect_everybody_is_asked_first_those_for_whom_something_waits() -> None:
    relay = live(BOB, CAROL)
    relay.goes(CAROL)
    relay.post()
    relay.settle()
    relay.goes(BOB)
    relay.delivery.stream_lost(relay.now)
    relay.delivery.stream_up(relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((CAROL, BOB))]


# Asking for presence


def test_a_sign_asks_for_the_presence_of_who_is_not_known_to_be_there() -> None:
    relay = Relay((BOB,))
    relay.turn()
    relay.work.clear()
    relay.delivery.sign_of(BOB)
    relay.delivery.sign_of(DAVE)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB,))]
    relay.comes(BOB)
    relay.delivery.sign_of(BOB)
    relay.turn()
    assert relay.of(Probe) == []


def test_who_is_silent_after_a_start_is_asked_again() -> None:
    relay = Relay((BOB, CAROL, DAVE))
    relay.comes(CAROL)
    relay.turn()
    relay.work.clear()
    relay.delivery.probe_silent(relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB, DAVE))], "though nothing waits for them"


def test_elsewhere_only_those_are_asked_again_for_whom_something_waits() -> None:
    relay = Relay((BOB,), lane=FAR)
    relay.turn()
    relay.work.clear()
    relay.delivery.probe_silent(relay.now)
    relay.turn()
    assert relay.of(Probe) == []
    relay.post()
    relay.delivery.probe_silent(relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB,))]


def test_once_a_day_those_are_asked_for_whom_something_waits() -> None:
    relay = Relay((BOB, CAROL, DAVE))
    relay.comes(CAROL)
    relay.graph.end_follow(DAVE, ALICE)
    relay.post()
    relay.settle()
    relay.work.clear()
    relay.delivery.probe_waiting(relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB, DAVE))]


def test_who_was_not_seen_for_ninety_days_sleeps_until_a_sign() -> None:  # S11.5
    relay = Relay((BOB,))
    relay.post()
    relay.settle()
    relay.now += 91 * DAY
    relay.work.clear()
    relay.delivery.stream_lost(relay.now)
    relay.delivery.stream_up(relay.now)
    relay.delivery.probe_waiting(relay.now)
    relay.turn()
    assert relay.of(Probe) == []
    relay.delivery.sign_of(BOB)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB,))]


# What is told


def test_an_author_is_told_how_many_have_it_now() -> None:  # S1.5
    relay = live(BOB, CAROL)
    relay.goes(CAROL)
    relay.add(DAVE, FAR)
    relay.follow(DAVE, ALICE)
    plain = Post(50, ALICE, "hello", None, relay.now)
    assert relay.delivery.audience_now(plain) == (1, 2)
    assert relay.delivery.audience_now(replace(plain, author=ERIN)) == (0, 0)
    relay.graph.block(DAVE, "alice@own.example")
    assert relay.delivery.audience_now(plain) == (1, 2), "of a block nobody is told (S6.1)"
    relay.add(ERIN)
    named = replace(plain, targets=(ERIN,))
    assert relay.delivery.audience_now(named) == (0, 1), "a reply to somebody not followed (S2.2)"
    relay.graph.block(ERIN, "alice@own.example")
    assert relay.delivery.audience_now(named) == (0, 1)


def test_of_somebody_without_a_standing_nothing_is_known() -> None:
    relay = Relay(())
    relay.add(BOB)
    relay.comes(BOB)
    relay.goes(BOB)
    relay.delivery.set_grant(BOB, Grant.GRANTED, relay.now)
    relay.delivery.probe_ended(BOB, relay.now)
    relay.delivery.looked_up(BOB, Held((), 40))
    assert not relay.delivery.knows(BOB)
    assert relay.state() is None
    assert relay.delivery.rest_of(BOB) is None
    assert relay.delivery.grant_of(BOB) is Grant.NEVER
    assert relay.work == []


def test_a_person_has_so_many_resources_and_no_more() -> None:
    relay = live(BOB)
    for at_ in range(100):
        relay.comes(BOB, resource=f"r{at_}")
    relay.goes(BOB)
    for at_ in range(31):
        relay.goes(BOB, f"r{at_}")
    assert relay.state() is State.AWAY
