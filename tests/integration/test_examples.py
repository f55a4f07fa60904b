"""The examples, each run as the person who copies it would run it, or checked by what reads it."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from slixmpp import ComponentXMPP

from tests.servers.ejabberd import Ejabberd
from xmpprelay.cli import EXIT_CONFIG, EXIT_DATA
from xmpprelay.config import Config, load
from xmpprelay.quickstart.people import Person
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.quickstart.relay_process import RelayProcess
from xmpprelay.service import Service

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "change me"  # of both servers' examples
PORT = "5347"


@pytest.fixture
async def relay(fresh_prosody: Prosody, tmp_path: Path) -> AsyncIterator[RelayProcess]:
    """A relay that takes one post, and the next only half a second later."""
    process = RelayProcess(tmp_path, fresh_prosody, {"posts_per_second": 2, "burst": 1})
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def patient_relay(fresh_prosody: Prosody, tmp_path: Path) -> AsyncIterator[RelayProcess]:
    """A relay that takes posts as they come."""
    process = RelayProcess(tmp_path, fresh_prosody, {"posts_per_second": 100, "burst": 100})
    await process.start()
    yield process
    await process.stop()


async def someone(server: Prosody, name: str) -> Person:
    jid = await server.add_user(name, name)
    return Person(name, jid, name, server.host, server.c2s_port)


async def posted(relay: RelayProcess) -> list[tuple[str, str]]:
    """Who has posted what, in order."""
    lines = (await relay.command("journal", "list", "--json")).splitlines()
    posts = [json.loads(line) for line in reversed(lines)]
    return [(post["author"]["handle"], post["text"]) for post in posts]


async def run_bot(server: Prosody, lines: str, handle: str = "newsbot") -> tuple[int, str]:
    """Lets the bot post; its exit code, and what it said on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "bot.py"), f"newsbot@{server.domain}"),
        *(f"home@{server.component_domain}", handle, str(server.c2s_port)),
        env=os.environ | {"XMPP_PASSWORD": "newsbot"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, err = await process.communicate(lines.encode())
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_the_bot_posts_each_line_once_and_keeps_to_the_rate(
    fresh_prosody: Prosody, relay: RelayProcess
) -> None:
    await someone(fresh_prosody, "newsbot")
    assert await run_bot(fresh_prosody, "the first line\n\n  the second line\n") == (0, "")
    assert await run_bot(fresh_prosody, "the third line, of another run\n") == (0, "")
    assert await posted(relay) == [
        ("newsbot", "the first line"),
        ("newsbot", "the second line"),
        ("newsbot", "the third line, of another run"),
    ]


async def test_the_bot_says_why_a_line_is_refused(
    fresh_prosody: Prosody, relay: RelayProcess
) -> None:
    await someone(fresh_prosody, "newsbot")
    code, err = await run_bot(fresh_prosody, "a line\n", handle="admin")
    assert code == 1
    assert err.startswith(":join admin: "), err
    assert await posted(relay) == []


async def test_the_bot_says_that_its_password_is_refused(fresh_prosody: Prosody) -> None:
    await fresh_prosody.add_user("newsbot", "another password")
    code, err = await run_bot(fresh_prosody, "a line\n")
    assert code == 1
    assert ":join newsbot: the password is refused" in err


async def run_publisher(server: Prosody, text: str, item: str = "") -> tuple[int, str, str]:
    """Lets the publisher publish; its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "pubsub_publisher.py"), f"newsbot@{server.domain}"),
        *(f"newsbot@{server.component_domain}", item, str(server.c2s_port)),
        env=os.environ | {"XMPP_PASSWORD": "newsbot"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, out.decode().strip(), err.decode()


async def test_the_publisher_publishes_says_the_id_and_edits(
    fresh_prosody: Prosody, relay: RelayProcess
) -> None:
    await someone(fresh_prosody, "newsbot")
    code, item, err = await run_publisher(fresh_prosody, "the first post\nin two lines\n")
    assert (code, err) == (0, "")
    assert await posted(relay) == [("newsbot", "the first post\nin two lines")]
    assert await run_publisher(fresh_prosody, "the second", "two") == (0, "two", "")
    assert await run_publisher(fresh_prosody, "the first, edited", item) == (0, item, "")
    edit = ("newsbot", "the first, edited")  # an entry of the journal as well
    assert await posted(relay) == [edit, ("newsbot", "the second"), edit]


async def test_the_publisher_says_why_it_is_refused(
    fresh_prosody: Prosody, relay: RelayProcess
) -> None:
    await fresh_prosody.add_user("newsbot", "newsbot")
    code, item, err = await run_publisher(fresh_prosody, "x" * 3000)
    assert (code, item) == (1, "")
    assert "3,000 characters" in err
    assert await posted(relay) == []


async def test_the_publisher_says_that_its_password_is_refused(fresh_prosody: Prosody) -> None:
    await fresh_prosody.add_user("newsbot", "another password")
    code, item, err = await run_publisher(fresh_prosody, "a post")
    assert (code, item, err.splitlines()[-1]) == (1, "", "the password is refused")


class FeedServer:
    """A web server with a feed. `asked` has the headers of each request, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []  # id and title, the oldest first
        self.broken = 0  # so many requests are answered by an error, and by what is no feed
        self.asked: list[dict[str, str]] = []
        self._more = asyncio.Event()

    @property
    def mark(self) -> str:
        return f'"{len(self.entries)}"'

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        self._more.set()
        if self.broken:
            self.broken -= 1
            return web.Response(status=500) if self.broken else web.Response(text="<html/>")
        if request.headers.get("If-None-Match") == self.mark:
            return web.Response(status=304)
        items = "".join(
            f"<item><title>{title}</title><guid isPermaLink='false'>{name}</guid>"
            f"<link>https://news.test/{name}</link><category>news</category></item>"
            for name, title in reversed(self.entries)
        )
        feed = (
            f"<rss version='2.0'><channel><title>News</title><language>en</language>{items}"
            "</channel></rss>"
        )
        return web.Response(text=feed, content_type="text/xml", headers={"ETag": self.mark})

    async def is_asked_for_more(self) -> None:
        """Return when somebody has asked who knows all that there is, and was told so."""
        async with asyncio.timeout(60):
            while not any(each.get("If-None-Match") == self.mark for each in self.asked):
                self._more.clear()
                await self._more.wait()


@pytest.fixture
async def news() -> AsyncIterator[tuple[FeedServer, str]]:
    """A server with a feed, and the feed's address."""
    feed, port, application = FeedServer(), free_port(), web.Application()
    application.router.add_get("/feed.xml", feed.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield feed, f"http://127.0.0.1:{port}/feed.xml"
    await runner.cleanup()


@contextlib.asynccontextmanager
async def feed_bot(server: Prosody, url: str, file: Path) -> AsyncIterator[asyncio.StreamReader]:
    """The bot, until it is killed; gives what it says on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "feed_bot.py"), f"newsbot@{server.domain}"),
        *(f"newsbot@{server.component_domain}", url, str(file), str(server.c2s_port)),
        env=os.environ | {"XMPP_PASSWORD": "newsbot", "FEED_EVERY_S": "0.1"},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        yield process.stderr
    finally:
        process.kill()
        await process.communicate()


async def test_the_feed_bot_posts_each_entry_once_whatever_happens_to_it(
    fresh_prosody: Prosody, relay: RelayProcess, news: tuple[FeedServer, str], tmp_path: Path
) -> None:
    server, (feed, url), file = fresh_prosody, news, tmp_path / "newsbot.json"
    await someone(server, "newsbot")
    feed.entries = [("a", "Tea &amp;amp; milk"), ("b", "More &lt;i&gt;tea&lt;/i&gt;")]
    known = [
        ("newsbot", "Tea & milk\nhttps://news.test/a #news"),
        ("newsbot", "More tea\nhttps://news.test/b #news"),
    ]
    async with feed_bot(server, url, file):
        await feed.is_asked_for_more()
    assert await posted(relay) == known
    feed.entries.append(("c", "No tea"))
    known.append(("newsbot", "No tea\nhttps://news.test/c #news"))
    async with feed_bot(server, url, file):
        await feed.is_asked_for_more()
    assert await posted(relay) == known
    file.unlink()
    feed.asked.clear()
    async with feed_bot(server, url, file):
        await feed.is_asked_for_more()
    assert "If-None-Match" not in feed.asked[0]
    assert await posted(relay) == known


async def test_the_feed_bot_begins_with_the_newest_says_what_it_is_and_goes_on_after_errors(
    fresh_prosody: Prosody,
    patient_relay: RelayProcess,
    news: tuple[FeedServer, str],
    tmp_path: Path,
) -> None:
    server, (feed, url) = fresh_prosody, news
    await someone(server, "newsbot")
    feed.broken = 2
    feed.entries = [(f"old-{number}", f"Number {number}") for number in range(7)]
    async with feed_bot(server, url, tmp_path / "newsbot.json") as said:
        assert b"500" in await said.readline()
        assert b"this is no feed" in await said.readline()
        await feed.is_asked_for_more()
        titles = [text.partition("\n")[0] for _, text in await posted(patient_relay)]
        assert titles == [f"Number {number}" for number in range(2, 7)]
        feed.entries.append(("new", "And one \x08more"))
        await feed.is_asked_for_more()
    assert (await posted(patient_relay))[5] == (
        "newsbot",
        "And one more\nhttps://news.test/new #news",
    )
    bob = await someone(server, "bob")
    await bob.log_in()
    asked = bob.says(f"home@{server.component_domain}", "whois newsbot")
    await bob.sees("what it is", lambda seen: "a bot" in seen.text, answers=asked)
    await bob.log_out()


@pytest.mark.skipif(not shutil.which("sendxmpp"), reason="sendxmpp is not installed")
async def test_the_command_line_client_joins_and_posts(
    fresh_prosody: Prosody, relay: RelayProcess, tmp_path: Path
) -> None:
    server = fresh_prosody
    alice, bob = await someone(server, "alice"), await someone(server, "bob")
    account = tmp_path / "sendxmpprc"
    account.touch(mode=0o600)
    account.write_text(
        f"username: alice\npassword: alice\ncomponent: {server.domain}\n"
        f"jserver: {server.host}\nport: {server.c2s_port}\n"
    )
    home = f"home@{server.component_domain}"

    async def post(text: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *("sh", str(EXAMPLES / "post.sh"), home),
            env=os.environ | {"SENDXMPPRC": str(account)},
            stdin=subprocess.PIPE,
        )
        await process.communicate(text.encode())
        assert process.returncode == 0

    await post("join alice\n")
    await alice.log_in()
    await alice.sees("the answer, kept for her", lambda seen: "Welcome, @alice" in seen.text)
    await bob.log_in()
    follow = bob.says(home, "follow alice")
    await bob.sees("yes", lambda seen: "You follow @alice" in seen.text, answers=follow)
    await post("load average: 0.42\nand a second line\n")
    seen = await bob.sees("the post", lambda seen: seen.text.startswith("alice: "))
    assert seen.text == "alice: load average: 0.42\nand a second line  #1"
    await alice.log_out()
    await bob.log_out()


def example_config(tmp_path: Path, port: int) -> Config:
    """examples/xmpprelay.toml, with the test's folders, and with a port added."""
    text = (EXAMPLES / "xmpprelay.toml").read_text()
    for folder in ("/etc/xmpprelay", "/var/lib/xmpprelay"):
        assert folder in text
        text = text.replace(folder, str(tmp_path))
    (tmp_path / "xmpprelay.toml").write_text(text.replace("[xmpp]", f"[xmpp]\nport = {port}"))
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return load(tmp_path / "xmpprelay.toml")


async def connects(config: Config) -> bool:
    """Whether a relay with that configuration comes up; StreamError says why not."""
    relay = await Service.open(config)
    try:
        await relay.start()
    finally:
        await relay.stop()
    return True


async def test_the_snippet_for_prosody_and_the_configuration_fit(tmp_path: Path) -> None:
    snippet = (EXAMPLES / "prosody.cfg.lua").read_text()
    server = Prosody("example.org", component_domain="own.example.org", extra_config=snippet)
    async with server:
        old = ComponentXMPP("relay.example.org", SECRET, server.host, server.component_port)
        old.connect()
        await old.wait_until("session_start")
        # A connection that the server believes to be alive does not lock the relay out.
        assert await connects(example_config(tmp_path, server.component_port))
        await old.disconnect()


@pytest.mark.skipif(not shutil.which("ejabberdctl"), reason="ejabberd is not installed")
async def test_the_snippet_for_ejabberd_and_the_configuration_fit(tmp_path: Path) -> None:
    snippet = (EXAMPLES / "ejabberd.yml").read_text()
    assert PORT in snippet
    port = free_port()
    (tmp_path / "snippet.yml").write_text(snippet.replace(PORT, str(port)))
    server = Ejabberd(
        "example.org",
        component_domain="own.example.org",
        extra_config={"include_config_file": str(tmp_path / "snippet.yml")},
    )
    async with server:
        assert await connects(example_config(tmp_path, port))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    unit = (EXAMPLES / "xmpprelay.service").read_text()
    program = "/opt/xmpprelay/bin/xmpprelay"
    assert f"ExecStart={program} run --config /etc/xmpprelay/xmpprelay.toml\n" in unit
    path = tmp_path / "xmpprelay.service"
    path.write_text(unit.replace(f"ExecStart={program} ", f"ExecStart={sys.executable} "))
    for check in (["verify"], ["security", "--offline=true", "--threshold=15"]):  # 15: 1.5 of 10
        done = subprocess.run(
            ["systemd-analyze", *check, str(path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_unit_does_not_start_again_what_cannot_work() -> None:
    unit = (EXAMPLES / "xmpprelay.service").read_text()
    assert f"\nRestartPreventExitStatus={EXIT_DATA} {EXIT_CONFIG}\n" in unit
