"""Nothing gets lost between the live stream and digests, and nothing comes twice (S10).

Bob switches, caps, groups and digests at random, comes and goes, the relay restarts, posts are
fanned out sooner or later than he changes his mind. At the end each post that is in his timeline
has come once, by itself or in a digest, or has been withheld by a rule that names itself.
"""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from tests.unit.less_world import ALICE, AUTHORS, BOB, CAROL, HOUR, MINUTE, Scene, scene
from xmpprelay.core.routing import OFF, OVER_THE_CAP, Outlet, decide
from xmpprelay.core.wishes import EVERYTHING, Cap, of_author, of_group

# Few of each, so that what is chosen and what is posted often have to do with each other.
author = st.sampled_from([ALICE, ALICE, CAROL])
group = st.sampled_from(["news", "news", "sport"])
subject = st.one_of(author.map(of_author), group.map(of_group))
anything = st.one_of(subject, st.just(EVERYTHING))
posted = st.tuples(
    st.just("post"), author, st.sampled_from([None, None, 0, 2]), st.integers(1, 3), st.booleans()
)
digested = st.tuples(
    st.just("digest"), subject, st.sampled_from([HOUR, timedelta(days=1), time(8), None])
)
grouped = st.tuples(st.just("group"), group, author, st.sampled_from([True, True, False]))
steps = st.lists(
    st.one_of(
        posted,
        posted,
        posted,
        digested,
        digested,
        digested,
        grouped,
        grouped,
        st.tuples(st.just("off"), anything, st.sampled_from([None, HOUR])),
        st.tuples(st.just("on"), anything),
        st.tuples(st.just("again"), anything),
        st.tuples(st.just("cap"), author, st.sampled_from([None, Cap(1, daily=False)])),
        st.tuples(st.just("later"), st.sampled_from([MINUTE, 20 * MINUTE, HOUR, 12 * HOUR])),
        st.tuples(st.just("turn")),
        st.tuples(st.just("leaves")),
        st.tuples(st.just("comes")),
        st.tuples(st.just("restart")),
    ),
    min_size=10,
    max_size=40,
)


class Story:
    """One run, and what bob has been spared by a rule."""

    def __init__(self, world: Scene) -> None:
        self.world = world
        self.withheld: set[int] = set()
        self.there = True

    async def plays(self, step: tuple[Any, ...]) -> None:
        name, *arguments = step
        self.looks()
        await getattr(self, name)(*arguments)
        self.looks()

    def looks(self) -> None:
        """Note what is withheld by `off` or by a cap."""
        for number, post in self.world.posts.items():
            decision = decide(self.world.graph, post, BOB)
            if decision is OFF or decision is OVER_THE_CAP:
                self.withheld.add(number)

    async def post(self, who: int, live_per_hour: int | None, times: int, at_once: bool) -> None:
        for _ in range(times):
            await self.world.post(who, live_per_hour=live_per_hour)
        if at_once:
            await self.world.turn()

    async def digest(self, subject: str, how: timedelta | time | None) -> None:
        every = how if isinstance(how, timedelta) else None
        at = how if isinstance(how, time) else None
        if self.world.choices.of(BOB).authors_of(subject):
            await self.world.less.set_digest(self.world.person(), subject, every=every, at=at)

    async def group(self, name: str, who: int, into: bool) -> None:
        member = [self.world.person(who)]
        add, remove = (member, []) if into else ([], member)
        await self.world.less.change_group(self.world.person(), name, add, remove)

    async def off(self, subject: str, span: timedelta | None) -> None:
        await self.world.less.off(self.world.person(), subject, span)

    async def on(self, subject: str) -> None:
        await self.world.less.on(self.world.person(), subject)

    async def again(self, subject: str) -> None:
        await self.world.less.on_again(self.world.person(), subject)
        await self.world.turn()

    async def cap(self, who: int, cap: Cap | None) -> None:
        person = self.world.person()
        await self.world.less.set_cap(person, self.world.person(who), cap)

    async def later(self, span: timedelta) -> None:
        await self.world.later(span)

    async def turn(self) -> None:
        await self.world.turn()

    async def leaves(self) -> None:
        self.there = False
        await self.world.leaves()

    async def comes(self) -> None:
        self.there = True
        await self.world.comes()

    async def restart(self) -> None:
        await self.world.restarts(*([BOB] if self.there else []))

    async def ends(self) -> None:
        """Bob comes, and stays until every digest has been due."""
        await self.comes()
        for _ in range(3):
            await self.world.later(timedelta(days=1))
        self.looks()
        told = Counter(number for digest in self.world.told for number in digest)
        live = Counter(self.world.live())
        for number, post in self.world.posts.items():
            how_often = told[number] + live[number]
            assert decide(self.world.graph, post, BOB, Outlet.TIMELINE).yes
            assert how_often <= 1, f"post {number} came {live[number]} + {told[number]} times"
            assert how_often or number in self.withheld, f"post {number} never came"


async def settle(folder: Path) -> None:
    async with scene(folder / "relay.db"):
        pass


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which everybody is known: made once, since that takes longest."""
    folder = tmp_path_factory.mktemp("settled")
    asyncio.run(settle(folder))
    return folder


async def play(settled: Path, story: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(settled, folder, dirs_exist_ok=True)
        async with scene(Path(folder) / "relay.db", settled=True) as world:
            world.rounds = dict.fromkeys(AUTHORS, HOUR)
            played = Story(world)
            for step in story:
                await played.plays(step)
            await played.ends()


@settings(
    max_examples=int(os.environ.get("LESS_STORIES", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(story=steps)
@example(
    story=[  # two wait for their fan-out when the relay ends
        ("post", ALICE, None, 2, False),
        ("restart",),
        ("post", ALICE, None, 1, False),
        ("digest", of_author(ALICE), HOUR),
    ]
)
def test_each_post_comes_once_or_is_withheld_by_a_rule(
    settled: Path, story: list[tuple[Any, ...]]
) -> None:
    for step in story:
        note(str(step))
    asyncio.run(play(settled, story))
