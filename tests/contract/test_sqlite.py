"""SQLite, the embedded default, does what the relay asks of a database."""

from pathlib import Path

import pytest

from tests.contract.store_suite import StoreSuite


class TestSqlite(StoreSuite):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/relay.db"
