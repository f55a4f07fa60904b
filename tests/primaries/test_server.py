"""On a socket, the scripted primary does to a connection what its script says."""

import asyncio
import errno
from collections.abc import AsyncIterator
from io import BytesIO

import aiohttp
import pytest

from tests.primaries import faults
from tests.primaries.clock import Clock
from tests.primaries.faults import Fault, Op
from tests.primaries.profiles import GOTOSOCIAL, MASTODON, PLEROMA, TAKAHE, Profile
from tests.primaries.server import Server
from tests.primaries.world import World
from xmpprelay.core.primary import Account

BARELY = aiohttp.ClientTimeout(total=0.1)


class Town:
    """A server, an account on it, and a client."""

    def __init__(self, profile: Profile) -> None:
        self.clock = Clock()
        self.world = World(profile, self.clock.now)
        self.server = Server(self.world)
        self.client: aiohttp.ClientSession
        self.alice: Account

    async def __aenter__(self) -> "Town":
        await self.server.__aenter__()
        self.alice = self.world.join("alice", 1)
        self.client = aiohttp.ClientSession(self.server.site)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.__aexit__()

    async def ask(self, method: str, path: str, **how: object) -> tuple[int, str, object]:
        """One request: its status, its type, and what it says."""
        headers = {"Authorization": f"Bearer {self.alice.token}", "Idempotency-Key": "key"}
        async with self.client.request(method, path, headers=headers, **how) as response:  # type: ignore[arg-type]
            read = response.json if response.content_type == "application/json" else response.text
            return response.status, response.content_type, await read()

    async def insert(self, text: str = "tea", fault: Fault = faults.FINE, **how: object) -> object:
        """Insert a status that meets a fault; its answer."""
        self.world.script.then(fault)
        form = {"status": text, "visibility": "unlisted"}
        status, _, said = await self.ask("POST", "/api/v1/statuses", data=form, **how)
        assert status == 200
        return said


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with Town(MASTODON) as town:
        yield town


async def test_a_status_goes_in_and_comes_out(town: Town) -> None:
    said = await town.insert("tea & <biscuits>\n\nhttps://example.org/?a&b @bob@example.net")
    assert isinstance(said, dict)
    assert said["content"] == (
        "<p>tea &amp; &lt;biscuits&gt;</p>"
        '<p><a href="https://example.org/?a&amp;b" target="_blank" rel="nofollow noopener">'
        '<span class="invisible">https://</span><span class="ellipsis">example.org/?a&amp;b</span>'
        '<span class="invisible"></span></a> <span class="h-card" translate="no">'
        '<a href="https://example.net/@bob" class="u-url mention">@<span>bob</span></a></span></p>'
    )
    assert (said["visibility"], said["created_at"]) == ("unlisted", "2026-03-01T12:00:00.000Z")
    [stored] = town.world.stored()
    assert stored.key == "key"
    path = f"/api/v1/statuses/{stored.id}"
    assert await town.ask("GET", path) == (200, "application/json", said)
    listed = await town.ask("GET", f"/api/v1/accounts/{town.alice.remote_id}/statuses?min_id=0")
    assert listed[2] == [said]
    _, _, source = await town.ask("GET", f"{path}/source")
    assert isinstance(source, dict)
    assert source["text"] == stored.text
    assert (await town.ask("DELETE", path))[0] == 200
    assert (await town.ask("GET", path))[0] == 404
    _, _, verified = await town.ask("GET", "/api/v1/accounts/verify_credentials")
    assert verified == {"id": town.alice.remote_id, "acct": "alice"}


async def test_forms_and_json_and_files_are_read(town: Town) -> None:
    form = aiohttp.FormData({"file": BytesIO(b"png")})
    _, _, media = await town.ask("POST", "/api/v2/media", data=form)
    assert isinstance(media, dict)
    fields = {"status": "look", "media_ids": [media["id"]], "language": "de"}
    await town.ask("POST", "/api/v1/statuses", json=fields)
    [stored] = town.world.stored()
    assert (stored.media, stored.language) == ((media["id"],), "de")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.RESET, aiohttp.ClientOSError),
        (faults.RESET_DONE, aiohttp.ClientOSError),
        (faults.CLOSE, aiohttp.ServerDisconnectedError),
        (faults.CLOSE_DONE, aiohttp.ServerDisconnectedError),
        (faults.HANG, TimeoutError),
        (faults.HANG_DONE, TimeoutError),
        (faults.SLOW_BODY, TimeoutError),
    ],
    ids=lambda each: each.name if isinstance(each, Fault) else "",
)
async def test_a_connection_breaks_as_the_script_says(
    town: Town, fault: Fault, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        await town.insert("tea", fault, timeout=BARELY)
    if isinstance(caught.value, aiohttp.ClientOSError):
        assert caught.value.errno == errno.ECONNRESET
    assert town.world.texts() == ["tea"] * fault.done
    town.world.forget_keys()
    await town.insert("more")
    assert town.world.texts() == [*["tea"] * fault.done, "more"]


async def test_a_slow_answer_begins(town: Town) -> None:
    town.world.script.then(faults.SLOW_BODY)
    reader, writer = await asyncio.open_connection("127.0.0.1", town.server.port)
    head = (
        f"POST /api/v1/statuses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {town.alice.token}\r\n"
    )
    kind = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\n"
    writer.write(f"{head}{kind}status=tea".encode())
    assert await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(7) == b'{"id": '
    writer.close()


async def test_nobody_listens_until_it_does_again(town: Town) -> None:
    await town.insert("before")
    await town.server.refuse()
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await town.insert("refused")
        assert isinstance(caught.value.os_error, ConnectionRefusedError)
    await town.server.listen()
    town.world.script.mend()
    town.world.forget_keys()
    await town.insert("after")
    assert town.world.texts() == ["before", "after"]


async def test_by_script_it_listens_again_by_itself(town: Town) -> None:
    with pytest.raises(aiohttp.ClientOSError):
        await town.insert("lost", faults.REFUSE)
    with pytest.raises(aiohttp.ClientConnectorError):
        await town.insert("refused")
    await town.server.listens.wait()
    town.world.script.mend()
    await town.insert("after")
    assert town.world.texts() == ["after"]


async def test_errors_of_proxies_are_pages_and_others_are_json(town: Town) -> None:
    for fault, kind in ((faults.ERROR_504, "text/html"), (faults.ERROR_500, "application/json")):
        town.world.script.then(fault)
        status, found, _ = await town.ask("POST", "/api/v1/statuses", data={"status": "tea"})
        assert (status, found) == (fault.status, kind)


async def test_headers_say_when_and_how_much_is_left(town: Town) -> None:
    town.world.skew_s = -3600.0
    seen = []
    for fault in (faults.FINE, faults.LIMITED_UNIX, faults.LIMITED_DELTA, faults.LIMITED_WAIT_DATE):
        town.world.script.then(fault, op=Op.VERIFY)
        headers = {"Authorization": f"Bearer {town.alice.token}"}
        path = "/api/v1/accounts/verify_credentials"
        async with town.client.get(path, headers=headers) as response:
            names = ("Date", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After")
            seen.append([response.headers.get(name) for name in names])
    at = "Sun, 01 Mar 2026 11:00:00 GMT"
    assert seen == [
        [at, "299", "2026-03-01T11:05:00.000Z", None],
        [at, None, str(int(town.world.now()) + 30), None],
        [at, None, "30", None],
        [at, None, None, "Sun, 01 Mar 2026 11:00:30 GMT"],
    ]


async def test_what_a_server_is_stands_where_its_kind_has_it() -> None:
    for profile, v2 in ((GOTOSOCIAL, 200), (PLEROMA, 404), (TAKAHE, 200)):
        async with Town(profile) as town:
            _, _, links = await town.ask("GET", "/.well-known/nodeinfo")
            assert isinstance(links, dict)
            href = links["links"][0]["href"]
            _, _, node = await town.ask("GET", href)
            assert isinstance(node, dict)
            assert node["software"]["name"] == profile.software
            assert (await town.ask("GET", "/api/v2/instance"))[0] == v2
            assert (await town.ask("GET", "/api/v1/instance"))[0] == 200
            town.world.revoke(town.alice)
            status, kind, _ = await town.ask("GET", "/api/v1/accounts/verify_credentials")
            assert status == profile.bad_token
            assert kind == ("text/plain" if profile is TAKAHE else "application/json")
