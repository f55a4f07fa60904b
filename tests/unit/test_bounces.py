"""What comes back: who lacks it, who has had it, who refuses it (move 5, S6.6)."""

from datetime import datetime, timedelta

import pytest

from tests.unit.by_hand import ALICE, BOB, DAVE, MINUTE, SECOND, START, Relay, live
from xmpprelay.core.recipients import State
from xmpprelay.core.work import ProbeBounce, RefusedBy


def written_and_settled(*devices: str, before: timedelta = MINUTE) -> Relay:
    """Bob's devices are there since `before`; 40 was written to him, and a minute has passed."""
    relay = live(BOB)
    for device in devices:
        relay.comes(BOB, resource=device)
    if "phone" not in devices:
        relay.goes(BOB)
    relay.later(before)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.take_written()
    relay.work.clear()
    return relay


def test_a_bounce_forgets_his_presence_and_asks_for_it() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    assert relay.state() is State.AWAY
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB)]
    relay.store()
    assert relay.standing() == (41, (40,))


def test_nothing_is_sent_until_the_answers_are_in() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.post()
    assert relay.take_written() == []
    relay.delivery.probe_ended(BOB, relay.now)
    relay.turn()
    assert relay.take_written() == [(BOB, 41)]


def test_another_device_had_it() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START)
    relay.settle()
    assert relay.take_written() == []
    assert relay.of(RefusedBy) == []
    assert relay.standing() == (None, ())


def test_all_his_devices_are_there_and_none_took_it() -> None:  # S6.6
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", "phone", since=START)
    relay.settle()
    assert relay.of(RefusedBy) == [RefusedBy(BOB, ALICE)]
    assert relay.take_written() == []
    assert relay.state() is State.LIVE


def test_a_device_that_has_left_since_may_have_sent_it_back() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.goes(BOB, "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_was_never_seen_and_leaves_may_have_sent_it_back() -> None:
    relay = written_and_settled("phone")
    relay.goes(BOB, "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_answers_and_was_never_seen_makes_it_no_refusal() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", "laptop", since=START)
    assert relay.of(RefusedBy) == []
    assert relay.take_written() == []


@pytest.mark.parametrize(
    "since",
    [
        pytest.param(None, id="no delay: a new one"),
        pytest.param(START + MINUTE, id="in the second of the writing"),
        pytest.param(START + 2 * MINUTE, id="younger than the writing"),
    ],
)
def test_a_device_that_may_have_come_after_the_writing_gets_it(since: datetime | None) -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=since)
    assert relay.take_written() == [(BOB, 40)]


def test_a_device_with_a_negative_priority_has_had_nothing() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START, priority=-1)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_a_device_with_a_negative_priority_may_be_the_one_that_sends_back() -> None:
    relay = live(BOB)
    relay.comes(BOB, resource="laptop", priority=-1)
    relay.later(MINUTE)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_answers_and_then_goes_has_not_had_it() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.goes(BOB, "laptop")
    relay.delivery.probe_ended(BOB, relay.now)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_a_server_that_says_all_are_gone_takes_back_what_it_answered() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.goes(BOB, None)
    relay.delivery.probe_ended(BOB, relay.now)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_a_device_that_goes_while_he_is_asked_may_have_sent_it_back() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.goes(BOB, "laptop")
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_did_not_answer_once_is_remembered_as_gone() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)  # the laptop is no more
    relay.bounce(BOB, 41)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_what_answered_before_a_further_bounce_is_asked_again() -> None:
    """Phone and laptop both time out; the laptop answers in between, and its bounce comes then."""
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.bounce(BOB, 40)
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB), ProbeBounce(BOB)]
    relay.delivery.probe_ended(BOB, relay.now)  # of the first question
    relay.turn()
    relay.answer_probe(BOB)  # nobody is left
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_the_answers_to_the_last_question_decide() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.bounce(BOB, 40)
    relay.delivery.probe_ended(BOB, relay.now)  # of the first question
    relay.turn()
    relay.answer_probe(BOB, "laptop", since=START)
    relay.settle()
    assert relay.take_written() == []
    assert relay.standing() == (None, ())


def test_what_comes_back_from_who_has_left_is_stored() -> None:
    relay = written_and_settled("phone")
    relay.goes(BOB)
    relay.store()
    assert relay.standing() == (41, ())
    relay.bounce(BOB, 40)
    relay.store()
    assert relay.standing() == (41, (40,))


def test_bounces_that_come_together_are_one_question() -> None:
    relay = written_and_settled("phone")
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40, 41)
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB)]
    relay.answer_probe(BOB)
    relay.settle()
    assert relay.standing() == (42, (40, 41))


def test_after_a_quarter_of_an_hour_the_time_of_writing_is_forgotten() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.later(16 * MINUTE)
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START)
    assert relay.take_written() == [(BOB, 40)]


def test_what_a_return_wrote_counts_from_then() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.comes(BOB, resource="laptop")
    relay.later(MINUTE)
    relay.goes(BOB, "laptop")
    relay.comes(BOB, resource="laptop")
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START + MINUTE + 2 * SECOND)
    assert relay.take_written() == [(BOB, 40)]  # the laptop came after it was written to him


def test_a_bounce_stays_missed_whatever_the_barrier_says() -> None:
    relay = live(BOB)
    relay.later(MINUTE)
    relay.post()
    relay.bounce(BOB, 40)  # before the barrier
    relay.answer_probe(BOB)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_a_bounce_during_a_return_is_not_taken_for_had() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    for _ in range(3):
        relay.post()
    relay.settle()
    relay.comes(BOB)
    relay.bounce(BOB, 41)
    relay.answer_probe(BOB)
    relay.settle()
    assert relay.standing() == (43, (41,))


def test_a_post_that_goes_round_in_circles_is_given_up() -> None:
    """A server that never says since when a device is there: each answer counts as a new one."""
    relay = written_and_settled("phone")
    for _ in range(4):
        relay.bounce(BOB, 40)
        relay.answer_probe(BOB, "phone")
        relay.settle()
        assert relay.take_written() == [(BOB, 40)]
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone")
    relay.settle()
    assert relay.take_written() == []
    assert relay.state() is State.LIVE


def test_bounces_far_apart_are_no_circle() -> None:
    relay = written_and_settled("phone")
    for _ in range(8):
        relay.bounce(BOB, 40)
        relay.answer_probe(BOB, "phone")
        relay.settle()
        assert relay.take_written() == [(BOB, 40)]
        relay.later(2 * MINUTE)


def test_bounces_of_strangers_and_of_numbers_that_are_none_change_nothing() -> None:
    relay = live(BOB)
    relay.post()
    relay.settle()
    relay.bounce(BOB, 0, -1, 41, 10**9)
    relay.bounce(DAVE, 40)
    assert relay.state() is State.LIVE
    assert relay.work == []


def test_who_sends_back_without_end_is_asked_ever_more_slowly() -> None:
    """A follower may forge errors with our ids: each costs him more than us."""
    relay = written_and_settled("phone")
    asked: list[datetime] = []  # when
    end = relay.now + 2 * MINUTE
    while relay.now < end:
        relay.bounce(BOB, 40)
        asked += [relay.now + timedelta(seconds=ask.after_s) for ask in relay.of(ProbeBounce)]
        if asked[-1] <= relay.now:
            relay.answer_probe(BOB, "phone", since=relay.now)
        relay.later(SECOND)
    assert 5 <= len(asked) <= 5 + 12 + 1


def test_asked_later_the_answers_are_judged_all_the_same() -> None:
    relay = written_and_settled("phone", "laptop")
    for _ in range(5):
        relay.bounce(BOB, 40)
        relay.answer_probe(BOB, "laptop", since=START)
    relay.work.clear()
    relay.bounce(BOB, 40)
    [ask] = relay.of(ProbeBounce)
    assert 0.0 < ask.after_s <= 10.0
    relay.delivery.available(BOB, "phone", 0, START, relay.now)  # not an answer
    relay.bounce(BOB, 40)
    assert relay.of(ProbeBounce) == [], "the question that is to come will do"
    relay.later(timedelta(seconds=ask.after_s))
    relay.take_written()
    relay.answer_probe(BOB)  # nobody who was there when 40 was written
    assert relay.take_written() == [(BOB, 40)]


def test_a_minute_later_he_is_asked_at_once_again() -> None:
    relay = written_and_settled("phone")
    for _ in range(7):
        relay.bounce(BOB, 40)
        relay.answer_probe(BOB, "phone", since=START)
    relay.later(MINUTE)
    relay.work.clear()
    relay.bounce(BOB, 40)
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB)]
