"""The graph is well-formed and small for any series, and shows what is in it."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from xmpprelay.core.activity import MINUTE, Away, Series, Span, Tally, series
from xmpprelay.web.graph import description, short, svg, title, told

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
MOST_BYTES = 60_000


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


def drawn(shown: Series, style: str | None = None) -> etree._Element:
    text = svg(shown, style)
    assert len(text.encode()) < MOST_BYTES
    return etree.fromstring(text)


def shapes(picture: etree._Element, kind: str) -> list[etree._Element]:
    return [each for each in picture.iter(f"{SVG}path") if each.get("class") == kind]


def numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[0-9.]+", path)]


# --- any series ----------------------------------------------------------------------------------

counts = st.one_of(st.integers(0, 20), st.integers(0, 10**13))
rows = st.builds(
    Tally,
    st.integers(-130_000, 10).map(at),
    watched=st.just(1),
    posts=counts,
    bot_posts=counts,
    deliveries=counts,
    people=counts,
    backlog=counts,
)
outages = st.builds(
    lambda began, length: Away(at(began), None if length is None else at(began + length)),
    st.integers(-130_000, 10),
    st.one_of(st.none(), st.integers(0, 50_000)),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(rows, max_size=40), st.lists(outages, max_size=20), st.sampled_from(Span))
def test_it_is_well_formed_and_small(found: list[Tally], away: list[Away], span: Span) -> None:
    picture = drawn(series(found, away, span, NOON))
    assert picture.get("role") == "img"
    labels = picture.get("aria-labelledby", "").split()
    assert [picture.find(f".//*[@id='{label}']").text for label in labels]
    _, _, width, height = map(float, picture.get("viewBox", "").split())
    for path in picture.iter(f"{SVG}path"):
        assert all(0 <= number <= max(width, height) for number in numbers(path.get("d", "")))
    for rect in picture.iter(f"{SVG}rect"):
        assert 0 <= float(rect.get("x", -1)) <= width
        assert float(rect.get("width", -1)) > 0


@pytest.mark.parametrize("span", Span)
def test_the_largest_there_can_be_is_small_enough(span: Span) -> None:
    huge = [
        Tally(at(-n), 1, 1, 10**9 + n, 10**8 + n, 10**12 + n, 10**8 - n, 10**9 - n * n)
        for n in range(0, 131_000, 7)
    ]
    away = [Away(at(-n), at(-n + 2)) for n in range(0, 131_000, 263)]
    drawn(series(huge, away, span, NOON))


def test_without_anything_it_says_so() -> None:
    shown = series([], [], Span.DAY, NOON)
    picture = drawn(shown)
    assert len(shapes(picture, "g-blind")) == 1
    for kind in ("g-people", "g-bots", "g-away", "g-mark"):
        assert not shapes(picture, kind)
    assert "0 posts" in description(shown)
    assert "No primary was on standby" in description(shown)


# --- what it shows -------------------------------------------------------------------------------

FULL = [
    Tally(at(-n), posts=2, bot_posts=1, deliveries=30, people=1, backlog=4) for n in range(1450)
]


def test_it_has_a_shape_for_all_that_is_counted() -> None:
    picture = drawn(series(FULL, [], Span.DAY, NOON))
    assert len(shapes(picture, "g-bots")) == 1
    assert len(shapes(picture, "g-people")) == 4
    assert not shapes(picture, "g-blind")
    words = [each.text for each in picture.iter(f"{SVG}text")]
    for name in ("Posts in 10 minutes", "Deliveries in 10 minutes", "New people in 10 minutes"):
        assert name in words
    assert {"20", "300", "10", "4"} <= set(words), "the tops of the axes"
    assert {"15:00", "18:00", "21:00", "1 Jan", "03:00", "06:00", "09:00"} <= set(words)


def test_the_time_is_named_in_days_and_weeks() -> None:
    for span, names in ((Span.WEEK, {"Wed 26", "Mon 31"}), (Span.QUARTER, {"8 Oct", "22 Oct"})):
        words = {each.text for each in drawn(series([], [], span, NOON)).iter(f"{SVG}text")}
        assert names <= words


def test_an_outage_is_a_band_from_its_begin_to_its_end() -> None:
    shown = series(FULL, [Away(at(-720), at(-360))], Span.DAY, NOON)
    picture = drawn(shown)
    [band] = shapes(picture, "g-away")
    left, _, right, *_ = numbers(band.get("d", ""))
    plot = next(numbers(each.get("d", "")) for each in shapes(picture, "g-people"))
    whole = 632 - plot[0]
    assert left == pytest.approx(plot[0] + whole / 2, abs=5)
    assert right == pytest.approx(plot[0] + whole * 3 / 4, abs=5)


def test_one_that_is_too_short_to_be_seen_is_seen_all_the_same() -> None:
    for began in (-100_000, -1):
        shown = series(FULL, [Away(at(began), at(began + 1))], Span.QUARTER, NOON)
        [band] = shapes(drawn(shown), "g-away")
        left, _, right, *_ = numbers(band.get("d", ""))
        assert right - left >= 2
        assert right <= 632


def test_whoever_points_at_a_point_sees_its_numbers() -> None:
    away = [Away(at(-15), at(-12))]
    shown = series([Tally(at(-20 + n), 1, 1, 1000, 7, 12_345, 2, 9) for n in range(9)], away, Span.DAY, at(-1))  # fmt: skip  # noqa: E501
    titles = [each.findtext(f"{SVG}title") for each in drawn(shown).iter(f"{SVG}rect")]
    assert (
        "1 Jan 11:40–11:50: 9,000 posts (63 by bots), 111,105 deliveries, 18 new people, "
        "9 waiting, standby for 3 min"
    ) in titles
    assert told(shown.points[0], timedelta()) == "31 Dec 11:50–12:00: no numbers"
    assert told(Tally(at(0)), timedelta()) == "1 Jan 12:00–12:01: 0 posts"


def test_its_title_and_description_are_for_those_who_do_not_see_it() -> None:
    shown = series(FULL[:100], [Away(at(-90), at(-30))], Span.DAY, NOON)
    assert title(shown) == "The last 24 hours, up to 1 Jan 2030, 12:01 UTC"
    assert description(shown) == (
        "200 posts, 100 of them by bots; 3,000 deliveries; 100 new people; at most 4 posts waited "
        "for a primary. A primary was on standby for 1 h of it."
    )


def test_a_style_is_put_into_it_only_where_it_stands_by_itself() -> None:
    shown = series([], [], Span.DAY, NOON)
    assert drawn(shown).find(f"{SVG}style") is None
    assert drawn(shown, ".graph { color: red }").findtext(f"{SVG}style") == ".graph { color: red }"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"), (7, "7"), (999, "999"), (1000, "1k"), (1500, "1.5k"), (1550, "1.5k"),
        (20_000, "20k"), (45_500, "45k"), (10**6, "1M"), (2_500_000, "2.5M"), (10**9, "1G"),
        (3 * 10**12, "3T"),
    ],
)  # fmt: skip
def test_numbers_at_an_axis_are_short(number: int, words: str) -> None:
    assert short(number) == words


def test_a_day_is_a_day() -> None:
    assert series([], [], Span.DAY, NOON).begins == NOON - timedelta(days=1)
