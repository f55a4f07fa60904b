"""The private Prosody itself: that it is what tests and quickstart take it for."""

import asyncio
import gc
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from slixmpp import ClientXMPP, ComponentXMPP

from tests.integration.clients import Person
from tests.servers import Account, XmppServer, new_account
from tests.servers.aioxmpp import PYTHON as AIOXMPP_PYTHON
from tests.servers.aioxmpp import AioxmppClient
from xmpprelay.errors import ConfigError, StreamError
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.quickstart.prosody import Prosody

MakeAccount = Callable[[str], Awaitable[Account]]


async def log_in(account: Account) -> ClientXMPP:
    plain = {"feature_mechanisms": {"unencrypted_plain": True}}
    client = ClientXMPP(account.jid, account.password, plugin_config=plain)
    client.enable_plaintext = True
    client.enable_direct_tls = client.enable_starttls = False
    await connect(client, account.host, account.port)
    client.send_presence()
    await client.get_roster()  # answered after the presence has been taken
    return client


async def connect(client: ClientXMPP | ComponentXMPP, host: str, port: int) -> None:
    started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    client.add_event_handler("session_start", lambda _event: started.set_result(True))
    client.add_event_handler("failed_all_auth", lambda _event: started.set_result(False))
    client.connect(host, port)
    assert await started, "the server refused the password"


def next_event(client: ClientXMPP | ComponentXMPP, name: str) -> asyncio.Future[object]:
    return asyncio.ensure_future(client.wait_until(name, timeout=30))


async def refuses_connections(host: str, port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


def the_kernel_has_ended(pidfd: int) -> bool:
    """Waits for a process, which need not be a child, to be gone."""
    return bool(select.select([pidfd], [], [], 30)[0])


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that the server's own user can enter, as pytest's need not be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_it_is_a_server_as_the_tests_want_it(prosody: Prosody) -> None:
    server: XmppServer = prosody
    assert server.running


async def test_two_people_log_in_and_talk(account: MakeAccount) -> None:
    alice, bob = await log_in(await account("alice")), await log_in(await account("bob"))
    heard = next_event(bob, "message")
    alice.send_message(bob.boundjid.bare, "good morning")
    assert (await heard)["body"] == "good morning"
    await alice.disconnect()
    await bob.disconnect()


async def test_a_wrong_password_does_not_get_in(account: MakeAccount) -> None:
    before = asyncio.all_tasks()
    alice = await account("alice")
    thief = Person(replace(alice, password="not hers"), "relay.example.test")
    with pytest.raises(AssertionError, match="password was refused"):
        await thief.comes()
    assert asyncio.all_tasks() == before, "and nothing is left of the attempt"


async def test_the_component_connects_with_its_secret_and_is_reached(
    prosody: Prosody, account: MakeAccount
) -> None:
    relay = ComponentXMPP(prosody.component_domain, prosody.component_secret)
    await connect(relay, prosody.host, prosody.component_port)
    heard = next_event(relay, "message")
    alice = await log_in(await account("alice"))
    alice.send_message(f"home@{prosody.component_domain}", "hello, relay")
    assert (await heard)["body"] == "hello, relay"
    await alice.disconnect()
    await relay.disconnect()


async def test_the_server_offers_what_clients_expect(account: MakeAccount) -> None:
    alice = await log_in(await account("alice"))
    alice.register_plugin("xep_0030")
    info = await alice.plugin["xep_0030"].get_info(alice.boundjid.domain)
    assert {"urn:xmpp:ping", "urn:xmpp:carbons:2", "urn:xmpp:blocking"} <= info["disco_info"][
        "features"
    ]
    await alice.disconnect()


async def test_nobody_registers_by_himself(prosody: Prosody) -> None:
    reader, writer = await asyncio.open_connection(prosody.host, prosody.c2s_port)
    writer.write(
        f"<stream:stream xmlns='jabber:client' to='{prosody.domain}' version='1.0' "
        "xmlns:stream='http://etherx.jabber.org/streams'>".encode()
    )
    features = await reader.readuntil(b"</stream:features>")
    writer.close()
    assert b"<mechanism>" in features
    assert b"iq-register" not in features


@pytest.mark.parametrize("mam", [False, True])
async def test_it_archives_messages_when_asked(mam: bool) -> None:
    async with Prosody(mam=mam) as server:
        alice = await log_in(await new_account(server, "alice"))
        alice.register_plugin("xep_0030")
        info = await alice.plugin["xep_0030"].get_info(alice.boundjid.bare)
        assert ("urn:xmpp:mam:2" in info["disco_info"]["features"]) is mam
        await alice.disconnect()


async def test_accounts_made_before_it_runs_can_log_in() -> None:
    server = Prosody()
    alice, bob = await asyncio.gather(*(new_account(server, name) for name in ("alice", "bob")))
    async with server:
        await (await log_in(alice)).disconnect()
        await (await log_in(bob)).disconnect()


async def test_an_account_made_again_has_the_new_password(fresh_prosody: Prosody) -> None:
    for password in ("old", "new"):
        jid = await fresh_prosody.add_user("alice", password)
    account = Account(jid, "new", fresh_prosody.host, fresh_prosody.c2s_port)
    await (await log_in(account)).disconnect()


async def test_many_accounts_are_made_at_once(fresh_prosody: Prosody) -> None:
    names = [f"reader{n}" for n in range(12)]
    made = await asyncio.gather(*(fresh_prosody.add_user(name, "x") for name in names))
    assert made == [f"{name}@{fresh_prosody.domain}" for name in names]


async def test_a_name_that_prosody_refuses_is_told_in_its_words(prosody: Prosody) -> None:
    with pytest.raises(StreamError, match=r"no account two@signs@example\.test.*invalid"):
        await prosody.add_user("two@signs", "x")


async def test_a_restart_keeps_ports_and_accounts(fresh_prosody: Prosody) -> None:
    account = await new_account(fresh_prosody, "alice")
    first = fresh_prosody.pid
    await fresh_prosody.restart()
    assert fresh_prosody.pid != first
    await (await log_in(account)).disconnect()


async def test_a_kill_ends_it_at_once_and_it_can_start_again(fresh_prosody: Prosody) -> None:
    account = await new_account(fresh_prosody, "alice")
    alice = await log_in(account)
    cut = next_event(alice, "disconnected")
    await fresh_prosody.kill()
    await cut
    alice.abort()
    assert not fresh_prosody.running
    assert "Shutting down" not in fresh_prosody.log_tail()
    assert await refuses_connections(account.host, account.port)
    await fresh_prosody.start()
    await (await log_in(account)).disconnect()


async def test_a_paused_server_holds_connections_and_answers_after_resume(
    fresh_prosody: Prosody,
) -> None:
    alice = await log_in(await new_account(fresh_prosody, "alice"))
    fresh_prosody.pause()
    state = await asyncio.to_thread(
        os.waitid, os.P_PID, fresh_prosody.pid, os.WSTOPPED | os.WNOWAIT
    )
    assert state is not None
    assert state.si_status == signal.SIGSTOP
    assert fresh_prosody.running
    asked = asyncio.ensure_future(alice.get_roster(timeout=30))
    assert not await refuses_connections(fresh_prosody.host, fresh_prosody.c2s_port)
    assert not asked.done()
    fresh_prosody.resume()
    await asked
    await alice.disconnect()


async def test_a_paused_server_stops_politely() -> None:
    async with Prosody() as server:
        server.pause()
        await server.stop()
        assert "Shutdown complete" in server.log_tail()


async def test_the_end_leaves_no_process_no_port_and_no_folder() -> None:
    async with Prosody() as server:
        folder, pidfd = server.folder, os.pidfd_open(server.pid)
        assert folder.parent == Path(tempfile.gettempdir())
    assert the_kernel_has_ended(pidfd)
    os.close(pidfd)
    assert not folder.exists()
    assert await refuses_connections(server.host, server.c2s_port)
    with pytest.raises(StreamError, match="does not run"):
        _ = server.pid


async def test_a_folder_worth_keeping_is_kept() -> None:
    async with Prosody() as server:
        server.keep = True
    assert "Shutdown complete" in server.log_tail()
    server.keep = False
    async with server:
        pass
    assert not server.folder.joinpath("prosody.log").exists()
    server.folder.rmdir()


@pytest.mark.parametrize("how", ["it is killed", "it exits without a stop"])
def test_it_does_not_outlive_the_process_that_started_it(how: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from xmpprelay.quickstart.prosody import Prosody\n"
        "server = Prosody()\n"
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
        pidfd = os.pidfd_open(int(pid))
        if how == "it is killed":
            parent.kill()
        else:
            parent.communicate("")
    assert the_kernel_has_ended(pidfd)
    os.close(pidfd)
    shutil.rmtree(folder)


async def test_it_does_not_outlive_the_object_that_stood_for_it() -> None:
    server = Prosody()
    await server.start()
    folder, pidfd = server.folder, os.pidfd_open(server.pid)
    del server
    gc.collect()
    assert the_kernel_has_ended(pidfd)
    os.close(pidfd)
    shutil.rmtree(folder)


async def test_a_start_that_fails_shows_the_log_and_leaves_nothing() -> None:
    server = Prosody(extra_config="nonsense !")
    folder = server.folder
    with pytest.raises(StreamError, match="ended at once") as caught:
        await server.start()
    assert "syntax error" in caught.value.sentence
    assert not server.running
    assert not folder.exists()


async def test_a_port_in_use_is_told_before_another_server_is_taken_for_ours(
    fresh_prosody: Prosody,
) -> None:
    server = Prosody()
    server.component_port = fresh_prosody.component_port
    with pytest.raises(StreamError, match=f"uses port {server.component_port}"):
        await server.start()
    assert not server.running


async def test_a_server_that_does_not_get_ready_is_ended_and_its_log_shown() -> None:
    server = Prosody(extra_config='modules_disabled = { "s2s", "c2s" }')
    server.ready_within_s = 1.0
    with pytest.raises(StreamError, match="not ready within 1 s") as caught:
        await server.start()
    assert "Activated service 'component'" in caught.value.sentence
    assert not server.running


async def test_a_cancelled_start_leaves_nothing() -> None:
    server = Prosody()
    folder = server.folder
    starting = asyncio.ensure_future(server.start())
    await asyncio.sleep(0)  # lets it begin
    assert server.running
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not server.running
    assert not folder.exists()


async def test_a_machine_without_prosody_is_told_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StreamError, match=r"no prosody on this machine.*apt-get install"):
        await Prosody().start()


async def test_a_given_folder_is_made_used_again_and_kept(reachable: Path) -> None:
    # Characters that mean something in the configuration's strings.
    folder = reachable / 'deep in "quotes" and \\' / "data"
    async with Prosody(data_dir=folder) as server:
        jid = await server.add_user("alice", "hers")
    assert folder.stat().st_mode & 0o777 == 0o700
    async with Prosody(data_dir=folder) as server:
        account = Account(jid, "hers", server.host, server.c2s_port)
        await (await log_in(account)).disconnect()
    assert folder.is_dir()


async def test_a_folder_that_its_user_may_not_enter_is_named(reachable: Path) -> None:
    closed = reachable / "closed"
    # Root's own folder is closed to Prosody's user; anyone else's own is closed by its mode only.
    closed.mkdir(mode=0o700 if os.geteuid() == 0 else 0o000)
    with pytest.raises(ConfigError, match=f"may not enter {closed}: choose another --data-dir"):
        await Prosody(data_dir=closed / "data").start()
    closed.chmod(0o700)
    assert list(closed.iterdir()) == []


async def test_a_folder_that_its_user_may_not_write_to_is_named(reachable: Path) -> None:
    closed = reachable / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(ConfigError, match=f"may not write to {closed}: choose another --data-dir"):
        await Prosody(data_dir=closed).start()


async def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/proc/here cannot be made .*: choose another"):
        await Prosody(data_dir=Path("/proc/here")).start()


async def test_a_temporary_directory_closed_to_its_user_is_told_and_left_clean(
    monkeypatch: pytest.MonkeyPatch, reachable: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root starts Prosody as somebody else")
    closed = reachable / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))
    with pytest.raises(ConfigError, match=f"may not enter {closed}: set TMPDIR"):
        await Prosody().start()
    assert list(closed.iterdir()) == []


def test_free_ports_are_out_of_the_way_of_outgoing_connections() -> None:
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < first_outgoing for _ in range(50))


def test_no_port_is_given_to_two_but_one_gets_the_port_back_that_he_had() -> None:
    luck = random.getstate()
    first = free_port()
    random.setstate(luck)
    assert free_port() != first
    assert free_port(first) == first


@pytest.mark.skipif(
    not AIOXMPP_PYTHON.exists(), reason="aioxmpp has no environment here: tools/setup test makes it"
)
async def test_a_client_of_another_library_talks_and_subscribes(account: MakeAccount) -> None:
    alice = await account("alice")
    async with AioxmppClient(await account("bob")) as bob, AioxmppClient(alice) as her:
        await her.do("send_chat", to=bob.jid.partition("/")[0], body="hällo & <b>", id="first")
        message = await bob.next("message")
        assert (message["from"], message["type"], message["id"], message["body"]) == (
            her.jid,
            "chat",
            "first",
            "hällo & <b>",
        )
        await bob.do("subscribe", to=alice.jid)
        asked = await her.next("presence", type="subscribe")
        await her.do("subscribed", to=asked["from"])
        await bob.next("presence", type="subscribed")
        await her.do("presence", show="away", status="tea", priority=3)
        seen = await bob.next("presence", show="away")
        assert (seen["from"], seen["status"], seen["priority"]) == (her.jid, "tea", 3)
        await her.do("offline")
        await bob.next("presence", type="unavailable", **{"from": her.jid})
