"""The relay ends, politely or not, in the middle of everything.

Crashes under load are in `test_crash_loops.py`.
"""

import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.ledger import Poster, ids_by_text, lost, repeats
from tests.integration.clients import Person, count
from tests.integration.process import RelayProcess
from tests.integration.world import World, config_for
from tests.servers import new_account
from xmpprelay.core.model import Draft
from xmpprelay.errors import StoreLocked, StreamError
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.service import Service

AUTHORS = ("alice", "bob", "carol", "dave")
FOLLOWERS = 5
EACH = 50  # not more at once than the relay takes from one sender


class Town:
    """A relay as a process of its own, four authors, and people who follow all of them."""

    def __init__(self, server: Prosody, relay: RelayProcess) -> None:
        self.server = server
        self.relay = relay
        self.posters: list[Poster] = []
        self.followers: list[Person] = []

    async def gathers(self) -> None:
        await self.relay.starts()
        for handle in AUTHORS:
            author = await self._person(handle)
            await author.joins(handle)
            texts = [f"{handle} has {n}" for n in range(EACH)]
            self.posters.append(Poster(author, texts))
        for n in range(FOLLOWERS):
            follower = await self._person(f"f{n}")
            for handle in AUTHORS:
                if n % 2:
                    await follower.adds(handle)
                else:
                    await follower.says(f"follow {handle}")
            await follower.fence()
            self.followers.append(follower)

    async def _person(self, name: str) -> Person:
        account = await new_account(self.server, name)
        return await Person(account, self.server.component_domain).comes()

    @property
    def texts(self) -> Sequence[str]:
        return [text for poster in self.posters for text in poster.texts]

    def sends_rest(self) -> None:
        for poster in self.posters:
            poster.sends_rest()

    async def until_first_has(self, receipts: int) -> None:
        poster = self.posters[0]
        await poster.person.mail.until(lambda: poster.receipts() >= receipts)

    async def until_all_is_there(self) -> None:
        for poster in self.posters:
            await poster.person.mail.until(lambda poster=poster: not poster.rest())
        for follower in self.followers:
            await follower.mail.until(lambda f=follower: not lost(f, self.texts))
            await follower.fence()

    async def ends(self) -> None:
        for person in [*self.followers, *(poster.person for poster in self.posters)]:
            await person.drops()


@pytest.fixture
async def town(session_town: Prosody, short_path: Path) -> AsyncIterator[Town]:
    async with RelayProcess(session_town, short_path) as relay:
        town = Town(session_town, relay)
        try:
            await town.gathers()
            yield town
        finally:
            await town.ends()


def posts_by_origin(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as journal:
        return dict(journal.execute("SELECT origin, count(*) FROM post GROUP BY origin").fetchall())


HOSTILE = 'old mill\nforged: line\x85{"event": "forged"}\u2028 \x7f'


async def test_a_stop_in_mid_fan_out_is_quick_and_repeats_nothing(town: Town) -> None:
    author = town.posters[0].person
    for text in (":join {}", "d nobody {}", "{}"):
        author.sends(text.format(HOSTILE))
    author.sends(HOSTILE, to=author.author("old-mill"))
    town.sends_rest()
    await town.until_first_has(receipts=5)
    began = time.monotonic()
    town.relay.signals(signal.SIGTERM)
    await town.relay.notice("STOPPING=1")
    assert await town.relay.ends() == 0
    assert time.monotonic() - began < 5.0
    receipted = {text for poster in town.posters for text in poster.texts} - {
        text for poster in town.posters for text in poster.rest()
    }
    assert receipted <= {
        origin.replace("-", " ") for origin in posts_by_origin(town.relay.database)
    }
    await town.relay.starts()
    town.sends_rest()
    await town.until_all_is_there()
    assert repeats(town.followers) == 0
    for follower in town.followers:
        assert all(len(ids) == 1 for ids in ids_by_text(follower).values())
    events = {json.loads(line)["event"] for line in town.relay.lines}
    assert {"stream.up", "relay.ready", "relay.stopped"} <= events
    assert not [line for line in town.relay.lines if "mill" in line], "nobody's words"


# --- a second instance -------------------------------------------------------------------


async def test_a_second_instance_on_the_same_database_is_refused_and_fights_for_nothing(
    world: World, short_path: Path
) -> None:
    world.config = config_for(world.server, short_path)
    [alice] = await world.authors("alice")
    async with RelayProcess(world.server, short_path) as second:
        await second.launches()
        assert await second.ends() == 1
    [told] = second.lines
    assert told.startswith("xmpprelay: ")
    assert "stop it" in told
    with pytest.raises(StoreLocked):
        await Service.open(world.config)
    await alice.fence()
    assert world.streams == 1


async def test_another_relay_for_the_same_component_is_refused_by_the_server(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    [alice] = await world.authors("alice")
    other = await Service.open(config_for(world.server, tmp_path_factory.mktemp("other")))
    with pytest.raises(StreamError, match="connected already: stop the other instance"):
        await other.start()
    await other.stop()
    await alice.fence()
    assert world.streams == 1


# --- starting and stopping -----------------------------------------------------------------------


async def test_it_can_be_stopped_while_it_waits_for_its_server(
    fragile_world: World, short_path: Path
) -> None:
    await fragile_world.server.stop()
    async with RelayProcess(fragile_world.server, short_path) as relay:
        await relay.launches()
        await relay.writes("store.loaded")
        began = time.monotonic()
        relay.signals(signal.SIGTERM)
        assert await relay.ends() == 0
        assert time.monotonic() - began < 5.0


async def test_a_stop_does_not_wait_for_a_server_that_hangs(fragile_world: World) -> None:
    alice, bob = await fragile_world.authors("alice", "bob")
    await bob.says("follow alice")
    await alice.says("one")
    await bob.gets_post("one")
    alice.sends("two")
    await bob.gets_post("two")
    fragile_world.server.pause()
    three = Draft(alice.jid, "three", None, None, None)
    await fragile_world.service.relay.accept(three)
    began = time.monotonic()
    await fragile_world.stops()
    assert time.monotonic() - began < 5.0
    fragile_world.server.resume()
    await fragile_world.starts()
    await bob.gets_post("three")
    assert count(bob.mail.ledger, post_id=None, type="error") == 0
