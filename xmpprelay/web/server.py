"""Listens where the configuration says, and lets every request come to its page.

The pages may be mounted at the root of a host or below the path of `web.base_url`, and the proxy in
front may take that path away or not: every route is there under both. Nothing can be sent, only
read, so that whatever is not GET or HEAD is refused before anybody looks at it.

However many ask at once, pages are begun one after the other, and between two of them everything
else in the relay has its turn.

A port that is in use is no reason for posts to wait: it is logged, and tried again each minute.
"""

import asyncio
import os
import socket
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from xmpprelay.config import Web
from xmpprelay.log import get_logger
from xmpprelay.web.answers import ROUTE, Answers, ErrorPage
from xmpprelay.web.connection import Bounds, Connection, Door

log = get_logger("web")

_READING: Final = ("GET", "HEAD")

_ADVICE: Final = {
    EADDRINUSE: "Something else listens there: stop it, or give web.listen another port.",
    EACCES: "The relay's user may not listen there: give web.listen a port above 1023.",
    EADDRNOTAVAIL: "This machine has no such address: give web.listen one that it has.",
}
_OTHER_ADVICE: Final = "Look whether web.listen is right."


class WebServer:
    """Serves `routes`; `start` it once, then `stop` it."""

    def __init__(
        self, config: Web, routes: Sequence[web.RouteDef], bounds: Bounds | None = None
    ) -> None:
        self._listen = config.listen
        self._base_url = config.base_url
        self._prefix = urlsplit(config.base_url).path
        self.routes = routes
        self.listening = asyncio.Event()  # set while anybody can connect
        self.answers = Answers()
        self.door = Door(bounds or Bounds())
        self._trouble = ""  # why nobody can connect, as it was said last
        self._turn = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def error_page(self) -> ErrorPage:
        """What errors look like, by status and sentence; settable."""
        return self.answers.page

    @error_page.setter
    def error_page(self, page: ErrorPage) -> None:
        self.answers.page = page

    async def start(self) -> None:
        """Listen; if that fails it is logged, and tried again until `stop`."""
        self._runner = web.AppRunner(self._app(), shutdown_timeout=self.door.bounds.stop_s)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.door.watch())]
        if not await self._listens():
            self._tasks.append(loop.create_task(self._listen_again()))

    async def stop(self) -> None:
        """Listen no more, finish what is being answered if it is quick, and close everything."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        self.listening.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
        for connection in list(self.door.inside):
            connection.cut_off()
        if listener is not None:
            await listener.wait_closed()

    # Listening

    async def _listens(self) -> bool:
        host, _, port = self._listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        assert self._runner is not None and self._runner.server is not None  # noqa: S101, PT018
        made = partial(Connection, self._runner.server, self.door, self.answers)
        try:
            loop = asyncio.get_running_loop()
            # So many are accepted at once, and are open before any is turned away.
            backlog = min(128, self.door.bounds.connections)
            self._listener = await loop.create_server(made, host, int(port), backlog=backlog)
        except OSError as error:
            self._say(_reason(error), _ADVICE.get(error.errno or 0, _OTHER_ADVICE))
            return False
        self._trouble = ""
        self.listening.set()
        log.info("web.listening", listen=self._listen, base_url=self._base_url)
        return True

    def _say(self, reason: str, advice: str) -> None:
        """Say once why nobody can connect, and what to do."""
        if reason != self._trouble:
            log.warning(
                "web.not_listening",
                listen=self._listen,
                reason=reason,
                advice=advice,
                again_in_s=self.door.bounds.listen_again_s,
            )
        self._trouble = reason

    async def _listen_again(self) -> None:
        while True:
            await asyncio.sleep(self.door.bounds.listen_again_s)
            if await self._listens():
                return

    # Requests

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        for route in self.routes:
            template = web.UrlDispatcher().add_resource(route.path).canonical
            named = partial(_named, template, route.handler)
            for prefix in dict.fromkeys(("", self._prefix)):
                app.router.add_route("GET", prefix + route.path, named)
                app.router.add_route("HEAD", prefix + route.path, named)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What no page has to look after."""
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - for mypy; no other is made
        connection.answering()
        if request.method not in _READING:
            raise _ending(web.HTTPMethodNotAllowed(request.method, _READING))
        if request.body_exists:
            raise _ending(web.HTTPRequestEntityTooLarge(max_size=0, actual_size=1, text=""))
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in request.path):
            raise web.HTTPNotFound
        if request.match_info.http_exception is not None:
            await self._look_without_slash(request)
        async with self._turn:
            await asyncio.sleep(0)  # posts go first
        return await handler(request)

    async def _look_without_slash(self, request: web.Request) -> None:
        """Lead somebody on who has written a slash too much, or left one out at the front page."""
        path = request.rel_url.raw_path
        if path == self._prefix:
            raise web.HTTPPermanentRedirect(f"{self._base_url}/")
        if path == "/" or not path.endswith("/") or path.endswith("//"):
            return
        wanted = path[:-1]
        found = request.clone(rel_url=URL(wanted, encoded=True))
        if (await request.app.router.resolve(found)).http_exception is None:
            below = wanted.startswith(f"{self._prefix}/")
            path = wanted.removeprefix(self._prefix) if below else wanted
            raise web.HTTPPermanentRedirect(self._base_url + path)


def _reason(error: OSError) -> str:
    """The system's words for it; a name that nobody knows has a number that is no error's."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return "nobody knows that name"
    return os.strerror(error.errno)


async def _named(route: str, page: Handler, request: web.Request) -> web.StreamResponse:
    """The page, with the route by which it is counted."""
    request[ROUTE] = route
    return await page(request)


def _ending(error: web.HTTPException) -> web.HTTPException:
    """The error, after which the connection is closed: what follows may be a body."""
    error.force_close()
    return error
