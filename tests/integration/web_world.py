"""Pages of a relay, as a browser or a feed reader asks for them.

With people on a real server:

    async def test_x(world: World) -> None:
        async with pages(world) as site:
            [alice] = await world.authors("alice")
            page = await site.get("/@alice")
            assert page.status == 200

And on the in-memory wire, where the test itself is the server:

    async with wired_pages(tmp_path) as (wire, site):

Paths are below the relay's base URL, which here is also where it listens.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from tests.integration.wire import Wire, wired
from tests.integration.world import Clock, World
from xmpprelay.config import Web
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.web.connection import Bounds
from xmpprelay.web.server import WebServer


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Site:
    """A client of the pages below `base_url`, without cookies, that follows no redirection."""

    def __init__(self, port: int, path: str = "") -> None:
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}{path}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    @property
    def config(self) -> Web:
        """The relay's configuration of this site."""
        return Web(listen=f"127.0.0.1:{self.port}", base_url=self.base_url)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """What is at a path, or at an address of this relay in whole."""
        return await self.asks("GET", path, headers=headers)

    async def asks(self, method: str, path: str | URL, **more: Any) -> Answer:
        """The answer to any request; a URL is asked for as it is written."""
        assert self._session is not None, "the site is a context manager"
        there = isinstance(path, URL) or path.startswith(self.base_url)
        url = path if there else f"{self.base_url}{path}"
        more |= {"allow_redirects": False, "timeout": aiohttp.ClientTimeout(total=30)}
        async with self._session.request(method, url, **more) as response:
            return Answer(response.status, response.headers, await response.read())


async def raw(port: int, request: bytes) -> bytes:
    """All that comes back for some bytes until the relay ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@asynccontextmanager
async def served(
    routes: Sequence[web.RouteDef], *, path: str = "", bounds: Bounds | None = None
) -> AsyncIterator[tuple[WebServer, Site]]:
    """A server of a test's own pages, without a relay.

    `path` is that of its base URL; the site asks without it, as a proxy does that takes it away.
    """
    async with Site(free_port()) as site:
        config = Web(listen=f"127.0.0.1:{site.port}", base_url=f"https://pages.test{path}")
        server = WebServer(config, routes, bounds)
        await server.start()
        try:
            yield server, site
        finally:
            await server.stop()


@asynccontextmanager
async def pages(world: World, path: str = "") -> AsyncIterator[Site]:
    """The pages of a relay that has not been started yet; it has them whenever it runs."""
    async with Site(free_port(), path) as site:
        world.config = replace(world.config, web=site.config)
        yield site


@asynccontextmanager
async def wired_pages(
    folder: Path,
    clock: Clock | None = None,
    *,
    path: str = "",
    port: int | None = None,
    **tables: Any,
) -> AsyncIterator[tuple[Wire, Site]]:
    """A relay on the in-memory wire, and its pages, which are on a free port of its own."""
    async with (
        Site(port or free_port(), path) as site,
        wired(folder, clock, web=site.config, **tables) as wire,
    ):
        assert wire.service.web is not None
        await wire.service.web.start()
        yield wire, site
