"""The graph of outages, as SVG: what there was to do, and behind it when a primary was on standby.

Drawn on the server, since pages have no scripts. It has no colours of its own: `static/graph.css`
gives them to it, light and dark, in a page and, put into it, as a picture by itself. Whoever points
at it sees the numbers of a point (`<title>`); whoever cannot has them in a table on the page.

Its size is bounded: by the points of a span, by the few shapes that each of them has, and by
rounding what is too narrow to be seen.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Final

from xmpprelay.core.activity import MINUTE, Series, Span, Tally, floor, spans_of
from xmpprelay.trickle.announcing import span as in_words

_WIDTH: Final = 640
_LEFT: Final = 46  # of what is drawn; left of it stand the numbers
_RIGHT: Final = 632
_TOP: Final = 30  # below the legend
_TITLE: Final = 28  # above each field
_HIGH: Final = 86  # each field
_BOTTOM: Final = _TOP + 4 * (_TITLE + _HIGH)
_HEIGHT: Final = _BOTTOM + 28

_NARROWEST: Final = 2.0
"""A band that is narrower could not be seen."""

_EACH: Final = {Span.DAY: "10 minutes", Span.WEEK: "hour", Span.QUARTER: "12 hours"}
_PERIOD: Final = {Span.DAY: "24 hours", Span.WEEK: "7 days", Span.QUARTER: "90 days"}


def svg(series: Series, style: str | None = None) -> str:
    """The graph; with `style` as a picture by itself, else for a page that has the style."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'role="img" aria-labelledby="graph-title graph-desc">',
        f'<title id="graph-title">{escape(title(series))}</title>',
        f'<desc id="graph-desc">{escape(description(series))}</desc>',
        "" if style is None else f"<style>{style}</style>",
        '<defs><pattern id="graph-hatch" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path class="g-hatch" d="M0,6L6,0"/></pattern></defs>',
        *_bands(series),
        *_legend(),
        *_times(series),
        *_fields(series),
        *_hits(series),
        "</svg>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def title(series: Series) -> str:
    """What it shows, in a few words."""
    return f"The last {_PERIOD[series.span]}, up to {series.ends:%-d %b %Y, %H:%M} UTC"


def description(series: Series) -> str:
    """What there is to be seen, for those who do not see it."""
    points = series.points
    posts, bots = sum(each.posts for each in points), sum(each.bot_posts for each in points)
    standby = (
        f"A primary was on standby for {in_words(series.standby)} of it"
        if series.standby
        else "No primary was on standby"
    )
    return (
        f"{posts:,} posts, {bots:,} of them by bots; "
        f"{sum(each.deliveries for each in points):,} deliveries; "
        f"{sum(each.people for each in points):,} new people; "
        f"at most {max(each.backlog for each in points):,} posts waited for a primary. {standby}."
    )


# --- what stands behind --------------------------------------------------------------------------


def _x(series: Series, moment: datetime) -> float:
    """Where a moment is, from left to right."""
    share = (moment - series.begins) / (series.ends - series.begins)
    return _LEFT + (_RIGHT - _LEFT) * min(max(share, 0.0), 1.0)


def _bands(series: Series) -> list[str]:
    away = _apart(
        (_x(series, each.began), _x(series, each.ended or series.ends)) for each in series.away
    )
    unknown = spans_of(series.points)
    blind = _apart((_x(series, begins), _x(series, ends)) for begins, ends in unknown)
    shapes = []
    if blind:
        shapes.append(f'<path class="g-blind" d="{_upright(blind, _TOP, _BOTTOM)}"/>')
    if away:
        shapes.append(f'<path class="g-away" d="{_upright(away, _TOP, _BOTTOM)}"/>')
        shapes.append(f'<path class="g-mark" d="{_upright(away, _TOP - 4, _TOP)}"/>')
    return shapes


def _apart(bands: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Bands that can be told from each other; others become one."""
    found: list[tuple[float, float]] = []
    for begins, ends in sorted(bands):
        left = min(begins, _RIGHT - _NARROWEST)
        wide = max(ends, left + _NARROWEST)
        if found and left - found[-1][1] < _NARROWEST:
            found[-1] = (found[-1][0], max(found[-1][1], wide))
        else:
            found.append((left, wide))
    return found


def _upright(bands: Iterable[tuple[float, float]], top: int, bottom: int) -> str:
    return "".join(f"M{_n(left)},{top}H{_n(right)}V{bottom}H{_n(left)}Z" for left, right in bands)


def _legend() -> list[str]:
    shown = (("g-people", "by people"), ("g-bots", "by bots"), ("g-mark", "standby"))
    marks, x = [], _LEFT
    for kind, words in (*shown, ("g-blind", "no numbers")):
        marks.append(f'<rect class="{kind}" x="{x}" y="5" width="12" height="12"/>')
        marks.append(f'<text class="g-words" x="{x + 17}" y="16">{words}</text>')
        x += 140
    return marks


# --- axes ----------------------------------------------------------------------------------------


def _times(series: Series) -> list[str]:
    lines, words = "", []
    for moment in _ticks(series):
        x = _x(series, moment)
        lines += f"M{_n(x)},{_TOP}V{_BOTTOM}"
        if _LEFT + 20 < x < _RIGHT - 24:
            name = _named(series, moment)
            words.append(f'<text class="g-time" x="{_n(x)}" y="{_BOTTOM + 20}">{name}</text>')
    words.append(f'<text class="g-faint" x="0" y="{_BOTTOM + 20}">UTC</text>')
    return [f'<path class="g-line" d="{lines}"/>', *words]


def _ticks(series: Series) -> list[datetime]:
    """The times that are named: each third hour, each day, or each second Monday."""
    every = {Span.DAY: 3 * 60, Span.WEEK: 24 * 60, Span.QUARTER: 14 * 24 * 60}[series.span]
    # 1970 began on a Thursday: four days later the first Monday.
    shift = timedelta(days=4) if series.span is Span.QUARTER else timedelta()
    at = floor(series.begins - shift, every) + shift
    found = []
    while at < series.ends:
        if at >= series.begins:
            found.append(at)
        at += every * MINUTE
    return found


def _named(series: Series, moment: datetime) -> str:
    match series.span:
        case Span.DAY:
            return f"{moment:%H:%M}" if moment.hour else f"{moment:%-d %b}"
        case Span.WEEK:
            return f"{moment:%a %-d}"
        case Span.QUARTER:
            return f"{moment:%-d %b}"


def _scale(most: int) -> int:
    """The round number at the top of an axis that goes up to `most`."""
    power = 1
    while power * 10 <= most:
        power *= 10
    return next(n * power for n in (1, 2, 3, 4, 5, 6, 8, 10) if n * power >= most)


def short(number: int) -> str:
    """A number in a few characters, such as 12k."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            tenths = number * 10 // size
            whole = tenths >= 100 or tenths % 10 == 0
            return f"{number // size}{unit}" if whole else f"{tenths / 10}{unit}"
    return str(number)


# --- the fields ----------------------------------------------------------------------------------


def _fields(series: Series) -> list[str]:
    each, points = _EACH[series.span], series.points
    posts = [point.posts for point in points]
    by_people = [max(0, point.posts - point.bot_posts) for point in points]
    deliveries = [point.deliveries for point in points]
    people, backlog = [point.people for point in points], [point.backlog for point in points]
    per = f"in {'each ' if each == 'hour' else ''}{each}"
    return [
        *_field(series, 0, f"Posts {per}", ("g-bots", posts), ("g-people", by_people)),
        *_field(series, 1, f"Deliveries {per}", ("g-people", deliveries)),
        *_field(series, 2, f"New people {per}", ("g-people", people)),
        *_field(series, 3, "Posts that wait for a primary", ("g-people", backlog)),
    ]


def _field(series: Series, number: int, words: str, *areas: tuple[str, Sequence[int]]) -> list[str]:
    """One field; its areas begin with the highest."""
    top = _TOP + number * (_TITLE + _HIGH) + _TITLE
    base = top + _HIGH
    most = _scale(max(areas[0][1], default=0))
    lines = f"M{_LEFT},{top}H{_RIGHT}M{_LEFT},{base}H{_RIGHT}"
    numbers = [(top, most)]
    if most % 2 == 0:
        middle = top + _HIGH // 2
        lines += f"M{_LEFT},{middle}H{_RIGHT}"
        numbers.append((middle, most // 2))
    return [
        f'<text class="g-words" x="{_LEFT}" y="{top - 8}">{escape(words)}</text>',
        f'<path class="g-line" d="{lines}"/>',
        *(
            f'<text class="g-number" x="{_LEFT - 5}" y="{y + 5}">{short(number)}</text>'
            for y, number in numbers
        ),
        *(
            f'<path class="{kind}" d="{_area(series, values, most, base)}"/>'
            for kind, values in areas
            if any(values)
        ),
    ]


def _area(series: Series, values: Sequence[int], most: int, base: int) -> str:
    """The shape of one step for each point, standing on the base."""
    heights = [_height(value, most) for value in values]
    path = [f"M{_LEFT},{base}V{_n(base - heights[0])}"]
    ends = [point.ends for point in series.points]
    for end, (height, following) in zip(ends, pairwise(heights), strict=False):
        if following != height:
            path.append(f"H{_n(_x(series, end))}V{_n(base - following)}")
    return "".join(path) + f"H{_RIGHT}V{base}Z"


def _height(value: int, most: int) -> float:
    """What is there at all can be seen."""
    return max(1.0, round(_HIGH * value / most, 1)) if value else 0.0


def _n(number: float) -> str:
    """A number as short as may be."""
    return f"{number:.1f}".removesuffix(".0")


# --- the numbers of each point -------------------------------------------------------------------


def _hits(series: Series) -> list[str]:
    each = zip(series.points, series.standbys, strict=True)
    return [_hit(series, point, standby) for point, standby in each]


def _hit(series: Series, point: Tally, standby: timedelta) -> str:
    """Where one points at a point; the last one may be only a minute old."""
    left = min(_x(series, point.begins), _RIGHT - 1)
    wide = _x(series, point.ends) - left
    return (
        f'<rect class="g-hit" x="{_n(left)}" y="{_TOP}" width="{_n(wide)}" '
        f'height="{_BOTTOM - _TOP}"><title>{escape(told(point, standby))}</title></rect>'
    )


def told(point: Tally, standby: timedelta) -> str:
    """The numbers of one point, on one line."""
    when = f"{point.begins:%-d %b %H:%M}–{point.ends:%H:%M}"
    if not point.watched:
        return f"{when}: no numbers"
    parts = [f"{point.posts:,} posts"]
    if point.bot_posts:
        parts[0] += f" ({point.bot_posts:,} by bots)"
    if point.deliveries:
        parts.append(f"{point.deliveries:,} deliveries")
    if point.people:
        parts.append(f"{point.people:,} new people")
    if point.backlog:
        parts.append(f"{point.backlog:,} waiting")
    if standby:
        parts.append(f"standby for {in_words(standby)}")
    return f"{when}: {', '.join(parts)}"
