"""The server is killed, restarted, or hangs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from tests.faults.ledger import IN_FLIGHT, Poster, ids_by_text, in_order, lost, repeats
from tests.integration.clients import DELAY, FarServer, Person
from tests.integration.gate import Gate
from tests.integration.world import World
from tests.servers import XmppServer
from tests.servers.towns import TOWNS, ProsodyTown
from xmpprelay.core.model import Draft
from xmpprelay.core.recipients import State
from xmpprelay.xmpp.component import ANSWER_WITHIN_S

RUNS_IN = TOWNS


async def follow(world: World, number: int) -> tuple[Person, Sequence[Person]]:
    """alice, and so many who follow her, half of them by each door."""
    [alice] = await world.authors("alice")
    followers = await world.people(*(f"f{n}" for n in range(number)))
    for n, follower in enumerate(followers):
        if n % 2:
            await follower.adds("alice")
        else:
            await follower.says("follow alice")
    for follower in followers:
        await follower.fence()
    await world.server.flush()  # no kill is to take their contact lists
    return alice, followers


def draft(author: Person, text: str) -> Draft:
    """A post that needs no server to be made."""
    return Draft(author.jid, text, None, None, None)


async def reconnected(world: World, streams: int) -> None:
    """Return when the relay has its next stream."""
    await world.until(lambda: world.streams == streams and world.service.component.up)


async def test_kills_of_the_server_in_mid_fan_out_lose_nothing(fragile_world: World) -> None:
    world = fragile_world
    world.retry_within_s = 0.5
    alice, followers = await follow(world, 10)
    poster = Poster(alice, [f"post {n}" for n in range(60)])
    kills = (10, 35)
    first = followers[0]
    for reached in kills:
        poster.sends_rest()
        await first.mail.until(lambda n=reached: len(first.posts()) >= n)  # type: ignore[misc]
        await world.server.kill()
        for person in (alice, *followers):
            await person.drops()
        await world.server.start()
        await asyncio.gather(*(person.comes() for person in (alice, *followers)))
        await reconnected(world, world.streams + (not world.service.component.up))
    while poster.rest():  # refused while the relay was away, or lost with the server
        poster.sends_rest()
        await poster.answered()
    for each in followers:
        await each.mail.until(lambda each=each: not lost(each, poster.texts))  # type: ignore[misc]
        await each.fence()
        assert in_order(each, poster.texts)
        assert all(len(ids) == 1 for ids in ids_by_text(each).values()), "D after ids"
    assert repeats(followers) <= len(kills) * IN_FLIGHT, "D on the wire"


@dataclass(frozen=True, slots=True)
class Break:
    """A way to lose the connection of relay and server, and to get it back."""

    begins: Callable[[World, Gate], Awaitable[None]]
    ends: Callable[[World, Gate], Awaitable[None]]
    ends_clients: bool  # whether people lose theirs as well


async def stop(world: World, _: Gate) -> None:
    await world.server.stop()


async def kill(world: World, _: Gate) -> None:
    await world.server.kill()


async def start(world: World, _: Gate) -> None:
    await world.server.start()


async def hang(world: World, _: Gate) -> None:
    world.service.component.answer_within_s = 0.3
    world.server.pause()


async def go_on(world: World, _: Gate) -> None:
    world.server.resume()
    world.service.component.answer_within_s = ANSWER_WITHIN_S


async def cut(_: World, gate: Gate) -> None:
    await gate.shuts()


async def mend(_: World, gate: Gate) -> None:
    await gate.opens()


BREAKS: Final = {
    "stopped": Break(stop, start, ends_clients=True),
    "killed": Break(kill, start, ends_clients=True),
    "hung": Break(hang, go_on, ends_clients=False),
    "cut off": Break(cut, mend, ends_clients=False),
}


@pytest.mark.parametrize("how", BREAKS)
async def test_after_a_break_those_who_are_there_get_it_all_and_nothing_lands_offline(
    fragile_world: World, how: str
) -> None:
    """What was known of anybody's presence ends with the stream; half of them leave meanwhile."""
    world, broken = fragile_world, BREAKS[how]
    world.idle_ping_s = 0.5  # a server that hangs in silence is noticed
    async with Gate(world.server.component_port) as gate:
        await world.starts(xmpp=replace(world.config.xmpp, port=gate.port))
        alice, followers = await follow(world, 6)
        staying, leaving = followers[:3], followers[3:]
        ids = [world.person_id(each) for each in followers]
        await alice.says("before")
        for each in followers:
            await each.gets_post("before")
        await world.settled()
        world.presences.clear()
        devices = {each.full_jid for each in followers}
        await broken.begins(world, gate)
        cut_short = (alice, *followers) if broken.ends_clients else leaving
        for person in cut_short:
            await person.drops()
        await world.until(lambda: not world.service.component.up)
        if how == "stopped" and world.server.takes_leave:
            gone = {each.sender for each in world.presences if each.type == "unavailable"}
            assert gone == devices
        assert not any(world.service.delivery.sees(each) for each in ids)
        await world.service.relay.accept(draft(alice, "in the dark"))
        await broken.ends(world, gate)
        began = time.monotonic()
        await reconnected(world, 2)
        assert time.monotonic() - began < 8.0, "five seconds, and what a busy machine takes"
        await world.service.relay.accept(draft(alice, "at once"))
        await asyncio.gather(*(each.comes() for each in (alice, *staying) if each in cut_short))
        await alice.says("meanwhile")
        for each in staying:
            await each.gets_post("meanwhile")
        assert [await world.server.stored(each.jid) for each in followers] == [0] * 6
        for each in leaving:
            await each.comes()
            for text in ("in the dark", "at once", "meanwhile"):
                delay = (await each.gets_post(text)).child("delay", DELAY)
                assert delay is not None
                assert delay.get("from") == each.relay, "it waited with the relay"
        await alice.says("after")
        for each in followers:
            await each.gets_post("after")
            await each.fence()
            assert each.posts() == ["before", "in the dark", "at once", "meanwhile", "after"]
        await world.stops()


async def test_whoever_is_away_is_not_waited_for(fragile_world: World) -> None:
    """Nothing comes unasked, and where silence means away there is nothing to wait for."""
    world = fragile_world
    alice, [bob, *absent] = await follow(world, 4)
    for each in absent:
        await each.leaves()
    for text in ("one", "two"):
        world.presences.clear()
        await world.restarts()
        await world.live(bob)
        await alice.says(text)
        await bob.gets_post(text)
        await world.settled()
        await bob.fence()
        gone = {each.sender for each in world.presences if each.type == "unavailable"}
        expected = {each.jid for each in absent} if world.server.answers_for_the_absent else set()
        assert gone == expected
    for each in absent:
        assert world.service.delivery.state_of(world.person_id(each)) is State.AWAY
        await each.comes()
        await each.gets_post("two")
        assert each.posts() == ["one", "two"]


OLD_STREAMS: Final = 2
"""Where a server has several: so many that one of these gets what is for home@relay."""


class Silent(FarServer):
    """The relay's own old connection, half open: its server holds it, and nobody is there."""

    def __init__(self, server: XmppServer) -> None:
        relay, secret = server.component_domain, server.component_secret
        super().__init__(relay, secret, server.host, server.component_port, relay)
        self.pings = False


async def test_an_old_stream_that_is_half_open_is_outlived(fragile_world: World) -> None:
    world = fragile_world
    async with Gate(world.server.component_port) as gate:
        await world.starts(xmpp=replace(world.config.xmpp, port=gate.port))
        alice, [bob] = await follow(world, 1)
        component = world.service.component
        await gate.shuts()
        await world.until(lambda: not component.up)
        world.service.outbox.ask_again_after_s = (0.5, 1.0, 2.0, 4.0, 8.0)
        async with AsyncExitStack() as ending:
            for _ in range(1 if world.server.one_stream else OLD_STREAMS):
                old = await ending.enter_async_context(Silent(world.server))
            with capture_logs() as logs:
                await gate.opens()
                if world.server.one_stream:
                    refused = "relay.example.test is connected already"
                    await world.until(lambda: sum(refused in str(each) for each in logs) >= 2)
                    assert "component_conflict_resolve" in str(logs), "what to do about it"
                    assert not component.up
                else:  # both have it, and what is for the relay goes to either
                    await reconnected(world, 2)
            assert not old.lost.is_set()
            await world.service.relay.accept(draft(alice, "in between"))
        await bob.gets_post("in between")  # what the old one got is asked for again
        await world.stops()


async def test_a_server_that_is_told_so_ends_the_old_stream_for_the_new_one(
    tmp_path: Path,
) -> None:
    """The way out where there may be one: Prosody's component_conflict_resolve = "kick_old"."""
    options = 'component_conflict_resolve = "kick_old"\n'
    async with (
        ProsodyTown(more=options) as server,
        Silent(server) as old,
        World(server, tmp_path) as world,
    ):
        await world.starts()
        await asyncio.wait_for(old.lost.wait(), 10)
        [alice] = await world.authors("alice")
        assert await alice.says("at home") == "ok #1: nobody follows you yet"
        assert world.streams == 1


async def test_a_server_that_hangs_in_a_fan_out_is_left_and_nothing_is_lost(
    fragile_world: World,
) -> None:
    world = fragile_world
    alice, [bob] = await follow(world, 1)
    component = world.service.component
    component.answer_within_s = 0.3
    world.server.pause()
    await world.service.relay.accept(draft(alice, "from within"))
    await world.until(lambda: not component.up)
    assert world.service.delivery.in_flight() == 0, "written off"
    world.server.resume()
    component.answer_within_s = ANSWER_WITHIN_S
    await world.until(lambda: component.up)
    await bob.gets_post("from within")
    assert all(len(ids) == 1 for ids in ids_by_text(bob).values())


async def test_a_death_behind_an_unanswered_question_is_seen_at_once(
    fragile_world: World,
) -> None:
    """The answer is waited for in vain, and for long: the end of the stream is not."""
    world = fragile_world
    world.idle_ping_s, world.answer_within_s = 0.1, 1000.0
    await world.starts()
    component = world.service.component
    world.server.pause()
    question = component.ping(component.server_domain)
    await world.until(lambda: len(component._questions) == 2)  # the relay has asked as well
    await world.server.kill()
    await world.until(lambda: not component.up)
    assert question.done()
    assert question.exception() is not None


async def test_what_is_said_while_the_stream_is_down_is_dropped_and_no_post_is_lost(
    fragile_world: World,
) -> None:
    """The journal is the only queue."""
    world = fragile_world
    world.retry_within_s = 0.5
    alice, [bob] = await follow(world, 1)
    await world.server.kill()
    await world.until(lambda: not world.service.component.up)
    for n in range(1000):
        world.service.voice.tell(bob.jid, f"said {n}")
    for n in range(30):
        await world.service.relay.accept(draft(alice, f"post {n}"))
    assert world.service.delivery.in_flight() == 0
    for person in (alice, bob):
        await person.drops()
    await world.server.start()
    await bob.comes()
    await bob.gets_post("post 29")
    await bob.fence()
    assert bob.posts() == [f"post {n}" for n in range(30)]
    assert not [each for each in bob.mail.ledger if (each.body or "").startswith("said")]
