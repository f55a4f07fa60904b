"""The fixtures of the stories: they are played in every kind of town, or between two servers."""

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import keep_after_failure
from tests.integration.fixtures import in_towns, session_town
from tests.integration.neighbours import Neighbours
from tests.integration.world import World
from tests.servers.ejabberd import Ejabberd
from tests.servers.federation import Federation
from tests.servers.towns import TOWNS, Town
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.service import utc_now
from xmpprelay.store.database import Database

__all__ = ["session_town"]

PAIRS = ((Prosody, Ejabberd), (Ejabberd, Prosody))
DOMAINS = ("example.test", "people.elsewhere.test")  # so that some live below a domain


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_towns(metafunc, TOWNS)


@pytest_asyncio.fixture(
    scope="session",
    loop_scope="session",
    params=PAIRS,
    ids=lambda pair: "-".join(kind.name for kind in pair),
)
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Federation]:
    """Two servers that are federated: each kind as the relay's own, the other as the second."""
    async with Federation(*request.param, domains=DOMAINS) as federation:
        yield federation
        for server in federation.servers:
            keep_after_failure(server, request)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which nothing is yet: to make one takes a third of the time of a story."""
    file = tmp_path_factory.mktemp("empty") / "relay.db"
    database = await Database.open(f"sqlite:///{file}", now=utc_now, monotonic=time.monotonic)
    await database.close()
    return file


@pytest.fixture
async def world(session_town: Town, empty_database: Path, tmp_path: Path) -> AsyncIterator[World]:
    """A relay on the shared server, and people of this story alone."""
    shutil.copy(empty_database, tmp_path)
    async with World(session_town, tmp_path) as world:
        yield world


@pytest.fixture
async def neighbours(
    both: Federation, empty_database: Path, tmp_path: Path
) -> AsyncIterator[Neighbours]:
    """A relay on the first of two servers, and people of this story alone on both."""
    shutil.copy(empty_database, tmp_path)
    async with Neighbours(both, tmp_path) as neighbours:
        yield neighbours
