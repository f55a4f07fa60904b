"""kill -9 of the relay and of its server, under load: the small form of what `make chaos` does.

The loops, and what they count, are in `tests/chaos`. Kills have numbers, which say when each of
them strikes; those of a run that failed are in its message.
"""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos import relay_kills, server_kills
from tests.servers.towns import EjabberdTown, ProsodyTown

FOLLOWERS = 60

RELAY_KILLS = 10  # on each server
SERVER_KILLS = 5  # of each server
CONTROL_KILLS = 2
CONTROL_TRIES = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prosody() -> AsyncIterator[ProsodyTown]:
    async with ProsodyTown() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ejabberd() -> AsyncIterator[EjabberdTown]:
    """With archives: they change nothing for what is not archived, and much for what is."""
    async with EjabberdTown(mam=True) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def copying() -> AsyncIterator[EjabberdTown]:
    """An ejabberd that copies a post for twenty people."""
    async with EjabberdTown(multicast=True) as server:
        yield server


@pytest.fixture(params=["prosody", "ejabberd"])
def server(request: pytest.FixtureRequest) -> server_kills.Server:
    found: server_kills.Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def first() -> int:
    """The number of the first kill."""
    return random.randrange(1 << 20)


async def test_a_relay_that_is_killed_loses_nothing(
    server: server_kills.Server, short_path: Path, first: int
) -> None:
    await server.start()  # if a test before has failed in between
    figures = await relay_kills.run(server, short_path, first, RELAY_KILLS)
    assert not figures.bad, f"from kill {first} on"
    assert figures.deliveries == figures.posts * relay_kills.FOLLOWERS
    assert figures.posts > RELAY_KILLS * relay_kills.AUTHORS


async def test_nothing_confirmed_is_lost_with_a_server_that_is_killed(
    server: server_kills.Server, short_path: Path, first: int
) -> None:
    await server.start()
    figures = await server_kills.run(server, short_path, first, SERVER_KILLS, followers=FOLLOWERS)
    assert not figures.bad, f"from kill {first} on"
    assert figures.in_flight > 0, "else no kill would have hit a fan-out"


async def test_nor_with_one_that_copies_posts(
    copying: EjabberdTown, short_path: Path, first: int
) -> None:
    """What waits in its multicast service, posts and probes, dies with it."""
    await copying.start()
    figures = await server_kills.run(copying, short_path, first, SERVER_KILLS, followers=FOLLOWERS)
    assert not figures.bad, f"from kill {first} on"
    assert figures.in_flight > 0, "else no kill would have hit a fan-out"


async def test_on_ejabberd_the_ping_confirms_what_is_lost(
    ejabberd: EjabberdTown, short_path: Path, first: int
) -> None:
    """The control: the same with the protection off must fail."""
    await ejabberd.start()
    for n in range(CONTROL_TRIES):  # how much is lost depends on the machine
        folder = short_path / f"{n}"
        folder.mkdir()
        begin = first + n * CONTROL_KILLS
        figures = await server_kills.run(
            ejabberd,
            folder,
            begin,
            CONTROL_KILLS,
            followers=FOLLOWERS,
            archived=True,
            control=server_kills.Crowd.forces_the_ping,
        )
        if figures.lost > 0:
            return
    raise AssertionError("nothing was lost: the runs above show nothing")
