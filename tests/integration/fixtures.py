"""Fixtures for the tests with a relay; each folder that wants them names them in its conftest.

Each folder says in which kinds of town its tests run (`in_towns`), and a module may say it for its
own by `RUNS_IN`. What depends on how a server treats the relay or people runs in all of them.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import keep_after_failure
from tests.integration.world import World
from tests.servers.towns import Town


def in_towns(metafunc: pytest.Metafunc, usually: Sequence[type[Town]]) -> None:
    """Let a test that needs a server run in these kinds of town, or in those of its module."""
    kinds = getattr(metafunc.module, "RUNS_IN", usually)
    if "session_town" in metafunc.fixturenames:
        names = [kind.name for kind in kinds]
        metafunc.parametrize("session_town", kinds, indirect=True, ids=names, scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_town(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    """The server that most tests share: each kind, one after the other."""
    async with request.param() as server:
        yield server
        keep_after_failure(server, request)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths may not be as long as pytest's are."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        yield Path(folder)


@pytest.fixture
async def world(session_town: Town, tmp_path: Path) -> AsyncIterator[World]:
    """A relay on the shared server, and people of this test alone."""
    async with World(session_town, tmp_path) as world:
        yield world


@pytest.fixture
async def fragile_world(session_town: Town, tmp_path: Path) -> AsyncIterator[World]:
    """The same, where the server may be stopped, killed or paused at will: it is mended later.

    Starting an ejabberd takes seconds, so there is none for each test.
    """
    try:
        async with World(session_town, tmp_path) as world:
            yield world
    finally:
        session_town.resume()
        await session_town.start()
