"""A primary's health: it fails, is on standby, is probed, and comes back gently."""

from dataclasses import replace

import pytest

from xmpprelay.core.health import CALM_S, MOST, Flag, Health, Stance, stance

JITTER = 1.0
AWAY = Health(limit=0.0, probe_at=0.0)


def failed(health: Health, times: int, now: float = 0.0) -> Health:
    for _ in range(times):
        health = health.failed(now, JITTER)
    return health


def test_it_begins_with_one_request_and_gets_one_more_each_round() -> None:
    health, rounds = Health(), [1]
    for _ in range(7):
        for _ in range(health.at_once):
            health = health.succeeded(0.0)
        rounds.append(health.at_once)
    assert rounds == [1, 2, 2, 3, 4, 5, 6, 7], "about one more each round"
    for _ in range(100):
        health = health.succeeded(0.0)
    assert (health.limit, health.at_once) == (MOST, 8)


def test_a_failure_halves_it_and_a_success_forgives_what_was_before() -> None:
    health = Health(limit=8.0)
    limits = []
    for _ in range(3):
        health = health.failed(0.0, JITTER)
        limits.append(health.limit)
    assert limits == [4.0, 2.0, 1.0]
    assert not health.away, "0.875 of a round has failed"
    assert health.failed(0.0, JITTER).away
    forgiven = failed(health.succeeded(0.0), 2)
    assert not forgiven.away


@pytest.mark.parametrize(("limit", "most"), [(1.0, 2), (2.0, 2), (8.0, 3)])
def test_a_standby_needs_three_failures_and_more_than_a_round_of_them(
    limit: float, most: int
) -> None:
    health = failed(Health(limit=limit), most)
    assert not health.away
    health = health.failed(0.0, JITTER)
    assert (health.away, health.at_once, health.limit) == (True, 0, 0.0)


def test_probes_come_at_growing_intervals() -> None:
    health, waits = failed(Health(), 3), []
    for _ in range(9):
        assert health.probe_at is not None
        waits.append(health.probe_at)
        health = health.probed(False, 0.0, JITTER)
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    for _ in range(2000):
        health = health.probed(False, 0.0, JITTER)
    assert health.probe_at == 300.0, "a week of failures is no overflow"


def test_jitter_shortens_them_by_a_half_at_most() -> None:
    assert Health().stands_by(100.0, 0.0).probe_at == 102.5
    assert Health().stands_by(100.0, 0.5).probe_at == 103.75
    assert Health().stands_by(100.0, 1.0).probe_at == 105.0
    assert replace(AWAY, tries=20).probed(False, 0.0, 0.0).probe_at == 150.0


def test_a_primary_that_asks_for_patience_has_it_within_reason() -> None:
    assert Health().stands_by(0.0, 0.0, retry_after_s=60.0).probe_at == 60.0
    assert Health().stands_by(0.0, 1.0, retry_after_s=1.0).probe_at == 5.0
    assert Health().stands_by(0.0, 0.0, retry_after_s=86_400.0).probe_at == 300.0
    health = failed(Health(), 2).failed(0.0, 0.0, retry_after_s=60.0)
    assert health.probe_at == 60.0
    assert AWAY.probed(False, 0.0, 0.0, retry_after_s=90.0).probe_at == 90.0


def test_two_good_probes_two_seconds_apart_end_a_standby() -> None:
    once = AWAY.probed(True, 10.0, JITTER)
    assert (once.away, once.probe_at) == (True, 12.0)
    twice = once.probed(True, 12.0, JITTER)
    assert (twice.away, twice.limit, twice.probe_at) == (False, 1.0, None)
    between = once.probed(False, 12.0, JITTER).probed(True, 20.0, JITTER)
    assert between.away, "they are to be in a row"
    assert replace(AWAY, good=1).probed(True, 0.0, JITTER).limit == 1.0


def test_intervals_are_short_again_only_after_ten_minutes_without_a_failure() -> None:
    def back_at(now: float) -> Health:
        """Away since 0, for four probes, and back."""
        health = failed(Health(), 3)
        for at in (5.0, 15.0, 35.0):
            health = health.probed(False, at, JITTER)
        return health.probed(True, now - 2, JITTER).probed(True, now, JITTER)

    def next_probe_after(calm_s: float) -> float | None:
        health = back_at(100.0).succeeded(35.0 + calm_s)
        return failed(health, 3, now=1000.0).probe_at

    assert next_probe_after(CALM_S) == 1005.0
    assert next_probe_after(CALM_S - 1) == 1080.0, "the failed probes count"


def test_what_was_under_way_when_it_went_away_changes_nothing() -> None:
    health = failed(Health(), 3)
    late = health.succeeded(1.0)
    assert (late.limit, late.probe_at) == (0.0, 5.0)
    again = health.failed(1.0, JITTER)
    assert (again.limit, again.probe_at, again.tries) == (0.0, 5.0, 1)


@pytest.mark.parametrize(
    ("flag", "limit", "away", "at_once"),
    [
        (Flag.AUTO, 3.0, False, 3),
        (Flag.AUTO, 0.0, True, 0),
        (Flag.ON, 3.0, True, 0),
        (Flag.ON, 0.0, True, 0),
        (Flag.OFF, 3.0, False, 3),
        (Flag.OFF, 0.0, False, 1),
    ],
)
def test_the_operator_s_flag_counts_above_all(
    flag: Flag, limit: float, away: bool, at_once: int
) -> None:
    health = Health(limit=limit, flag=flag)
    assert (health.away, health.at_once) == (away, at_once)


def test_somebody_who_wants_to_know_has_it_probed_at_once() -> None:
    assert AWAY.probe_now(7.0).probe_at == 7.0
    assert Health().probe_now(7.0).probe_at is None, "it is not away: its answers tell"


def test_the_word_for_it() -> None:
    assert stance(Health(), waiting=False) is Stance.ONLINE
    assert stance(Health(), waiting=True) is Stance.TRICKLE
    for waiting in (True, False):
        assert stance(AWAY, waiting) is Stance.STANDBY
