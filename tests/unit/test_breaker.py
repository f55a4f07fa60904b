"""Remote lanes: one small window at first, and nothing to a domain that is down."""

import pytest

from tests.unit.by_hand import ALICE, BOB, CAROL, DAVE, FAR, START, Relay, live
from xmpprelay.core.delivery import Sizes
from xmpprelay.core.model import OWN_LANE, Grant, Standing
from xmpprelay.core.recipients import State
from xmpprelay.core.work import AskLater, Canary, Probe


def remote(*people: int, window: int = 100) -> Relay:
    people = people or (BOB,)
    relay = Relay(people, lane=FAR, sizes=Sizes(window=window))
    relay.comes(*people)
    relay.settle()
    relay.work.clear()
    return relay


def test_a_remote_lane_opens_with_one_window_of_five_and_doubles() -> None:
    relay = remote(*range(100, 400))
    relay.post()
    in_flight = []
    while relay.asked:
        in_flight.append([len(ask.people) for ask in relay.asked])
        relay.answer_first()
        relay.store()
    assert in_flight[:5] == [[5], [10, 10], [10, 20], [20, 40], [40, 80]]
    assert max(map(sum, in_flight)) <= 200


def test_of_a_hundred_posts_to_a_dead_domain_five_stanzas_are_written() -> None:
    relay = remote(*range(100, 5100))
    for _ in range(100):
        relay.post()
        relay.store()
    assert [len(ask.people) for ask in relay.asked] == [5]
    relay.delivery.barrier_failed(relay.asked[0].window, FAR, relay.now)
    relay.turn()
    relay.store()
    assert len(relay.take_written()) == 5
    for person in (100, 5099):
        assert relay.standing(person) == (140, tuple(range(40, 140)))


def test_a_window_to_a_remote_domain_collects_for_a_second() -> None:
    relay = remote()
    relay.post()
    (later,) = relay.of(AskLater)
    assert isinstance(later, AskLater)
    relay.post()
    assert relay.asked == []
    assert relay.take_written() == [(BOB, 40), (BOB, 41)]
    relay.delivery.window_due(later.window)
    relay.turn()
    assert [ask.window for ask in relay.asked] == [later.window]


def test_a_full_window_is_asked_for_at_once() -> None:
    relay = remote(*range(100, 106))
    relay.post()
    assert [len(ask.people) for ask in relay.asked] == [5]
    relay.answer()
    relay.store()
    assert relay.asked == []
    assert len(relay.of(AskLater)) == 1, "the sixth waits for more to come"


def test_silence_opens_the_breaker_for_that_lane_only() -> None:
    relay = Relay((BOB,))
    relay.add(DAVE, FAR)
    relay.follow(DAVE, ALICE, since=1)
    relay.delivery.standing_made(Standing(DAVE, 40, START, grant=Grant.GRANTED), START)
    relay.comes(BOB, DAVE)
    relay.settle()
    relay.work.clear()
    relay.post()
    (later,) = relay.of(AskLater)
    assert isinstance(later, AskLater)
    relay.delivery.window_due(later.window)
    relay.turn()
    relay.delivery.barrier_failed(later.window, FAR, relay.now)
    relay.turn()
    relay.store()
    assert (relay.state(BOB), relay.state(DAVE)) == (State.LIVE, State.AWAY)
    assert relay.standing(DAVE) == (41, (40,))
    assert relay.fanout == {(40, OWN_LANE): 0}
    assert relay.of(Canary) == [Canary(FAR, 60.0)]


def test_to_a_domain_that_is_down_nothing_is_sent_and_nothing_is_lost() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.turn()
    for _ in range(3):
        relay.post()
        relay.settle()
    assert relay.take_written() == []
    relay.delivery.lane_restored(FAR, relay.now)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 41), (BOB, 42)]


def test_the_canary_waits_twice_as_long_each_time_up_to_4000_seconds() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    for _ in range(2000):  # three months of it
        relay.delivery.canary_failed(FAR)
    relay.turn()
    waits = [canary.after_s for canary in relay.of(Canary) if isinstance(canary, Canary)]
    assert waits[:9] == [60, 120, 240, 480, 960, 1920, 3840, 4000, 4000]
    assert set(waits[8:]) == {4000}


def test_a_canary_of_a_domain_that_is_back_has_no_successor() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.delivery.lane_restored(FAR, relay.now)
    relay.turn()
    relay.work.clear()
    relay.delivery.canary_failed(FAR)
    relay.turn()
    assert relay.of(Canary) == []


@pytest.mark.parametrize("sign", ["available", "unavailable", "late answer"])
def test_any_sign_of_life_closes_the_breaker_and_asks_for_everybody(sign: str) -> None:
    relay = remote(BOB, DAVE)
    relay.post()
    (later,) = relay.of(AskLater)
    assert isinstance(later, AskLater)
    relay.delivery.lane_failed(FAR, relay.now)
    relay.turn()
    relay.work.clear()
    match sign:
        case "available":
            relay.delivery.available(BOB, "phone", 0, None, relay.now)
        case "unavailable":
            relay.delivery.unavailable(BOB, "phone", relay.now)
        case _:
            relay.delivery.barrier_answered(later.window, FAR, relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB, DAVE))]


def test_however_many_domains_are_slow_the_own_people_get_their_windows() -> None:
    """Together they would fill all that may be under way."""
    own = tuple(range(10, 20))
    relay = Relay(own, sizes=Sizes(window=2, first_remote_window=2, in_flight=12))
    for person in range(100, 120):
        relay.add(person, f"far{person // 2}.example")
        relay.follow(person, ALICE, since=1)
        relay.delivery.standing_made(Standing(person, 40, START, grant=Grant.GRANTED), START)
    relay.comes(*own, *range(100, 120))
    relay.settle()
    for _ in range(3):
        relay.commit()
    relay.turn()
    slow = [(person, number) for person, number in relay.take_written() if person >= 100]
    assert len(slow) == 8
    for _ in range(20):  # nobody of them answers any more
        ours = [ask for ask in relay.asked if ask.lane == OWN_LANE]
        for ask in ours:
            relay.delivery.barrier_answered(ask.window, ask.lane, relay.now)
        relay.asked = []
        relay.turn()
        relay.store()
    assert set(relay.take_written()) >= {(p, n) for p in own[2:] for n in (40, 41, 42)}


def test_a_breaker_that_closes_asks_first_for_those_for_whom_something_waits() -> None:
    relay = remote(BOB, CAROL, DAVE)
    relay.delivery.lane_failed(FAR, relay.now)
    relay.delivery.fetch(CAROL, (39,), None, relay.now)
    relay.delivery.lane_restored(FAR, relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((CAROL, BOB, DAVE))]


def test_a_presence_from_a_domain_without_followers_makes_no_lane() -> None:
    """Strangers must not make the relay's memory grow."""
    relay = remote()
    relay.delivery.lane_restored("stranger.example", relay.now)
    assert not relay.delivery.is_down("stranger.example")
    assert "stranger.example" not in relay.delivery._board.lanes


def test_after_the_breaker_the_lane_opens_small_again() -> None:
    people = tuple(range(100, 130))
    relay = remote(*people)
    relay.post()
    relay.settle()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.turn()
    relay.store()
    relay.delivery.lane_restored(FAR, relay.now)
    relay.comes(*people)
    relay.settle()
    relay.post()
    assert [len(ask.people) for ask in relay.asked] == [5]


def test_who_hides_his_presence_there_is_sent_to_again_at_once() -> None:
    relay = Relay((BOB,), lane=FAR, grant=Grant.REFUSED)
    relay.settle()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.post()
    relay.settle()
    assert relay.take_written() == []
    relay.delivery.lane_restored(FAR, relay.now)
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]


def test_a_new_stream_closes_the_breaker() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.post()
    relay.settle()
    relay.delivery.stream_lost(relay.now)
    relay.delivery.stream_up(relay.now)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]


def test_the_own_lane_has_no_breaker() -> None:
    relay = live(BOB)
    relay.delivery.lane_failed(OWN_LANE, relay.now)
    relay.turn()
    assert relay.state() is State.LIVE
    assert relay.of(Canary) == []


def test_a_failed_barrier_of_a_window_that_is_forgotten_is_no_failure() -> None:
    relay = remote()
    relay.post()
    relay.settle()
    relay.delivery.barrier_failed(1, FAR, relay.now)
    relay.turn()
    assert relay.state() is State.LIVE
