"""Fixtures for the tests with a relay; each folder that wants them names them in its conftest."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import keep_after_failure
from tests.integration.world import World, town
from xmpprelay.quickstart.prosody import Prosody


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_town(request: pytest.FixtureRequest) -> AsyncIterator[Prosody]:
    """The server that most tests share."""
    async with town() as server:
        yield server
        keep_after_failure(server, request)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths may not be as long as pytest's are."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        yield Path(folder)


@pytest.fixture
async def world(session_town: Prosody, tmp_path: Path) -> AsyncIterator[World]:
    """A relay on the shared server, and people of this test alone."""
    async with World(session_town, tmp_path) as world:
        yield world


@pytest.fixture
async def fragile_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The same on a server of its own, to be stopped, killed or paused at will."""
    async with town() as server, World(server, tmp_path) as world:
        yield world
        keep_after_failure(server, request)
