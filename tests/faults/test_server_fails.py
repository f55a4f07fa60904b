"""The server is killed, restarted, or hangs."""

import asyncio
import time
from collections.abc import Sequence

from tests.faults.ledger import IN_FLIGHT, Poster, ids_by_text, in_order, lost, repeats
from tests.integration.clients import DELAY, Person
from tests.integration.world import World
from xmpprelay.core.model import Draft


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
    return alice, followers


def draft(author: Person, text: str) -> Draft:
    """A post that needs no server to be made."""
    return Draft(author.jid, text, None, None, None)


async def reconnected(world: World, streams: int) -> None:
    """Return when the relay has its next stream."""
    await world.until(lambda: world.streams == streams and world.service.component.up)


async def test_kills_of_the_server_in_mid_fan_out_lose_nothing(fragile_world: World) -> None:
    world = fragile_world
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


async def test_an_orderly_restart_of_the_server_costs_nothing(fragile_world: World) -> None:
    world = fragile_world
    alice, followers = await follow(world, 4)
    await alice.says("before")
    for each in followers:
        await each.gets_post("before")
    await world.settled()
    began = time.monotonic()
    await world.server.restart()
    await reconnected(world, 2)
    assert time.monotonic() - began < 8.0, "a restart takes a second, and reconnecting five at most"
    for person in (alice, *followers):
        await person.drops()
        await person.comes()
    await alice.says("after")
    for each in followers:
        await each.gets_post("after")
        assert each.posts() == ["before", "after"]


async def test_nothing_for_those_who_left_meanwhile_lands_in_an_offline_store(
    fragile_world: World,
) -> None:
    """What was known of anybody's presence ends with the stream."""
    world = fragile_world
    alice, followers = await follow(world, 6)
    await alice.says("before")
    for each in followers:
        await each.gets_post("before")
    await world.settled()
    staying, leaving = followers[:3], followers[3:]
    await world.server.kill()
    for person in (alice, *followers):
        await person.drops()
    await world.until(lambda: not world.service.component.up)
    await world.service.relay.accept(draft(alice, "in the dark"))
    await world.server.start()
    await reconnected(world, 2)
    await world.service.relay.accept(draft(alice, "at once"))
    await asyncio.gather(*(person.comes() for person in (alice, *staying)))
    await alice.says("meanwhile")
    for each in staying:
        await each.gets_post("meanwhile")
    offline = world.server.folder / "data" / "example%2etest" / "offline"  # type: ignore[attr-defined]
    assert not list(offline.glob("f*")), "the server holds nothing for anybody"
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


async def test_a_server_that_hangs_in_silence_is_noticed_and_left(fragile_world: World) -> None:
    """Nobody writes, so only the question behind the silence shows it."""
    world = fragile_world
    world.idle_ping_s, world.answer_within_s = 0.5, 0.5
    alice, [bob] = await follow(world, 1)
    component = world.service.component
    world.server.pause()
    await world.until(lambda: not component.up)
    world.server.resume()
    await reconnected(world, 2)
    await alice.says("hello again")
    await bob.gets_post("hello again")


async def test_a_server_that_hangs_in_a_fan_out_is_left_and_nothing_is_lost(
    fragile_world: World,
) -> None:
    world = fragile_world
    alice, followers = await follow(world, 4)
    component = world.service.component
    component.answer_within_s = 0.3
    world.server.pause()
    await world.service.relay.accept(draft(alice, "from within"))
    await world.until(lambda: not component.up)
    assert world.service.delivery.in_flight() == 0, "written off"
    world.server.resume()
    component.answer_within_s = 10.0
    await world.until(lambda: component.up)
    for each in followers:
        await each.gets_post("from within")
        assert all(len(ids) == 1 for ids in ids_by_text(each).values())


async def test_a_death_behind_an_unanswered_question_is_seen_at_once(
    fragile_world: World,
) -> None:
    """The answer is waited for in vain, and for ten seconds: the end of the stream is not."""
    world = fragile_world
    world.idle_ping_s = 0.1
    await world.starts()
    component = world.service.component
    world.server.pause()
    question = component.ping(component.server_domain)
    await world.until(lambda: len(component._questions) == 2)  # the relay has asked as well
    began = time.monotonic()
    await world.server.kill()
    await world.until(lambda: not component.up)
    assert question.done()
    assert question.exception() is not None
    await world.server.start()
    await reconnected(world, 2)
    assert time.monotonic() - began < 6.0


async def test_what_is_said_while_the_stream_is_down_is_dropped_and_no_post_is_lost(
    fragile_world: World,
) -> None:
    """The journal is the only queue."""
    world = fragile_world
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
