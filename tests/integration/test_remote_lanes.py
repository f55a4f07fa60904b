"""Another domain, of which the test writes every stanza: its breaker, canaries, probes, signs."""

import time
from collections.abc import AsyncIterator

import pytest

from tests.integration.clients import FarServer, Person, Stanza, count
from tests.integration.world import FAR, World
from tests.servers.towns import TOWNS
from xmpprelay.core.lanes import FIRST_REMOTE_WINDOW
from xmpprelay.xmpp.outbox import REMOTE_PROBES_PER_S

RUNS_IN = TOWNS[:1]  # all of it is between the relay and that domain

UNREACHABLE = (
    "<error type='wait'>"
    "<remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)


class Abroad:
    """alice's followers on another domain: they are online, and the relay knows it."""

    def __init__(self, world: World, alice: Person, far: FarServer) -> None:
        self.world = world
        self.alice = alice
        self.far = far
        self.names: list[str] = []

    async def follow(self, *names: str) -> None:
        for name in names:
            self.far.says(name, "follow alice")
            await self.far.gets(type="subscribe", to=f"{name}@{FAR}")
            self.comes(name)
            self.presence(name, "subscribed")
            await self.far.fence(name)
        self.names += names
        await self.world.until(self.all_live)

    def all_live(self) -> bool:
        states = self.world.service.delivery.state_of
        known = (self.world.service.graph.by_jid(f"{name}@{FAR}") for name in self.names)
        return all(person and str(states(person.id)) == "State.LIVE" for person in known)

    def comes(self, name: str) -> None:
        self.far.sends(f"<presence from='{name}@{FAR}/phone' to='{self.far.home}'/>")

    def presence(self, name: str, kind: str, inside: str = "") -> None:
        self.far.sends(
            f"<presence from='{name}@{FAR}' to='{self.far.home}' type='{kind}'>{inside}</presence>"
        )

    @property
    def down(self) -> bool:
        return self.world.service.delivery.is_down(FAR)

    async def fails(self) -> None:
        """Return when the breaker is open."""
        await self.world.until(lambda: self.down)

    async def works(self) -> None:
        """Return when the breaker is closed."""
        await self.world.until(lambda: not self.down)

    async def asked(self) -> Stanza:
        """Take the next ping of the relay."""
        return await self.far.gets(lambda each: each.has("ping", "urn:xmpp:ping"), kind="iq")

    def answers(self, ping: Stanza, kind: str = "result", inside: str = "") -> None:
        self.far.sends(
            f"<iq from='{FAR}' to='{ping.sender}' id='{ping.id}' type='{kind}'>{inside}</iq>"
        )


@pytest.fixture
async def abroad(world: World) -> AsyncIterator[Abroad]:
    [alice] = await world.authors("alice")
    world.service.outbox.collect_s = 0.02
    abroad = Abroad(world, alice, await world.far())
    yield abroad
    world.service.outbox.remote_within_s = 0.1  # not the ten seconds at the end


# --- what opens it -------------------------------------------------------------------------------


async def test_a_probe_that_comes_back_opens_the_breaker(abroad: Abroad) -> None:
    await abroad.follow("bob", "dave")
    abroad.presence("bob", "error", UNREACHABLE)
    await abroad.fails()


@pytest.mark.parametrize("who", ["a client", "somebody unknown", "another error"])
async def test_what_does_not_say_that_the_domain_is_dead_changes_nothing(
    abroad: Abroad, who: str
) -> None:
    await abroad.follow("bob")
    match who:
        case "a client":  # what it says is of itself
            abroad.far.sends(
                f"<presence from='bob@{FAR}/phone' to='{abroad.far.home}' type='error'>"
                f"{UNREACHABLE}</presence>"
            )
        case "somebody unknown":
            abroad.presence("eve", "error", UNREACHABLE)
        case _:
            abroad.presence("bob", "error", UNREACHABLE.replace("remote-server-timeout", "gone"))
    await abroad.far.fence("bob")
    assert not abroad.down


async def test_a_domain_that_does_not_answer_behind_a_bounce_is_dead(abroad: Abroad) -> None:
    await abroad.follow("bob", "dave")
    await abroad.alice.says("for both")
    bounced = await abroad.far.gets(to=f"bob@{FAR}", body="alice: for both  #1")
    await abroad.world.settled()
    abroad.far.pings = False
    abroad.far.sends(
        f"<message from='bob@{FAR}' to='{abroad.far.home}' type='error' id='{bounced.post_id}'>"
        "<error type='cancel'><recipient-unavailable "
        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
    abroad.answers(await abroad.asked(), "error", UNREACHABLE)
    await abroad.fails()


# --- what closes it ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["probe", "subscribe", "unavailable", "unsubscribed"])
async def test_any_presence_from_the_domain_closes_the_breaker(abroad: Abroad, kind: str) -> None:
    """Of anybody there, known here or not."""
    await abroad.follow("bob")
    abroad.presence("bob", "error", UNREACHABLE)
    await abroad.fails()
    abroad.presence("eve", "error", UNREACHABLE)
    abroad.far.says("eve", "a message is none")
    abroad.presence("eve", kind)
    await abroad.works()
    assert abroad.far.mail.ledger[-1].kind != "iq", "it was not asked for"


@pytest.mark.parametrize("question", ["behind a window", "a canary"])
async def test_an_answer_that_comes_too_late_closes_the_breaker(
    abroad: Abroad, question: str
) -> None:
    await abroad.follow("bob")
    outbox, delivery = abroad.world.service.outbox, abroad.world.service.delivery
    abroad.far.pings = False
    outbox.remote_within_s, delivery.first_canary_s = 0.05, 0.05
    if question == "a canary":
        abroad.presence("bob", "error", UNREACHABLE)
    await abroad.alice.says("waits")
    asked = await abroad.asked()
    await abroad.fails()
    if question == "a canary":
        await abroad.world.until(lambda: FAR in outbox._late)
    delivery.first_canary_s = 60.0
    abroad.answers(asked)
    await abroad.works()
    abroad.far.pings = True
    abroad.comes("bob")
    await abroad.far.gets(to=f"bob@{FAR}", body="alice: waits  #1")


# --- while it is open ----------------------------------------------------------------------------


async def test_a_domain_has_one_canary_however_often_its_breaker_opens(abroad: Abroad) -> None:
    """A domain that reaches us and is not reached opens and closes it all the time."""
    await abroad.follow("bob")
    first_s = 0.2
    abroad.world.service.delivery.first_canary_s = first_s
    abroad.far.pings = False
    for _ in range(6):
        abroad.presence("bob", "error", UNREACHABLE)
        await abroad.fails()
        began = time.monotonic()
        abroad.presence("bob", "probe")
        await abroad.works()
    abroad.presence("bob", "error", UNREACHABLE)
    await abroad.fails()
    abroad.far.mail.forget()
    for _ in range(2):
        abroad.answers(await abroad.asked(), "error", UNREACHABLE)
    assert time.monotonic() - began >= (1 + 2) * first_s


async def test_what_is_still_to_be_asked_is_dropped_when_it_opens(abroad: Abroad) -> None:
    names = [f"f{n}" for n in range(12)]
    await abroad.follow(*names)
    world, far = abroad.world, abroad.far
    await world.settled()
    far.mail.forget()
    await world.restarts()
    world.service.delivery.first_canary_s = 0.4
    await far.gets(type="probe")
    abroad.presence(names[0], "error", UNREACHABLE)
    await abroad.fails()
    far.pings = False
    await abroad.asked()  # after a time in which all of them could have been sent
    assert 1 + count(far.mail.waiting, type="probe") < len(names)
    far.mail.forget()
    abroad.presence(names[0], "probe")
    far.pings = True
    for name in names:
        await far.gets(type="probe", to=f"{name}@{FAR}")


# --- asking a crowd ------------------------------------------------------------------------------


async def test_before_a_crowd_is_asked_the_domain_is(abroad: Abroad) -> None:
    """Else each of five thousand probes to a dead domain would come back."""
    names = [f"f{n}" for n in range(FIRST_REMOTE_WINDOW + 1)]
    await abroad.follow(*names)
    await abroad.world.settled()
    abroad.far.pings = False
    abroad.far.mail.forget()
    await abroad.world.restarts()
    asked = await abroad.asked()
    abroad.answers(asked, "error", UNREACHABLE)
    await abroad.fails()
    await abroad.alice.fence()
    assert not count(abroad.far.mail.waiting, type="probe")


async def test_a_crowd_elsewhere_is_asked_gently(abroad: Abroad) -> None:
    names = [f"f{n}" for n in range(15)]
    await abroad.follow(*names)
    abroad.presence(names[0], "error", UNREACHABLE)
    await abroad.fails()
    abroad.far.mail.forget()
    abroad.presence("eve", "probe")
    times = []
    for name in names:
        await abroad.far.gets(type="probe", to=f"{name}@{FAR}")
        times.append(time.monotonic())
    assert times[-1] - times[0] >= 0.8 * (len(names) - 1) / REMOTE_PROBES_PER_S
