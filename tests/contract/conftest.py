"""Fixtures for the tests of SQLite's files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.store_world import Clock, Opened, on
from xmpprelay.store.database import Database

# So that the shared suites explain their failures as a test file does.
pytest.register_assert_rewrite(
    "tests.contract.primary_suite", "tests.contract.status_suite", "tests.contract.store_suite"
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's database is."""
    return tmp_path / "relay.db"


@pytest.fixture
def opened(path: Path, clock: Clock) -> Opened:
    """Opens a database for as long as a `with` lasts: `async with opened() as db`."""

    @asynccontextmanager
    async def open_and_close(url: str = on(path), **how: bool) -> AsyncIterator[Database]:
        db = await Database.open(url, now=clock.now, monotonic=clock.monotonic, **how)
        try:
            yield db
        finally:
            await db.close()

    return open_and_close
