"""What was given out on the web before a change is not given out behind it, whatever it was."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.properties.audience_model import Entry
from tests.properties.outlets_town import PEOPLE, Town, name, new_town, number_of
from tests.properties.outlets_web import Onlooker
from xmpprelay.core.text import short_id

ANN, BOB, CAT = 1, 2, 3


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """Ann, Bob and Cat have posted, answered, boosted; the others read."""
    made = await asyncio.to_thread(new_town, tmp_path)  # it has a loop of its own
    await made.starts()
    await made.come(*PEOPLE)
    await posts(made, ANN, "zq1_1q")
    await posts(made, BOB, "zq1_2q", leading=(ANN,))
    await posts(made, CAT, "zq1_3q", mentions=(ANN, BOB))
    await boosts(made, CAT, 1)
    yield made
    await made.stops()


async def posts(
    town: Town, who: int, token: str, leading: tuple[int, ...] = (), mentions: tuple[int, ...] = ()
) -> None:
    words = [*(f"@{name(t)}" for t in leading), token, *(f"@{name(m)}" for m in mentions)]

    def changes(answer: str) -> None:
        town.adds(Entry(number_of(answer), who, "post", leading, mentions), token)

    await town.says(who, " ".join(words), changes)


async def boosts(town: Town, who: int, number: int) -> None:
    def changes(_: str) -> None:
        town.adds(Entry(town.next_number - 1, who, "boost", shown=town.entries[number]), None)

    await town.says(who, f"boost #{short_id(number)}", changes)


async def test_a_feed_that_was_given_out_is_another_one_after_each_change(town: Town) -> None:
    world, onlooker = town.world, Onlooker(town)

    def deleted(_: str) -> None:
        town.entries[1].deleted = True

    def blocked(_: str) -> None:
        world.blocks.add((ANN, BOB))
        for pair in ((ANN, BOB), (BOB, ANN)):
            world.follows.pop(pair)

    await onlooker.reads_all()
    for who, line, changes in (
        (ANN, "mute @cat all", lambda _: world.mutes.update({(ANN, CAT): "all"})),
        (ANN, "unmute @cat", lambda _: world.mutes.pop((ANN, CAT))),
        (ANN, "mute @cat boosts", lambda _: world.mutes.update({(ANN, CAT): "boosts"})),
        (CAT, "replies none", lambda _: world.replies.update({CAT: "none"})),
        (CAT, "replies all", lambda _: world.replies.update({CAT: "all"})),
        (ANN, "feed private", lambda _: town.private.add(ANN)),
        (ANN, "feed public", lambda _: town.private.discard(ANN)),
        (BOB, "protect on", lambda _: world.protected.add(BOB)),
        (BOB, "protect off", lambda _: world.protected.discard(BOB)),
        (CAT, "unfollow @bob", lambda _: world.follows.pop((CAT, BOB))),
        (ANN, "block @bob", blocked),
        (ANN, "unblock @bob", lambda _: world.blocks.discard((ANN, BOB))),
        (ANN, "del #1", deleted),
    ):
        await town.says(who, line, changes)
        await onlooker.reads_all()
    await posts(town, ANN, "zq1_4q")
    await onlooker.reads_all()
    await boosts(town, BOB, max(town.entries))
    await onlooker.reads_all()
    town.check_all()


async def test_a_post_that_was_given_out_is_edited_everywhere(town: Town) -> None:
    async def everywhere(words: str) -> None:
        for path in ("/@ann.atom", "/@ann.rss", "/@ann", "/@ann/1", "/@cat.atom", "/@cat"):
            assert words in (await town.site.get(path)).text, path

    await everywhere("zq1_1q")
    await town.says(ANN, "edit #1 zq1_1q tea", lambda _: None)
    await everywhere("zq1_1q tea")
    await town.says(ANN, 'profile name "Ann of Tea"', lambda _: None)
    await everywhere("Ann of Tea")
    await town.says(ANN, ":join anna", lambda _: None)
    for path in ("/@anna.atom", "/@anna", "/@anna/1", "/@cat.atom", "/@cat"):
        assert "/@anna" in (await town.site.get(path)).text, path
