"""Rates and back-off, with a clock that the test reads out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.pacing import Backoff, Bucket, Buckets, Rate

ONE_A_SECOND = Rate(1.0, 5)


def taken(rate: Rate, times: list[float]) -> list[bool]:
    """Which of these tries, at these times, get through."""
    bucket, through = Bucket.full(rate, times[0] if times else 0.0), []
    for now in times:
        after = bucket.take(rate, now)
        through.append(isinstance(after, Bucket))
        if isinstance(after, Bucket):
            bucket = after
    return through


def test_a_burst_is_let_through_and_then_one_a_second() -> None:
    assert taken(ONE_A_SECOND, [0.0] * 7) == [True] * 5 + [False] * 2
    assert taken(ONE_A_SECOND, [0.0] * 5 + [0.9, 1.0, 1.1, 2.0]) == [True] * 5 + [
        False, True, False, True,
    ]  # fmt: skip


def test_a_refusal_says_when_to_come_again_and_costs_nothing() -> None:
    bucket = Bucket(0.25, 10.0)
    wait = bucket.take(ONE_A_SECOND, 10.0)
    assert wait == pytest.approx(0.75)
    assert isinstance(bucket.take(ONE_A_SECOND, 10.0 + 0.76), Bucket)
    slow = Rate(1 / 600, 1)
    assert Bucket(0.0, 0.0).take(slow, 0.0) == pytest.approx(600.0)


def test_silence_saves_up_a_burst_and_no_more() -> None:
    assert Bucket(0.0, 0.0).now_holds(ONE_A_SECOND, 3.0) == 3.0
    assert Bucket(0.0, 0.0).now_holds(ONE_A_SECOND, 1e9) == 5.0


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    bucket = Bucket(2.0, 100.0)
    assert bucket.now_holds(ONE_A_SECOND, 50.0) == 2.0
    after = bucket.take(ONE_A_SECOND, 50.0)
    assert after == Bucket(1.0, 100.0)


def test_what_costs_more_than_there_is_goes_into_debt_and_the_next_waits() -> None:
    a_thousand = Rate(10.0, 600)
    after = Bucket.full(a_thousand, 0.0).take(a_thousand, 0.0, 1000)
    assert after == Bucket(-400.0, 0.0)
    assert isinstance(after, Bucket)
    assert after.take(a_thousand, 0.0, 1000) == pytest.approx(40.1)
    assert isinstance(after.take(a_thousand, 40.2, 1000), Bucket)


@given(
    st.floats(1.0, 1000.0),
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 5000)), max_size=60),
)
def test_never_more_than_burst_and_rate_and_one_that_was_let_through_in_debt(
    per_second: float, burst: int, tries: list[tuple[float, int]]
) -> None:
    rate, now, cost_of_all, dearest = Rate(per_second, burst), 0.0, 0, 0
    bucket = Bucket.full(rate, now)
    for gap, cost in tries:
        now += gap
        after = bucket.take(rate, now, cost)
        if isinstance(after, Bucket):
            bucket, cost_of_all, dearest = after, cost_of_all + cost, max(dearest, cost)
        assert cost_of_all <= burst + per_second * now + dearest + 1e-6


@given(
    st.floats(0.01, 100.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 3.0), max_size=60),
)
def test_never_more_than_burst_and_rate_in_any_span(
    per_second: float, burst: int, gaps: list[float]
) -> None:
    rate = Rate(per_second, burst)
    times = [sum(gaps[:n]) for n in range(len(gaps))]
    through = [at for at, ok in zip(times, taken(rate, times), strict=True) if ok]
    for first in range(len(through)):
        for last in range(first, len(through)):
            span = through[last] - through[first]
            assert last - first + 1 <= burst + span * per_second + 1e-6


@given(
    st.integers(1, 20),
    st.floats(1.0, 20_000.0),
    st.lists(st.floats(0.0, 0.4) | st.just(0.0), max_size=20),
)
def test_a_share_never_takes_more_than_all_within_any_period(
    most: int, period_s: float, gaps: list[float]
) -> None:
    rate, now, through = Rate.share(most, period_s), 0.0, list[float]()
    bucket = Bucket.full(rate, now)
    for gap in (*gaps, *[0.0] * (2 * most)):  # at last as soon as it is let
        now += gap * period_s
        after = bucket.take(rate, now)
        if isinstance(after, float):
            now += after * 1.000001
            after = bucket.take(rate, now)
        assert isinstance(after, Bucket)
        bucket = after
        through.append(now)
    for first in range(len(through) - most):
        assert through[first + most] - through[first] >= period_s


def test_a_share_is_nine_tenths_in_all() -> None:
    assert Rate.share(300, 100.0) == Rate(1.8, 90.0)
    assert Rate.share(3, 10.0) == Rate(0.18, 1.0), "something may always be done"


@given(st.floats(0.01, 100.0), st.integers(1, 50), st.integers(0, 60))
def test_who_waits_as_told_is_let_through(per_second: float, burst: int, tries: int) -> None:
    rate = Rate(per_second, burst)
    bucket, now = Bucket.full(rate, 0.0), 0.0
    for _ in range(tries):
        after = bucket.take(rate, now)
        if isinstance(after, float):
            now += after * 1.000001
            after = bucket.take(rate, now)
        assert isinstance(after, Bucket)
        bucket = after


def test_waits_double_up_to_the_longest_and_begin_again_after_a_success() -> None:
    backoff = Backoff(0.2, 5.0)
    waits = []
    for _ in range(7):
        waits.append(backoff.wait_s(1.0))
        backoff = backoff.failed()
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert backoff.succeeded().wait_s(1.0) == pytest.approx(0.2)


def test_jitter_shortens_a_wait_and_never_lengthens_it() -> None:
    backoff = Backoff(0.2, 5.0, failures=3)
    assert backoff.wait_s(0.0) == 0.0
    assert backoff.wait_s(0.5) == pytest.approx(0.8)


def test_a_month_of_failures_is_no_overflow() -> None:
    assert Backoff(0.2, 5.0, failures=10**6).wait_s(1.0) == 5.0


def test_what_is_booked_may_be_used_when_it_was_said_and_keeps_the_rate() -> None:
    rate = Rate(0.1, 2)
    bucket, waits = Bucket.full(rate, 0.0), []
    for _ in range(5):
        bucket, wait_s = bucket.book(rate, 0.0)
        waits.append(wait_s)
    assert waits == pytest.approx([0.0, 0.0, 10.0, 20.0, 30.0])
    _, wait_s = bucket.book(rate, 35.0)
    assert wait_s == pytest.approx(5.0)


def test_each_has_a_bucket_of_his_own() -> None:
    buckets = Buckets(Rate(1.0, 2), most=10)
    assert [buckets.take("alice", 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take("bob", 0.0) == 0.0
    buckets.give_back("alice", 0.0)
    assert [buckets.take("alice", 0.0) for _ in range(2)] == [0.0, 1.0]
    buckets.give_back("carol", 0.0)


def test_what_is_given_back_never_makes_more_than_there_was() -> None:
    buckets = Buckets(Rate(1.0, 2), most=10)
    buckets.take("alice", 0.0)
    for _ in range(5):
        buckets.give_back("alice", 5.0)
    assert [buckets.take("alice", 5.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_the_least_used_bucket_is_forgotten_above_the_bound() -> None:
    buckets = Buckets(Rate(1.0, 1), most=2)
    for name in ("alice", "bob", "carol"):
        assert buckets.take(name, 0.0) == 0.0
    assert len(buckets) == 2
    assert buckets.take("carol", 0.0) > 0.0
    assert buckets.take("alice", 0.0) == 0.0
