"""A relay that may open few files, or none any more (`ulimit -n`)."""

import asyncio
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from pathlib import Path
from typing import Final

import pytest

from tests.integration.clients import Person, count
from tests.integration.process import RelayProcess
from tests.integration.web_world import Site
from tests.servers import XmppServer, new_account
from xmpprelay import control
from xmpprelay.quickstart.private_server import free_port

FEW: Final = 64
"""What `ulimit -n` is set to; a relay in use has half of it open."""

MANY: Final = 200
"""Programs at once on its control socket: three times what it could open."""


@contextmanager
def programs_at(path: Path, number: int) -> Iterator[None]:
    """So many connections to a Unix socket, whose programs say nothing."""
    with ExitStack() as ending:
        made = 0
        for _ in range(number):
            program = ending.enter_context(socket.socket(socket.AF_UNIX))
            program.settimeout(1.0)
            with suppress(TimeoutError, BlockingIOError):  # more than it has a queue for
                program.connect(str(path))
                made += 1
        assert made > FEW
        yield


async def is_heard(relay: RelayProcess) -> None:
    """Return when the relay takes a command again: it has to see first that the others went."""
    async with asyncio.timeout(30.0):
        while True:
            with suppress(control.ControlError):
                await control.call(socket_of(relay), "block", {"target": "spam.example"})
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def two_people(server: XmppServer) -> AsyncIterator[tuple[Person, Person]]:
    async with AsyncExitStack() as ending:
        people = []
        for name in ("alice", "bob"):
            account = await new_account(server, name)
            people.append(await Person(account, server.component_domain).comes())
            ending.push_async_callback(people[-1].drops)
        alice, bob = people
        await alice.joins("alice")
        await bob.says("follow alice")
        yield alice, bob


def socket_of(relay: RelayProcess) -> Path:
    return relay.database.with_name(relay.database.name + ".sock")


async def test_sixty_four_descriptors_are_enough_whoever_wants_more(
    session_town: XmppServer, short_path: Path
) -> None:
    async with RelayProcess(session_town, short_path) as relay:
        relay.descriptors = FEW
        await relay.starts()
        assert resource.prlimit(relay.pid, resource.RLIMIT_NOFILE) == (FEW, FEW)
        async with two_people(session_town) as (alice, bob):
            with programs_at(socket_of(relay), MANY):
                for n in range(20):
                    await alice.says(f"{n} in a crowd")
                await bob.gets_post("19 in a crowd")
                async with asyncio.timeout(20.0):
                    with pytest.raises(control.ControlError, match="busy with other commands"):
                        await control.call(socket_of(relay), "block", {"target": "spam.example"})
            await is_heard(relay)
            assert count(alice.mail.ledger, type="error") == 0
            assert sum('"stream.up"' in line for line in relay.lines) == 1
            relay.signals(signal.SIGTERM)
            assert await relay.ends() == 0


async def test_they_are_enough_whoever_asks_for_pages(
    session_town: XmppServer, short_path: Path
) -> None:
    async with Site(free_port()) as site:
        pages = f'[web]\nlisten = "127.0.0.1:{site.port}"\nbase_url = "https://pages.test"\n'
        async with RelayProcess(session_town, short_path, more=pages) as relay:
            relay.descriptors = FEW
            await relay.starts()
            async with two_people(session_town) as (alice, bob), AsyncExitStack() as ending:
                for _ in range(MANY):
                    client = ending.enter_context(closing(socket.socket()))
                    client.setblocking(False)
                    with suppress(BlockingIOError):
                        client.connect(("127.0.0.1", site.port))
                for n in range(20):
                    await alice.says(f"{n} in a crowd")
                await bob.gets_post("19 in a crowd")
                assert len(os.listdir(f"/proc/{relay.pid}/fd")) < FEW
            assert (await site.get("/")).status == 200
            assert sum('"stream.up"' in line for line in relay.lines) == 1


async def test_what_is_posted_when_nothing_more_can_be_opened_is_kept_or_refused(
    session_town: XmppServer, short_path: Path
) -> None:
    async with RelayProcess(session_town, short_path) as relay:
        await relay.starts()
        async with two_people(session_town) as (alice, bob):
            _, most = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
            open_now = len(os.listdir(f"/proc/{relay.pid}/fd"))
            resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (open_now, most))
            for n in range(20):
                await alice.says(f"{n} without a file")
            await bob.gets_post("19 without a file")
            refusal = await bob.tries("last alice")
            assert refusal is None or refusal.type == "wait", "an answer in any case"
            resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (FEW, most))
            assert "19 without a file" in await bob.says("last alice")
            assert sum('"stream.up"' in line for line in relay.lines) == 1
