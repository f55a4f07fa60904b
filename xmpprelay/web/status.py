"""The status page: how everything is, the graph of outages, and the same for programs.

    /status                     for people, readable without scripts and on a phone
    /status.json                for programs, a standby in the form of XEP-0455 (`overview.py`)
    /status.csv, /status.svg    the numbers of the graph, and the graph as a picture

All but the JSON take `?span=24h`, `7d` or `90d`. Each is made at most once in 15 seconds,
however many ask, since what is looked at most is looked at when something does not work.
"""

import asyncio
import base64
import csv
import hashlib
import io
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from importlib.resources import files
from typing import Final

from aiohttp import web
from markupsafe import Markup

from xmpprelay.activity import Activity
from xmpprelay.core.activity import COLUMNS, Series, Span, told
from xmpprelay.errors import StoreError
from xmpprelay.overview import Looking
from xmpprelay.overview import told as told_overview
from xmpprelay.trickle.announcing import span as in_words
from xmpprelay.web.answers import HEADERS
from xmpprelay.web.caching import NOTHING, answer
from xmpprelay.web.graph import svg
from xmpprelay.web.pages import Templates

MADE_EVERY_S: Final = 15.0

_SPANS: Final[Mapping[str, Span]] = {span.value: span for span in Span}

_STATES: Final = {
    "online": "there",
    "trickle": "there; what has waited is being inserted",
    "standby": "on standby",
    "unknown": "not known yet",
}
_JOURNALS: Final = {
    "writable": "posts can be stored",
    "full": "the disk has no room",
    "failed": "cannot be written",
}
_LOADS: Final = {
    "normal": "normal",
    "busy": "high: posts of bots and outlets come in digests",
    "peak": "very high: posts of bots and outlets come in digests",
}


class StatusPages:
    """Serves them."""

    def __init__(
        self,
        looking: Looking,
        activity: Activity,
        templates: Templates,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._looking = looking
        self._activity = activity
        self._templates = templates
        self._kept = Kept(monotonic)
        self._style = files("xmpprelay.web").joinpath("static/graph.css").read_text()
        # Styles in an answer are allowed by the policy of all pages only if they are named.
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        usual = HEADERS["Content-Security-Policy"]
        self._policy = usual.replace("style-src 'self'", f"style-src 'sha256-{digest}'")

    def routes(self) -> Sequence[web.RouteDef]:
        """What is served where."""
        return [
            web.get("/status", self._status),
            web.get("/status.json", self._status_json),
            web.get("/status.csv", self._status_csv),
            web.get("/status.svg", self._status_svg),
            web.get("/graph.css", self._stylesheet),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        span = _span(request)
        body = await self._kept.of(f"page {span}", partial(self._page, span))
        return _answer(request, body, "text/html")

    async def _page(self, span: Span) -> bytes:
        overview, series = await self._looking.look(), await self._activity.series(span)
        return self._templates.page(
            "status.html",
            note="",  # the page says so itself
            status=told_overview(overview),
            spans=list(Span),
            span=span,
            graph=Markup(svg(series)),  # noqa: S704 - it escapes what it puts in
            points=told(series),
            states=_STATES,
            journals=_JOURNALS,
            loads=_LOADS,
            in_words=_in_words,
            when=_when,
        )

    async def _status_json(self, request: web.Request) -> web.Response:
        body = await self._kept.of("json", self._json)
        return _answer(request, body, "application/json", {"Access-Control-Allow-Origin": "*"})

    async def _json(self) -> bytes:
        return json.dumps(told_overview(await self._looking.look()), indent=1).encode() + b"\n"

    async def _status_csv(self, request: web.Request) -> web.Response:
        span = _span(request)
        body = await self._kept.of(f"csv {span}", partial(self._csv, span))
        name = {"Content-Disposition": f'inline; filename="activity-{span.value}.csv"'}
        return _answer(request, body, "text/csv", name)

    async def _csv(self, span: Span) -> bytes:
        return as_csv(await self._activity.series(span)).encode()

    async def _status_svg(self, request: web.Request) -> web.Response:
        span = _span(request)
        body = await self._kept.of(f"svg {span}", partial(self._svg, span))
        return _answer(request, body, "image/svg+xml", {"Content-Security-Policy": self._policy})

    async def _svg(self, span: Span) -> bytes:
        return svg(await self._activity.series(span), self._style).encode()

    async def _stylesheet(self, request: web.Request) -> web.Response:
        return answer(request, self._style.encode(), "text/css", "public, max-age=3600")


class Kept:
    """What was made lately, by name; two who ask at once have the same."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._made: dict[str, tuple[float, bytes]] = {}  # until when it holds
        self._making: dict[str, asyncio.Task[bytes]] = {}

    async def of(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """What has that name; it is made if it is too old."""
        until, body = self._made.get(name, (0.0, b""))
        if self._monotonic() < until:
            return body
        making = self._making.get(name)
        if making is None:
            making = asyncio.get_running_loop().create_task(self._make(name, make))
            self._making[name] = making
        try:
            # Whoever asked first may go away: others wait for the same.
            return await asyncio.shield(making)
        except StoreError as error:
            raise web.HTTPServiceUnavailable(text=error.sentence) from error

    async def _make(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            body = await make()
            self._made[name] = (self._monotonic() + MADE_EVERY_S, body)
            return body
        finally:
            del self._making[name]


def as_csv(series: Series) -> str:
    """The points of a series, with a header (RFC 4180)."""
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    rows.writeheader()
    rows.writerows(told(series))
    return text.getvalue()


def _answer(
    request: web.Request, body: bytes, content_type: str, more: Mapping[str, str] = NOTHING
) -> web.Response:
    return answer(request, body, content_type, f"public, max-age={MADE_EVERY_S:.0f}", more)


def _span(request: web.Request) -> Span:
    typed = request.query.get("span", Span.DAY.value)
    if typed not in _SPANS:
        raise web.HTTPBadRequest(text="`span` is how far back the graph goes: 24h, 7d or 90d.")
    return _SPANS[typed]


def _in_words(seconds: float) -> str:
    return in_words(timedelta(seconds=seconds))


def _when(time_: str) -> Markup:
    """A time of XEP-0082, for people."""
    shown = f"{datetime.fromisoformat(time_):%-d %b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(time_, shown)
