"""The private ejabberd itself: that it is what tests take it for.

Starting it takes seconds of a busy machine, so one serves all tests, also those that stop or kill
it: each leaves it running.
"""

import asyncio
import base64
import gc
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from slixmpp import JID, ComponentXMPP

from tests.integration.clients import Person
from tests.servers import Account, XmppServer, new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.errors import StreamError

DISCO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_for_all() -> AsyncIterator[Ejabberd]:
    async with Ejabberd() as server:
        yield server


@pytest.fixture
async def server(one_for_all: Ejabberd) -> Ejabberd:
    await one_for_all.start()  # if a test before has failed in between
    return one_for_all


async def somebody(server: Ejabberd, name: str) -> Person:
    """A new account, logged in."""
    return await Person(await new_account(server, name), server.component_domain).comes()


async def sees(person: Person, other: Person) -> None:
    """Lets somebody add another one, who agrees, to his contacts; returns when he sees him."""
    person.sends_raw(f"<presence to='{other.jid}' type='subscribe'/>")
    await person.gets(kind="presence", type="subscribed", sender=other.jid)


async def connect(component: ComponentXMPP, server: Ejabberd) -> None:
    started = asyncio.ensure_future(component.wait_until("session_start", timeout=30))
    component.connect(server.host, server.component_port)
    await started


async def refuses_connections(server: Ejabberd) -> bool:
    for port in (server.c2s_port, server.component_port):
        try:
            _reader, writer = await asyncio.open_connection(server.host, port)
        except ConnectionRefusedError:
            continue
        writer.close()
        return False
    return True


def family(pid: int) -> list[int]:
    """Holds (as pidfds) on a process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    members = {pid}
    while found := {child for child, parent in parents.items() if parent in members} - members:
        members |= found
    return [os.pidfd_open(member) for member in members]


def all_have_ended(pidfds: list[int]) -> bool:
    """Waits for processes, which need not be children, to be gone."""
    ended = [bool(select.select([pidfd], [], [], 30)[0]) for pidfd in pidfds]
    for pidfd in pidfds:
        os.close(pidfd)
    return all(ended)


def has_stopped(pid: int) -> bool:
    """Waits for a process to be held by SIGSTOP, which takes a moment."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return True
    return False


def listens_at(pid: int) -> set[tuple[str, int]]:
    """The addresses and TCP ports at which a process listens."""
    sockets = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(fd.readlink().name)
        except FileNotFoundError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                address, port = local.split(":")
                found.add((address, int(port, 16)))
    return found


def test_it_is_a_server_as_the_tests_want_it(one_for_all: Ejabberd) -> None:
    server: XmppServer = one_for_all
    assert server.running


async def test_two_people_log_in_and_talk(server: Ejabberd) -> None:
    alice, bob = await somebody(server, "alice"), await somebody(server, "bob")
    alice.sends("good morning", to=bob.jid)
    assert (await bob.gets(kind="message")).body == "good morning"
    await alice.leaves()
    await bob.leaves()


@pytest.mark.parametrize(("password", "answer"), [("hers", b"<success"), ("his", b"<failure")])
async def test_only_the_right_password_gets_in(
    server: Ejabberd, password: str, answer: bytes
) -> None:
    await server.add_user("alice", "hers")
    token = base64.b64encode(f"\0alice\0{password}".encode()).decode()
    reader, writer = await asyncio.open_connection(server.host, server.c2s_port)
    writer.write(
        f"<stream:stream xmlns='jabber:client' to='{server.domain}' version='1.0' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
        f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>".encode()
    )
    features = await reader.readuntil(b"</stream:features>")
    assert b"iq-register" not in features  # nobody registers by himself
    assert (await reader.readuntil(b">")).startswith(answer)
    writer.close()
    await writer.wait_closed()


async def test_the_component_connects_with_its_secret_and_is_reached(server: Ejabberd) -> None:
    relay = ComponentXMPP(server.component_domain, server.component_secret)  # type: ignore[no-untyped-call]
    await connect(relay, server)
    heard = asyncio.ensure_future(relay.wait_until("message", timeout=30))
    alice = await somebody(server, "alice")
    alice.sends("hello, relay")
    assert (await heard)["body"] == "hello, relay"
    await alice.leaves()
    await relay.disconnect()


async def test_it_offers_what_clients_expect(server: Ejabberd) -> None:
    alice = await somebody(server, "alice")
    told = str(await alice.asks(server.domain, DISCO))
    for feature in ("urn:xmpp:ping", "urn:xmpp:carbons:2", "urn:xmpp:blocking", "vcard-temp"):
        assert f'"{feature}"' in told
    assert "urn:xmpp:mam:2" not in str(await alice.asks(alice.jid, DISCO))
    assert 'category="pubsub" type="pep"' in told or 'type="pep" category="pubsub"' in told
    await alice.leaves()


async def test_it_archives_messages_and_has_more_components_and_options_when_asked() -> None:
    async with Ejabberd(
        mam=True,
        components={"far.test": "far"},
        extra_config={"modules": {"mod_adhoc": {}}},
    ) as server:
        alice = await somebody(server, "alice")
        assert "urn:xmpp:mam:2" in str(await alice.asks(alice.jid, DISCO))
        features = str(await alice.asks(server.domain, DISCO))
        assert "http://jabber.org/protocol/commands" in features
        assert "urn:xmpp:ping" in features
        far = ComponentXMPP("far.test", "far")  # type: ignore[no-untyped-call]
        await connect(far, server)
        far.send_message(mto=JID(alice.jid), mbody="from far away", mfrom="bob@far.test")
        assert (await alice.gets(kind="message")).sender == "bob@far.test"
        await far.disconnect()
        await alice.leaves()


async def test_nothing_leaves_the_machine(server: Ejabberd) -> None:
    loopback = socket.inet_aton("127.0.0.1")[::-1].hex().upper()  # as /proc writes it
    ports = (server.c2s_port, server.component_port)
    assert listens_at(server.pid) == {(loopback, port) for port in ports}
    assert await server.ask("erlang:is_alive().") == "false"  # no distribution, no epmd
    alice = await somebody(server, "alice")
    alice.sends("anybody there?", to="bob@elsewhere.test")
    assert (await alice.gets(kind="message")).condition == "forbidden"
    await alice.leaves()


async def test_an_offline_store_has_room_for_100_messages(server: Ejabberd) -> None:
    alice, bob = await somebody(server, "alice"), await new_account(server, "bob")
    for number in range(1, 102):
        alice.sends("for later", to=bob.jid, id=f"for-later-{number}")
    refused = await alice.gets(kind="message", type="error")
    assert (refused.id, refused.condition) == ("for-later-101", "resource-constraint")
    await alice.leaves()


async def test_an_account_made_again_has_the_new_password(server: Ejabberd) -> None:
    for password in ("old", "new"):
        jid = await server.add_user("alice", password)
    account = Account(jid, "new", server.host, server.c2s_port)
    await (await Person(account, server.component_domain).comes()).leaves()


async def test_many_accounts_are_made_at_once(server: Ejabberd) -> None:
    names = [f"reader{n}" for n in range(50)]
    made = await asyncio.gather(*(server.add_user(name, "x") for name in names))
    assert made == [f"{name}@{server.domain}" for name in names]


async def test_a_name_that_ejabberd_refuses_is_told_in_its_words(server: Ejabberd) -> None:
    with pytest.raises(StreamError, match=r"no account two@signs@example\.test.*invalid_jid"):
        await server.add_user("two@signs", "x")


async def test_it_tells_what_is_asked_at_its_door(server: Ejabberd) -> None:
    assert await server.ask('{1 + 1, "zwölf", <<"ß"/utf8>>}.') == '{2,"zwölf",<<"ß"/utf8>>}'
    with pytest.raises(StreamError, match=r"could not evaluate 'no:such\(\)\.': undef"):
        await server.ask("no:such().")
    with pytest.raises(StreamError, match="could not evaluate"):
        await server.ask("1 +")
    assert await server.ask("open.") == "open"


async def test_a_restart_keeps_ports_and_accounts(server: Ejabberd) -> None:
    account = await new_account(server, "alice")
    first = server.pid
    await server.restart()
    assert server.pid != first
    await (await Person(account, server.component_domain).comes()).leaves()
    assert "is stopped in the node" in (server.folder / "ejabberd.log").read_text()


async def test_a_kill_ends_it_at_once_and_spares_accounts_and_what_was_flushed(
    server: Ejabberd,
) -> None:
    alice, bob = await somebody(server, "alice"), await somebody(server, "bob")
    await sees(alice, bob)
    await bob.leaves()
    alice.sends("for later", to=bob.jid)
    alice.sends("fence", to=alice.jid)
    await alice.gets(kind="message", body="fence")
    await server.flush()
    carol = await new_account(server, "carol")
    # As it does by itself now and then: what is in the log goes to the tables, and the log is gone.
    assert await server.ask("mnesia:dump_log().") == "dumped"
    processes = family(server.pid)
    await server.kill()
    assert not server.running
    assert await refuses_connections(server)
    assert len(processes) > 1  # it has helpers
    assert all_have_ended(processes)
    assert "is stopped in the node" not in server.log_tail(3)
    await alice.drops()
    with pytest.raises(StreamError, match="start it"):
        await server.add_user("dave", "x")
    await server.start()
    await (await Person(carol, server.component_domain).comes()).leaves()
    await bob.comes()
    assert (await bob.gets(kind="message")).body == "for later"
    await alice.comes()
    await alice.gets(kind="presence", sender=bob.full_jid)
    await alice.leaves()
    await bob.leaves()


async def test_a_paused_server_holds_connections_and_answers_after_resume(
    server: Ejabberd,
) -> None:
    alice = await somebody(server, "alice")
    server.pause()
    assert has_stopped(server.pid)
    assert server.running
    asked = asyncio.ensure_future(alice.asks(server.domain, DISCO))
    assert not await refuses_connections(server)
    assert not asked.done()
    server.resume()
    await asked
    await alice.leaves()


async def test_the_end_leaves_no_process_no_port_and_no_folder() -> None:
    async with Ejabberd() as server:
        folder, processes = server.folder, family(server.pid)
        assert folder.parent == Path(tempfile.gettempdir())
        assert folder.stat().st_mode & 0o777 == 0o700
        server.pause()  # and a paused one stops politely too
        await server.stop()
        assert "is stopped in the node" in server.log_tail()
    assert all_have_ended(processes)
    assert not folder.exists()
    assert await refuses_connections(server)
    with pytest.raises(StreamError, match="does not run"):
        _ = server.pid


@pytest.mark.parametrize("how", ["it is killed", "it exits without a stop"])
def test_it_does_not_outlive_the_process_that_started_it(how: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from tests.servers.ejabberd import Ejabberd\n"
        "server = Ejabberd()\n"
        "asyncio.run(server.start())\n"
        "print(server.pid, server.folder, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        processes = family(int(pid))
        if how == "it is killed":
            parent.kill()
        else:
            parent.communicate("")
    assert all_have_ended(processes)
    shutil.rmtree(folder)


async def test_it_does_not_outlive_the_object_that_stood_for_it() -> None:
    server = Ejabberd()
    await server.start()
    folder, processes = server.folder, family(server.pid)
    del server
    gc.collect()
    assert all_have_ended(processes)
    shutil.rmtree(folder)


async def test_a_start_that_fails_shows_the_log_and_leaves_nothing() -> None:
    server = Ejabberd(extra_config={"nonsense": "!"})
    folder = server.folder
    with pytest.raises(StreamError, match="ended at once") as caught:
        await server.start()
    assert "Unknown option: nonsense" in caught.value.sentence
    assert not server.running
    assert not folder.exists()


async def test_a_port_in_use_is_told_before_another_server_is_taken_for_ours(
    server: Ejabberd,
) -> None:
    late = Ejabberd()
    late.component_port = server.component_port
    with pytest.raises(StreamError, match=f"uses port {server.component_port}"):
        await late.start()
    assert not late.running


async def test_a_cancelled_start_leaves_nothing() -> None:
    server = Ejabberd()
    folder = server.folder
    starting = asyncio.ensure_future(server.start())
    await asyncio.sleep(0)  # lets it begin
    assert server.running
    processes = family(server.pid)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert all_have_ended(processes)
    assert not server.running
    assert not folder.exists()


async def test_a_server_that_does_not_get_ready_is_ended_and_its_log_shown() -> None:
    server = Ejabberd()
    server.ready_within_s = 0.1
    with pytest.raises(StreamError, match="not ready within 0 s"):
        await server.start()
    assert not server.running


async def test_a_machine_without_ejabberd_is_told_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StreamError, match=r"no ejabberd on this machine.*apt-get install"):
        await Ejabberd().start()
