"""Peers that answer everything, forge addresses, or want more than their share.

`far.test` is a domain whose every stanza the test writes: a whole server that is hostile.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import tostring

import pytest

from tests.integration.clients import STANZAS, FarServer, Stanza, count
from tests.integration.world import FAR, FAR_SECRET, NO_LIMITS, World, config_for
from xmpprelay.config import Secret
from xmpprelay.core.courtesy import ALLOWANCE
from xmpprelay.core.model import Mode
from xmpprelay.core.recipients import State
from xmpprelay.service import Service
from xmpprelay.xmpp.disco import RELAY_FEATURE

EVE: Final = "eve@far.test"

QUIET: Final = 5
"""So many round trips without a stanza between two peers: they have nothing more to say."""


def texts(stanzas: list[Stanza], to: str) -> list[Stanza]:
    """The messages with a text that have come for somebody, but for the answers to fences."""
    return [
        each
        for each in stanzas
        if each.kind == "message" and each.to.startswith(to) and each.body not in (None, "pong")
    ]


async def is_live(world: World, jid: str) -> None:
    person = world.person_id(jid)
    await world.until(lambda: world.service.delivery.state_of(person) is State.LIVE)


async def all_is_answered(world: World) -> None:
    """Return when all that the relay has to say to far.test is there."""
    service = world.service
    await service.component.ping(FAR)  # its answer comes behind all that it has sent before
    await service.intake.drained()
    await service.component.ping(FAR)


# --- those who answer everything -----------------------------------------------------------------


class Parrot:
    """Somebody of far.test who sends back whatever text comes for him, to whoever sent it."""

    def __init__(self, far: FarServer, name: str, says: str = "{}") -> None:
        self.jid = f"{name}@{far.domain}"
        self._far = far
        self._name = name
        self._says = says
        self._answered = 0

    async def until_it_is_quiet(self) -> int:
        """Answer until there is nothing more to answer; how many texts there were in all."""
        quiet = 0
        while quiet < QUIET and self._answered < 200:
            await self._far.fence(self._name)
            new = texts(self._far.mail.ledger, self.jid)[self._answered :]
            self._answered += len(new)
            for each in new:
                self._far.says(
                    self._name, self._says.format(each.body), to=each.sender, type=each.type or ""
                )
            quiet = 0 if new else quiet + 1
        return self._answered


async def test_an_echo_of_a_follower_ends_at_once(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    far.says("eve", "follow alice")
    await far.gets(kind="message", to=EVE)
    await is_live(world, EVE)
    for n in range(3):
        await alice.says(f"post {n}")
    assert await Parrot(far, "eve").until_it_is_quiet() == 4, "the answer and three posts"
    assert world.service.db.next_number == 4


async def test_an_echo_of_somebody_who_posts_makes_no_post(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    for line in ("join eve", "follow alice"):
        far.says("eve", line)
        await far.gets(kind="message", to=EVE)
    far.says("eve", "my own words")
    await far.gets(kind="message", body="ok #1: nobody follows you yet")
    await is_live(world, EVE)
    for n in range(3):
        await alice.says(f"post {n}")
    far.sends(f"<presence from='{EVE}' to='alice@{far.relay}' type='subscribe'/>")
    await far.gets(type="subscribed")  # and in author mode as well
    await alice.says("from herself")
    assert await Parrot(far, "eve").until_it_is_quiet() == 7
    assert world.service.db.next_number == 6, "hers and eve's own words"
    errors = [each for each in far.mail.ledger if each.type == "error" and each.to == EVE]
    assert {each.condition for each in errors} == {"not-allowed"}


async def test_an_echo_is_an_echo_for_a_minute_only(world: World) -> None:
    [alice] = await world.authors("alice")
    assert await alice.says("first") == "ok #1: nobody follows you yet"
    refused = await alice.is_refused("ok #1: nobody follows you yet")
    assert refused.condition == "not-allowed"
    assert "was not posted" in refused.text
    world.clock.passes(seconds=61)
    assert await alice.says("ok #1: nobody follows you yet") == "ok #2: nobody follows you yet"


async def test_a_post_may_be_quoted_after_a_minute_and_by_who_did_not_get_it(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await bob.says("follow alice")
    await world.live(bob)
    await alice.says("quote me")
    line = "alice: quote me  #1"
    await bob.gets(body=line)
    assert (await bob.is_refused(line)).condition == "not-allowed"
    assert (await carol.says(line)).startswith("ok #2")
    world.clock.passes(seconds=61)
    assert (await bob.says(line)).startswith("ok #3")


async def test_a_bot_that_says_it_in_other_words_is_held_to_its_rate(world: World) -> None:
    limits = replace(NO_LIMITS, posts_per_second=0.01, burst=5)
    await world.starts(limits=limits)
    far = await world.far()
    far.says("eve", "join eve")
    await far.gets(kind="message", to=EVE)
    assert await Parrot(far, "eve", "You said: {}").until_it_is_quiet() <= 2 + limits.burst
    assert world.service.db.next_number == 1 + limits.burst


# --- relays among themselves ---------------------------------------------------------------------


@asynccontextmanager
async def second_relay(world: World, folder: Path) -> AsyncIterator[Service]:
    """A relay at far.test, on the same server."""
    config = config_for(world.server, folder)
    xmpp = replace(config.xmpp, domain=FAR, secret=Secret(FAR_SECRET), local_domains=(ODD_ONE,))
    service = await Service.open(replace(config, xmpp=xmpp))
    try:
        await service.start()
        yield service
    finally:
        await service.stop()
        assert not service.component.failures + service.intake.failures


ODD_ONE: Final = "example.test"


async def test_two_relays_that_follow_each_other_say_little(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alice, bob = await world.authors("alice", "bob")
    here = world.service
    async with second_relay(world, tmp_path_factory.mktemp("second")) as there:
        home, far_home = f"home@{here.addresses.domain}", f"home@{FAR}"
        for relay, other in ((here, far_home), (there, home)):
            person = await relay.people.join(other, "mirror")
            await relay.people.join("dave@example.test", "dave")
            for handle in ("alice", "bob", "dave"):
                author = relay.graph.by_handle(handle)
                if author is not None:
                    await relay.people.follow(other, author, Mode.HOME)
            await relay.people.follow("dave@example.test", person, Mode.HOME)
        there.component.take_message, counted = _counted(there.component.take_message)
        await world.until(lambda: not here.delivery.in_flight())
        for n in range(3):
            await alice.says(f"post {n}")
        here.voice.tell(far_home, "something that a relay says of itself")
        there.voice.tell(home, "and the other")
        seen = -1
        while seen != len(counted):  # until a few round trips bring nothing more
            seen = len(counted)
            for _ in range(QUIET):
                await bob.fence()
                await asyncio.wait_for(there.component.ping(here.addresses.domain), 10)
        assert 0 < len(counted) <= 8
        assert (here.db.next_number, there.db.next_number) == (4, 1)


def _counted(take):  # type: ignore[no-untyped-def]
    taken: list[str] = []

    def counting(stanza) -> None:  # type: ignore[no-untyped-def]
        taken.append(tostring(stanza, encoding="unicode"))
        take(stanza)

    return counting, taken


async def test_what_a_relay_sends_is_never_a_post_and_it_is_asked_once(world: World) -> None:
    await world.starts()
    far = await world.far()
    far.features = ["http://jabber.org/protocol/disco#info", RELAY_FEATURE]
    for who in ("eve", "fay"):
        far.says(who, f"join {who}")
        await far.gets(kind="message", to=f"{who}@far.test")
        far.says(who, "a post of mine")
        refused = await far.gets(kind="message", to=f"{who}@far.test")
        assert refused.condition == "not-allowed"
        assert "another relay" in refused.text
    far.features = []
    far.says("eve", "still the same day")
    assert (await far.gets(kind="message", to=EVE)).condition == "not-allowed"
    world.clock.passes(days=1)
    far.says("eve", "the next day")
    assert (await far.gets(kind="message", to=EVE)).body == "ok #1: nobody follows you yet"


# --- forged addresses ----------------------------------------------------------------------------


async def test_a_stranger_is_answered_once_a_day(world: World) -> None:
    await world.starts()
    far = await world.far()
    for _ in range(2):
        for text in ("hello?", "is anybody there?", "HELLO"):
            far.says("eve", text)
        far.says("eve", "hello", to=f"nobody@{far.relay}")
        await far.fence("bystander")
        assert count(far.mail.ledger, to=EVE, condition="registration-required") == 1
        [told] = [each for each in far.mail.ledger if each.to == EVE]
        assert "join" in told.text
        far.mail.ledger.clear()
        world.clock.passes(days=1)


async def test_a_person_of_our_own_server_is_not_left_without_a_word(world: World) -> None:
    [alice] = await world.people("alice")
    first = await alice.is_refused("hello")
    again = await alice.is_refused("hello")
    assert (first.condition, again.condition) == ("registration-required",) * 2
    assert "join" in first.text
    assert again.text == "", "the line is said once a day"


async def test_who_turns_encryption_off_is_told_the_rest(world: World) -> None:
    await world.starts()
    far = await world.far()
    far.sends(
        f"<message from='{EVE}' to='{far.home}' type='chat' id='e'><body>hidden</body>"
        "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/></message>"
    )
    assert "unencrypted" in (await far.gets(id="e")).text
    name = far.says("eve", "hello")
    assert (await far.gets(id=name)).condition == "registration-required"


async def test_a_storm_of_forged_addresses_is_answered_with_no_more_than_it_sent(
    world: World,
) -> None:
    await world.authors("alice")
    far = await world.far()
    came = size = written = 0
    write = world.service.component.write

    def counted(data: bytes) -> None:
        nonlocal written
        written += len(data)
        write(data)

    world.service.component.write = counted  # type: ignore[method-assign]
    addresses = (far.home, far.relay, f"alice@{far.relay}", f"nobody@{far.relay}")
    for n in range(300):
        who, to = f"u{n}@{FAR}", addresses[n % 4]
        stanzas = [
            f"<message from='{who}' to='{to}' type='chat'><body>hi</body></message>",
            f"<message from='{who}' to='{to}' type='chat' id='x'><body>help</body>"
            "<request xmlns='urn:xmpp:receipts'/></message>",
            f"<message from='{who}' to='{to}' type='chat'><body>follow nobody</body></message>",
            f"<presence from='{who}' to='{to}' type='probe'/>",
            f"<presence from='{who}' to='{to}' type='unsubscribe'/>",
            f"<presence from='{who}/x' to='{to}'/>",
        ]
        if to != addresses[2]:
            stanzas.append(f"<presence from='{who}' to='{to}' type='subscribe'/>")
        for stanza in stanzas:
            far.sends(stanza)
        came += len(stanzas)
        size += sum(len(stanza) for stanza in stanzas)
    await all_is_answered(world)
    out = far.mail.ledger
    free = 2 * ALLOWANCE.stanzas, 2 * ALLOWANCE.size_bytes  # some comes back meanwhile
    assert len(out) <= came + free[0]
    assert written <= size + free[1]
    assert len(out) > 100, "and it was no silence"
    written_to = {each.to.partition("/")[0] for each in out}
    assert written_to <= {f"u{n}@{FAR}" for n in range(300)}, "never to who is not in a `from`"
    assert len(list(world.service.graph.people())) == 1, "none of them is remembered"


async def test_forged_errors_of_a_follower_cost_little(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    far.says("eve", "follow alice")
    await far.gets(kind="message", to=EVE)
    far.sends(f"<presence from='{EVE}' to='{far.home}' type='subscribed'/>")
    far.sends(f"<presence from='{EVE}/x' to='{far.home}'/>")
    await is_live(world, EVE)
    await alice.says("to eve")
    post = await far.gets(kind="message", to=EVE, body="alice: to eve  #1")
    far.mail.ledger.clear()
    for _ in range(200):
        far.sends(
            f"<message from='{EVE}/x' to='{far.home}' type='error' id='{post.post_id}'>"
            f"<body>alice: to eve  #1</body><error type='cancel'><service-unavailable "
            f"xmlns='{STANZAS}'/></error></message>"
            f"<presence from='{EVE}/x' to='{far.home}'/>"
        )
        await far.fence("bystander")
    assert 1 <= count(far.mail.ledger, type="probe") <= 8
    assert count(far.mail.ledger, type="error") == 0


async def test_one_client_cannot_say_that_its_whole_domain_is_gone(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    for who in ("eve", "fay"):
        far.says(who, "follow alice")
        await far.gets(kind="message", to=f"{who}@far.test")
    await is_live(world, "fay@far.test")
    await alice.says("to both")
    post = await far.gets(kind="message", to="fay@far.test", body="alice: to both  #1")
    error = (
        f"<error type='wait'><remote-server-timeout xmlns='{STANZAS}'/></error>"  # says eve's phone
    )
    for kind in ("message", "presence"):
        far.sends(
            f"<{kind} from='{EVE}/phone' to='{far.home}' type='error' id='{post.post_id}'>"
            f"{error}</{kind}>"
        )
    await far.fence("bystander")
    assert not world.service.delivery.is_down(FAR)
    far.sends(
        f"<message from='{EVE}' to='{far.home}' type='error' id='{post.post_id}'>{error}</message>"
    )
    await far.fence("bystander")
    assert world.service.delivery.is_down(FAR), "our own server may say so"


# --- more than one's share -----------------------------------------------------------------------


async def test_a_domain_makes_so_many_follows_a_minute_by_each_door(world: World) -> None:
    await world.starts(limits=replace(NO_LIMITS, domain_follows_per_minute=3))
    [alice] = await world.authors("alice")
    far = await world.far()
    for n in range(3):
        far.says(f"u{n}", "follow alice")
        await far.gets(kind="message", to=f"u{n}@far.test", body=FOLLOWS)
    name = far.says("u3", "follow alice")
    refused = await far.gets(kind="message", id=name)
    assert (refused.condition, refused.error_type) == ("resource-constraint", "wait")
    assert "try again in" in refused.text
    far.sends(f"<presence from='u3@far.test' to='alice@{far.relay}' type='subscribe' id='s'/>")
    refused = await far.gets(kind="presence", id="s")
    assert (refused.condition, refused.error_type) == ("resource-constraint", "wait")
    assert refused.text
    far.says("u0", "follow alice")
    await far.gets(kind="message", to="u0@far.test", body="You follow @alice already.")
    [carol] = await world.people("carol")
    assert "You follow @alice now" in await carol.says("follow alice"), "others may"
    world.clock.passes(seconds=21)
    far.says("u3", "follow alice")
    await far.gets(kind="message", to="u3@far.test", body=FOLLOWS)
    assert (await alice.says("followers")).startswith("5 follow you")


FOLLOWS: Final = "You follow @alice now. `unfollow alice` ends it."


async def test_a_domain_takes_so_many_handles_an_hour_and_an_import_any_number(
    world: World,
) -> None:
    await world.starts(limits=replace(NO_LIMITS, domain_joins_per_hour=2, domain_people=3))
    far = await world.far()
    rows = [(f"r{n}@far.test", f"r{n}r", ()) for n in range(10)]
    rows += [(f"p{n}@far.test", None, ()) for n in range(2)]
    await world.service.people.add_all(rows, lambda _: None)
    far.says("u0", "join r0r")
    assert (await far.gets(kind="message", to="u0@far.test")).condition == "conflict"
    for n in range(2):
        far.says(f"u{n}", f"join far{n}x")
        assert (await far.gets(kind="message", to=f"u{n}@far.test")).body
    far.says("u2", "join far2x")
    refused = await far.gets(kind="message", to="u2@far.test")
    assert (refused.condition, refused.error_type) == ("resource-constraint", "wait")
    far.sends(
        f"<iq from='u3@far.test' to='{far.relay}' id='r' type='set'>"
        "<query xmlns='jabber:iq:register'><username>far3x</username></query></iq>"
    )
    assert (await far.gets(kind="iq", id="r")).condition == "resource-constraint"
    world.clock.passes(minutes=31)
    far.says("u2", "join far2x")
    assert (await far.gets(kind="message", to="u2@far.test")).body


async def test_a_domain_has_so_many_people_without_a_handle(world: World) -> None:
    await world.starts(limits=replace(NO_LIMITS, domain_people=2))
    await world.authors("alice")
    far = await world.far()
    for n in range(2):
        far.says(f"u{n}", "follow alice")
        assert (await far.gets(kind="message", to=f"u{n}@far.test")).body == FOLLOWS
    for line in ("follow alice", "join u2u", "catchup 5"):
        name = far.says("u2", line)
        assert (await far.gets(kind="message", id=name)).condition == "resource-constraint", line
    assert world.service.graph.by_jid("u2@far.test") is None
    far.says("u0", "join u0u")
    await far.gets(kind="message", to="u0@far.test")
    far.says("u2", "follow alice")
    assert (await far.gets(kind="message", to="u2@far.test")).body == FOLLOWS, "there is room again"
