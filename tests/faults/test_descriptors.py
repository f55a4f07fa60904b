"""A relay that may open few files, or none any more (`ulimit -n`)."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.integration.clients import Person, count
from tests.integration.process import RelayProcess
from tests.servers import XmppServer, new_account
from xmpprelay import control

FEW: Final = 64
"""What `ulimit -n` is set to; a relay in use has half of it open."""

MANY: Final = 200
"""Programs at once on its control socket: three times what it could open."""


@asynccontextmanager
async def programs_at(path: Path, number: int) -> AsyncIterator[None]:
    """So many connections to a Unix socket, whose programs say nothing."""
    writers = []
    try:
        for _ in range(number):
            with contextlib.suppress(BlockingIOError, ConnectionError):  # its queue is full
                async with asyncio.timeout(1.0):
                    _, writer = await asyncio.open_unix_connection(str(path))
                    writers.append(writer)
        assert len(writers) > FEW
        yield
    finally:
        for writer in writers:
            writer.close()


async def two_people(server: XmppServer) -> tuple[Person, Person]:
    people = []
    for name in ("alice", "bob"):
        account = await new_account(server, name)
        people.append(await Person(account, server.component_domain).comes())
    alice, bob = people
    await alice.joins("alice")
    await bob.says("follow alice")
    return alice, bob


def socket_of(relay: RelayProcess) -> Path:
    return relay.database.with_name(relay.database.name + ".sock")


async def test_sixty_four_descriptors_are_enough_whoever_wants_more(
    session_town: XmppServer, short_path: Path
) -> None:
    async with RelayProcess(session_town, short_path) as relay:
        relay.descriptors = FEW
        await relay.starts()
        assert resource.prlimit(relay.pid, resource.RLIMIT_NOFILE) == (FEW, FEW)
        alice, bob = await two_people(session_town)
        async with programs_at(socket_of(relay), MANY):
            for n in range(20):
                await alice.says(f"{n} in a crowd")
            await bob.gets_post("19 in a crowd")
        await control.call(socket_of(relay), "block", {"target": "spam.example"})
        assert count(alice.mail.ledger, type="error") == 0
        assert sum('"stream.up"' in line for line in relay.lines) == 1
        relay.signals(signal.SIGTERM)
        assert await relay.ends() == 0
        for person in (alice, bob):
            await person.drops()


async def test_what_is_posted_when_nothing_more_can_be_opened_is_kept_or_refused(
    session_town: XmppServer, short_path: Path
) -> None:
    async with RelayProcess(session_town, short_path) as relay:
        await relay.starts()
        alice, bob = await two_people(session_town)
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
        for person in (alice, bob):
            await person.drops()
