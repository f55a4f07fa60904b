"""Whose turn it is at the primary."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from xmpprelay.core.turns import Turns

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD = NOW - timedelta(hours=1)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_accounts_take_turns() -> None:
    turns = Turns()
    for account in (1, 2, 3):
        turns.put(account, OLD, NOW)
    order = []
    for _ in range(6):
        account = turns.take(NOW)
        assert account is not None
        order.append(account)
        turns.put(account, OLD, NOW)
    assert order == [1, 2, 3, 1, 2, 3]


def test_what_is_fresh_and_what_has_waited_take_turns() -> None:
    turns = Turns()
    for account in range(1, 101):
        turns.put(account, OLD, NOW)
    for account in (201, 202, 203):
        turns.put(account, NOW, NOW)
    order = [turns.take(NOW) for _ in range(7)]
    assert order == [201, 1, 202, 2, 203, 3, 4]


def test_what_has_waited_for_a_minute_is_not_fresh() -> None:
    turns = Turns()
    turns.put(1, at(-60), NOW)
    turns.put(2, at(-59), NOW)
    assert turns.take(NOW) == 2


def test_who_is_taken_is_gone_until_he_is_put_again() -> None:
    turns = Turns()
    turns.put(1, NOW, NOW)
    assert (len(turns), 1 in turns) == (1, True)
    assert turns.take(NOW) == 1
    assert (len(turns), 1 in turns, turns.take(NOW)) == (0, False, None)


def test_nobody_has_his_turn_before_it_is_due() -> None:
    turns = Turns()
    turns.put(1, OLD, at(30))
    turns.put(2, OLD, at(10))
    assert (turns.take(NOW), turns.wait_s(NOW)) == (None, 10.0)
    assert turns.take(at(9.9)) is None
    assert turns.take(at(10)) == 2
    assert turns.wait_s(at(10)) == 20.0
    assert turns.wait_s(at(31)) == 0.0
    assert turns.take(at(31)) == 1
    assert turns.wait_s(at(31)) is None


def test_who_is_put_off_after_he_was_ready_waits() -> None:
    turns = Turns()
    turns.put(1, OLD, NOW)
    turns.put(2, OLD, NOW)
    assert turns.take(NOW) == 1  # 2 is ready as well
    turns.put(2, OLD, at(60))
    assert turns.take(NOW) is None
    assert turns.take(at(60)) == 2


def test_who_is_put_forward_does_not_wait() -> None:
    turns = Turns()
    turns.put(1, OLD, at(86_400))
    turns.put(1, OLD, NOW)
    assert turns.take(NOW) == 1
    assert turns.take(at(86_400)) is None, "what was said before does not count any more"


def test_who_is_dropped_has_no_turn() -> None:
    turns = Turns()
    for account in (1, 2):
        turns.put(account, OLD, NOW)
    turns.drop(1)
    turns.drop(9)
    assert [turns.take(NOW), turns.take(NOW)] == [2, None]
    turns.put(3, OLD, NOW)
    assert turns.wait_s(NOW) == 0.0
    turns.drop(3)
    turns.put(3, OLD, at(5))
    assert turns.take(NOW) is None
    assert turns.take(at(5)) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(10, 60))
def test_nobody_starves_and_the_two_kinds_are_equal(fresh: list[bool], count: int) -> None:
    """Everybody has work without an end, of which the oldest stays fresh or old."""
    turns = Turns()
    for account, is_fresh in enumerate(fresh):
        turns.put(account, NOW if is_fresh else OLD, NOW)
    taken: list[int] = []
    for _ in range(count):
        account = turns.take(NOW)
        assert account is not None
        taken.append(account)
        turns.put(account, NOW if fresh[account] else OLD, NOW)
    each = Counter(taken)
    sides = Counter(fresh[account] for account in taken)
    if len(set(fresh)) == 2:
        assert abs(sides[True] - sides[False]) <= 1
    for side in set(fresh):
        counts = [each[account] for account, is_fresh in enumerate(fresh) if is_fresh is side]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 4), st.integers(0, 20)),
            st.tuples(st.just("drop"), st.integers(0, 4), st.just(0)),
            st.tuples(st.just("take"), st.just(0), st.integers(0, 10)),
        ),
        max_size=60,
    )
)
def test_it_is_like_a_table_of_who_is_due_when(steps: list[tuple[str, int, int]]) -> None:
    turns, due, now = Turns(), dict[int, int](), 0
    for what, account, number in steps:
        if what == "put":
            due[account] = now + number
            turns.put(account, at(now), at(now + number))
        elif what == "drop":
            due.pop(account, None)
            turns.drop(account)
        else:
            now += number
            taken = turns.take(at(now))
            ready = {each for each, when in due.items() if when <= now}
            assert (taken in ready) if ready else taken is None
            if taken is not None:
                del due[taken]
        assert len(turns) == len(due)
    wait_s = turns.wait_s(at(now))
    if due:
        assert wait_s is not None
        assert wait_s <= max(0, min(due.values()) - now), "nobody is overslept"
