"""SQLite, the embedded default, does what the relay asks of a database."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.contract.store_suite import StoreSuite
from tests.contract.store_world import Opened


class TestSqlite(StoreSuite):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/relay.db"


async def test_questions_wait_for_each_other_however_long_it_takes(opened: Opened) -> None:
    """There are few connections; whoever asks does not fail because others ask as well."""
    long = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "SELECT count(*) FROM n"
    )
    async with opened() as db:
        db._readers.sync_engine.pool._timeout = 0.001  # type: ignore[attr-defined]
        asked = [db.read(lambda conn: conn.scalar(long)) for _ in range(8)]
        assert await asyncio.gather(*asked) == [200_000] * 8
