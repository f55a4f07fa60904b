"""The private federations themselves: that stanzas cross, both ways, and only by good certificates.

Each pair of servers is started once for all tests of it.
"""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from slixmpp import JID, ComponentXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration.clients import Mailbox, Person, Stanza
from tests.servers import XmppServer, new_account
from tests.servers.ejabberd import Ejabberd
from tests.servers.federation import Federation, NameServer
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.prosody import Prosody

Kinds = tuple[type[Prosody | Ejabberd], ...]

PAIRS: tuple[Kinds, ...] = ((Prosody, Prosody), (Prosody, Ejabberd), (Ejabberd, Prosody))


def names(kinds: Kinds) -> str:
    return "-".join(kind.__name__ for kind in kinds)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PAIRS, ids=names)
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Federation]:
    async with Federation(*request.param) as federation:
        yield federation


async def somebody(server: XmppServer, name: str) -> Person:
    """A new account, logged in."""
    return await Person(await new_account(server, name), "relay.example.test").comes()


async def until(do: Callable[[], object], got: Callable[[], Awaitable[Stanza]]) -> Stanza:
    """Does something, again and again, until what it is to bring about has arrived."""
    for _attempt in range(10):
        do()
        with contextlib.suppress(AssertionError):
            return await got()
    raise AssertionError("it did not come about in ten attempts")


class Component(ComponentXMPP):
    """A component that does nothing by itself, and keeps what arrives."""

    def __init__(self, server: XmppServer) -> None:
        super().__init__(server.component_domain, server.component_secret)  # type: ignore[no-untyped-call]
        self.mail = Mailbox(server.component_domain)
        for name in ("presence_probe", "presence_subscribe", "presence_subscribed"):
            self.del_event_handler(name, getattr(self, f"_handle_{name.removeprefix('presence_')}"))
        for kind in ("message", "presence"):
            everything = MatchXPath(f"{{{self.default_ns}}}{kind}")
            self.register_handler(Callback(f"All {kind}", everything, self._keep))

    def _keep(self, stanza: object) -> None:
        self.mail.put(Stanza(stanza.xml))  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def component_of(server: XmppServer) -> AsyncIterator[Component]:
    component = Component(server)
    started = asyncio.ensure_future(component.wait_until("session_start", timeout=30))
    component.connect(server.host, server.component_port)
    await started
    yield component
    await component.disconnect()


def test_the_servers_are_such_as_the_tests_want_them(both: Federation) -> None:
    first: XmppServer = both.first
    second: XmppServer = both.second
    assert (first.domain, second.domain) == ("example.test", "elsewhere.test")
    assert first.component_domain == "relay.example.test"


async def test_people_of_both_servers_talk(both: Federation) -> None:
    alice, bob = await somebody(both.first, "alice"), await somebody(both.second, "bob")
    alice.sends("good morning", to=bob.jid)
    heard = await bob.gets(kind="message")
    assert (heard.sender, heard.body) == (alice.full_jid, "good morning")
    bob.sends("and to you", to=heard.sender)
    heard = await alice.gets(kind="message")
    assert (heard.sender, heard.body) == (bob.full_jid, "and to you")
    await alice.leaves()
    await bob.leaves()


async def test_the_component_is_heard_and_reached_from_the_other_server(both: Federation) -> None:
    bob = await somebody(both.second, "bob")
    async with component_of(both.first) as relay:
        bob.sends("hello, relay")
        heard = await relay.mail.gets(kind="message")
        assert (heard.sender, heard.to, heard.body) == (bob.full_jid, bob.home, "hello, relay")
        relay.send_message(mto=JID(bob.jid), mbody="hello, bob", mfrom=bob.home, mtype="chat")
        heard = await bob.gets(kind="message")
        assert (heard.sender, heard.body) == (bob.home, "hello, bob")
    await bob.leaves()


async def test_presence_is_subscribed_to_both_ways_across_servers(both: Federation) -> None:
    bob = await somebody(both.second, "bob")
    async with component_of(both.first) as relay:
        bob.sends_raw(f"<presence to='{bob.home}' type='subscribe'/>")
        await relay.mail.gets(kind="presence", type="subscribe", sender=bob.jid, to=bob.home)
        for kind in ("subscribed", "subscribe"):
            relay.send_raw(f"<presence from='{bob.home}' to='{bob.jid}' type='{kind}'/>")
        relay.send_raw(f"<presence from='{bob.home}' to='{bob.jid}'/>")
        await bob.gets(kind="presence", type="subscribed", sender=bob.home)
        await bob.gets(kind="presence", type=None, sender=bob.home)
        await relay.mail.gets(kind="presence", type="subscribed", sender=bob.jid)
        await relay.mail.gets(kind="presence", type=None, sender=bob.full_jid)
        full_jid = bob.full_jid
        await bob.leaves()
        await relay.mail.gets(kind="presence", type="unavailable", sender=full_jid)
        await bob.comes()
        await relay.mail.gets(kind="presence", type=None, sender=bob.full_jid)
        probe = await relay.mail.gets(kind="presence", type="probe", to=bob.home)
        # Prosody probes from the bare JID, as RFC 6121 §4.3.1 says; ejabberd from the full one.
        assert probe.sender in (bob.jid, bob.full_jid)
    await bob.leaves()


async def test_a_domain_that_does_not_exist_is_not_found(both: Federation) -> None:
    alice = await somebody(both.first, "alice")
    alice.sends("anybody there?", to="dave@nowhere.test")
    assert (await alice.gets(kind="message")).condition == "remote-server-not-found"
    await alice.leaves()


async def test_a_server_that_was_killed_is_reached_again_when_it_is_back(both: Federation) -> None:
    alice, bob = await somebody(both.first, "alice"), await somebody(both.second, "bob")
    alice.sends("good morning", to=bob.jid)
    await bob.gets(kind="message", body="good morning")
    await both.second.kill()
    await bob.drops()
    # What is sent before its end is noticed may be lost without a word.
    refused = await until(
        lambda: alice.sends("lost", to=bob.jid, id="lost"),
        lambda: alice.gets(kind="message", type="error", id="lost", within_s=1),
    )
    assert refused.sender == bob.jid
    await both.second.start()
    await bob.comes()
    # ejabberd goes on refusing for a while.
    await until(
        lambda: alice.sends("found", to=bob.jid),
        lambda: bob.gets(kind="message", body="found", within_s=1),
    )
    await alice.leaves()
    await bob.leaves()


async def test_nothing_crosses_by_a_certificate_of_a_strange_authority() -> None:
    """Both ways: each kind is asked to trust, and is not trusted."""
    async with Federation(Prosody, Ejabberd, strangers=True) as both:
        alice, bob = await somebody(both.first, "alice"), await somebody(both.second, "bob")
        for one, other in ((alice, bob), (bob, alice)):
            one.sends("let me in", to=other.jid, id="refused")
            assert (await one.gets(id="refused")).condition == "remote-server-timeout"
            other.sends("fence", to=other.jid)
            await other.gets(kind="message", body="fence")
            assert all(stanza.body != "let me in" for stanza in other.mail.waiting)
        await alice.leaves()
        await bob.leaves()


async def test_three_servers_talk_with_each_other() -> None:
    async with Federation(Prosody, Prosody, Ejabberd) as three:
        people = [await somebody(server, "somebody") for server in three.servers]
        domains = [person.jid.partition("@")[2] for person in people]
        assert domains == ["example.test", "elsewhere.test", "faraway.test"]
        for one in people:
            for other in people:
                one.sends("hello", to=other.jid)
                await other.gets(kind="message", sender=one.full_jid, body="hello")
        for person in people:
            await person.leaves()


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The temporary directory, for this test alone; all that it has put there must be gone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # Prosody of root is somebody else
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield folder
        assert os.listdir(folder) == []


async def test_the_end_leaves_no_process_and_no_folder(temporary: str) -> None:
    async with Federation(Prosody, Ejabberd) as both:
        processes = [os.pidfd_open(server.pid) for server in both.servers]
        assert len(os.listdir(temporary)) == 3
    for pidfd in processes:
        assert select.select([pidfd], [], [], 30)[0]
        os.close(pidfd)


async def test_a_federation_of_which_one_cannot_start_leaves_nothing(temporary: str) -> None:
    class Impatient(Ejabberd):
        ready_within_s = 0.1

    federation = Federation(Prosody, Impatient)
    with pytest.raises(StreamError, match="not ready within"):
        await federation.__aenter__()
    assert not any(server.running for server in federation.servers)


@pytest.mark.parametrize("how", ["it is killed", "it exits without a stop"])
def test_the_name_server_does_not_outlive_the_process_that_started_it(
    how: str, tmp_path: Path
) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from tests.servers.federation import NameServer\n"
        f"names = NameServer({{'example.test': 5269}}, pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "asyncio.run(names.__aenter__())\n"
        "print(names.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        if how == "it is killed":
            parent.kill()
        else:
            parent.communicate("")
    assert select.select([pidfd], [], [], 30)[0]
    os.close(pidfd)


async def test_a_name_server_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    async with NameServer({}, tmp_path / "one") as one:
        other = NameServer({}, tmp_path / "other")
        other.port = one.port
        with pytest.raises(StreamError, match=f"uses port {one.port}"):
            await other.__aenter__()
