"""No character can end the stream (`tests/chaos/characters.py` tells how that is looked for)."""

from pathlib import Path

from tests.chaos import characters
from tests.servers.towns import TOWNS, Town

RUNS_IN = TOWNS
TEXTS = [f"a{chr(code)}b" for code in characters.BOUNDARIES]


def test_every_character_is_written_as_xml_in_every_place() -> None:
    assert characters.serialiser(characters.chunks()) == []


async def test_the_bounds_of_all_classes_go_through_a_server(
    session_town: Town, tmp_path: Path
) -> None:
    assert await characters.through(session_town, tmp_path, TEXTS) == []
