"""The fixtures of the tests with a relay."""

from tests.integration.fixtures import fragile_world, session_town, short_path, world

__all__ = ["fragile_world", "session_town", "short_path", "world"]
