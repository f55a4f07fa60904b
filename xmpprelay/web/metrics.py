"""`/metrics`: the relay's figures for Prometheus, and those of the pages themselves.

Routes are counted by their template (`/@{handle}`), never by the path, which anybody can make up.
"""

from collections.abc import Iterable, Iterator, Sequence

from aiohttp import web
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from xmpprelay.metrics import Metrics, counter, gauge, one
from xmpprelay.web.answers import Answers
from xmpprelay.web.connection import Door


class MetricsPage:
    """Serves `metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def routes(self) -> Sequence[web.RouteDef]:
        """Its address."""
        return [web.get("/metrics", self._page)]

    async def _page(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
        return web.Response(body=await self._metrics.text(), headers=headers)


def of_the_pages(answers: Answers, door: Door) -> Iterable[Metric]:
    """How much was asked, and what came of it."""
    requests = counter(
        "xmpprelay_web_requests",
        "Requests for pages and feeds, by the template of their path and the status.",
        ["route", "status"],
    )
    for (route, status), count in sorted(answers.counts.items()):
        requests.add_metric([route, str(status)], count)
    yield requests
    yield one(
        counter("xmpprelay_web_failures", "Pages that failed by a fault of the relay's own."),
        answers.failures,
    )
    yield from _of_connections(door)


def _of_connections(door: Door) -> Iterator[Metric]:
    yield one(gauge("xmpprelay_web_connections", "Connections that are open."), len(door.inside))
    yield one(
        counter("xmpprelay_web_connections_full", "Connections that came while it was full."),
        door.came_when_full,
    )
    yield one(
        counter("xmpprelay_web_connections_cut_off", "Connections that took too long."),
        door.cut_off,
    )
