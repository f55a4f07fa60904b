"""Tiers, the load state, and when a digest is due: rules over numbers (S10.2-S10.4)."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.model import OWN_LANE
from xmpprelay.core.volume import (
    FIRST_RATE,
    LaneLoad,
    Load,
    LoadState,
    Tier,
    due_at,
    live_per_hour,
    round_of,
    tier_of,
)
from xmpprelay.core.wishes import Digest

P, O, F = Tier.PERSON, Tier.OUTLET, Tier.FIREHOSE  # noqa: E741 - a table below
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


# Tiers


@pytest.mark.parametrize(
    ("before", "per_hour", "tier"),
    [
        (P, 0, P), (P, 5, P), (P, 6, P), (P, 6.1, O), (P, 30, O), (P, 30.1, F),
        (O, 5, O), (O, 4, O), (O, 3.9, P), (O, 25, O), (O, 30, O), (O, 30.1, F),
        (F, 25, F), (F, 20, F), (F, 19.9, O), (F, 5, O), (F, 4, O), (F, 3.9, P),
    ],
)  # fmt: skip
def test_a_tier_is_left_later_than_it_is_reached(before: Tier, per_hour: float, tier: Tier) -> None:
    assert tier_of(before, per_hour) is tier


def test_who_says_that_he_is_a_bot_is_an_outlet_at_least() -> None:
    assert tier_of(P, 0, bot=True) is O
    assert tier_of(O, 0, bot=True) is O
    assert tier_of(P, 31, bot=True) is F


@given(st.sampled_from(Tier), st.floats(0, 100))
def test_a_tier_does_not_change_while_the_rate_does_not(before: Tier, per_hour: float) -> None:
    tier = tier_of(before, per_hour)
    assert tier_of(tier, per_hour) is tier


@pytest.mark.parametrize(
    ("load", "live"),
    [
        (LoadState.NORMAL, (None, 6, 0)),
        (LoadState.BUSY, (None, 0, 0)),
        (LoadState.PEAK, (None, 0, 0)),
    ],
)
def test_people_are_never_shed(load: LoadState, live: tuple[int | None, ...]) -> None:
    assert tuple(live_per_hour(tier, load) for tier in (P, O, F)) == live


# Load


def own(waiting: int, confirmed: int = 0, people: int = 100) -> LaneLoad:
    return LaneLoad(OWN_LANE, waiting, confirmed, people)


def test_until_it_is_measured_a_lane_is_taken_to_be_quick() -> None:
    load = Load(30, 120)
    assert load.sample(0, [own(int(29 * FIRST_RATE))]) is LoadState.NORMAL
    assert load.sample(1, [own(int(31 * FIRST_RATE))]) is LoadState.BUSY
    assert load.sample(1, [own(int(121 * FIRST_RATE))]) is LoadState.PEAK


def test_a_lane_that_has_slowed_down_is_measured() -> None:
    load = Load(30, 120)
    load.sample(0, [own(4000, 0)])
    for second in range(5, 100, 5):
        load.sample(second, [own(4000, second * 100)])
    assert load.wait_s == pytest.approx(40, rel=0.05)
    assert load.state is LoadState.BUSY


def test_a_lane_with_nothing_to_do_is_not_slow() -> None:
    load = Load(30, 120)
    for second in range(0, 1000, 5):
        load.sample(second, [own(0, second)])
    assert load.sample(1000, [own(int(20 * FIRST_RATE), 1000)]) is LoadState.NORMAL


def test_a_lane_that_stands_still_makes_the_relay_busy_and_then_more() -> None:
    load = Load(30, 120)
    states = [load.sample(second, [own(5000, 0)]) for second in range(0, 200, 5)]
    assert states == sorted(states, key=list(LoadState).index)
    assert set(states) == set(LoadState)


def test_a_state_is_left_later_than_it_is_reached() -> None:
    load = Load(30, 120)
    rate = int(FIRST_RATE)
    for wait, state in [
        (130, LoadState.PEAK), (61, LoadState.PEAK), (60, LoadState.BUSY), (16, LoadState.BUSY),
        (15, LoadState.NORMAL), (30, LoadState.NORMAL), (31, LoadState.BUSY), (0, LoadState.NORMAL),
    ]:  # fmt: skip
        assert load.sample(0, [own(wait * rate)]) is state, wait


def test_one_slow_domain_with_few_people_is_nobody_elses_trouble() -> None:
    load = Load(30, 120)
    slow = [LaneLoad("slow.example", 500, 0, 1)]
    for second in range(0, 100, 5):
        state = load.sample(second, [own(0, 0, 999), *slow])
    assert state is LoadState.NORMAL
    assert load.waiting == 500


def test_where_nobody_is_nothing_waits() -> None:
    load = Load(30, 120)
    assert load.sample(0, []) is LoadState.NORMAL
    assert load.sample(1, [own(10**9, 0, 0)]) is LoadState.NORMAL


# Digests


def test_a_digest_with_a_span_is_due_a_span_after_the_last() -> None:
    assert due_at(Digest(1, every=2 * HOUR), UTC, NOON) == NOON + 2 * HOUR


@pytest.mark.parametrize(
    ("last", "due"),
    [
        (NOON, datetime(2030, 1, 2, 7, tzinfo=UTC)),  # 08:00 in winter
        (datetime(2030, 1, 1, 6, 59, tzinfo=UTC), datetime(2030, 1, 1, 7, tzinfo=UTC)),
        (datetime(2030, 1, 1, 7, tzinfo=UTC), datetime(2030, 1, 2, 7, tzinfo=UTC)),
        (datetime(2030, 7, 1, 12, tzinfo=UTC), datetime(2030, 7, 2, 6, tzinfo=UTC)),  # in summer
        (datetime(2029, 12, 31, 23, 30, tzinfo=UTC), datetime(2030, 1, 1, 7, tzinfo=UTC)),
    ],
)
def test_a_daily_digest_goes_by_the_clock_on_the_wall(last: datetime, due: datetime) -> None:
    assert due_at(Digest(1, at=time(8)), ZoneInfo("Europe/Berlin"), last) == due


@given(st.integers(0, 2 * 365 * 24 * 60), st.times())
def test_a_daily_digest_comes_every_day(minutes: int, at: time) -> None:
    digest = Digest(1, at=at)
    zone = ZoneInfo("America/New_York")
    before = NOON + timedelta(minutes=minutes)
    due = due_at(digest, zone, before)
    assert before < due <= before + timedelta(hours=26)
    assert timedelta(hours=22) <= due_at(digest, zone, due) - due <= timedelta(hours=26)


def test_a_digest_that_is_off_is_never_due() -> None:
    with pytest.raises(ValueError, match="never due"):
        due_at(Digest(1), UTC, NOON)


def test_a_round_lasts_as_long_as_it_should_and_each_author_has_his_own_minute() -> None:
    minutes = [NOON + timedelta(minutes=n) for n in range(180)]
    for author in (1, 7, 61):
        rounds = [round_of(author, HOUR, minute) for minute in minutes]
        begins = [n for n in range(1, 180) if rounds[n] != rounds[n - 1]]
        assert [n % 60 for n in begins] == [author % 60] * 3
