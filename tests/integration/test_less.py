"""Seeing less, through a real server: digests, `off` and tiers as people and operators see them."""

import asyncio
from datetime import UTC, datetime, time, timedelta

from slixmpp import Iq
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration.clients import HINTS, Person
from tests.integration.world import World
from xmpprelay import control
from xmpprelay.core.volume import LoadState, Tier
from xmpprelay.xmpp.clocks import TIME


async def reader_and_author(world: World) -> tuple[Person, Person]:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.adds("alice")
    await world.live(bob)
    return alice, bob


async def test_a_digest_is_a_chat_message_from_home_that_his_server_may_keep(world: World) -> None:
    alice, bob = await reader_and_author(world)
    await bob.says("digest alice")
    await alice.says("one")
    world.clock.passes(minutes=61)
    world.service.tick()
    digest = await bob.gets(lambda stanza: "#1" in (stanza.body or ""))
    assert (digest.sender, digest.type, digest.body) == (bob.home, "chat", "alice: one  #1")
    assert not digest.has("no-store", HINTS)
    assert digest.post_id is None


async def test_a_digest_that_is_due_while_the_relay_is_down_comes_when_it_is_up(
    world: World,
) -> None:
    alice, bob = await reader_and_author(world)
    await bob.says("digest alice")
    await alice.says("one")
    await world.stops()
    world.clock.passes(minutes=61)
    await world.starts()
    await world.live(bob)
    world.service.tick()
    await bob.gets(lambda stanza: stanza.body == "alice: one  #1")
    world.clock.passes(minutes=61)
    world.service.tick()
    await bob.says("ping")
    assert [each.body for each in bob.mail.ledger].count("alice: one  #1") == 1


async def test_under_load_posts_of_outlets_go_to_digests_and_status_says_so(world: World) -> None:
    alice, bob = await reader_and_author(world)
    await world.service.volume.pin("alice", Tier.OUTLET)
    world.service.volume._load.state = LoadState.BUSY
    await alice.says("surplus")
    await bob.fence()
    assert bob.posts() == []
    world.service.volume.sample()
    assert world.service.volume.state is LoadState.NORMAL
    assert "All is well" in await bob.says("status")
    await alice.says("live again")
    await bob.gets_post("live again")
    for _ in range(2):
        world.service.tick()
        await asyncio.sleep(0)
        world.clock.passes(minutes=61)
    world.service.tick()
    await bob.gets(lambda stanza: "surplus  #1" in (stanza.body or ""))


async def test_the_operator_pins_a_tier_while_the_relay_runs(world: World) -> None:
    alice, bob = await reader_and_author(world)
    call = control.call(
        world.config.store.socket, "people.tier", {"handle": "alice", "tier": "firehose"}
    )
    await call
    await alice.says("for the digest")
    await alice.says("and this, too")
    await bob.fence()
    assert bob.posts() == []
    await world.service.volume.pin("alice", None)
    await alice.says("live")
    await bob.gets_post("live")


async def test_a_daily_digest_comes_at_the_time_that_his_client_tells(world: World) -> None:
    [alice] = await world.authors("alice")
    bob = await world.person("bob")
    await bob.comes()
    tells_time(bob, "-09:30")
    await bob.adds("alice")
    await world.live(bob)
    answer = await bob.says("digest alice daily 08:00")
    assert answer.endswith("at 08:00 (in the time of your client, UTC-09:30).")
    asked = await bob.gets(lambda stanza: stanza.has("time", TIME))
    assert (asked.sender, asked.type) == (bob.home, "get")
    await alice.says("good morning")
    await world.restarts()
    await world.live(bob)
    at = world.clock.now()
    waits = (datetime.combine(at.date(), time(17, 30), UTC) - at) % timedelta(days=1)
    world.clock.passes(seconds=waits.total_seconds() - 60)
    world.service.tick()
    await world.until(lambda: world.service.digests._ticking is None)
    await bob.fence()
    assert "alice: good morning  #1" not in [each.body for each in bob.mail.ledger]
    world.clock.passes(minutes=1)
    world.service.tick()
    await bob.gets(lambda stanza: stanza.body == "alice: good morning  #1")


async def test_a_client_that_does_not_tell_the_time_is_asked_once_a_day(world: World) -> None:
    _, bob = await reader_and_author(world)
    answer = await bob.says("digest alice daily 08:00")
    assert answer.endswith("at 08:00 (in UTC; `tz Europe/Berlin` changes that).")
    await bob.gets(lambda stanza: stanza.has("time", TIME))
    for _ in range(2):
        world.service.tick()
        await bob.fence()
        assert not [each for each in bob.mail.waiting if each.has("time", TIME)]
    tells_time(bob, "+02:00")
    world.clock.passes(days=1)
    world.service.tick()
    await bob.gets(lambda stanza: stanza.has("time", TIME))
    wishes = world.service.choices.of(world.person_id(bob))
    await world.until(lambda: world.service.choices.of(world.person_id(bob)) is not wishes)
    answer = await bob.says("digest alice daily 08:00")
    assert answer.endswith("(in the time of your client, UTC+02:00).")


def tells_time(person: Person, offset: str) -> None:
    """Her client answers XEP-0202 from now on; without this it answers that it does not know it."""

    def answer(iq: Iq) -> None:
        told = f"<tzo>{offset}</tzo><utc>2030-01-01T12:00:00Z</utc>"
        person.sends_raw(
            f"<iq type='result' to='{iq['from']}' id='{iq['id']}'>"
            f"<time xmlns='{TIME}'>{told}</time></iq>"
        )

    asked = MatchXPath(f"{{jabber:client}}iq/{{{TIME}}}time")
    person._connected().register_handler(Callback("time", asked, answer))
