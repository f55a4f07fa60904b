"""Counting minutes, and a span of them: sums are kept, gaps are filled, clocks may jump."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.activity import (
    KEPT_FOR,
    MINUTE,
    NAP_MINUTES,
    STEPS,
    Away,
    Counting,
    Span,
    Tally,
    floor,
    merged,
    outdated,
    series,
    spans_of,
    thinnings,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

moments = st.integers(0, 525_600).map(lambda minutes: NOON + minutes * MINUTE)


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


# --- counting ------------------------------------------------------------------------------------


def test_a_minute_is_counted_and_then_begins_anew() -> None:
    counting = Counting(at(0.5), confirmed=100)
    counting.post(bot=False)
    counting.post(bot=True)
    counting.came(3)
    assert not counting.over(at(0.99))
    assert counting.running(130, 7) == Tally(at(0), 1, 1, 2, 1, 30, 3, 7)
    assert counting.over(at(1))
    assert counting.turn(at(1), 140, 5) == [Tally(at(0), 1, 1, 2, 1, 40, 3, 5)]
    assert counting.running(140, 0) == Tally(at(1))


def test_a_minute_that_was_not_looked_at_in_time_is_known_all_the_same() -> None:
    counting = Counting(at(0.9), 0)
    counting.post(bot=False)
    assert counting.turn(at(2.01), 4, 2) == [
        Tally(at(0), posts=1, deliveries=4, backlog=2), Tally(at(1), backlog=2),
    ]  # fmt: skip


def test_of_a_nap_of_the_machine_nothing_is_known() -> None:
    counting = Counting(at(0), 0)
    assert len(counting.turn(at(NAP_MINUTES), 0, 0)) == NAP_MINUTES
    assert counting.turn(at(2 * NAP_MINUTES + 1), 0, 0) == [Tally(at(NAP_MINUTES))]


def test_a_clock_that_is_set_back_ends_the_minute() -> None:
    counting = Counting(at(0), 0)
    counting.post(bot=False)
    assert counting.over(at(-30))
    assert counting.turn(at(-30), 0, 0) == [Tally(at(0), posts=1)]
    counting.post(bot=False)
    assert counting.turn(at(-29), 0, 0) == [Tally(at(-30), posts=1)]


def test_a_counter_that_begins_anew_counts_nothing_below_zero() -> None:
    assert Counting(NOON, 50).running(10, 0).deliveries == 0


@given(st.lists(st.tuples(st.floats(-90, 90), st.integers(0, 5)), max_size=40))
def test_whatever_the_clock_does_each_post_is_counted_once(
    events: list[tuple[float, int]],
) -> None:
    counting, rows = Counting(NOON, 0), list[Tally]()
    for minute, posts in events:
        if counting.over(at(minute)):
            rows += counting.turn(at(minute), 0, 0)
        for _ in range(posts):
            counting.post(bot=False)
    rows.append(counting.running(0, 0))
    assert sum(row.posts for row in rows) == sum(posts for _, posts in events)
    assert all(row.begins == floor(row.begins, 1) for row in rows)


# --- rows ----------------------------------------------------------------------------------------


@given(moments, st.sampled_from([1, 10, 60, 720]))
def test_a_row_begins_at_a_whole_multiple_of_its_length(moment: datetime, minutes: int) -> None:
    begins = floor(moment, minutes)
    assert begins <= moment < begins + minutes * MINUTE
    assert (begins - datetime(1970, 1, 1, tzinfo=UTC)) % (minutes * MINUTE) == timedelta()


def test_merged_rows_are_added_up_and_the_highest_backlog_is_kept() -> None:
    rows = [Tally(at(0), 1, 1, 5, 2, 100, 1, 40), Tally(at(3), 1, 1, 1, 1, 7, 0, 90)]
    assert merged(rows, at(0), 10) == Tally(at(0), 10, 2, 6, 3, 107, 1, 90)
    assert merged([], at(0), 10) == Tally(at(0), 10, 0)


def test_a_minute_that_was_counted_twice_was_watched_once() -> None:
    assert merged([Tally(at(0)), Tally(at(0))], at(0), 1).watched == 1


@given(moments, st.sampled_from(Span))
def test_no_row_is_longer_than_the_points_it_is_shown_by(now: datetime, span: Span) -> None:
    for step in thinnings(now):
        assert step.minutes <= span.point_minutes or step.before <= span.first(now)
    assert outdated(now) <= span.first(now)


def test_only_whole_rows_are_old_enough() -> None:
    for step, (minutes, age) in zip(thinnings(at(7.5)), STEPS, strict=True):
        assert step.minutes == minutes
        assert step.before <= at(7.5) - age
        assert step.before == floor(step.before, minutes)


# --- a span --------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", Span)
def test_without_rows_there_are_all_points_and_nothing_is_known(span: Span) -> None:
    found = series([], [], span, at(7.5))
    assert 145 <= len(found.points) <= 182
    assert found.ends == at(8)
    assert found.begins <= at(7.5) - span.length
    assert found.points[-1].ends == found.ends
    assert not any(point.watched or point.posts for point in found.points)
    assert spans_of(found.points) == [(found.begins, found.ends)]


rows = st.builds(
    Tally,
    st.integers(-200_000, 3000).map(at),
    watched=st.just(1),
    posts=st.integers(0, 10**6),
    bot_posts=st.integers(0, 10**6),
    deliveries=st.integers(0, 10**12),
    people=st.integers(0, 10**5),
    backlog=st.integers(0, 10**6),
)


@given(st.lists(rows, max_size=60), st.sampled_from(Span), st.integers(0, 1439))
def test_what_lies_in_a_span_is_shown_whole_and_nothing_else(
    found: list[Tally], span: Span, minute: int
) -> None:
    now = at(minute)
    shown = series(found, [], span, now)
    within = [row for row in found if shown.begins <= row.begins <= now]
    for name in ("posts", "bot_posts", "deliveries", "people"):
        assert sum(getattr(point, name) for point in shown.points) == sum(
            getattr(row, name) for row in within
        )
    assert max((point.backlog for point in shown.points), default=0) == max(
        (row.backlog for row in within), default=0
    )
    for before, after in zip(shown.points, shown.points[1:], strict=False):
        assert before.ends == after.begins
        assert before.minutes == span.point_minutes
    assert 1 <= shown.points[-1].minutes <= span.point_minutes


def test_a_point_that_was_watched_for_less_than_half_of_it_is_unknown() -> None:
    minutes = [*range(-60, -45), *range(-37, 0)]
    shown = series([Tally(at(minute)) for minute in minutes], [], Span.DAY, at(-1))
    assert spans_of(shown.points) == [(shown.begins, at(-60))]
    shown = series([Tally(at(minute)) for minute in minutes if minute != -50], [], Span.DAY, at(-1))
    assert spans_of(shown.points) == [(shown.begins, at(-60)), (at(-50), at(-40))]


def test_outages_are_shown_as_far_as_they_reach_into_the_span() -> None:
    before = Away(at(-3000), at(-2000))
    into, lasts = Away(at(-2000), at(-1435)), Away(at(-25), None)
    future = Away(at(30), None)
    shown = series([], [lasts, before, future, into], Span.DAY, at(0))
    assert shown.away == [into, lasts]
    assert shown.standbys[:2] == [5 * MINUTE, timedelta()]
    assert shown.standbys[-4:] == [5 * MINUTE, 10 * MINUTE, 10 * MINUTE, 1 * MINUTE]


def test_outages_of_two_primaries_at_once_count_once() -> None:
    away = [Away(at(-10), at(-4)), Away(at(-8), at(-6)), Away(at(-5), at(-2))]
    shown = series([], away, Span.DAY, at(0))
    assert shown.standbys[-2] == 8 * MINUTE


@given(
    st.lists(
        st.tuples(st.integers(-1600, 20), st.one_of(st.none(), st.integers(0, 300))), max_size=12
    )
)
def test_of_each_minute_it_is_known_whether_any_primary_was_away(
    outages: list[tuple[int, int | None]],
) -> None:
    away = [
        Away(at(began), None if length is None else at(began + length)) for began, length in outages
    ]

    def was_away(minute: datetime) -> bool:
        return any(
            each.began <= minute and (each.ended is None or minute < each.ended) for each in away
        )

    shown = series([], away, Span.DAY, at(0))
    for point, standby in zip(shown.points, shown.standbys, strict=True):
        minutes = [point.begins + n * MINUTE for n in range(point.minutes)]
        assert standby == MINUTE * sum(map(was_away, minutes))


def test_the_spans_are_what_is_kept() -> None:
    assert max(span.length for span in Span) == KEPT_FOR
    assert [span.value for span in Span] == ["24h", "7d", "90d"]
