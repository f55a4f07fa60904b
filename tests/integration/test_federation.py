"""People on another server: how they follow, leave, return and post, and what servers do to them.

The relay is the component of the first of two real servers that are federated by TLS. What is
measured with thousands of people is in tests/faults/, with a server that the test speaks for.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.clients import DELAY, Person, count
from tests.integration.neighbours import Neighbours
from tests.servers.ejabberd import Ejabberd
from tests.servers.federation import Federation
from xmpprelay.core.lanes import FIRST_REMOTE_WINDOW
from xmpprelay.quickstart.prosody import Prosody

Kinds = tuple[type[Prosody | Ejabberd], ...]

PAIRS: tuple[Kinds, ...] = ((Prosody, Prosody), (Prosody, Ejabberd), (Ejabberd, Prosody))
ELSEWHERE = "elsewhere.test"


def names(kinds: Kinds) -> str:
    return "-".join(kind.__name__ for kind in kinds)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PAIRS, ids=names)
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Federation]:
    async with Federation(*request.param) as federation:
        yield federation


@pytest.fixture
async def world(both: Federation, tmp_path: Path) -> AsyncIterator[Neighbours]:
    async with Neighbours(both, tmp_path) as world:
        yield world


@pytest.fixture
async def gated(tmp_path: Path) -> AsyncIterator[Neighbours]:
    """Two servers of this test alone, and the ways between them in its hand."""
    async with Federation(gated=True) as both, Neighbours(both, tmp_path) as world:
        yield world


async def follows(world: Neighbours) -> tuple[Person, Person, Person, Person]:
    """alice; carol, who follows her on her own server; bob and dave, who do so elsewhere."""
    [alice] = await world.authors("alice")
    [carol] = await world.people("carol")
    bob, dave = await world.abroad("bob", "dave")
    await carol.says("follow alice")
    await bob.adds("alice")
    await dave.says("follow alice")
    people = [world.person_id(each) for each in (carol, bob, dave)]
    await world.until(lambda: all(world.service.delivery.sees(person) for person in people))
    await world.live(carol, bob, dave)
    return alice, carol, bob, dave


# --- following from afar -------------------------------------------------------------------------


async def test_people_elsewhere_follow_leave_return_and_unfollow(world: Neighbours) -> None:
    alice, carol, bob, dave = await follows(world)
    await alice.says("live")
    assert (await bob.gets_post("live")).sender == bob.author("alice")
    assert (await dave.gets_post("live")).sender == dave.home
    await carol.gets_post("live")

    await bob.leaves()
    await dave.leaves()
    await world.away(bob, dave)
    for text in ("one", "two"):
        await alice.says(text)
    await carol.gets_post("two")
    await asyncio.gather(bob.comes(), dave.comes())
    for each in (bob, dave):
        for text in ("one", "two"):
            assert (await each.gets_post(text)).has("delay", DELAY)
    await world.live(bob, dave)
    await alice.says("together")
    for each in (bob, dave, carol):
        await each.gets_post("together")

    bob.sends_raw(f"<presence to='{bob.author('alice')}' type='unsubscribe'/>")
    await bob.gets(kind="presence", type="unavailable", sender=bob.author("alice"))
    assert await dave.says("unfollow alice") == "You do not follow @alice any more."
    await alice.says("without them")
    await carol.gets_post("without them")
    for each in (bob, dave):
        await each.fence()
        assert each.posts() == ["live", "one", "two", "together"]
    assert await alice.says("followers") == "1 follow you: " + carol.jid


async def test_both_doors_are_one_follow_from_afar(world: Neighbours) -> None:
    [alice] = await world.authors("alice")
    bob, dave = await world.abroad("bob", "dave")
    await bob.says("follow alice")
    await bob.adds("alice")
    await dave.adds("alice")
    assert await dave.says("follow alice") == "You follow @alice already."
    await world.live(bob, dave)
    await alice.says("once")
    for each in (bob, dave):
        assert (await each.gets_post("once")).sender == each.author("alice")
    await bob.says("unfollow alice")
    await bob.gets(kind="presence", type="unsubscribed", sender=bob.author("alice"))
    await alice.says("to dave")
    await dave.gets_post("to dave")
    for each, texts in ((bob, ["once"]), (dave, ["once", "to dave"])):
        await each.fence()
        assert each.posts() == texts


async def test_an_author_elsewhere_is_followed_from_both_sides(world: Neighbours) -> None:
    await world.starts()
    bob, dave = await world.abroad("bob", "dave")
    [carol] = await world.people("carol")
    await bob.joins("bob")
    await carol.adds("bob")
    await dave.says("follow bob")
    await world.live(carol, dave)
    assert await bob.says("from afar") == "ok #1: 2 people"
    assert (await carol.gets_post("from afar")).sender == carol.author("bob")
    assert (await dave.gets_post("from afar")).sender == dave.home
    await carol.leaves()
    await world.away(carol)
    await bob.says("while she is away")
    await dave.gets_post("while she is away")
    await carol.comes()
    await carol.gets_post("while she is away")
    for each, texts in ((carol, 2), (dave, 2), (bob, 0)):
        await each.fence()
        assert len(each.posts()) == texts


async def test_a_restart_of_the_relay_unfollows_nobody_and_repeats_nothing(
    world: Neighbours,
) -> None:
    alice, carol, bob, dave = await follows(world)
    await alice.says("before")
    for each in (carol, bob, dave):
        await each.gets_post("before")
    await world.settled()
    await bob.leaves()
    await world.away(bob)
    await world.stops()
    await dave.leaves()
    await asyncio.gather(bob.comes(), dave.comes())  # what they send to the relay comes back
    await world.starts()
    await world.live(carol, bob, dave)
    await alice.says("after")
    for each in (carol, bob, dave):
        await each.gets_post("after")
    await bob.leaves()
    await world.away(bob)
    await alice.says("while he is away")
    await dave.gets_post("while he is away")
    await world.settled()
    await world.restarts()
    await bob.comes()
    await bob.gets_post("while he is away")
    for each in (carol, bob, dave):
        await each.fence()
        assert each.posts() == ["before", "after", "while he is away"]
        assert not count(each.mail.ledger, type="unsubscribed")
        assert await each.says("following") == "You follow 1: @alice"


# --- a server that cannot be reached -------------------------------------------------------------


async def test_a_server_that_died_is_left_alone_and_gets_everything_when_it_is_back(
    world: Neighbours,
) -> None:
    alice, carol, bob, dave = await follows(world)
    world.counts_errors()
    world.service.delivery.first_canary_s = 0.05
    posts = [f"post {n}" for n in range(30)]
    await world.crash()
    for each in (bob, dave):
        await each.drops()
    await world.takes(alice, posts[:20])
    await world.until(lambda: world.service.delivery.is_down(ELSEWHERE))
    await world.takes(alice, posts[20:])
    await carol.gets_post(posts[-1])
    assert carol.posts() == posts, "nobody else waits for it"
    await carol.fence()
    assert world.errors["message"] <= FIRST_REMOTE_WINDOW
    await world.both.second.start()
    await asyncio.gather(bob.comes(), dave.comes())
    for each in (bob, dave):
        await each.gets_post(posts[-1])
        await each.fence()
        assert each.posts() == posts, "everything, in order, once"
        assert await each.says("following") == "You follow 1: @alice"
    assert world.errors["message"] <= 2 * FIRST_REMOTE_WINDOW, "ejabberd refuses for a while"


async def test_a_server_that_hangs_holds_up_nobody_but_its_own(world: Neighbours) -> None:
    alice, carol, bob, dave = await follows(world)
    posts = [f"post {n}" for n in range(30)]
    world.both.second.pause()
    await world.takes(alice, posts)
    await carol.gets_post(posts[-1])
    await carol.fence()
    assert carol.posts() == posts
    delivery = world.service.delivery
    await world.until(lambda: delivery.in_flight() <= FIRST_REMOTE_WINDOW)
    assert delivery.in_flight() > 0, "bob's and dave's"
    world.both.second.resume()
    for each in (bob, dave):
        await each.gets_post(posts[-1])
        await each.fence()
        assert each.posts() == posts


async def test_a_server_that_reaches_us_and_is_not_reached_harms_nobody(gated: Neighbours) -> None:
    """Its presence says that it is there, what is sent to it comes back: again and again."""
    world = gated
    alice, carol, bob, dave = await follows(world)
    world.counts_errors()
    delivery = world.service.delivery
    await world.both.gates[1].shuts()
    posts = [f"post {n}" for n in range(12)]
    await world.takes(alice, posts[:2])
    await world.until(lambda: delivery.is_down(ELSEWHERE))
    for times in range(1, 11):
        before = world.errors.total()  # a post comes back, or a probe, whichever is first
        bob.sends_raw("<presence><show>away</show></presence>")
        await world.until(lambda before=before: world.errors.total() > before)  # type: ignore[misc]
        await world.takes(alice, [posts[times + 1]])
        await world.until(lambda: delivery.is_down(ELSEWHERE))
        assert world.errors["message"] <= FIRST_REMOTE_WINDOW * (times + 1)
    await carol.gets_post(posts[-1])
    assert carol.posts() == posts
    assert await alice.says("followers") == (f"3 follow you: {carol.jid}, {bob.jid}, {dave.jid}")
    await world.both.gates[1].opens()
    bob.sends_raw("<presence/>")
    for each in (bob, dave):
        await each.gets_post(posts[-1])
        await each.fence()
        assert each.posts() == posts
        assert not count(each.mail.ledger, type="unsubscribed")


async def test_a_server_whose_answers_do_not_arrive_is_taken_for_dead_until_they_do(
    gated: Neighbours,
) -> None:
    world = gated
    alice, carol, bob, dave = await follows(world)
    delivery = world.service.delivery
    await world.settled()
    world.service.outbox.remote_within_s = 0.2
    world.both.gates[0].holds()
    posts = [f"post {n}" for n in range(20)]
    await world.takes(alice, posts)
    await world.until(lambda: delivery.is_down(ELSEWHERE))
    await carol.gets_post(posts[-1])
    world.service.outbox.remote_within_s = 10.0
    await world.both.gates[0].opens()  # the answer comes too late, and there is no other sign
    for each in (bob, dave):
        await each.gets_post(posts[-1])
        await each.fence()
        assert sorted(set(each.posts())) == sorted(posts)
    repeated = sum(len(each.posts()) - len(posts) for each in (bob, dave))
    assert 0 < repeated <= 2 * 2 * FIRST_REMOTE_WINDOW, "what was in flight"


@pytest.mark.parametrize("kinds", [(Prosody, Prosody), (Ejabberd, Prosody)], ids=names)
async def test_by_a_certificate_that_is_not_trusted_nothing_crosses_and_nobody_is_harmed(
    kinds: Kinds, tmp_path: Path
) -> None:
    async with Federation(*kinds, strangers=True) as both, Neighbours(both, tmp_path) as world:
        [alice] = await world.authors("alice")
        [carol] = await world.people("carol")
        await carol.says("follow alice")
        await world.live(carol)
        [bob] = await world.abroad("bob")
        far = [bob.jid, *(f"far{n}@{ELSEWHERE}" for n in range(50))]
        world.counts_errors()
        world.service.delivery.first_canary_s = 0.05
        await world.service.people.add_all([(jid, None, ("alice",)) for jid in far], lambda _: None)
        posts = [f"post {n}" for n in range(20)]
        await world.takes(alice, posts)
        await carol.gets_post(posts[-1])
        assert carol.posts() == posts
        await world.until(lambda: world.service.delivery.is_down(ELSEWHERE))
        await world.until(lambda: world.errors["iq"] >= 3)  # canaries
        assert world.errors["message"] <= FIRST_REMOTE_WINDOW
        assert world.service.graph.follower_count(world.person_id(alice)) == 52
        bob.sends("fence", to=bob.jid, origin="")
        await bob.gets(body="fence")
        assert bob.posts() == []
