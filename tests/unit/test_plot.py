"""The plot of the command line: rows of blocks."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.cli.plot import ASCII, BLOCKS, Column, bars, columns, hours, marks

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def at(values: list[int | None], minutes: int = 10) -> list[tuple[datetime, int | None]]:
    return [(NOON + n * timedelta(minutes=minutes), value) for n, value in enumerate(values)]


def shown(*values: int | None) -> list[Column]:
    return columns(at(list(values)), 100, adds=True)


def test_the_highest_is_a_whole_block_and_what_is_there_is_seen() -> None:
    assert bars(shown(0, 1, 50, 1000, 500)) == " ▁▁█▄"
    assert bars(shown(0, 1, 50, 1000, 500), ASCII) == " ..@="
    assert bars(shown(0, 0)) == "  "
    assert bars([]) == ""


def test_what_is_not_known_is_no_zero() -> None:
    assert bars(shown(None, 0, 4)) == "? █"


def test_several_values_are_one_column() -> None:
    values = at([1, 2, 3, None, None, None, 5])
    assert [each.value for each in columns(values, 3, adds=True)] == [6, None, 5]
    assert [each.value for each in columns(values, 3, adds=False)] == [3, None, 5]
    assert [each.begins.minute for each in columns(values, 3, adds=False)] == [0, 30, 0]


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**12)), max_size=200), st.integers(1, 80))
def test_any_values_fit_and_add_up(values: list[int | None], most: int) -> None:
    found = columns(at(values), most, adds=True)
    assert len(found) <= most
    assert sum(each.value or 0 for each in found) == sum(value or 0 for value in values)
    row = bars(found)
    assert len(row) == len(found)
    assert set(row) <= {*BLOCKS, "?"}


def test_marks_say_where_something_is() -> None:
    assert marks(shown(0, 3, None, 1)) == " ▒ ▒"


def test_each_third_hour_is_named_where_there_is_room() -> None:
    day = columns(at([0] * 145), 50, adds=True)
    named = "12:00 15:00 18:00 21:00 00:00 03:00 06:00 09:00"
    assert " ".join(hours(day).split()) == named
    assert hours(day).index("15:00") == 6
    assert hours(shown(0, 0)) == "", "no room"
