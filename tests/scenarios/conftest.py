"""The fixtures of the tests with a relay.

They are about words, which no server changes, and run in the first kind of town.
"""

import pytest

from tests.integration.fixtures import (
    fragile_world,
    in_towns,
    session_town,
    short_path,
    world,
)
from tests.servers.towns import TOWNS

__all__ = ["fragile_world", "session_town", "short_path", "world"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_towns(metafunc, TOWNS[:1])
