"""How pages are served, whatever is on them: headers, errors, addresses, the log, and the port."""

import asyncio
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.integration.web_world import Answer, Site, raw, served, wired_pages
from xmpprelay.config import Web
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.web.answers import HEADERS
from xmpprelay.web.connection import Bounds
from xmpprelay.web.server import WebServer

SECRET = "k3fq7vmu2hxw9d"


@pytest.fixture
def lines() -> Iterator["Lines"]:
    """What is logged meanwhile, down to the level `debug`."""
    with capture_logs() as logs:
        yield Lines(logs)


class Lines:
    """Events that were logged."""

    def __init__(self, logs: Sequence[Mapping[str, Any]]) -> None:
        self.logs = logs

    def of(self, event: str) -> list[Mapping[str, Any]]:
        return [each for each in self.logs if each["event"] == event]


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text=request.match_info.get("name", "front"))


async def _fails(_request: web.Request) -> web.Response:
    raise ValueError(SECRET)


async def _says_no(_request: web.Request) -> web.Response:
    raise web.HTTPNotFound(text="Nobody here is called so.")


ROUTES = [
    web.get("/", _hello),
    web.get("/@{name}", _hello),
    web.get("/fails", _fails),
    web.get("/no", _says_no),
    web.get("/home/{name}.atom", _hello),
    web.get("/mentions/{name}.atom", _hello),
]


def _dressed(answer: Answer) -> None:
    """It has all headers of ours, once, and sets no cookie."""
    for name, value in HEADERS.items():
        [given] = answer.headers.getall(name)
        # A drawing has its style in itself, and names it.
        assert re.sub("'sha256-[^']*'", "'self'", given) == value, name
    assert "Set-Cookie" not in answer.headers


# Headers


async def test_all_answers_have_the_headers_that_keep_a_browser_from_harm(tmp_path: Path) -> None:
    async with wired_pages(tmp_path) as (wire, site):
        wire.says("alice@example.test/x", "join alice")
        wire.says("alice@example.test/x", "hello")
        await wire.quiet()
        assert wire.service.web is not None
        paths = [_some(route.path) for route in wire.service.web.routes]
        assert {"/", "/@alice", "/metrics"} <= set(paths)
        statuses = set()
        for path, method in product([*paths, "/nothing", "/@nobody"], ("GET", "HEAD", "POST")):
            answer = await site.asks(method, path)
            _dressed(answer)
            statuses.add(answer.status)
            assert answer.headers["Server"] == "xmpprelay"
        assert statuses >= {200, 404, 405}
        assert 500 not in statuses


def _some(template: str) -> str:
    return re.sub(r"\{(\w+)[^}]*\}", lambda name: {"handle": "alice"}.get(name[1], "1"), template)


async def test_errors_have_them_too_and_are_not_kept() -> None:
    async with served(ROUTES) as (server, site):
        for path, status in {"/fails": 500, "/no": 404, "/nothing": 404}.items():
            answer = await site.get(path)
            assert answer.status == status
            _dressed(answer)
            assert answer.headers["Cache-Control"] == "no-store"
        for request in (b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
            head = (await raw(site.port, request)).decode()
            assert head.startswith("HTTP/1.0 400 ")
            assert all(f"{name}: {value}\r\n" in head for name, value in HEADERS.items())
        assert server.answers.failures == 1


async def test_a_page_may_say_why_there_is_nothing() -> None:
    async with served(ROUTES) as (server, site):
        assert (await site.get("/no")).text == "Nobody here is called so.\n"
        server.error_page = lambda status, sentence: web.Response(
            text=f"<p>{status} {sentence}</p>", content_type="text/html", status=status
        )
        answer = await site.get("/no")
        assert answer.text == "<p>404 Nobody here is called so.</p>"
        assert answer.headers["Content-Type"].startswith("text/html")
        _dressed(answer)


async def test_an_error_page_that_fails_itself_is_a_line_of_text(lines: Lines) -> None:
    def broken(_status: int, _sentence: str) -> web.Response:
        raise RuntimeError

    async with served(ROUTES) as (server, site):
        server.error_page = broken
        answer = await site.get("/no")
        assert (answer.status, answer.text) == (404, "Nobody here is called so.\n")
        _dressed(answer)
        assert server.answers.failures == len(lines.of("page.failed")) == 1


async def test_a_page_that_fails_is_said_in_the_log(lines: Lines) -> None:
    async with served(ROUTES) as (_, site):
        answer = await site.get("/fails")
        assert answer.text.startswith("Something went wrong here")
        [line] = lines.of("page.failed")
        assert line["path"] == "/fails"
        assert isinstance(line["exc_info"], ValueError)


# Methods and addresses


async def test_pages_can_only_be_read() -> None:
    async with served(ROUTES) as (_, site):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            answer = await site.asks(method, "/@alice")
            assert answer.status == 405, method
            assert answer.headers["Allow"] == "GET,HEAD"
            _dressed(answer)
            assert (await site.asks(method, "/nothing")).status == 405


async def test_head_is_get_without_the_page() -> None:
    async with served(ROUTES) as (_, site):
        got, head = await site.get("/@alice"), await site.asks("HEAD", "/@alice")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == got.headers["Content-Length"] == "5"


@pytest.mark.parametrize("stripped", [True, False])
async def test_pages_may_be_below_a_path_that_the_proxy_takes_away_or_not(stripped: bool) -> None:
    async with served(ROUTES, path="/relay") as (_, site):
        before = "" if stripped else "/relay"
        assert (await site.get(f"{before}/@alice")).text == "alice"
        assert (await site.get(f"{before}/")).text == "front"
        answer = await site.get(f"{before}/@alice/")
        assert (answer.status, answer.headers["Location"]) == (
            308,
            "https://pages.test/relay/@alice",
        )


async def test_below_a_path_every_link_of_the_relays_own_pages_leads_to_a_page(
    tmp_path: Path,
) -> None:
    async with wired_pages(tmp_path, path="/some/where") as (wire, site):
        wire.says("alice@example.test/x", "join alice")
        wire.says("alice@example.test/x", "hello #world")
        await wire.quiet()
        seen, wanted = set[str](), {site.base_url + "/"}
        while wanted - seen:
            url = min(wanted - seen)
            seen.add(url)
            answer = await site.get(url)
            assert answer.status == 200, url
            if answer.headers["Content-Type"].startswith(("text/html", "application/atom")):
                links = re.findall(r"(?:href|src)=[\"']([^\"']+)", answer.text)
                here = {html.unescape(link).partition("#")[0] for link in links}
                assert not {link for link in here if link.startswith("/")}, "a proxy may be before"
                own = {link for link in here if link.startswith(f"http://127.0.0.1:{site.port}")}
                assert all(link.startswith(site.base_url) for link in own), own
                wanted |= own
        assert {site.base_url + path for path in ("/@alice", "/@alice.atom", "/status")} <= seen


async def test_a_path_may_be_how_another_begins() -> None:
    async with served(ROUTES, path="/@al") as (_, site):
        for path in ("/@alice/", "/@al/@alice/"):
            answer = await site.get(path)
            assert answer.headers["Location"] == "https://pages.test/@al/@alice", path


async def test_the_front_page_below_a_path_has_a_slash_at_its_end() -> None:
    async with served(ROUTES, path="/relay") as (_, site):
        answer = await site.get("/relay")
        assert (answer.status, answer.headers["Location"]) == (308, "https://pages.test/relay/")
        _dressed(answer)


async def test_a_slash_too_much_leads_on_only_where_there_is_something() -> None:
    async with served(ROUTES) as (_, site):
        for path in ("/nothing/", "/@alice//", "//@alice/", "//evil.test/", "/@alice/x/"):
            assert (await site.get(path)).status == 404, path


async def test_odd_addresses_lead_nowhere() -> None:
    async with served(ROUTES) as (server, site):
        for path in (
            "/../../etc/passwd",
            "/@alice/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//evil.test/@alice",
            "/@alice%00",
            "/@alice%0a",
            "/@ali%c2%85ce",
            "/@alice%0d%0aSet-Cookie:%20a=b",
            "/relay/@alice",
        ):
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            answer = (await raw(site.port, request.encode())).decode()
            assert answer.startswith("HTTP/1.1 404 "), path
            assert "\r\nSet-Cookie" not in answer
        assert set(server.answers.counts) == {("none", 404)}


async def test_an_encoded_slash_is_a_part_of_a_name() -> None:
    async with served(ROUTES) as (_, site):
        request = b"GET /@a%2Fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await raw(site.port, request)).endswith(b"\r\n\r\na/b")


async def test_old_clients_are_served() -> None:
    async with served(ROUTES) as (_, site):
        answer = await raw(site.port, b"GET /@alice HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 200 ")
        assert answer.endswith(b"alice")
        assert (await raw(site.port, b"GET /@alice\r\n\r\n")).endswith(b"alice")
        absolute = b"GET http://anywhere/@alice HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await raw(site.port, absolute)).endswith(b"alice")


async def test_an_expectation_is_not_quoted() -> None:
    async with served(ROUTES) as (_, site):
        request = b"GET / HTTP/1.1\r\nHost: x\r\nExpect: <b>\r\nConnection: close\r\n\r\n"
        answer = await raw(site.port, request)
        assert answer.startswith(b"HTTP/1.1 417 ")
        assert b"<b>" not in answer


# The log


async def test_the_log_has_every_request_and_no_secret(lines: Lines) -> None:
    async with served(ROUTES, path="/relay") as (_, site):
        paths = [
            f"{before}/{room}/{SECRET}.atom{after}"
            for before in ("", "/relay", "/")
            for room in ("home", "mentions", "Home", "%68ome", "home/x")
            for after in ("", "/", "?x=1", "/x")
        ]
        for path in paths:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            await raw(site.port, request.encode())
        await site.get("/@alice?secret=" + SECRET)
        answered = lines.of("page.answered")
        assert len(answered) == len(paths) + 1
        assert {each["status"] for each in answered} == {200, 308, 404}
        assert answered[0]["path"] == "/home/…"
        assert answered[-1]["path"] == "/@alice"
        assert SECRET not in str(lines.logs)


# Listening


async def test_a_port_in_use_is_said_with_what_to_do_and_tried_again(lines: Lines) -> None:
    async with Site(free_port()) as site:
        config = Web(listen=f"127.0.0.1:{site.port}", base_url="https://pages.test")
        first = WebServer(config, ROUTES)
        second = WebServer(config, ROUTES, Bounds(listen_again_s=0.02))
        await first.start()
        await second.start()
        try:
            with pytest.raises(TimeoutError):  # it is tried some times meanwhile
                async with asyncio.timeout(0.2):
                    await second.listening.wait()
            [line] = lines.of("web.not_listening")
            assert line["log_level"] == "warning"
            assert line["listen"] == config.listen
            assert "another port" in line["advice"]
            await first.stop()
            async with asyncio.timeout(10):
                await second.listening.wait()
            assert (await site.get("/@alice")).text == "alice"
            assert len(lines.of("web.not_listening")) == 1, "said once, however often it was tried"
        finally:
            await second.stop()


@pytest.mark.parametrize(
    ("listen", "reason", "advice"),
    [
        ("192.0.2.1:8080", "Cannot assign requested address", "This machine has no such address"),
        ("no-such-host.invalid:8080", "nobody knows that name", "Look whether web.listen is right"),
    ],
)
async def test_what_else_keeps_it_from_listening_is_said_too(
    lines: Lines, listen: str, reason: str, advice: str
) -> None:
    server = WebServer(Web(listen=listen, base_url="https://pages.test"), ROUTES)
    await server.start()
    await server.stop()
    [line] = lines.of("web.not_listening")
    assert (line["listen"], line["reason"]) == (listen, reason)
    assert line["advice"].startswith(advice)


async def test_the_relay_runs_while_its_port_is_in_use(tmp_path: Path) -> None:
    async with served(ROUTES) as (_, taken), wired_pages(tmp_path, port=taken.port) as (wire, _):
        wire.says("alice@example.test/x", "join alice")
        wire.says("alice@example.test/x", "hello")
        await wire.quiet()
        assert any("ok #" in (stanza.body or "") for stanza in wire.sent)


async def test_a_stop_does_not_wait_for_a_page_that_takes_long() -> None:
    begun = asyncio.Event()

    async def endless(_request: web.Request) -> web.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    port = free_port()
    config = Web(listen=f"127.0.0.1:{port}", base_url="https://pages.test")
    server = WebServer(config, [web.get("/", endless)], Bounds(stop_s=0.05))
    await server.start()
    asking = asyncio.create_task(raw(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    await begun.wait()
    async with asyncio.timeout(5):
        await server.stop()
        assert await asking == b""
    assert not server.door.inside
