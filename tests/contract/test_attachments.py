"""Attachments come from the public Internet only, quickly, and are pictures: with a real server."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from aiohttp import web

from xmpprelay.core.primary import File
from xmpprelay.trickle.fetching import MOST_BYTES, Fetching

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
HOST = "localhost"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUTHORITY = trustme.CA()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[str, list[str]]]:
    """A server on this machine; its base URL, and what it was asked for."""
    asked: list[str] = []

    async def counted(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await answer(request)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(HOST, "127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_get("/{tail:.*}", counted)
    runner = web.AppRunner(app, shutdown_timeout=0.0, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        [bound] = runner.addresses
        yield f"https://{HOST}:{bound[1]}", asked
    finally:
        await runner.cleanup()


async def gives(content: bytes) -> web.Response:
    return web.Response(body=content, content_type="text/plain")


async def fetched(
    answer: Answer, path: str, *, anywhere: bool = True, within_s: float = 30.0
) -> tuple[File | None, list[str]]:
    async with serving(answer) as (base, asked):
        fetching = Fetching(anywhere=anywhere, ssl=trusting(), within_s=within_s)
        try:
            return await fetching.fetch(f"{base}{path}"), asked
        finally:
            await fetching.aclose()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/cat.png", "cat.png"),
        ("/a/b/my%20cat.JPEG?x=1#y", "mycat.png"),
        ("/..%2f..%2fetc%2fpasswd.png", "etcpasswd.png"),
        ("/%F0%9F%90%88.png", "picture.png"),
        ("/", "picture.png"),
        ("/" + "x" * 100 + ".png", "x" * 60 + ".png"),
        ("/a.b.exe", "ab.png"),
    ],
)
async def test_a_picture_comes_under_a_name_that_does_no_harm(path: str, name: str) -> None:
    file, asked = await fetched(lambda _: gives(PNG), path)
    assert file == File(name, "image/png", PNG)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("content", "media_type", "ending"),
    [
        (PNG, "image/png", "png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", "jpg"),
        (b"GIF87a", "image/gif", "gif"),
        (b"GIF89a", "image/gif", "gif"),
        (b"RIFF0000WEBPVP8", "image/webp", "webp"),
    ],
)
async def test_what_it_is_is_told_by_its_first_bytes(
    content: bytes, media_type: str, ending: str
) -> None:
    file, _ = await fetched(lambda _: gives(content), "/cat.html")
    assert file is not None
    assert (file.media_type, file.name) == (media_type, f"cat.{ending}")


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"<svg onload='x'>", b"RIFF0000WAVE", b"\x89PN", b"GIF90a"]
)
async def test_what_is_no_picture_is_not_taken(content: bytes) -> None:
    file, asked = await fetched(lambda _: gives(content), "/cat.png")
    assert (file, len(asked)) == (None, 1)


async def test_a_name_that_leads_to_this_machine_is_refused_at_the_socket() -> None:
    """However often it is asked, and whatever it led to before: the server never hears of it."""
    for host in (HOST, "127.0.0.1", "2130706433", "127.1", "[::1]", "[::ffff:127.0.0.1]"):
        async with serving(lambda _: gives(PNG)) as (base, asked):
            fetching = Fetching(ssl=trusting())
            try:
                assert await fetching.fetch(base.replace(HOST, host) + "/cat.png") is None
            finally:
                await fetching.aclose()
            assert asked == []


async def test_a_name_that_leads_elsewhere_the_second_time_is_looked_at_again() -> None:
    """DNS rebinding: what a name led to before does not count."""

    class Rebinding(aiohttp.abc.AbstractResolver):
        def __init__(self) -> None:
            self.asked = 0

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            self.asked += 1
            return [
                aiohttp.abc.ResolveResult(
                    hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
                )
            ]

        async def close(self) -> None:
            """It has nothing open."""

    async with serving(lambda _: gives(PNG)) as (base, asked):
        fetching, resolver = Fetching(ssl=trusting()), Rebinding()
        connector = fetching._opened().connector
        assert isinstance(connector, aiohttp.TCPConnector)
        connector._resolver = resolver
        try:
            address = base.replace(HOST, "pictures.example") + "/cat.png"
            assert [await fetching.fetch(address) for _ in range(2)] == [None, None]
        finally:
            await fetching.aclose()
        assert (resolver.asked, asked) == (2, [])


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 206])
async def test_only_an_answer_itself_is_taken(status: int) -> None:
    async def moved(request: web.Request) -> web.Response:
        if request.path == "/there.png":
            return await gives(PNG)
        return web.Response(status=status, headers={"Location": "/there.png"}, body=PNG)

    file, asked = await fetched(moved, "/cat.png")
    assert (file, asked) == (None, ["/cat.png"])


async def test_what_is_too_large_is_not_taken_whether_it_says_so_or_not() -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        if request.path == "/said.png":
            answer.content_length = MOST_BYTES + 1
        await answer.prepare(request)
        sent = 0
        while sent <= MOST_BYTES:
            await answer.write(PNG.ljust(1 << 20, b"x"))
            sent += 1 << 20
        return answer

    for path in ("/said.png", "/chunked.png"):
        assert (await fetched(large, path))[0] is None
    whole = PNG.ljust(MOST_BYTES, b"x")
    file, _ = await fetched(lambda _: gives(whole), "/cat.png")
    assert file is not None
    assert len(file.content) == MOST_BYTES


async def test_a_server_that_hangs_is_let_go() -> None:
    hangs = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(PNG)
        await hangs.wait()
        return answer

    async with serving(never) as (base, asked):
        fetching = Fetching(anywhere=True, ssl=trusting(), within_s=1.0)
        try:
            async with asyncio.timeout(30):
                assert await fetching.fetch(f"{base}/cat.png") is None
        finally:
            await fetching.aclose()
            hangs.set()
        assert len(asked) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    async with serving(lambda _: gives(PNG)) as (base, asked):
        fetching = Fetching(anywhere=True)
        try:
            assert await fetching.fetch(f"{base}/cat.png") is None
        finally:
            await fetching.aclose()
        assert asked == []


@pytest.mark.parametrize(
    "address",
    [
        "http://{}/cat.png", "ftp://{}/cat.png", "file:///etc/passwd", "https://", "https:///x",
        "https://alice:secret@{}/cat.png", "https://alice@{}/cat.png", "https://[::1", "",
        "//{}/cat.png", "javascript:alert(1)", "https://{}:99999/cat.png", "https://\x00/cat.png",
    ],
)  # fmt: skip
async def test_what_is_no_such_address_is_not_asked_for(address: str) -> None:
    async with serving(lambda _: gives(PNG)) as (base, asked):
        fetching = Fetching(anywhere=True, ssl=trusting())
        try:
            assert await fetching.fetch(address.format(base.removeprefix("https://"))) is None
        finally:
            await fetching.aclose()
        assert asked == []
