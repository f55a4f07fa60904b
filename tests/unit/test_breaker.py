"""Remote lanes: small windows at first, and nothing to a domain that is down."""

import pytest

from tests.unit.by_hand import ALICE, BOB, DAVE, FAR, START, Relay, live
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


def test_a_remote_lane_opens_with_five_and_doubles() -> None:
    people = tuple(range(100, 400))
    relay = remote(*people)
    relay.post()
    sizes = []
    while relay.asked:
        before = len(relay.asked)
        sizes += [len(ask.people) for ask in relay.asked]
        relay.answer()
        relay.store()
        assert before <= 2
    assert sizes[:2] == [5, 5]
    assert sizes[2:6] == [20, 20, 80, 80]
    assert max(sizes) <= 100


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
    assert len(relay.of(AskLater)) == 1


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
    assert [len(ask.people) for ask in relay.asked] == [5, 5]


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
