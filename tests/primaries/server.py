"""The scripted primary on a real socket of this machine: `async with Server(world) as server`.

`server.site` is its address; the world's own is set to it. What the script says of a request is
done to its connection: it is reset (with a RST), closed, left without an answer, or answered with
the first bytes only. `REFUSE` for a request that has come resets it, and closes the port for a
moment; `await server.refuse()` closes it until `listen()`.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from tests.primaries import pages
from tests.primaries.faults import How, Op
from tests.primaries.world import Call, Met, World, http_date

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: what is unsent is thrown away

CLOSED_S: Final = 0.03
"""For how long the port stays closed after a request that was to be refused."""

TURNS: Final = 5
"""Of the loop, in which clients in this process notice that idle connections are closed."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """One world that can be reached by HTTP."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.port = 0
        self.listens = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._ending = asyncio.Event()
        self._reopening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Server":
        app = web.Application()
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.listen()
        self.world.site = self.site
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self._ending.set()
        if self._reopening is not None:
            await self._reopening
        await self._runner.cleanup()

    @property
    def site(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> None:
        """Take connections, at the same port as before."""
        if self._site is not None:
            return
        assert self._runner is not None
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self._site = web.SockSite(self._runner, listening)
        await self._site.start()
        self.listens.set()

    async def refuse(self) -> None:
        """Close the port and all connections: from now on, connections are refused."""
        if self._site is None:
            return
        assert self._runner is not None
        assert self._runner.server is not None
        await self._site.stop()
        self._site = None
        self.listens.clear()
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _reopen(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), CLOSED_S)
            return
        await self.listen()

    def _routes(self) -> list[web.RouteDef]:
        calls: list[tuple[str, str, Op]] = [
            ("POST", "/api/v1/statuses", Op.INSERT),
            ("PUT", "/api/v1/statuses/{id}", Op.EDIT),
            ("DELETE", "/api/v1/statuses/{id}", Op.DELETE),
            ("GET", "/api/v1/statuses/{id}", Op.SHOW),
            ("GET", "/api/v1/statuses/{id}/source", Op.SOURCE),
            ("GET", "/api/v1/accounts/verify_credentials", Op.VERIFY),
            ("GET", "/api/v1/accounts/{id}/statuses", Op.LIST),
            ("POST", "/api/v1/media", Op.UPLOAD),
            ("POST", "/api/v2/media", Op.UPLOAD),
            ("GET", "/api/v1/instance", Op.INSTANCE),
            ("GET", "/api/v2/instance", Op.INSTANCE),
            ("GET", "/.well-known/nodeinfo", Op.INSTANCE),
            ("GET", "/nodeinfo/2.0", Op.INSTANCE),
        ]
        return [web.route(method, path, self._handler(op)) for method, path, op in calls]

    def _handler(self, op: Op) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            call = await _call(op, request)
            met = self.world.meet(call)
            how = met.fault.how
            if how in (How.RESET, How.REFUSE):
                _reset(request)
                if how is How.REFUSE and self._site is not None:
                    await self.refuse()
                    self._reopening = asyncio.create_task(self._reopen())
            elif how is How.CLOSE:
                assert request.transport is not None
                request.transport.close()
            elif how is How.HANG:
                await self._ending.wait()
            else:
                if met.slow_s:
                    await asyncio.sleep(met.slow_s)
                return await self._answer(request, call, met)
            return web.Response()  # goes nowhere

        return handle

    async def _answer(self, request: web.Request, call: Call, met: Met) -> web.StreamResponse:
        content: Any = pages.content_of(met, call, self.world)
        status, kind = met.reply.status, "application/json"
        if call.op is Op.INSTANCE and met.reply.good and not met.reply.html:
            status, content = self._about(request, content)
        if not isinstance(content, str):
            content = json.dumps(content)
        elif not content.startswith("{"):
            kind = "text/html" if met.reply.html else "text/plain"
        body = content.encode()
        headers = {"Date": http_date(self.world.now()), "Content-Type": f"{kind}; charset=utf-8"}
        headers.update(met.reply.headers)
        if status // 100 == 3:
            headers["Location"] = f"{self.site}/elsewhere"
        if met.fault.how is not How.SLOW:
            return web.Response(status=status, headers=headers, body=body)
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[:7])
        await self._ending.wait()
        return response

    def _about(self, request: web.Request, content: Any) -> tuple[int, Any]:
        if content:
            return 200, content
        match request.path:
            case "/.well-known/nodeinfo":
                return 200, pages.nodeinfo_links(self.world)
            case "/nodeinfo/2.0":
                return 200, pages.nodeinfo(self.world)
            case "/api/v2/instance" if not self.world.profile.instance_v2:
                return 404, {"error": "Not implemented"}
        return 200, pages.instance(self.world, 2 if "v2" in request.path else 1)


async def _call(op: Op, request: web.Request) -> Call:
    form = await _form(request)
    media = form.get("media_ids[]", form.get("media_ids", ()))
    query = request.query
    return Call(
        op,
        request.headers.get("Authorization", "").removeprefix("Bearer "),
        key=request.headers.get("Idempotency-Key", ""),
        text=form.get("status") or "",
        visibility=form.get("visibility") or "",
        parent=form.get("in_reply_to_id") or "",
        language=form.get("language") or "",
        media=(media,) if isinstance(media, str) else tuple(media),
        backdated=_unix(form.get("scheduled_at")),
        remote_id=request.match_info.get("id", ""),
        min_id=query.get("min_id", ""),
        max_id=query.get("max_id", ""),
        limit=int(query.get("limit", "20")),
        address=request.remote or "",
    )


async def _form(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        given = await request.json()
        assert isinstance(given, dict)
        return given
    posted = await request.post()
    return {name: posted.getall(name) if name.endswith("[]") else posted[name] for name in posted}


def _unix(at: str | None) -> float | None:
    return None if at is None else datetime.fromisoformat(at).timestamp()


def _reset(request: web.Request) -> None:
    transport = request.transport
    assert transport is not None
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
    )
    assert isinstance(transport, asyncio.Transport)
    transport.abort()
