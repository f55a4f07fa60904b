"""Posts by ejabberd's multicast service, many people in a stanza, and what becomes of them when it
takes fewer, dies or is taken out in the middle (XEP-0033).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.integration.clients import Person
from tests.integration.world import World
from tests.servers.towns import EjabberdTown
from xmpprelay.config import Xmpp
from xmpprelay.xmpp.multicast import ADDRESS, MOST

SERVICE: Final = "multicast.example.test"
HOST: Final = '<<"example.test">>'
PROCESS: Final = f"gen_mod:get_module_proc({HOST}, mod_multicast)"
FOLLOWERS: Final = 25

LIMITED: Final = f"""
Opts = (gen_mod:get_module_opts({HOST}, mod_multicast))#{{
    limits => [{{local, []}}, {{remote, [{{message, %d}}, {{presence, %d}}]}}]}},
gen_server:cast({PROCESS}, {{reload, Opts, Opts}}),
sys:get_state({PROCESS}), ok.
"""
"""How many addresses it takes from now on in a message and a presence of a component's."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_for_all() -> AsyncIterator[EjabberdTown]:
    async with EjabberdTown(multicast=True) as server:
        yield server


@pytest.fixture
async def server(one_for_all: EjabberdTown) -> AsyncIterator[EjabberdTown]:
    yield one_for_all
    stopped = f"gen_mod:is_loaded({HOST}, mod_multicast) orelse "
    await one_for_all.ask(f"{stopped}gen_mod:start_module({HOST}, mod_multicast), ok.")
    await one_for_all.ask(LIMITED % (MOST, MOST))


@pytest.fixture
async def world(server: EjabberdTown, tmp_path: Path) -> AsyncIterator[World]:
    async with World(server, tmp_path) as world:
        world.retry_within_s = 0.5
        world.uses_multicast()
        yield world


async def used(world: World) -> None:
    """Return when the relay has found the service, and uses it."""
    await world.until(lambda: world.service.multicast.service == SERVICE)


def written(world: World) -> list[bytes]:
    """What the relay writes from now on."""
    found: list[bytes] = []
    write = world.service.component.write

    def keeps(data: bytes) -> None:
        found.append(data)
        write(data)

    world.service.component.write = keeps  # type: ignore[method-assign]
    return found


async def scene(world: World) -> tuple[Person, Sequence[Person]]:
    """alice, and many who follow her: every other one from his contact list."""
    await world.starts()
    await used(world)
    [alice] = await world.authors("alice")
    followers = await world.people(*(f"f{n}" for n in range(FOLLOWERS)))
    for n, follower in enumerate(followers):
        if n % 2:
            await follower.adds("alice")
        else:
            await follower.says("follow alice")
    await world.live(*followers)
    return alice, followers


async def test_each_gets_what_he_always_got_and_sees_nobody_else(world: World) -> None:
    alice, followers = await scene(world)
    stanzas = written(world)
    await alice.says("to all of you")
    for n, each in enumerate(followers):
        text, sender = (
            ("to all of you", alice.author("alice")) if n % 2 else ("alice: to all of you  #1", "")
        )
        got = await each.gets(body=text)
        assert got.sender == (sender or each.home)
        assert got.to in (each.jid, each.full_jid)
        assert not got.has("addresses", ADDRESS)
        assert not any(other.jid in repr(got) for other in followers if other is not each)
    await world.settled()
    data = b"".join(stanzas)
    assert data.count(b'<address type="bcc"') == 2 * FOLLOWERS, "a post and a probe for each"
    assert data.count(b"<message ") == 2 + 2, "two to alice, and one for each way to follow"
    assert data.count(b"/barrier-") == 2, "25 people in twenties"
    assert all(each.posts() == ["to all of you"] for each in followers)


async def test_nothing_overtakes_anything(world: World, server: EjabberdTown) -> None:
    """What goes to one goes by the same way as what goes to all: a deletion, an answer."""
    alice, followers = await scene(world)
    bob = await followers[1].joins("bob")
    stanzas = written(world)
    await server.ask(f"sys:suspend({PROCESS}), ok.")
    alice.sends("to all of you")
    alice.sends("@bob to you")
    await world.until(lambda: b"@bob to you" in b"".join(stanzas))
    await server.ask(f"sys:resume({PROCESS}), ok.")
    await bob.gets_post("@bob to you")
    assert bob.posts() == ["to all of you", "@bob to you"]
    await world.settled()
    assert world.streams == 1


async def test_a_service_that_takes_fewer_is_asked_for_fewer(
    world: World, server: EjabberdTown
) -> None:
    await server.ask(LIMITED % (7, 3))
    alice, followers = await scene(world)
    stanzas = written(world)
    await alice.says("to all of you")
    for each in followers:
        await each.gets(lambda stanza: "to all of you" in (stanza.body or ""))
    await world.settled()
    posts = [each for data in stanzas for each in data.split(b"</message>") if b"to all" in each]
    assert {each.count(b"<address ") for each in posts} == {5, 3, 2}
    assert all(each.posts() == ["to all of you"] for each in followers)


async def _takes_fewer(server: EjabberdTown) -> None:
    await server.ask(LIMITED % (5, MOST))


async def _is_taken_out(server: EjabberdTown) -> None:
    await server.ask(f"gen_mod:stop_module({HOST}, mod_multicast), ok.")


@pytest.mark.parametrize("change", [_takes_fewer, _is_taken_out])
async def test_what_comes_back_as_a_whole_goes_to_each_by_himself(
    world: World, server: EjabberdTown, change: Callable[[EjabberdTown], Awaitable[None]]
) -> None:
    alice, followers = await scene(world)
    streams = world.streams
    await change(server)
    alice.sends("to all of you")
    for each in followers:
        await each.gets(lambda stanza: "to all of you" in (stanza.body or ""))
    assert world.streams == streams + 1
    assert world.service.multicast.service is None


async def test_what_the_service_has_lost_with_its_process_comes_again(
    world: World, server: EjabberdTown
) -> None:
    """It dies with what it has been given. That all are silent then is no sign that it is there."""
    alice, followers = await scene(world)
    streams, stanzas = world.streams, written(world)
    await server.ask(f"sys:suspend({PROCESS}), ok.")
    alice.sends("to all of you")
    await world.until(lambda: b"barrier-" in b"".join(stanzas))
    await server.ask(f"exit(whereis({PROCESS}), kill), ok.")
    for each in followers:
        await each.gets(lambda stanza: "to all of you" in (stanza.body or ""))
    assert world.streams == streams + 1
    assert world.service.multicast.service is None


async def test_it_is_not_used_unless_the_operator_wants_it(world: World) -> None:
    xmpp = Xmpp(
        domain=world.config.xmpp.domain,
        secret=world.config.xmpp.secret,
        host=world.config.xmpp.host,
        port=world.config.xmpp.port,
    )
    world.config = replace(world.config, xmpp=xmpp)
    service = await world.starts()
    stanzas = written(world)
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await alice.says("hello")
    await bob.gets(lambda stanza: "hello" in (stanza.body or ""))
    assert service.multicast.service is None
    assert SERVICE.encode() not in b"".join(stanzas)
