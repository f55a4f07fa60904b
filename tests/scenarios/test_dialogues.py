"""Who gets what, told as dialogues; story.py says how they are written.

Every story is played on each kind of server, and those with people elsewhere on two of them.
"""

from typing import Final

import pytest

from tests.integration.neighbours import Neighbours
from tests.integration.world import World
from tests.scenarios.stage import Stage
from tests.scenarios.story import STORIES, Story

AT_HOME: Final = [story for story in STORIES if not story.elsewhere]
ABROAD: Final = [story for story in STORIES if story.elsewhere]


@pytest.mark.parametrize("story", AT_HOME, ids=lambda story: story.name)
async def test_a_story_goes_as_it_is_written(world: World, story: Story) -> None:
    await play(story, world)


@pytest.mark.parametrize("story", ABROAD, ids=lambda story: story.name)
async def test_a_story_goes_so_between_two_servers(neighbours: Neighbours, story: Story) -> None:
    await play(story, neighbours)


async def play(story: Story, world: World) -> None:
    stage = Stage(world)
    await stage.enters(story)
    for number, line in story.steps:
        try:
            await stage.plays(line)
        except AssertionError as error:
            raise AssertionError(f"{story.name}.txt:{number}: {line}\n{error}") from error
    await stage.ends()
