"""Clients of the pages who are slow, greedy, many, or send what is no request.

What each may take up ends: his time, his bytes, his place. The limits are those of `Bounds`, set
small; what shows that somebody was let be is somebody else, who came later and was cut off.
"""

import asyncio
import random
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from tests.integration.web_world import Site, raw, served, wired_pages
from xmpprelay.web.connection import Bounds
from xmpprelay.web.server import WebServer

LARGE_BYTES = 32 << 20
"""More than a socket on loopback and a transport hold for somebody who does not read."""

HUNDREDS = 300
"""With their other ends still within the 1,024 files that a process may usually open."""

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
CLOSING = HEAD + b"Connection: close\r\n\r\n"


async def _small(_request: web.Request) -> web.Response:
    return web.Response(text="small")


async def _large(_request: web.Request) -> web.Response:
    return web.Response(body=bytes(LARGE_BYTES))


async def _never(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


ROUTES = [web.get("/", _small), web.get("/large", _large), web.get("/never", _never)]

QUICK = Bounds(head_s=0.2, answer_s=0.2, look_every_s=0.05, lingering_s=0.05, stop_s=0.05)


class Client:
    """A connection of which the test decides byte by byte what it does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def sends(self, data: bytes) -> None:
        self.writer.write(data)

    async def goes_on(self, data: bytes) -> bool:
        """Send some more; whether the other side still takes it."""
        try:
            self.sends(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return True

    async def hears(self, end: bytes = b"small") -> bytes:
        """All up to the end of an answer."""
        async with asyncio.timeout(10):
            return await self.reader.readuntil(end)

    async def hears_out(self, within_s: float = 10.0) -> bytes:
        """All until the connection ends, in whatever way. TimeoutError: it does not."""
        heard = b""
        async with asyncio.timeout(within_s):
            try:
                while more := await self.reader.read(65_536):
                    heard += more
            except ConnectionError:
                return heard
        return heard


@asynccontextmanager
async def crowd(port: int, many: int) -> AsyncIterator[list[Client]]:
    """So many clients, who came one after the other."""
    clients: list[Client] = []
    try:
        while len(clients) < many:
            clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        yield clients
    finally:
        for client in clients:
            client.writer.close()


@asynccontextmanager
async def one(port: int) -> AsyncIterator[Client]:
    async with crowd(port, 1) as [client]:
        yield client


async def _is_served(site: Site) -> None:
    assert (await site.get("/")).text == "small"


# The slow


@pytest.mark.parametrize("begun", [b"", b"GET", HEAD, HEAD + b"X-Long: a"], ids=len)
async def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(begun: bytes) -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site), one(site.port) as client:
        client.sends(begun)
        assert await client.hears_out() == b""
        assert server.door.cut_off == 1
        await _is_served(site)


async def test_a_byte_now_and_then_does_not_lengthen_it() -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site), one(site.port) as client:
        client.sends(HEAD)
        heard = None
        while heard is None:
            client.sends(b"X")
            try:
                heard = await client.hears_out(within_s=0.02)
            except TimeoutError:
                continue
        assert heard == b""
        assert server.door.cut_off == 1


async def test_the_second_request_of_a_connection_has_to_come_as_quickly() -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site), one(site.port) as client:
        client.sends(HEAD + b"\r\n")
        await client.hears()
        client.sends(b"GET / HT")
        assert await client.hears_out() == b""
        assert server.door.cut_off == 1


async def test_half_a_request_behind_a_whole_one_is_waited_for_as_if_it_were_none() -> None:
    async with served(ROUTES, bounds=Bounds(idle_s=0.1)) as (_, site), one(site.port) as client:
        client.sends(HEAD + b"\r\nGET / HT")
        assert (await client.hears_out()).endswith(b"small")


async def test_who_is_idle_between_two_requests_is_let_be() -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site), one(site.port) as client:
        client.sends(HEAD + b"\r\n")
        await client.hears()
        async with one(site.port) as later:
            await later.hears_out()
        assert server.door.cut_off == 1
        client.sends(HEAD + b"\r\n")
        await client.hears()


async def test_who_is_idle_for_too_long_is_closed() -> None:
    bounds = Bounds(idle_s=0.1)
    async with served(ROUTES, bounds=bounds) as (server, site), one(site.port) as client:
        client.sends(HEAD + b"\r\n")
        await client.hears()
        assert await client.hears_out() == b""
        assert server.door.cut_off == 0, "it was no fault of his"


@contextmanager
def greedy(port: int, more: bytes = b"") -> Iterator[None]:
    """Somebody who asks for a large page and reads nothing of it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(HEAD.replace(b"/ ", b"/large ", 1) + more + b"\r\n")
        yield


@pytest.mark.parametrize("ends", [b"", b"Connection: close\r\n"])
async def test_who_does_not_read_his_page_is_cut_off(ends: bytes) -> None:
    bounds = Bounds(head_s=0.5, answer_s=0.2, look_every_s=0.05)
    async with served(ROUTES, bounds=bounds) as (server, site):
        with greedy(site.port, ends):
            async with one(site.port) as later:  # is waited for longer
                await later.hears_out()
            assert not server.door.inside
            assert server.door.cut_off == 2
        await _is_served(site)


async def test_a_stop_does_not_wait_for_who_does_not_read() -> None:
    async with served(ROUTES, bounds=Bounds(stop_s=0.05)) as (server, site):
        with greedy(site.port):
            await _is_served(site)
            assert len(server.door.inside) == 2
            await server.stop()
            await asyncio.sleep(0)  # asyncio tells of the end in its next turn
            assert not server.door.inside


async def test_a_connection_may_have_any_number_of_requests_one_after_the_other() -> None:
    async with served(ROUTES) as (_, site), one(site.port) as client:
        for _ in range(50):
            client.sends(HEAD + b"X: " + b"y" * 8_000 + b"\r\n\r\n")
            await client.hears()


async def test_who_reads_his_page_at_his_own_pace_gets_all_of_it() -> None:
    async with served(ROUTES) as (_, site):
        got = await raw(site.port, CLOSING.replace(b"/ ", b"/large ", 1))
        assert len(got.partition(b"\r\n\r\n")[2]) == LARGE_BYTES


async def test_a_page_that_is_never_done_does_not_hold_the_connection() -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site), one(site.port) as client:
        client.sends(HEAD.replace(b"/ ", b"/never ", 1) + b"\r\n")
        assert await client.hears_out() == b""
        assert server.door.cut_off == 1


async def test_an_answer_may_take_longer_than_a_question() -> None:
    bounds = Bounds(head_s=0.2, look_every_s=0.05, stop_s=0.05)
    async with served(ROUTES, bounds=bounds) as (server, site), one(site.port) as patient:
        patient.sends(HEAD.replace(b"/ ", b"/never ", 1) + b"\r\n")
        async with one(site.port) as later:
            await later.hears_out()
        assert len(server.door.inside) == 1


async def test_a_question_may_take_longer_than_an_answer() -> None:
    bounds = Bounds(answer_s=0.2, look_every_s=0.05)
    async with served(ROUTES, bounds=bounds) as (_, site), one(site.port) as slow:
        slow.sends(HEAD)
        async with one(site.port) as later:
            later.sends(HEAD.replace(b"/ ", b"/never ", 1) + b"\r\n")
            await later.hears_out()
        slow.sends(b"\r\n")
        await slow.hears()


# The many


async def test_no_more_are_let_in_than_there_is_room_for() -> None:
    bounds = Bounds(connections=3)
    async with served(ROUTES, bounds=bounds) as (server, site), crowd(site.port, 3) as inside:
        for client in inside:
            client.sends(HEAD)
        async with one(site.port) as late:
            late.sends(CLOSING)
            assert await late.hears_out() == b""
        assert server.door.came_when_full == 1
        for client in inside:
            client.sends(b"\r\n")
            await client.hears()


async def test_for_a_new_one_the_one_that_is_idle_for_longest_has_to_go() -> None:
    bounds = Bounds(connections=3)
    async with served(ROUTES, bounds=bounds) as (server, site), crowd(site.port, 3) as inside:
        first, second, third = inside
        for client in (third, first, second):
            client.sends(HEAD + b"\r\n")
            await client.hears()
        await _is_served(site)
        assert await third.hears_out() == b""
        for client in (first, second):
            client.sends(HEAD + b"\r\n")
            await client.hears()
        assert len(server.door.inside) == 3


async def test_hundreds_who_say_nothing_keep_nobody_out_for_long() -> None:
    bounds = replace(QUICK, connections=100)
    async with served(ROUTES, bounds=bounds) as (server, site):
        async with crowd(site.port, HUNDREDS) as silent:
            await asyncio.gather(*(client.hears_out() for client in silent))
        assert not server.door.inside
        assert server.door.came_when_full + server.door.cut_off == HUNDREDS
        await _is_served(site)


async def test_hundreds_at_once_get_their_page_or_a_closed_door() -> None:
    async with served(ROUTES, bounds=Bounds(connections=100)) as (_, site):
        answers = await asyncio.gather(*(raw_or_nothing(site.port) for _ in range(HUNDREDS)))
        assert sum(answer.endswith(b"small") for answer in answers) >= 100
        assert all(answer.endswith(b"small") or not answer for answer in answers)
        await _is_served(site)


async def raw_or_nothing(port: int) -> bytes:
    async with one(port) as client:
        client.sends(CLOSING)
        return await client.hears_out()


async def test_between_two_pages_everything_else_has_its_turn() -> None:
    order = ""

    async def page(_request: web.Request) -> web.Response:
        nonlocal order
        order += "p"
        return web.Response(text="small")

    async def relay() -> None:
        nonlocal order
        while True:
            order += "r"
            await asyncio.sleep(0)

    async with (
        served([web.get("/", page)]) as (_, site),
        crowd(site.port, 50) as many,
    ):
        for client in many:
            client.sends(HEAD + b"\r\n")
        running = asyncio.create_task(relay())
        for client in many:
            await client.hears()
        running.cancel()
    assert order.count("p") == 50
    assert "pp" not in order


# What is no request


@pytest.mark.parametrize(
    "bomb",
    [
        HEAD + b"X: y\r\n" * 65 + b"\r\n",
        HEAD + b"X: " + b"y" * 9_000 + b"\r\n\r\n",
        HEAD + b"X" * 9_000 + b": y\r\n\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G" * 100_000,
    ],
    ids=["headers", "value", "name", "path", "query", "method"],
)
async def test_too_much_of_a_head_is_refused(bomb: bytes) -> None:
    async with served(ROUTES) as (server, site):
        async with one(site.port) as client:
            client.sends(bomb)
            assert (await client.hears_out()).startswith(b"HTTP/1.0 400 ")
        assert server.answers.counts == {("none", 400): 1}
        await _is_served(site)


async def test_a_head_without_end_is_cut_off_before_it_is_large() -> None:
    async with served(ROUTES) as (_, site), one(site.port) as client:
        client.sends(HEAD)
        taken = 0
        while await client.goes_on(b"X: " + b"y" * 8_000 + b"\r\n"):
            await _is_served(site)  # what was sent before has been read meanwhile
            taken += 8_000
        assert 48_000 < taken < 128_000


@pytest.mark.parametrize(
    "request_",
    [
        b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"<stream:stream to='relay'>\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_one_answer_and_an_end(request_: bytes) -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site):
        async with one(site.port) as client:
            client.sends(request_)
            heard = await client.hears_out()
        assert heard.startswith(b"HTTP/1.0 400 ")
        assert heard.count(b"HTTP/1.") == 1
        assert server.answers.failures == 0
        await _is_served(site)


# What is sent along


SENT_ALONG = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "never": b"Content-Length: 1000000000\r\n\r\n",
    "smuggled": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "twice": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "negative": b"Content-Length: -1\r\n\r\n",
    "expects": b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "gzip": b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize(("method", "kind"), list(product((b"GET", b"POST"), SENT_ALONG)))
async def test_nothing_can_be_sent_along(method: bytes, kind: str) -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site):
        async with one(site.port) as client:
            client.sends(HEAD.replace(b"GET", method) + SENT_ALONG[kind] + HEAD + b"\r\n")
            heard = await client.hears_out()
        statuses = {status for _, status in server.answers.counts}
        assert statuses <= {400, 405, 413}
        assert b"small" not in heard, "what is behind it is no request"
        assert server.answers.failures == 0
        await _is_served(site)


async def test_a_large_body_is_not_kept() -> None:
    async with served(ROUTES, bounds=QUICK) as (server, site), one(site.port) as client:
        client.sends(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        taken = 0
        while await client.goes_on(bytes(1 << 20)):
            taken += 1
        assert taken < 100
        await _is_served(site)
        assert server.answers.counts["none", 405] <= 1


# Many requests on one connection


async def test_requests_that_come_together_are_answered_in_order() -> None:
    async with served(ROUTES) as (_, site):
        asked = [b"/", b"/nothing", b"/", b"/@x"]
        request = b"".join(HEAD.replace(b"/ ", path + b" ", 1) + b"\r\n" for path in asked[:-1])
        last = HEAD.replace(b"/ ", asked[-1] + b" ", 1) + b"Connection: close\r\n\r\n"
        heard = await raw(site.port, request + last)
        statuses = [part[:3] for part in heard.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"404", b"200", b"404"]


async def test_thousands_that_come_together_are_answered_or_cut_off() -> None:
    async with served(ROUTES) as (server, site):
        async with one(site.port) as client:
            client.sends((HEAD + b"\r\n") * 3_000)
            await _is_served(site)
            client.sends(CLOSING)
            heard = await client.hears_out(within_s=30)
        assert heard.count(b"200 OK") <= 3_001
        assert server.answers.failures == 0
        await _is_served(site)


# Anything at all


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_sent_nothing_fails_and_others_are_served(seed: int) -> None:
    dice = random.Random(seed)
    pieces = [
        b"GET ", b"POST ", b"/", b"/large", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Host: x", b":",
        b"Content-Length: 3", b"Transfer-Encoding: chunked", b"%", b"%00", b"\x00", b"\xff", b" ",
        b"Upgrade: websocket", b"Connection: upgrade", b"Connection: close", b"0\r\n\r\n", b"//",
        b"Range: bytes=0-1", b"If-None-Match: *", b"If-Modified-Since: yesterday", b"\n", b"HEAD ",
    ]  # fmt: skip
    async with served(ROUTES, bounds=QUICK) as (server, site):
        for _ in range(40):
            async with one(site.port) as client:
                client.sends(b"".join(dice.choices(pieces, k=dice.randrange(1, 40))))
                client.writer.write_eof()
                await client.hears_out()
        assert server.answers.failures == 0
        await _is_served(site)


async def test_whoever_goes_before_his_answer_leaves_nothing_behind() -> None:
    async with served(ROUTES) as (server, site):
        await _gone(site, server)
        assert server.answers.failures == 0


async def _gone(site: Site, server: WebServer) -> None:
    for path in (b"/ ", b"/large ", b"/never "):
        for _ in range(10):
            async with one(site.port) as client:
                client.sends(HEAD.replace(b"/ ", path, 1) + b"\r\n")
                await asyncio.sleep(0)
                client.writer.transport.abort()
    while len(server.door.inside) > 1:
        await _is_served(site)


# The relay's own pages


VALUES = (
    "alice", "ALICE", "bob", "nobody", "0", "1", "-1", "zzzzzzzzzzzzz", "9" * 13, "9" * 400,
    "%00", "%2F", "%2e%2e", "%ff", "%F0%9F%8E%89", "%E2%80%AE", "%0d%0aX:%20y", "a.atom", "@", "*",
    "%3Cscript%3E", "%27", "%22", "%25", "_" * 20, "K", "%C4%B1", "%EF%BC%A1",
)  # fmt: skip
QUERIES = (
    "", "?", "?page=x", "?page=-1", "?page=1&page=2", "?before=", "?before=x", "?before=0",
    "?before=1", "?before=-1", "?before=zzzzzzzzzzzzz", "?before=1&before=x", "?before=%D9%A1",
    f"?before={'9' * 400}", "?span=7d", "?span=x", "?span=%00", "?after=1.5e9", "?x[]=1",
    "?%ff=%fe", f"?{'a=b&' * 900}",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"If-None-Match": "*"},
    {"If-None-Match": '"' + "a" * 4000},
    {"If-None-Match": 'W/"a", "b",,'},
    {"If-Modified-Since": "yesterday"},
    {"If-Modified-Since": "Thu, 31 Dec 9999 23:59:59 GMT"},
    {"If-Modified-Since": "Thu, 01 Jan 0001 00:00:00 GMT"},
    {"Range": "bytes=5-1"},
    {"Accept": "text/*;q=x"},
    {"Accept-Encoding": "gzip, br;q=0, *"},
    {"Accept-Language": "\u00ff"},
    {"X-Forwarded-For": "a" * 4000},
    {"Host": "evil.test\\@x"},
)


async def test_whatever_is_asked_for_no_page_fails(tmp_path: Path) -> None:
    dice = random.Random(7)
    async with wired_pages(tmp_path) as (wire, site):
        lines = (("a", "join alice"), ("b", "join bob"), ("b", "follow alice"), ("b", "feed new"))
        for jid, line in lines:
            wire.says(f"{jid}@example.test/x", line)
        wire.says("a@example.test/x", "hello #world, see https://example.org/")
        await wire.quiet()
        [secret] = {
            secret for each in wire.sent for secret in re.findall(r"/home/(\w+)", each.body or "")
        }
        known = {"handle": "alice", "post": "1", "tag": "world", "secret": secret, "kind": "atom"}

        def filled(template: str) -> str:
            values = [known, dict.fromkeys(known, dice.choice(VALUES))]
            return re.sub(r"\{(\w+)[^{}]*\}", lambda name: dice.choice(values)[name[1]], template)

        server = wire.service.web
        assert server is not None
        for template in [route.path for route in server.routes] * 30:
            query, headers = dice.choice(QUERIES), dice.choice(HEADERS)
            url = URL(site.base_url + filled(template) + query, encoded=True)
            answer = await site.asks("GET", url, headers=headers)
            assert answer.status in (200, 301, 302, 304, 307, 308, 400, 404), (url, headers)
            location = answer.headers.get("Location", site.base_url)
            assert location.startswith(site.base_url), f"{url} leads to {location}"
        assert server.answers.failures == 0
        there = {route for route, status in server.answers.counts if status == 200}
        assert len(there) >= len(server.routes) - 1, "which has no picture"
