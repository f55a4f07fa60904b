"""The driver `webhook` against the receiver of the examples, and against one that says anything."""

import asyncio
import base64
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from tests.contract.primary_suite import Break, Seen, UnclearSuite
from xmpprelay.core.insertion import Act, Insertion, Rules, State, sent
from xmpprelay.core.primary import (
    EVERYBODY,
    Absent,
    Account,
    Attempt,
    Candidate,
    CannotTell,
    Caps,
    Dedupe,
    Found,
    LookFailed,
    Outcome,
    Reach,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.core.site import Site
from xmpprelay.primary.webhook import WebhookPrimary, signature
from xmpprelay.quickstart.private_server import POLL_S, free_port

RECEIVER = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
OPERATOR = Account(EVERYBODY)
NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
TEA = Status(
    *("k3f.ab12cd", "xmpp:relay.test?;node=k3f.ab12cd", "alice@example.test", "alice", "Tea?"),
    NOON,
    language="en",
    in_reply_to="k3e.ab12cd",
    visibility=Visibility.UNLISTED,
)

WAITS = Insertion(1, EVERYBODY, 1, Act.INSERT, NOON)


class Line:
    """A way to a receiver that speaks HTTP/1.0, as a wire: it carries a request, or loses it."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self.broken: Break | None = None
        self._to_port = to_port
        self._listener: asyncio.Server | None = None

    async def opens(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._carries, "127.0.0.1", self.port)

    async def shuts(self) -> None:
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
            self._listener = None

    async def _carries(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        sizes = [line for line in request.lower().split(b"\r\n") if b"content-length" in line]
        if sizes:
            request += await reader.readexactly(int(sizes[0].partition(b":")[2]))
        broken, self.broken = self.broken, None
        if broken is not Break.LOST:
            inside, to_inside = await asyncio.open_connection("127.0.0.1", self._to_port)
            to_inside.write(request)
            answer = await inside.read()
            to_inside.close()
            if broken is None:
                writer.write(answer)
                await writer.drain()
        writer.close()


class ExampleBench:
    """The receiver of the examples, at the other end of a line."""

    caps = Caps("webhook", dedupe=Dedupe.NATURAL, backdate=True)
    account = OPERATOR
    secret = SECRET

    def __init__(self, file: Path, line: Line) -> None:
        self.url = f"http://127.0.0.1:{line.port}/posts"
        self.primary = WebhookPrimary(self.url, SECRET)
        self._file = file
        self._line = line
        self._time = NOON

    def utc(self) -> datetime:
        self._time += timedelta(milliseconds=1)
        return self._time

    async def stored(self) -> list[Seen]:
        with contextlib.closing(sqlite3.connect(self._file)) as db:
            rows = db.execute("SELECT text, data FROM post WHERE text IS NOT NULL ORDER BY rowid")
            return [_seen(text, json.loads(data)) for text, data in rows]

    async def break_way(self, how: Break) -> None:
        if how is Break.REFUSED:
            await self._line.shuts()
        else:
            self._line.broken = how

    async def mend(self) -> None:
        self._line.broken = None
        await self._line.opens()


def _seen(text: str, data: dict[str, Any]) -> Seen:
    return Seen(
        text,
        visibility=data["visibility"],
        parent=data["in_reply_to"] or "",
        language=data["language"] or "",
        author=data["author"],
        published=datetime.fromisoformat(data["published"]),
    )


class TestWebhook(UnclearSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[ExampleBench]:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(RECEIVER), str(tmp_path / "posts.db"), str(port)),
            env=os.environ | {"WEBHOOK_SECRET": SECRET},
            stderr=asyncio.subprocess.DEVNULL,
        )
        line = Line(port)
        try:
            await _listens(port)
            await line.opens()
            bench = ExampleBench(tmp_path / "posts.db", line)
            async with aclosing(bench.primary):
                yield bench
        finally:
            await line.shuts()
            process.kill()
            await process.wait()

    async def test_what_is_not_signed_with_the_secret_is_refused(self, bench: ExampleBench) -> None:
        wrong = f"whsec_{'A' * 32}"
        async with aclosing(WebhookPrimary(bench.url, wrong)) as other:
            done = await other.insert(OPERATOR, TEA, "any")
            assert (done.outcome, done.scope) == (Outcome.AUTH, Scope.DRIVER)
            look = await other.reconcile(OPERATOR, Attempt(TEA, NOON, NOON))
            assert isinstance(look, CannotTell)
        old = datetime.now(UTC) - timedelta(hours=1)
        async with aclosing(WebhookPrimary(bench.url, SECRET, now=lambda: old)) as late:
            assert (await late.insert(OPERATOR, TEA, "any")).outcome is Outcome.AUTH
        assert await bench.stored() == []

    async def test_a_ping_is_for_nothing_but_its_answer(self, bench: ExampleBench) -> None:
        body, sent_at = b'{"type": "ping", "data": {}}', int(datetime.now(UTC).timestamp())
        headers = {
            "webhook-id": "ping-1",
            "webhook-timestamp": f"{sent_at}",
            "webhook-signature": signature(KEY, "ping-1", sent_at, body),
        }
        async with ClientSession() as session:
            for more, status in (({}, 200), ({"webhook-id": "ping-2"}, 401)):
                async with session.post(bench.url, data=body, headers=headers | more) as answer:
                    assert answer.status == status
        assert await bench.stored() == []

    async def test_who_has_refused_is_found_again(self, bench: ExampleBench) -> None:
        clock = [NOON]  # the relay's is wrong at first
        async with aclosing(WebhookPrimary(bench.url, SECRET, now=lambda: clock[0])) as other:
            assert (await other.insert(OPERATOR, TEA, "any")).outcome is Outcome.AUTH
            assert (await other.probe()).reach is Reach.AUTH
            clock[0] = datetime.now(UTC)
            assert (await other.probe()).reach is Reach.UP
            assert (await other.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED
        assert [each.text for each in await bench.stored()] == [TEA.text]

    async def test_events_that_come_again_do_nothing(self, bench: ExampleBench) -> None:
        edits = [replace(TEA, text=f"{n}", updated=NOON + timedelta(seconds=n)) for n in (1, 2)]
        await bench.primary.insert(OPERATOR, TEA, "any")
        for edit in edits:
            await bench.primary.edit(OPERATOR, TEA.id, edit, "any")
        await bench.primary.edit(OPERATOR, TEA.id, edits[0], "any")
        await bench.primary.insert(OPERATOR, TEA, "another key")
        assert [each.text for each in await bench.stored()] == ["2"]
        await bench.primary.delete(OPERATOR, TEA.id)
        await bench.primary.insert(OPERATOR, TEA, "any")
        assert await bench.stored() == []


async def _listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(POLL_S)


# A receiver that says what a test wants


@dataclass
class Scripted:
    """Says one thing to all, and writes down what it gets."""

    primary: WebhookPrimary
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    to_get: int | None = None  # another status for a GET …
    to_ping: int | None = None  # … and for a ping; 0: it loses the connection
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    async with _saying() as scripted:
        yield scripted


def _utc_now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def _saying(now: Callable[[], datetime] = _utc_now) -> AsyncIterator[Scripted]:
    async def answer(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        content = await request.read()
        says.got.append((request.method, request.path_qs, headers, content))
        other = says.to_get if request.method == "GET" else None
        if content and json.loads(content)["type"] == "ping":
            other = says.to_ping
        if other == 0:
            assert request.transport is not None
            request.transport.close()
        status = says.status if other is None else other or 200
        return web.Response(status=status, headers=says.headers, text=says.body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("/posts?token=hunter2"))
        async with aclosing(WebhookPrimary(url, SECRET, now=now)) as primary:
            says = Scripted(primary)
            yield says


async def test_a_post_is_told_whole_and_signed(scripted: Scripted) -> None:
    done = await scripted.primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.remote_id) == (Outcome.INSERTED, TEA.id)
    ((method, path, headers, body),) = scripted.got
    assert (method, path) == ("POST", "/posts?token=hunter2")
    assert headers["webhook-id"] == headers["idempotency-key"] == "k3f-ab12cd-created"
    assert headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(body, headers) == {
        "type": "post.created",
        "timestamp": "2024-05-17T12:00:00.000Z",
        "data": {
            "id": "k3f.ab12cd",
            "atom_id": "xmpp:relay.test?;node=k3f.ab12cd",
            "author": "alice@example.test",
            "handle": "alice",
            "text": "Tea?",
            "language": "en",
            "visibility": "unlisted",
            "in_reply_to": "k3e.ab12cd",
            "published": "2024-05-17T12:00:00.000Z",
            "updated": None,
        },
    }


async def test_edits_and_deletions_are_events_of_their_own(scripted: Scripted) -> None:
    edit = replace(TEA, text="Coffee?", updated=NOON + timedelta(hours=1))
    await scripted.primary.edit(OPERATOR, TEA.id, edit, "any")
    await scripted.primary.edit(OPERATOR, TEA.id, edit, "another key")
    await scripted.primary.delete(OPERATOR, TEA.id)
    events = [Webhook(SECRET).verify(body, headers) for _, _, headers, body in scripted.got]
    ids = [headers["webhook-id"] for _, _, headers, _ in scripted.got]
    assert [each["type"] for each in events] == ["post.updated", "post.updated", "post.deleted"]
    assert events[0] == events[1]
    assert events[0]["data"]["text"] == "Coffee?"
    assert events[0]["timestamp"] == "2024-05-17T13:00:00.000Z"
    assert events[2]["data"] == {"id": "k3f.ab12cd"}
    assert ids == [
        "k3f-ab12cd-updated-1715950800000",
        "k3f-ab12cd-updated-1715950800000",
        "k3f-ab12cd-deleted",
    ]


@pytest.mark.parametrize(
    ("status", "outcome", "scope"),
    [
        (200, Outcome.INSERTED, Scope.POST),
        (202, Outcome.INSERTED, Scope.POST),
        (204, Outcome.INSERTED, Scope.POST),
        (301, Outcome.RETRY, Scope.DRIVER),
        (302, Outcome.UNKNOWN, Scope.DRIVER),
        (307, Outcome.RETRY, Scope.DRIVER),
        (308, Outcome.RETRY, Scope.DRIVER),
        (400, Outcome.REJECTED, Scope.POST),
        (401, Outcome.AUTH, Scope.DRIVER),
        (403, Outcome.AUTH, Scope.DRIVER),
        (404, Outcome.RETRY, Scope.DRIVER),
        (405, Outcome.RETRY, Scope.DRIVER),
        (408, Outcome.UNKNOWN, Scope.DRIVER),
        (409, Outcome.DUPLICATE, Scope.POST),
        (410, Outcome.RETRY, Scope.DRIVER),
        (413, Outcome.REJECTED, Scope.POST),
        (422, Outcome.REJECTED, Scope.POST),
        (429, Outcome.RETRY, Scope.DRIVER),
        (500, Outcome.UNKNOWN, Scope.DRIVER),
        (502, Outcome.UNKNOWN, Scope.DRIVER),
        (503, Outcome.UNKNOWN, Scope.DRIVER),
        (504, Outcome.UNKNOWN, Scope.DRIVER),
    ],
)
async def test_what_an_answer_means(
    scripted: Scripted, status: int, outcome: Outcome, scope: Scope
) -> None:
    scripted.status = status
    if status not in (204, 304):
        scripted.body = f"<html><b>Too\nbad</b> {SECRET} hunter2 {'x ' * 300}</html>"
    scripted.headers = {"Location": "/elsewhere"} if 300 < status < 400 else {}
    for done in (
        await scripted.primary.insert(OPERATOR, TEA, "any"),
        await scripted.primary.edit(OPERATOR, TEA.id, TEA, "any"),
        await scripted.primary.delete(OPERATOR, TEA.id),
    ):
        assert (done.outcome, done.scope) == (outcome, scope)
        fine = outcome in (Outcome.INSERTED, Outcome.DUPLICATE)
        assert done.remote_id == (TEA.id if fine else None)
        assert done.reason == ("" if fine else f"http_{status}")
        assert bool(done.detail) != fine
        assert len(done.detail) <= 200
        for hidden in (SECRET, "hunter2", "<b>", "\n"):
            assert hidden not in done.detail
    assert len(scripted.got) == 3  # no redirect is followed, nothing is tried again


@pytest.mark.parametrize("status", [429, 503])
async def test_it_is_left_alone_for_as_long_as_it_says(scripted: Scripted, status: int) -> None:
    scripted.status, scripted.headers = status, {"Retry-After": "120"}
    done = await scripted.primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)
    assert done.retry_after_s == 120
    probe = await scripted.primary.probe()
    assert (probe.reach, probe.retry_after_s) == (Reach.DOWN, 120)


@pytest.mark.parametrize(
    ("body", "address"),
    [
        ('{"url": "https://blog.test/1"}', "https://blog.test/1"),
        ('{"url": "javascript:alert(1)"}', None),
        ('{"url": "https://blog.test/\\n"}', None),
        ('{"url": 7}', None),
        ('["url"]', None),
        ("https://blog.test/1", None),
    ],
)
async def test_a_receiver_may_say_where_the_post_is(
    scripted: Scripted, body: str, address: str | None
) -> None:
    scripted.body = body
    assert (await scripted.primary.insert(OPERATOR, TEA, "any")).remote_url == address
    look = await scripted.primary.reconcile(OPERATOR, Attempt(TEA, NOON, NOON))
    assert look == Found((Candidate(TEA.id, address),))


@pytest.mark.parametrize(
    ("status", "look"),
    [
        (200, Found),
        (410, Found),
        (404, Absent),
        (401, CannotTell),
        (405, CannotTell),
        (501, CannotTell),
        (302, CannotTell),
        (429, LookFailed),
        (500, LookFailed),
        (503, LookFailed),
    ],
)
async def test_what_a_look_makes_of_it(scripted: Scripted, status: int, look: type) -> None:
    scripted.status = status
    assert isinstance(await scripted.primary.reconcile(OPERATOR, Attempt(TEA, NOON, NOON)), look)
    ((method, path, headers, body),) = scripted.got
    assert (method, path, body) == ("GET", "/posts/k3f.ab12cd?token=hunter2", b"")
    Webhook(SECRET).verify(body, headers, json_parse=False)


@pytest.mark.parametrize(
    ("status", "reach"),
    [
        (200, Reach.UP),
        (401, Reach.UP),  # said of a GET: a POST tells
        (404, Reach.UP),
        (405, Reach.UP),
        (501, Reach.UP),
        (429, Reach.DOWN),
        (500, Reach.DOWN),
        (502, Reach.DOWN),
    ],
)
async def test_whoever_answers_is_up(scripted: Scripted, status: int, reach: Reach) -> None:
    scripted.status = status
    probe = await scripted.primary.probe()
    assert probe.reach is reach
    assert probe.reason == ("" if reach is Reach.UP else f"http_{status}")
    assert [method for method, *_ in scripted.got] == ["GET"]


# A receiver that refuses whatever it gets

REFUSALS = [(401, Reach.AUTH), (403, Reach.AUTH), (404, Reach.DOWN), (405, Reach.DOWN)]
REFUSALS += [(410, Reach.DOWN), (308, Reach.DOWN)]


@pytest.mark.parametrize(("status", "reach"), REFUSALS)
async def test_who_refuses_all_is_up_again_when_he_takes_a_ping(
    scripted: Scripted, status: int, reach: Reach
) -> None:
    scripted.status, scripted.to_get = status, 200
    refused = await scripted.primary.insert(OPERATOR, TEA, "any")
    for _ in range(2):
        probe = await scripted.primary.probe()
        assert (probe.reach, probe.reason) == (reach, f"http_{status}")
        assert probe.detail == refused.detail
    scripted.status, scripted.to_get = 204, 405
    assert (await scripted.primary.probe()).reach is Reach.UP
    assert (await scripted.primary.probe()).reach is Reach.UP
    types = [json.loads(body)["type"] for _, _, _, body in scripted.got if body]
    assert types == ["post.created", "ping", "ping", "ping"]
    assert [method for method, *_ in scripted.got][-2:] == ["GET", "GET"]


async def test_a_ping_is_signed_and_no_two_are_the_same_event() -> None:
    times = iter(datetime.now(UTC) + timedelta(seconds=n) for n in range(100))
    async with _saying(lambda: next(times)) as scripted:
        scripted.status = 401
        await scripted.primary.insert(OPERATOR, TEA, "any")
        await scripted.primary.probe()
        await scripted.primary.probe()
        pings = scripted.got[1:]
        events = [Webhook(SECRET).verify(body, headers) for _, _, headers, body in pings]
        assert [(each["type"], each["data"]) for each in events] == [("ping", {})] * 2
        assert len({headers["webhook-id"] for _, _, headers, _ in pings}) == 2
        assert {path for _, path, _, _ in pings} == {"/posts?token=hunter2"}


@pytest.mark.parametrize("to_ping", [200, 400, 409, 422, 500, 501, 0])
async def test_who_does_not_know_the_ping_is_found_again(scripted: Scripted, to_ping: int) -> None:
    scripted.status = 401
    await scripted.primary.insert(OPERATOR, TEA, "any")
    assert (await scripted.primary.probe()).reach is Reach.AUTH
    scripted.status, scripted.to_get, scripted.to_ping = 200, 405, to_ping
    assert (await scripted.primary.probe()).reach is Reach.UP
    assert (await scripted.primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED


async def test_who_refuses_and_is_down_for_a_while_still_refuses(scripted: Scripted) -> None:
    scripted.status = 401
    await scripted.primary.insert(OPERATOR, TEA, "any")
    scripted.status = 502
    assert (await scripted.primary.probe()).reason == "http_502"
    scripted.status, scripted.to_get = 401, 200
    assert (await scripted.primary.probe()).reach is Reach.AUTH


@pytest.mark.parametrize(
    ("status", "known"), [(200, True), (409, True), (422, False), (429, False), (500, False)]
)
async def test_who_has_taken_a_post_since_is_not_pinged(
    scripted: Scripted, status: int, known: bool
) -> None:
    """The operator may have ended the standby himself."""
    scripted.status = 404
    await scripted.primary.insert(OPERATOR, TEA, "any")
    scripted.status = status
    await scripted.primary.insert(OPERATOR, TEA, "any")
    scripted.status, scripted.to_ping = 200, 404
    assert (await scripted.primary.probe()).reach is (Reach.UP if known else Reach.DOWN)


@pytest.mark.parametrize("status", [401, 404, 308])
async def test_who_refuses_all_is_on_standby_once_until_he_is_corrected(
    scripted: Scripted, status: int
) -> None:
    """A day with a wrong secret, or at a wrong address; any web server answers a GET."""
    scripted.status, scripted.to_get = status, 200
    driver, caps = scripted.primary, Caps("webhook")
    site, row, now_s = Site("", None, lambda: 1.0, 0.0), WAITS, 0.0
    site.knows(caps, now_s)
    begun, corrected_s, back_s = [], None, None
    while back_s is None:
        if site.health.probe_at is not None:
            now_s = max(now_s, site.health.probe_at)
            site.probed(await driver.probe(), now_s)
            assert site.reason in ("", f"http_{status}")
        if site.health.away:
            if corrected_s is None and now_s > 86_400.0:
                scripted.status, scripted.to_get, corrected_s = 200, 405, now_s
            continue
        now_s += 5.0
        result = await driver.insert(OPERATOR, TEA, "any")
        site.answered(1, result, now_s)
        row = sent(row, result, Rules(), NOON, others_fine=True)
        begun += [now_s] if site.health.away else []
        back_s = now_s if row.state is State.INSERTED else None
    assert len(begun) == 1
    assert corrected_s is not None
    assert back_s - corrected_s < 310.0
    assert sum(b"post.created" in body for *_, body in scripted.got) <= 3 + 1


async def test_who_does_not_answer_in_time_may_have_it() -> None:
    ending = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ending.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/posts"
        async with aclosing(WebhookPrimary(url, SECRET, total_s=0.2)) as primary:
            done = await primary.insert(OPERATOR, TEA, "any")
            assert (done.outcome, done.scope, done.reason) == (
                *(Outcome.UNKNOWN, Scope.DRIVER),
                "timeout",
            )
            assert (await primary.probe()).reach is Reach.DOWN
        ending.set()
