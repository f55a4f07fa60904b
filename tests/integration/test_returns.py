"""Who is away gets it later: the return, `more` and `skip`, people who hide presence (S11)."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from tests.integration.clients import DELAY, HINTS, Person, Stanza, count
from tests.integration.wire import wired
from tests.integration.world import World
from xmpprelay.core.model import Rest
from xmpprelay.core.recipients import BLIND_PER_DAY
from xmpprelay.core.work import Held, Read


def is_summary(stanza: Stanza) -> bool:
    return " more: " in (stanza.body or "") and stanza.post_id is None


def numbered(first: int, last: int) -> list[str]:
    return [f"post {n}" for n in range(first, last + 1)]


async def posts(author: Person, first: int, last: int) -> None:
    for text in numbered(first, last):
        await author.says(text)


async def author_and_follower(world: World) -> tuple[Person, Person]:
    """alice, and bob who has her on his contact list and is there."""
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.adds("alice")
    await bob.fence()
    return alice, bob


# --- after a short absence, and a long one -------------------------------------------------------


async def test_after_less_than_five_minutes_everything_comes_plainly(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await bob.leaves()
    await posts(alice, 1, 30)
    world.clock.passes(minutes=4)
    await bob.comes()
    await bob.gets_post("post 30")
    await bob.fence()
    assert bob.posts() == numbered(1, 30)
    assert not [each for each in bob.mail.ledger if is_summary(each)]


async def test_what_comes_late_says_when_it_was_posted(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await bob.leaves()
    before = world.clock.now()
    await alice.says("late")
    after = world.clock.now()
    world.clock.passes(minutes=3)
    await bob.comes()
    delay = (await bob.gets_post("late")).child("delay", DELAY)
    assert delay is not None
    assert delay.get("from") == bob.relay, "not held by his own server"
    stamp = datetime.fromisoformat(delay.get("stamp", ""))
    assert before.replace(microsecond=0) <= stamp <= after
    await world.live(bob)
    await alice.says("live")
    assert not (await bob.gets_post("live")).has("delay", DELAY)


async def test_after_longer_the_newest_twenty_come_and_a_line_about_the_rest(
    world: World,
) -> None:
    alice, carol = await world.authors("alice", "carol")
    [bob] = await world.people("bob")
    await bob.adds("alice")
    await bob.says("follow carol")
    await bob.leaves()
    await posts(alice, 1, 12)
    for n in range(3):
        await carol.says(f"carol {n}")
    await posts(alice, 13, 32)
    world.clock.passes(minutes=6)
    await bob.comes()
    line = await bob.gets(is_summary)
    assert line.body == "15 more: alice 12, carol 3. `more`, `more alice` or `skip`"
    assert bob.posts() == numbered(13, 32)
    bob.mail.forget()

    assert await bob.says("more carol") == "The last 3."
    for n in range(3):
        assert (await bob.gets_post(f"carol {n}")).has("delay", DELAY)
    assert await bob.says("more") == "The last 12."
    await bob.gets_post("post 12")
    assert bob.posts() == [*numbered(13, 32), *(f"carol {n}" for n in range(3)), *numbered(1, 12)]
    assert await bob.says("more") == "There is nothing more from your last absence."
    await alice.says("live again")
    await bob.gets_post("live again")


async def test_more_brings_twenty_at_a_time_and_skip_the_end_of_it(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await bob.leaves()
    await posts(alice, 1, 50)
    world.clock.passes(minutes=6)
    await bob.comes()
    assert (await bob.gets(is_summary)).body == "30 more: alice 30. `more`, `more alice` or `skip`"
    assert await bob.says("more") == "20 are on their way; 10 more."
    await bob.gets_post("post 30")
    assert bob.posts() == [*numbered(31, 50), *numbered(11, 30)]
    assert await bob.says("skip") == "Skipped."
    assert await bob.says("more") == "There is nothing more from your last absence."
    assert await bob.says("skip") == "There is nothing to skip."
    assert count(bob.mail.ledger, body="post 5") == 0


async def test_how_many_come_by_themselves_is_ones_own_choice(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await bob.says("catchup 2")
    await world.restarts()
    for newest, missed in ((2, (1, 5)), (0, (6, 10))):
        await bob.says(f"catchup {newest}")
        await bob.leaves()
        await posts(alice, *missed)
        world.clock.passes(minutes=11)
        bob.mail.forget()
        await bob.comes()
        line = await bob.gets(is_summary)
        assert (line.body or "").startswith(f"{5 - newest} more: ")
        await bob.fence()
    assert bob.posts() == numbered(4, 5)


async def test_what_waits_survives_a_restart_while_he_is_away(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await bob.leaves()
    await posts(alice, 1, 25)
    world.clock.passes(minutes=6)
    await world.restarts()
    await bob.comes()
    await bob.gets(is_summary)
    assert bob.posts() == numbered(6, 25)
    await world.restarts()
    assert await bob.says("more") == "The last 5."
    await bob.gets_post("post 5")


async def test_posts_during_a_return_queue_behind_it(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await bob.leaves()
    await posts(alice, 1, 40)
    coming = asyncio.create_task(bob.comes())
    for n in range(41, 61):
        alice.sends(f"post {n}")
    await coming
    await bob.gets_post("post 60")
    assert bob.posts() == numbered(1, 60), "no gap, no disorder, nothing twice"


async def test_a_change_of_status_is_no_return(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await alice.says("one")
    await bob.gets_post("one")
    for show in ("away", "xa", "dnd", "chat"):
        bob.sends_raw(f"<presence><show>{show}</show></presence>")
        await alice.says(f"while {show}")
        await bob.gets_post(f"while {show}")
    await bob.fence()
    assert len(bob.posts()) == len(set(bob.posts())) == 5


async def test_somebody_with_negative_priority_only_is_away(world: World) -> None:
    """Such a client is sent nothing by its server, which stores chats instead."""
    alice, bob = await author_and_follower(world)
    bob.sends_raw("<presence><priority>-1</priority></presence>")
    await bob.asks(bob.relay, "<ping xmlns='urn:xmpp:ping'/>")  # no text would reach him now
    await alice.says("for later")
    await alice.fence()
    assert bob.posts() == []
    bob.sends_raw("<presence><priority>0</priority></presence>")
    got = await bob.gets_post("for later")
    assert got.child("delay", DELAY).get("from") == bob.relay  # type: ignore[union-attr]
    await bob.fence()
    assert bob.posts() == ["for later"]


async def test_two_devices_are_one_person(world: World) -> None:
    alice, bob = await author_and_follower(world)
    phone = Person(bob.account, bob.relay)
    await phone.comes()
    await bob.leaves()
    await alice.says("to the phone")
    await phone.gets_post("to the phone")
    await bob.comes()
    await bob.says("ping")
    await alice.says("to both")
    await bob.gets_post("to both")
    await phone.gets_post("to both")
    await phone.drops()
    assert bob.posts() == ["to both"]
    assert phone.posts() == ["to the phone", "to both"]


# --- people who hide their presence (S11.4) ------------------------------------------------------


async def hidden(world: World, *, shows_presence: bool | None = False) -> Person:
    """bob, whose client refuses, or does not answer, when the relay asks for his presence."""
    bob = await world.person("bob", shows_presence=shows_presence)
    await bob.comes()
    await bob.says("follow alice")
    await bob.gets(type="subscribe", sender=bob.home)
    await bob.fence()
    return bob


async def test_who_hides_his_presence_gets_twenty_a_day_and_is_told_once_in_his_life(
    world: World,
) -> None:
    [alice] = await world.authors("alice")
    bob = await hidden(world)
    await posts(alice, 1, BLIND_PER_DAY + 5)
    notice = await bob.gets(lambda stanza: "today's share" in (stanza.body or ""))
    assert bob.home in (notice.body or "")
    await bob.fence()
    assert bob.posts() == numbered(1, BLIND_PER_DAY)
    assert not any(each.has("no-store", HINTS) for each in bob.mail.ledger)

    await world.restarts()
    await bob.fence()
    assert bob.posts() == numbered(1, BLIND_PER_DAY), "a restart is no new day"

    world.clock.passes(days=1)
    world.service.tick()
    await bob.gets_post(f"post {BLIND_PER_DAY + 5}")
    assert bob.posts() == numbered(1, BLIND_PER_DAY + 5)
    await posts(alice, 26, 50)
    await alice.fence()
    await bob.fence()
    assert bob.posts() == numbered(1, 40)
    world.clock.passes(days=1)
    world.service.tick()
    await bob.gets_post("post 50")
    await bob.fence()
    told = [each for each in bob.mail.ledger if "today's share" in (each.body or "")]
    assert len(told) == 1, "once in his life, restart or not"


async def test_a_new_day_brings_the_newest_twenty_and_a_line_about_the_rest(world: World) -> None:
    [alice] = await world.authors("alice")
    bob = await hidden(world, shows_presence=None)
    await posts(alice, 1, BLIND_PER_DAY + 30)
    await bob.gets_post(f"post {BLIND_PER_DAY}")
    world.clock.passes(days=1)
    world.service.tick()
    line = await bob.gets(is_summary)
    assert line.body == "10 more: alice 10. `more`, `more alice` or `skip`"
    assert bob.posts() == [*numbered(1, 20), *numbered(31, 50)]


async def test_allowing_presence_lifts_the_limit_at_once(world: World) -> None:
    [alice] = await world.authors("alice")
    bob = await hidden(world)
    await posts(alice, 1, BLIND_PER_DAY + 5)
    await bob.gets_post(f"post {BLIND_PER_DAY}")
    bob.sends_raw(f"<presence to='{bob.home}' type='subscribed'/>")
    bob.sends_raw(f"<presence to='{bob.home}'/>")  # what his server would tell of him
    await bob.gets_post(f"post {BLIND_PER_DAY + 5}")
    await posts(alice, 26, 60)
    await bob.gets_post("post 60")
    assert bob.posts() == numbered(1, 60)


async def test_who_has_refused_may_allow_it_later_and_is_asked_again(world: World) -> None:
    [alice] = await world.authors("alice")
    bob = await hidden(world)
    bob.shows_presence = True
    bob.mail.forget()
    bob.sends_raw(f"<presence to='{bob.home}' type='subscribed'/>")
    if not world.server.passes_permission_on:
        bob.sends_raw(f"<presence to='{bob.home}' type='subscribe'/>")
    await world.until(lambda: world.service.delivery.sees(world.person_id(bob)))
    assert count(bob.mail.ledger, type="subscribe", sender=bob.home) <= 2, "and no more often"
    await posts(alice, 1, BLIND_PER_DAY + 5)
    await bob.gets_post(f"post {BLIND_PER_DAY + 5}")
    assert all(each.has("no-store", HINTS) for each in bob.mail.ledger if each.post_id)
    await bob.leaves()
    await alice.says("for later")
    await bob.comes()
    assert (await bob.gets_post("for later")).has("delay", DELAY)


async def test_presence_that_is_shown_directly_counts_until_it_ends(world: World) -> None:
    [alice] = await world.authors("alice")
    bob = await hidden(world)
    bob.sends_raw(f"<presence to='{bob.home}'/>")
    await bob.fence()
    await posts(alice, 1, BLIND_PER_DAY + 5)
    await bob.gets_post(f"post {BLIND_PER_DAY + 5}")
    bob.sends_raw(f"<presence to='{bob.home}' type='unavailable'/>")
    await bob.fence()
    await posts(alice, 26, 55)
    await bob.fence()
    assert bob.posts() == numbered(1, 45), "and then the day's twenty begin"


async def test_more_brings_nothing_that_he_has_had_in_between(world: World) -> None:
    alice, bob = await author_and_follower(world)
    await posts(alice, 1, 10)
    await bob.gets_post("post 10")
    service, person = world.service, world.service.graph.by_jid(bob.jid)
    assert person is not None
    end = service.delivery.next_number
    rest = Rest(end - 9, end - 1, whole_from=end - 2, listed=(end - 9, end - 6))
    service.delivery.fetch(person.id, (), rest, datetime.now(UTC))
    assert await bob.says("more") == "The last 4."
    await bob.fence()
    assert bob.posts()[10:] == ["post 2", "post 5", "post 9", "post 10"]


async def test_of_many_who_return_one_is_read_for_at_a_time(tmp_path: Path) -> None:
    """Whoever asks for a page, or a node, has to read as well."""
    at_once = most = 0

    async def held(read: Read) -> Held:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return Held((), read.upto)

    async with wired(tmp_path) as wire:
        outbox = wire.service.outbox
        outbox._held = held
        reads = [Read(person, 1, (), 9, 20, newest=True) for person in range(100, 150)]
        await asyncio.gather(*(outbox._read(read) for read in reads))
    assert most == 1
