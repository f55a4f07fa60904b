"""Notices that are told together."""

import pytest

from xmpprelay.core.notices import Notices

EVERY_S = 600.0


@pytest.fixture
def notices() -> Notices[list[str]]:
    return Notices(EVERY_S, list)


def test_the_first_is_told_at_once_and_the_next_together(notices: Notices[list[str]]) -> None:
    notices.of(1).append("bob")
    assert notices.take(1, 0.0) == ["bob"]
    for at_s, name in ((1.0, "carol"), (2.0, "dave")):
        notices.of(1).append(name)
        assert notices.take(1, at_s) is None
    assert list(notices.due(EVERY_S - 1)) == []
    assert list(notices.due(EVERY_S)) == [(1, ["carol", "dave"])]


def test_who_was_told_long_ago_is_told_at_once(notices: Notices[list[str]]) -> None:
    notices.of(1).append("bob")
    notices.take(1, 0.0)
    assert list(notices.due(EVERY_S + 1)) == []
    notices.of(1).append("carol")
    assert notices.take(1, EVERY_S + 2) == ["carol"]


def test_each_has_his_own(notices: Notices[list[str]]) -> None:
    notices.of(1).append("bob")
    assert notices.take(2, 0.0) is None
    notices.of(2).append("carol")
    assert notices.take(1, 0.0) == ["bob"]
    assert notices.take(2, 0.0) == ["carol"]


def test_what_could_not_be_told_starts_no_time(notices: Notices[list[str]]) -> None:
    notices.of(1).append("bob")
    notices.take(1, 0.0)
    notices.not_told(1)
    notices.of(1).append("carol")
    assert notices.take(1, 1.0) == ["carol"]


def test_a_stop_tells_all_that_is_kept(notices: Notices[list[str]]) -> None:
    for at_s in (0.0, 1.0):
        notices.of(1).append(f"{at_s}")
        notices.take(1, at_s)
    notices.hurry()
    assert list(notices.due(2.0)) == [(1, ["1.0"])]


def test_who_has_left_is_told_nothing(notices: Notices[list[str]]) -> None:
    notices.of(1).append("bob")
    notices.take(1, 0.0)
    notices.of(1).append("carol")
    notices.forget(1)
    assert notices.kept_for(1) is None
    assert list(notices.due(EVERY_S)) == []
