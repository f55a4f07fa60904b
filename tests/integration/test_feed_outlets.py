"""Feeds that go out by themselves: a hub is told of them, and they are written as files."""

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.integration.feed_reader import ATOM, checked_atom, checked_rss
from tests.integration.web_world import pages, wired_pages
from tests.integration.wire import RELAY, Wire, wired
from tests.integration.world import World
from tests.servers.towns import TOWNS
from xmpprelay.config import Feeds as FeedsConfig
from xmpprelay.config import Web
from xmpprelay.copies import Copies
from xmpprelay.hub import Hub
from xmpprelay.quickstart.private_server import free_port

ANN, BOB, PIA = (f"{name}@example.test" for name in ("ann", "bob", "pia"))
RUNS_IN = TOWNS[:1]  # the one test with a server is about what is started with the relay
BASE: Final = "https://relay.example.test"
SOON_S: Final = 0.2
"""In place of ten seconds, and of a minute."""


async def says(wire: Wire, *lines: tuple[str, str]) -> None:
    for who, line in lines:
        wire.says(who, line)
        await wire.quiet()


async def until(true: "asyncio.Event | asyncio.Future[None]") -> None:
    async with asyncio.timeout(10):
        await (true.wait() if isinstance(true, asyncio.Event) else true)


# --- A hub ---------------------------------------------------------------------------------------


class LocalHub:
    """A WebSub hub on this machine: what it is told, and what it answers."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.status = 202
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub"

    async def take(self, request: web.Request) -> web.Response:
        assert request.method == "POST"
        assert request.content_type == "application/x-www-form-urlencoded"
        form = await request.post()
        assert set(form) == {"hub.mode", "hub.url"}
        self.told.put_nowait((str(form["hub.mode"]), str(form["hub.url"])))
        return web.Response(status=self.status)

    async def next(self, count: int) -> list[str]:
        """The next addresses that it is told of."""
        found = []
        async with asyncio.timeout(10):
            for _ in range(count):
                mode, address = await self.told.get()
                assert mode == "publish"
                found.append(address)
        return found


@pytest.fixture
async def hub() -> AsyncIterator[LocalHub]:
    local = LocalHub()
    app = web.Application()
    app.router.add_post("/hub", local.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", local.port).start()
    try:
        yield local
    finally:
        await runner.cleanup()


@asynccontextmanager
async def telling(folder: Path, hub: LocalHub, every_s: float) -> AsyncIterator[Wire]:
    """A relay that tells a hub; Ann and Bob have joined, and Pia, who is protected."""
    async with wired_pages(folder, feeds=FeedsConfig(hub=hub.address)) as (wire, _):
        service = wire.service
        await says(wire, (ANN, "join ann"), (BOB, "join bob"), (PIA, "join pia"))
        await says(wire, (PIA, "protect on"))
        outlet = Hub(hub.address, service.graph, service.feeds, every_s=every_s)
        outlet.start()
        try:
            yield wire
        finally:
            await outlet.stop()


def of(wire: Wire, handle: str) -> list[str]:
    page = f"{wire.service.config.web.base_url}/@{handle}"
    return [f"{page}.atom", f"{page}.rss", f"{page}/with-replies.atom"]


async def test_a_hub_is_told_of_public_feeds_alone(tmp_path: Path, hub: LocalHub) -> None:
    async with telling(tmp_path, hub, SOON_S) as wire:
        await says(wire, (ANN, "follow pia"), (PIA, "approve ann"), (BOB, "feed private"))
        await says(wire, (PIA, "hers #secret"), (BOB, "off the web #web"), (ANN, "d bob alone"))
        await says(wire, (ANN, "tea #tea"))
        told = await hub.next(4)
        base = wire.service.config.web.base_url
        assert told == [*of(wire, "ann"), f"{base}/tag/tea.atom"]
        assert hub.told.empty()


async def test_a_hub_is_told_of_many_posts_once(tmp_path: Path, hub: LocalHub) -> None:
    async with telling(tmp_path, hub, 3600.0) as wire:
        await says(wire, (ANN, "first"))
        assert await hub.next(3) == of(wire, "ann")
        await says(wire, *((ANN, f"number {n}") for n in range(5)))
        await says(wire, (BOB, "a fence"))
        assert await hub.next(3) == of(wire, "bob")
        assert hub.told.empty()


async def test_what_came_in_the_pause_is_told_after_it(tmp_path: Path, hub: LocalHub) -> None:
    async with telling(tmp_path, hub, SOON_S) as wire:
        await says(wire, (ANN, "first"))
        await hub.next(3)
        await says(wire, (ANN, "second"), (ANN, "edit #1 another first"), (ANN, "del #2"))
        assert await hub.next(3) == of(wire, "ann")


async def test_who_goes_off_the_web_in_the_pause_is_not_told_of(
    tmp_path: Path, hub: LocalHub
) -> None:
    async with telling(tmp_path, hub, SOON_S) as wire:
        await says(wire, (ANN, "first"))
        await hub.next(3)
        await says(wire, (ANN, "second"), (ANN, "protect on"), (BOB, "one"))
        await hub.next(3)
        await says(wire, (BOB, "two"))
        assert await hub.next(3) == of(wire, "bob"), "it comes later than Ann's would"


async def test_a_hub_that_does_not_answer_is_logged_once(tmp_path: Path, hub: LocalHub) -> None:
    async with telling(tmp_path, hub, 0.0) as wire:
        with capture_logs() as logs:
            hub.status = 500
            await says(wire, (ANN, "first"), (BOB, "second"))
            await hub.next(6)
            hub.status = 202
            await says(wire, (ANN, "third"), (BOB, "a fence"))
            await hub.next(6)
            await wire.quiet()
        events = [each["event"] for each in logs if each["event"].startswith("hub.")]
        assert events == ["hub.does_not_answer", "hub.answers_again"]


async def test_feeds_name_the_hub_but_secret_ones_do_not(tmp_path: Path, hub: LocalHub) -> None:
    async with wired_pages(tmp_path, feeds=FeedsConfig(hub=hub.address)) as (wire, site):
        await says(wire, (ANN, "join ann"), (ANN, "tea #tea"))
        for path in ("/@ann.atom", "/@ann.rss", "/@ann/with-replies.atom", "/tag/tea.atom"):
            answer = await site.get(path)
            expected = f'<{hub.address}>; rel="hub", <{site.base_url}{path}>; rel="self"'
            assert answer.headers["Link"] == expected
            assert 'rel="hub"' in answer.text
        assert "Link" not in (await site.get("/@ann.atom?before=2")).headers
        secret = await wire.service.feeds.new_secret(1)
        for path in (f"/home/{secret}.atom", f"/home/{secret}.rss", f"/mentions/{secret}.atom"):
            answer = await site.get(path)
            assert answer.status == 200
            assert "Link" not in answer.headers
            assert hub.address not in answer.text


# --- Files ---------------------------------------------------------------------------------------


@asynccontextmanager
async def copying(
    folder: Path, directory: Path, every_s: float = 0.0
) -> AsyncIterator[tuple[Wire, Copies]]:
    """A relay that writes files and serves no pages; it does not write before `start`."""
    async with wired(folder, web=Web(base_url=BASE)) as wire:
        service = wire.service
        copies = Copies(
            directory,
            service.db,
            service.graph,
            service.feeds,
            service.streams,
            every_s=every_s,
            again_s=SOON_S,
        )
        service.keeping_out.hidden = copies.look_again
        try:
            yield wire, copies
        finally:
            await copies.stop()


def there(directory: Path) -> set[str]:
    return {str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()}


def files_of(*handles: str) -> set[str]:
    kinds = (".atom", ".rss", "/with-replies.atom")
    return {f"@{handle}{kind}" for handle in handles for kind in kinds}


def titles(path: Path) -> list[str | None]:
    root = checked_atom(path.read_bytes())
    return [each.text for each in root.iterfind(f"{ATOM}entry/{ATOM}title")]


async def test_public_feeds_are_written_at_the_start_and_after_posts(tmp_path: Path) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web) as (wire, copies):
        await says(wire, (ANN, "join ann"), (BOB, "join bob"), (PIA, "join pia"))
        await says(wire, (PIA, "protect on"), (ANN, "tea"), (PIA, "hers"), (BOB, "@ann yes"))
        copies.start()
        await until(copies.idle)
        assert there(web) == files_of("ann", "bob")
        assert titles(web / "@ann.atom") == ["tea"]
        assert titles(web / "@bob.atom") == []
        assert titles(web / "@bob/with-replies.atom") == ["@ann yes"]
        checked_rss((web / "@ann.rss").read_bytes())
        root = checked_atom((web / "@ann.atom").read_bytes())
        assert root.find(f"{ATOM}link").get("href") == f"{BASE}/@ann.atom"
        await says(wire, (ANN, "milk"))
        await until(copies.idle)
        assert titles(web / "@ann.atom") == ["milk", "tea"]


async def test_files_of_who_is_not_public_any_more_are_removed(tmp_path: Path) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web, every_s=3600.0) as (wire, copies):
        await says(wire, (ANN, "join ann"), (BOB, "join bob"), (PIA, "join pia"), (ANN, "tea"))
        await says(wire, (BOB, "boost #1"))
        copies.start()
        await until(copies.idle)
        assert there(web) == files_of("ann", "bob", "pia")
        assert titles(web / "@bob.atom") == ["@bob boosts @ann: tea"]
        await says(wire, (ANN, "protect on"))
        await until(copies.idle)
        assert there(web) == files_of("bob", "pia"), "whatever the pause is"
        await says(wire, (ANN, "protect off"), (BOB, "feed private"))
        await until(copies.idle)
        assert there(web) == files_of("ann", "pia")
        await says(wire, (ANN, ":join anna"), (BOB, "feed public"))
        await until(copies.idle)
        assert there(web) == files_of("anna", "bob", "pia")
        await says(wire, (ANN, "leave-relay yes"))
        await until(copies.idle)
        assert there(web) == files_of("bob", "pia")
        await wire.service.keeping_out.operator_block(BOB, "a test")
        await until(copies.idle)
        assert there(web) == files_of("pia")


async def test_whom_the_operator_blocks_has_no_files_until_he_is_unblocked(tmp_path: Path) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web, every_s=3600.0) as (wire, copies):
        await says(wire, (ANN, "join ann"), (BOB, "join bob"), (ANN, "tea"), (BOB, "boost #1"))
        copies.start()
        await until(copies.idle)
        keeping_out = wire.service.keeping_out
        await keeping_out.operator_block(ANN, "a test")
        await until(copies.idle)
        assert there(web) == files_of("bob")
        assert titles(web / "@bob.atom") == []
        await keeping_out.operator_unblock(ANN, "a test")
        await until(copies.idle)
        assert titles(web / "@ann.atom") == ["tea"]
        assert titles(web / "@bob.atom") == ["@bob boosts @ann: tea"]


async def test_one_author_whose_files_cannot_be_made_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web, every_s=3600.0) as (wire, copies):
        await says(wire, (ANN, "join ann"), (BOB, "join bob"), (PIA, "join pia"), (ANN, "tea"))
        copies.start()
        await until(copies.idle)
        files = copies._files

        async def of_others(author: int, handle: str) -> Any:
            if handle == "ann":
                raise RuntimeError("for this test")
            return await files(author, handle)

        monkeypatch.setattr(copies, "_files", of_others)
        monkeypatch.setattr(copies, "_again_s", 3600.0)
        await says(wire, (ANN, "milk"), (ANN, "feed public"), (BOB, "feed private"))
        await says(wire, (PIA, "feed private"), (PIA, "feed public"))
        async with asyncio.timeout(10):
            while there(web) != files_of("pia"):  # noqa: ASYNC110 - in each turn of the loop
                await asyncio.sleep(0)
        assert copies.failures >= 1
        monkeypatch.setattr(copies, "_files", files)
        await says(wire, (ANN, "feed private"), (ANN, "feed public"))
        async with asyncio.timeout(10):
            while there(web) != files_of("ann", "pia"):  # noqa: ASYNC110 - in each turn
                await asyncio.sleep(0)


async def test_boosts_in_files_change_with_what_they_show(tmp_path: Path) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web) as (wire, copies):
        await says(wire, (ANN, "join ann"), (BOB, "join bob"), (ANN, "tee"), (ANN, "second"))
        await says(wire, (BOB, "boost #1"), (BOB, "boost #2"))
        copies.start()
        await until(copies.idle)
        await says(wire, (ANN, "edit #1 tea"))
        await until(copies.idle)
        assert "@bob boosts @ann: tea" in titles(web / "@bob.atom")
        await says(wire, (ANN, 'profile name "Ann of Tea"'))
        await until(copies.idle)
        assert "Ann of Tea" in (web / "@ann.atom").read_text()
        assert "Ann of Tea" in (web / "@bob.atom").read_text()
        await says(wire, (ANN, "del #2"))
        await until(copies.idle)
        assert titles(web / "@bob.atom") == ["@bob boosts @ann: tea"]
        await says(wire, (ANN, "feed private"))
        await until(copies.idle)
        assert titles(web / "@bob.atom") == []


async def test_what_was_left_behind_is_removed_at_the_start_and_nothing_else(
    tmp_path: Path,
) -> None:
    web = tmp_path / "web"
    (web / "@gone").mkdir(parents=True)
    left = ("@gone.atom", "@gone.rss", "@gone/with-replies.atom", "@begun.atom.new")
    kept = ("index.html", "@gone.html", "gone.atom", "@a.atom", ".htaccess")
    for name in (*left, *kept):
        (web / name).write_text("x")
    async with copying(tmp_path, web) as (wire, copies):
        await says(wire, (ANN, "join ann"))
        copies.start()
        await until(copies.idle)
        assert there(web) == files_of("ann") | set(kept)
        assert not (web / "@gone").exists()


async def test_a_file_is_whole_at_every_moment_and_new_only_if_it_differs(tmp_path: Path) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web) as (wire, copies):
        await says(wire, (ANN, "join ann"), (ANN, "tea"))
        copies.start()
        await until(copies.idle)
        held = os.open(web / "@ann.atom", os.O_RDONLY)
        before = os.fstat(held)
        same = (web / "@ann/with-replies.atom").stat()
        await says(wire, (BOB, "join bob"), (ANN, "@bob yes"))
        await until(copies.idle)
        assert (web / "@ann.atom").stat().st_ino == before.st_ino
        assert (web / "@ann/with-replies.atom").stat().st_ino != same.st_ino
        await says(wire, (ANN, "milk"))
        await until(copies.idle)
        assert (web / "@ann.atom").stat().st_ino != before.st_ino
        assert os.read(held, 10_000_000).endswith(b"</feed>")
        os.close(held)
        assert not [each for each in there(web) if each.endswith(".new")]


async def test_files_do_not_tell_of_a_standby(tmp_path: Path) -> None:
    web = tmp_path / "web"
    async with copying(tmp_path, web) as (wire, copies):
        wire.service.feeds.note = lambda: "on standby"
        await says(wire, (ANN, "join ann"), (ANN, "tea"))
        copies.start()
        await until(copies.idle)
        assert b"standby" not in (web / "@ann.atom").read_bytes()


async def test_a_folder_that_cannot_be_written_to_is_tried_again(tmp_path: Path) -> None:
    """A file in its place: even who may do everything cannot write below it."""
    web = tmp_path / "web"
    web.write_text("in the way")
    async with copying(tmp_path, web) as (wire, copies):
        with capture_logs() as logs:
            await says(wire, (ANN, "join ann"), (ANN, "tea"))
            copies.start()
            refused = asyncio.Event()
            fails = copies._has_failed
            tries = []

            def failed(error: OSError) -> None:
                fails(error)
                tries.append(error)
                if len(tries) == 3:
                    refused.set()

            copies._has_failed = failed  # type: ignore[method-assign, assignment]
            await until(refused)
            await says(wire, (ANN, "the relay goes on"))
            web.unlink()
            await until(copies.idle)
        assert titles(web / "@ann.atom") == ["the relay goes on", "tea"]
        told = [each for each in logs if each["event"].startswith("feeds.")]
        assert [each["event"] for each in told] == ["feeds.not_written", "feeds.written_again"]
        assert told[0]["directory"] == str(web)
        assert "directory" in told[0]["why"]


async def test_a_folder_that_is_lost_later_is_tried_again(tmp_path: Path) -> None:
    web, away = tmp_path / "web", tmp_path / "away"
    async with copying(tmp_path, web) as (wire, copies):
        await says(wire, (ANN, "join ann"), (ANN, "tea"))
        copies.start()
        await until(copies.idle)
        web.rename(away)
        web.write_text("in the way")
        with capture_logs() as logs:
            await says(wire, (ANN, "milk"))
            web.unlink()
            away.rename(web)
            await until(copies.idle)
        assert titles(web / "@ann.atom") == ["milk", "tea"]
        assert len([each for each in logs if each["event"] == "feeds.not_written"]) <= 1


async def test_the_service_writes_and_tells_by_itself(tmp_path: Path, hub: LocalHub) -> None:
    """As the configuration says; the pace is the real one, so there is one round of each."""
    web = tmp_path / "web"
    tables = FeedsConfig(directory=str(web), hub=hub.address)
    async with wired_pages(tmp_path, feeds=tables) as (wire, _):
        service = wire.service
        assert service.hub is not None
        assert service.copies is not None
        mask = os.umask(0o077)
        try:
            service.hub.start()
            service.copies.start()
            await says(wire, (ANN, "join ann"), (ANN, "tea"))
            assert await hub.next(3) == of(wire, "ann")
            await until(service.copies.idle)
        finally:
            os.umask(mask)
        assert there(web) == files_of("ann")
        for place, mode in ((web, 0o755), (web / "@ann", 0o755), (web / "@ann.atom", 0o644)):
            shown = stat.S_IMODE(place.stat().st_mode)
            assert shown == mode, "the web server in front is somebody else"
        assert RELAY in (web / "@ann.atom").read_text()


async def test_a_running_relay_has_all_of_it_and_has_it_again(
    world: World, tmp_path: Path, hub: LocalHub
) -> None:
    web = tmp_path / "web"
    tables = FeedsConfig(directory=str(web), hub=hub.address)
    async with pages(world) as site:
        world.config = replace(world.config, feeds=tables)
        alice, bob = await world.authors("alice", "bob")
        await bob.says("follow alice")
        told = await bob.says("feed new")
        [own, *_] = re.findall(r"http\S+", told)
        await alice.says("tea")
        await bob.gets_post("tea")
        assert (await hub.next(1)) == [f"{site.base_url}/@alice.atom"]
        assert "tea" in (await site.get(own)).text
        await world.restarts()
        copies = world.service.copies
        assert copies is not None
        await until(copies.idle)
        assert titles(web / "@alice.atom") == ["tea"]
        assert there(web) == files_of("alice", "bob")
        assert "tea" in (await site.get(own)).text
        await alice.says("feed private")
        await alice.fence()
        await world.restarts()
        assert (await site.get("/@alice.atom")).status == 404
        assert world.service.copies is not None
        await until(world.service.copies.idle)
        assert there(web) == files_of("bob")
        assert (await site.get(own)).status == 200
