"""The examples, each run as the person who copies it would run it, or checked by what reads it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
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
