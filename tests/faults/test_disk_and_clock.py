"""The disk is full, and the clock is set on the whole way of a post."""

from tests.integration.clients import Person, count
from tests.integration.holding import limit_pages
from tests.integration.world import World
from xmpprelay.config import Limits

INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"


async def follow(world: World, *names: str) -> list[Person]:
    """alice, and these, who follow her."""
    [alice] = await world.authors("alice")
    everybody = await world.people(*names)
    for n, person in enumerate(everybody):
        if n % 2:
            await person.says("follow alice")
        else:
            await person.adds("alice")
    return [alice, *everybody]


# --- a full disk ---------------------------------------------------------------------------------


async def posts_until_full(alice: Person) -> list[str]:
    """What was taken before the disk was full."""
    taken: list[str] = []
    while True:
        text = f"{len(taken)} " + "x" * 1500
        answer = await alice.tries(text)
        if answer is not None:
            assert (answer.condition, answer.type) == ("resource-constraint", "wait")
            assert "no room" in answer.text
            return taken
        taken.append(text)


async def test_on_a_full_disk_posts_are_refused_and_the_rest_goes_on(world: World) -> None:
    alice, bob, carol, dave = await follow(world, "bob", "carol", "dave")
    await dave.leaves()
    database = world.service.db
    await database.write(limit_pages, 12)
    taken = await posts_until_full(alice)
    assert taken, "some had room"
    assert database.full
    refused = await alice.is_refused("and one more", id="one more", origin="one more")
    assert refused.type == "wait"

    # Reading, and what makes the database no larger.
    assert (await alice.asks(alice.relay, INFO)).type == "result"
    assert await carol.says("following") == "You follow 1: @alice"
    assert await carol.says("unfollow alice") == "You do not follow @alice any more."
    assert (await carol.is_refused("follow alice")).condition == "resource-constraint"
    bob.sends_raw(f"<presence to='{bob.author('alice')}' type='unsubscribe'/>")
    await bob.gets(type="unavailable", sender=bob.author("alice"))
    await bob.fence()
    assert bob.posts() == taken, "what was refused was sent to nobody"

    # Somebody returns: cursors and standings are still kept.
    await dave.comes()
    await dave.gets_post(taken[-1])
    await dave.fence()
    assert dave.posts() == taken

    # Room again, without a restart.
    await database.write(limit_pages, 10_000)
    world.clock.passes(seconds=2)
    assert (await alice.says("and one more", id="one more", origin="one more")).startswith("ok #")
    await dave.gets_post("and one more")
    assert not database.full
    assert (await carol.says("follow alice")).startswith("You follow @alice now.")
    await alice.says("all is well")
    await carol.gets_post("all is well")
    await dave.gets_post("all is well")
    assert world.streams == 1
    await world.restarts()
    await alice.says("and after a restart")
    for who in (carol, dave):
        await who.gets_post("and after a restart")
        assert len(who.posts()) == len(set(who.posts()))


async def test_who_joins_or_follows_on_a_full_disk_is_told_to_come_later(world: World) -> None:
    [alice] = await follow(world)
    await world.service.db.write(limit_pages, 4)
    await posts_until_full(alice)
    [bob] = await world.people("bob")
    joined = await bob.is_refused("join bob")
    assert (joined.condition, joined.type) == ("resource-constraint", "wait")
    followed = await bob.is_refused("follow alice")
    assert (followed.condition, followed.type) == ("resource-constraint", "wait")
    bob.sends_raw(f"<presence to='{bob.author('alice')}' type='subscribe'/>")
    refused = await bob.gets(kind="presence", type="error", sender=bob.author("alice"))
    assert "Try later" in refused.text
    await bob.fence()
    assert not count(bob.mail.ledger, type="subscribed")
    await world.service.db.write(limit_pages, 10_000)
    world.clock.passes(seconds=2)
    await bob.adds("alice")
    await bob.joins("bob")


# --- a clock that jumps --------------------------------------------------------------------------


async def test_a_clock_that_jumps_loses_nothing_and_stalls_nothing(world: World) -> None:
    alice, bob, carol = await follow(world, "bob", "carol")
    for who in (bob, carol):
        await who.fence()
    texts = []
    for days in (0, 1, -2, 30, -365, 366):
        world.clock.jumps(days=days)
        world.service.tick()
        for n in range(3):
            texts.append(f"{days} days: {n}")
            await alice.says(texts[-1])
        await carol.leaves()
        texts.append(f"{days} days: while carol is away")
        await alice.says(texts[-1])
        world.clock.jumps(days=-days / 2)
        await carol.comes()
        await carol.gets_post(texts[-1])
        await bob.gets_post(texts[-1])
    for who in (bob, carol):
        await who.fence()
        assert who.posts() == texts
    await world.restarts()
    await alice.says("after all of that")
    for who in (bob, carol):
        await who.gets_post("after all of that")
        assert who.posts() == [*texts, "after all of that"]


async def test_a_clock_that_jumps_makes_nobody_wait_and_nobody_faster(world: World) -> None:
    await world.starts(limits=Limits(posts_per_second=0.5, burst=2))
    [alice] = await world.authors("alice")
    for n in range(2):
        await alice.says(f"post {n}")
    world.clock.jumps(days=1)
    assert "2 s" in (await alice.is_refused("too fast")).text
    world.clock.jumps(days=-2)
    assert "2 s" in (await alice.is_refused("too fast")).text
    world.clock.passes(seconds=2)
    await alice.says("in time")
