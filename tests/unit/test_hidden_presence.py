"""People who do not let the relay see whether they are there (S11.4)."""

from datetime import UTC, datetime, timedelta

from tests.unit.by_hand import ALICE, BOB, DAY, MINUTE, Relay, live
from xmpprelay.core.delivery import Sizes
from xmpprelay.core.model import Grant
from xmpprelay.core.recipients import BLIND_PER_DAY, State, day_of
from xmpprelay.core.work import AllowanceUsed, Probe, ProbeBounce, Summary


def hiding(**options: object) -> Relay:
    relay = Relay((BOB,), grant=Grant.REFUSED, **options)  # type: ignore[arg-type]
    relay.settle()
    return relay


def test_who_hides_his_presence_is_live_for_twenty_posts_a_day() -> None:
    relay = hiding()
    assert relay.state() is State.LIVE
    for _ in range(BLIND_PER_DAY + 3):
        relay.post()
        relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(40, 60)]
    assert relay.of(AllowanceUsed) == [AllowanceUsed(BOB)]
    assert relay.state() is State.AWAY
    assert relay.standing() == (60, ())
    assert relay.standings[BOB].used == BLIND_PER_DAY


def test_what_exceeds_the_day_comes_with_the_next_the_newest_twenty_and_a_line() -> None:
    relay = hiding()
    for _ in range(BLIND_PER_DAY + 30):
        relay.post()
        relay.settle()
    relay.take_written()
    relay.work.clear()
    relay.later(DAY)
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(70, 90)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 10})]
    assert relay.state() is State.AWAY  # the return has used it up
    assert relay.of(AllowanceUsed) == [AllowanceUsed(BOB)]
    relay.later(DAY)
    relay.settle()
    assert relay.state() is State.LIVE


def test_the_allowance_ends_in_the_middle_of_a_window() -> None:
    relay = hiding()
    for _ in range(BLIND_PER_DAY + 5):
        relay.commit()
    relay.turn()
    assert relay.take_written() == [(BOB, number) for number in range(40, 60)]
    relay.store()
    assert relay.standing() == (65, tuple(range(40, 65)))
    relay.settle()
    assert relay.standing() == (65, (60, 61, 62, 63, 64))


def test_the_allowance_ends_in_the_middle_of_a_return() -> None:
    relay = hiding(sizes=Sizes(window=4))
    for _ in range(BLIND_PER_DAY + 30):
        relay.post()
        relay.settle()
    relay.take_written()
    relay.later(DAY)
    relay.post()  # while the first four of that day are under way
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(70, 90)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 10})]
    assert relay.state() is State.AWAY
    assert relay.standing() == (90, ())


def test_days_begin_at_an_hour_of_ones_own() -> None:
    hours = [
        next(hour for hour in range(24) if day_of(person, at(hour)) != day_of(person, at(hour - 1)))
        for person in range(24)
    ]
    assert sorted(hours) == list(range(24))
    assert [day_of(5, at(24 * day)) - day_of(5, at(0)) for day in range(4)] == [0, 1, 2, 3]


def at(hour: int) -> datetime:
    return datetime(2030, 1, 2, tzinfo=UTC) + timedelta(hours=hour)


def test_an_error_stops_sending_to_him_until_the_next_day() -> None:
    relay = hiding()
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    assert relay.take_written() == [(BOB, 40)]
    relay.later(DAY)
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 41)]
    assert relay.of(ProbeBounce) == []


def test_what_is_refused_on_two_days_is_dropped_for_him() -> None:
    relay = hiding()
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40)
    relay.later(DAY)
    relay.bounce(BOB, 40)
    relay.settle()
    assert relay.standing() == (41, ())
    relay.take_written()
    relay.later(DAY)
    relay.settle()
    assert relay.take_written() == []
    assert relay.state() is State.LIVE


def test_two_refusals_on_one_day_are_one() -> None:
    relay = hiding()
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40, 40)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_presence_shown_directly_counts_until_it_is_taken_back() -> None:
    relay = hiding()
    relay.comes(BOB)
    for _ in range(BLIND_PER_DAY + 5):
        relay.post()
        relay.settle()
    assert len(relay.take_written()) == BLIND_PER_DAY + 5
    relay.goes(BOB)
    assert relay.state() is State.LIVE  # by his allowance, which is untouched
    relay.post()
    relay.settle()
    assert relay.standings[BOB].used == 1


def test_after_a_bounce_who_hides_again_is_sent_to_by_his_allowance() -> None:
    relay = hiding()
    relay.comes(BOB)
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40)
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB)]
    relay.answer_probe(BOB)  # nobody answers: he does not let himself be asked
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 40)]


def test_a_device_that_takes_no_messages_is_no_presence() -> None:
    relay = hiding()
    relay.comes(BOB, priority=-1)
    assert relay.state() is State.LIVE


def test_who_lets_his_presence_be_seen_is_away_until_it_is() -> None:
    relay = hiding()
    relay.work.clear()
    relay.delivery.set_grant(BOB, Grant.GRANTED, relay.now)
    relay.turn()
    assert relay.state() is State.AWAY
    assert relay.of(Probe) == [Probe((BOB,))]
    relay.settle()
    assert relay.standings[BOB].grant is Grant.GRANTED


def test_who_takes_his_permission_back_has_an_allowance() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    relay.delivery.set_grant(BOB, Grant.REFUSED, relay.now)
    relay.turn()
    relay.settle()
    assert relay.state() is State.LIVE
    assert relay.standings[BOB].grant is Grant.REFUSED
