"""How fast a primary is asked, and what is learnt of its answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from xmpprelay.core.health import Flag, Stance
from xmpprelay.core.pacing import Rate
from xmpprelay.core.primary import Caps, Outcome, Probe, Reach, Result, Scope
from xmpprelay.core.site import Site

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAPS = Caps("a server")
INF = float("inf")
DONE = Result(Outcome.INSERTED, remote_id="r")
DOWN = Result(Outcome.RETRY, scope=Scope.DRIVER, reason="refused", detail="Nothing listens there.")


def site(caps: Caps | None = CAPS, ceiling: float | None = None, limit: float = 8.0) -> Site:
    """A primary that is there and known."""
    made = Site("https://social.example", ceiling, lambda: 1.0, 0.0)
    if caps is not None:
        made.knows(caps, 0.0)
        made.health = replace(made.health, limit=limit, probe_at=None)
    return made


def at_once(one: Site, now_s: float = 0.0, most: int = 50) -> int:
    """How many requests begin now; they end at once where that is not what is looked at."""
    for count in range(most):
        if one.wait_s(now_s) > 0:
            return count
        one.begins(now_s)
    return most


def many(one: Site, now_s: float, most: int = 50) -> int:
    for count in range(most):
        if one.wait_s(now_s) > 0:
            return count
        one.begins(now_s)
        one.ends()
    return most


def test_of_a_new_one_nothing_is_known_and_one_good_probe_is_enough() -> None:
    new = Site("", None, lambda: 1.0, 5.0)
    assert (new.wait_s(5.0), new.health.probe_at, new.health.away) == (INF, 5.0, True)
    new.probed(Probe(Reach.UP), 5.0)
    assert new.health.away, "it does not say what it can do"
    new = Site("", None, lambda: 1.0, 5.0)
    new.probed(Probe(Reach.UP, CAPS), 5.0)
    assert (new.health.away, new.caps, new.wait_s(5.0)) == (False, CAPS, 0.0)


def test_as_many_at_once_as_its_health_allows() -> None:
    assert at_once(site(limit=3.9)) == 3
    one = site(limit=2.0)
    assert at_once(one) == 2
    assert one.wait_s(0.0) == INF
    one.ends()
    assert at_once(one) == 1


def test_never_faster_than_the_operator_wants() -> None:
    one = site(ceiling=2.0)
    assert many(one, 0.0) == 1
    assert one.wait_s(0.0) == pytest.approx(0.5)
    assert [many(one, 0.25), many(one, 0.5), many(one, 10.0)] == [0, 1, 1]


def test_never_faster_than_it_allows_for_all_together() -> None:
    one = site(replace(CAPS, site_rate=Rate(1.0, 5.0)))
    assert many(one, 0.0) == 5
    assert one.wait_s(0.0) == pytest.approx(1.0)
    assert [many(one, 0.9), many(one, 2.0), many(one, 100.0)] == [0, 2, 5]


def test_the_slower_of_two_limits_counts() -> None:
    one = site(replace(CAPS, site_rate=Rate(1.0, 1.0)), ceiling=0.1)
    assert many(one, 0.0) == 1
    assert one.wait_s(0.0) == pytest.approx(10.0)


def test_what_a_turn_asks_besides_is_waited_for_by_the_next() -> None:
    one = site(replace(CAPS, site_rate=Rate(1.0, 5.0)), ceiling=2.0)
    one.begins(0.0)
    one.asks(0.0)
    assert one.wait_s(0.0) == pytest.approx(0.5), "the first was booked when it began"
    one.asks(0.1)
    one.asks(0.2)
    assert one.wait_s(0.2) == pytest.approx(1.3)
    one.ends()
    assert many(one, 1.5) == 1
    for _ in range(6):
        one.asks(1.5)
    assert one.wait_s(1.5) == pytest.approx(4.5), "3.5 for the ceiling, and by its own limit more"


def test_of_turns_under_way_all_requests_count_whichever_they_belong_to() -> None:
    one = site(ceiling=1.0)
    one.begins(0.0)
    one.begins(0.0)
    for _ in range(3):  # two of the first turn, before the second makes its only one
        one.asks(0.0)
    assert one.wait_s(0.0) == pytest.approx(3.0)


def test_a_turn_that_asks_nothing_leaves_nothing_to_others() -> None:
    one = site(ceiling=1.0)
    for _ in range(2):
        one.begins(0.0)
        one.ends()
    one.asks(0.0)
    assert one.wait_s(0.0) == pytest.approx(3.0)


def test_probes_leave_no_debt() -> None:
    one = site(ceiling=0.001, limit=0.0)
    for _ in range(1000):
        one.asks(0.0)
    one.health = replace(one.health, limit=1.0)
    assert one.wait_s(0.0) == 0.0


def test_what_it_can_do_is_learnt_anew_and_a_limit_that_stays_is_not_full_again() -> None:
    limited = replace(CAPS, site_rate=Rate(1.0, 2.0), account_rate=Rate(0.1, 1.0))
    one = site(limited)
    many(one, 0.0)
    one.account_wait_s(1, 0.0)
    one.knows(replace(limited, max_chars=500), 0.0)
    assert (many(one, 0.0), one.account_wait_s(1, 0.0)) == (0, pytest.approx(10.0))
    one.knows(CAPS, 0.0)
    assert (many(one, 0.0, most=9), one.account_wait_s(1, 0.0)) == (9, 0.0)
    one.knows(limited, 0.0)
    assert many(one, 0.0) == 2


def test_each_account_has_its_own_limit() -> None:
    one = site(replace(CAPS, account_rate=Rate(0.1, 2.0)))
    assert [one.account_wait_s(1, 0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(10.0)]
    assert one.account_wait_s(2, 0.0) == 0.0
    assert site().account_wait_s(1, 0.0) == 0.0


def test_who_is_asked_for_patience_waits_and_the_others_do_not() -> None:
    one = site()
    limited = Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="http_429", retry_after_s=60.0)
    one.answered(1, limited, 10.0)
    assert [one.account_wait_s(1, at) for at in (10.0, 69.0, 70.0)] == [60.0, 1.0, 0.0]
    assert one.account_wait_s(2, 10.0) == 0.0
    assert (one.wait_s(10.0), one.health.limit) == (0.0, 8.0), "it is no failure"


def test_where_all_are_asked_for_patience_all_wait() -> None:
    one = site()
    one.answered(1, replace(DOWN, reason="http_429", retry_after_s=60.0), 10.0)
    one.answered(2, replace(DOWN, reason="http_429", retry_after_s=5.0), 10.0)
    assert [one.wait_s(at) for at in (10.0, 69.0, 70.0)] == [60.0, 1.0, 0.0]
    assert one.health.limit == 8.0


def test_what_is_left_of_an_allowance_is_for_the_person_s_other_programs() -> None:
    one = site(replace(CAPS, account_rate=Rate.share(300, 10_800.0)))
    one.answered(1, replace(DONE, left=30, left_for_s=500.0), 0.0)
    assert one.account_wait_s(1, 0.0) == 0.0
    one.answered(1, replace(DONE, left=29, left_for_s=500.0), 0.0)
    assert one.account_wait_s(1, 1.0) == 499.0
    assert one.account_wait_s(1, 500.0) == 0.0
    unknown = site()
    unknown.answered(1, replace(DONE, left=1, left_for_s=500.0), 0.0)
    assert unknown.account_wait_s(1, 0.0) == 0.0
    unknown.answered(1, replace(DONE, left=0, left_for_s=500.0), 0.0)
    assert unknown.account_wait_s(1, 0.0) == 500.0


@pytest.mark.parametrize(
    ("result", "limit"),
    [
        (DONE, 4.25),
        (replace(DONE, outcome=Outcome.DUPLICATE), 4.25),
        (Result(Outcome.REJECTED), 4.25),
        (Result(Outcome.UNKNOWN, scope=Scope.DRIVER), 2.0),
        (DOWN, 2.0),
        (Result(Outcome.RETRY, scope=Scope.ACCOUNT), 4.0),
        (Result(Outcome.AUTH, scope=Scope.ACCOUNT), 4.0),
        (Result(Outcome.AUTH, scope=Scope.DRIVER), 0.0),
    ],
)
def test_what_an_answer_tells_of_its_health(result: Result, limit: float) -> None:
    one = site(limit=4.0)
    one.answered(1, result, 0.0)
    assert one.health.limit == limit


def test_a_look_tells_of_its_health_as_well() -> None:
    one = site(limit=4.0)
    one.looked(None, 0.0)
    assert one.health.limit == 4.25
    one.looked(DOWN, 0.0)
    assert (one.health.limit, one.reason, one.detail) == (2.125, "refused", DOWN.detail)


def test_a_probe_that_fails_says_why() -> None:
    one = site()
    one.probed(Probe(Reach.AUTH, CAPS, detail="Wrong token."), 0.0)
    assert (one.reason, one.detail) == ("auth", "Wrong token.")
    one.probed(Probe(Reach.DOWN, reason="http_502"), 0.0)
    assert one.reason == "http_502"


def test_whether_it_does_what_others_want() -> None:
    one = site()
    assert not one.fine_since(-1e9)
    one.answered(1, DOWN, 10.0)
    one.looked(None, 10.0)
    assert not one.fine_since(0.0)
    one.answered(1, DONE, 20.0)
    assert (one.fine_since(20.0), one.fine_since(20.1)) == (True, False)
    one.answered(2, Result(Outcome.REJECTED), 30.0)
    assert one.fine_since(30.0)


def test_how_fast_it_goes() -> None:
    one = site()
    for second in range(30):
        one.answered(1, DONE, float(second))
    one.answered(1, Result(Outcome.REJECTED), 30.0)
    assert one.per_second(30.0) == pytest.approx(0.5)
    assert one.per_second(75.0) == pytest.approx(0.25)
    assert one.per_second(1000.0) == 0.0


def test_the_flag_and_a_probe_at_once() -> None:
    one = site()
    one.flagged(Flag.ON, 5.0)
    assert (one.wait_s(5.0), one.health.probe_at) == (INF, None)
    one.flagged(Flag.AUTO, 6.0)
    assert one.wait_s(6.0) == 0.0
    away = Site("", None, lambda: 1.0, 500.0)
    away.knows(CAPS, 0.0)
    away.flagged(Flag.OFF, 5.0)
    assert (away.health.at_once, away.health.probe_at) == (1, 5.0)


def test_its_stance_and_what_waits() -> None:
    one = site()
    assert one.stance(None, NOW) is Stance.ONLINE
    assert one.stance(NOW - timedelta(seconds=60), NOW) is Stance.ONLINE
    assert one.stance(NOW - timedelta(seconds=61), NOW) is Stance.TRICKLE
    one.waiting.update({1: 3, 2: 4})
    assert one.total == 7
