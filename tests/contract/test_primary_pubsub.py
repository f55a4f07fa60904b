"""The driver `pubsub` on a real Prosody and a real ejabberd, asked through the relay's stream."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest
import pytest_asyncio

from tests.contract.primary_suite import Break, Seen, UnclearSuite
from tests.servers.ejabberd import Ejabberd
from xmpprelay.core.atom import ATOM, THREAD
from xmpprelay.core.primary import (
    EVERYBODY,
    Absent,
    Account,
    Attempt,
    Candidate,
    CannotTell,
    Caps,
    Dedupe,
    Found,
    LookFailed,
    Outcome,
    Reach,
    Result,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.errors import StreamError
from xmpprelay.primary.pubsub import NODE_CONFIG, OWNER, PUBSUB, NotSent, PubsubPrimary
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.stanzas import tag

OPERATOR = Account(EVERYBODY)
NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
RELAY = "relay.example.test"
BOSS = f"boss@{RELAY}"
WRITER = f"writer@{RELAY}"  # for the service somebody else than the relay, and no admin
SERVICE = "pubsub.example.test"
TEA = Status(
    *("k3f.ab12cd", "xmpp:relay.test?;node=k3f.ab12cd", "alice@example.test", "alice", "Tea?"),
    NOON,
    language="en",
    in_reply_to="k3e.ab12cd",
)
EVENT = f"{{{PUBSUB}#event}}"
XDATA = "{jabber:x:data}"
PUBLIC = frozenset({Visibility.PUBLIC, Visibility.UNLISTED})

_numbers = itertools.count(1)


class ProsodyService(Prosody):
    """A Prosody with a pubsub service on which the relay may make nodes."""

    makes_nodes_by_itself = False

    def __init__(self) -> None:
        super().__init__(
            extra_config=f'Component "{SERVICE}" "pubsub"\n    admins = {{ "{RELAY}", "{BOSS}" }}\n'
            'Component "closed.example.test" "pubsub"'
        )


class EjabberdService(Ejabberd):
    """An ejabberd with its pubsub service, on which everybody may make nodes."""

    makes_nodes_by_itself = True


Service = ProsodyService | EjabberdService


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[ProsodyService, EjabberdService],
    ids=lambda kind: kind.name,
)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    async with request.param() as running:
        yield running


class Relay:
    """The relay's stream, with which it asks."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.within_s = 5.0
        self.heard: asyncio.Queue[Element] = asyncio.Queue()
        component.take_message = self.heard.put_nowait

    async def ask(self, to: str, kind: str, payload: Element, sender: str = RELAY) -> Element:
        if not self.component.up:
            raise NotSent
        iq = Element(tag("iq"), {"from": sender, "to": to, "type": kind})
        iq.append(payload)
        return await self.component.ask(iq, self.within_s)

    async def ask_as(self, sender: str, kind: str, xml: str) -> Element:
        """Ask the service in somebody's name; it has to do it."""
        answer = await self.ask(SERVICE, kind, fromstring(xml), sender)
        assert answer.get("type") == "result", list(answer.iter())
        return answer


@asynccontextmanager
async def connected(server: Service) -> AsyncIterator[Relay]:
    component = Component(
        *(server.component_domain, server.component_secret),
        *(server.host, server.component_port, server.domain),
    )
    component.retry_within_s = 0.1
    await component.open(5.0)
    running = asyncio.ensure_future(component.run())
    try:
        yield Relay(component)
    finally:
        await component.close()
        await running


@pytest.fixture
async def relay(server: Service) -> AsyncIterator[Relay]:
    async with connected(server) as asking:
        yield asking


@pytest.fixture
def node() -> str:
    """A node that no other test has."""
    return f"blog/{next(_numbers)}"


@pytest.fixture
def primary(relay: Relay, node: str) -> PubsubPrimary:
    return PubsubPrimary(relay.ask, SERVICE, node)


def attempt(status: Status) -> Attempt:
    return Attempt(status, NOON, NOON)


def form(**values: str) -> str:
    """A node's configuration, as it is submitted."""
    fields = "".join(
        f"<field var='pubsub#{name}'><value>{value}</value></field>"
        for name, value in values.items()
    )
    kind = f"<field var='FORM_TYPE' type='hidden'><value>{NODE_CONFIG}</value></field>"
    return f"<x xmlns='jabber:x:data' type='submit'>{kind}{fields}</x>"


async def configure(relay: Relay, node: str, **values: str) -> None:
    await relay.ask_as(
        RELAY,
        "set",
        f"<pubsub xmlns='{OWNER}'><configure node='{node}'>{form(**values)}</configure></pubsub>",
    )


async def entries(relay: Relay, node: str) -> dict[str, Element]:
    """What is in the node, by item id."""
    answer = await relay.ask_as(
        RELAY, "get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>"
    )
    return {item.get("id", ""): item[0] for item in answer.iter(f"{{{PUBSUB}}}item")}


class PubsubBench:
    """A node of its own, and a way to it that can be cut."""

    caps = Caps("pubsub", dedupe=Dedupe.NATURAL, backdate=True, edits=PUBLIC, shows=PUBLIC)
    account = OPERATOR

    def __init__(self, relay: Relay, node: str, secret: str) -> None:
        self.secret = secret
        self.primary = PubsubPrimary(self._ask, SERVICE, node)
        self._relay = relay
        self._node = node
        self._broken: Break | None = None
        self._time = NOON

    def utc(self) -> datetime:
        self._time += timedelta(milliseconds=1)
        return self._time

    async def stored(self) -> list[Seen]:
        found = (await entries(self._relay, self._node)).values()
        return [_seen(each) for each in sorted(found, key=_published)]

    async def break_way(self, how: Break) -> None:
        self._broken = how

    async def mend(self) -> None:
        self._broken = None

    async def _ask(self, to: str, kind: str, payload: Element) -> Element:
        broken = self._broken
        if broken is Break.REFUSED:
            raise NotSent
        self._broken = None
        if broken is Break.LOST:
            raise TimeoutError
        answer = await self._relay.ask(to, kind, payload)
        if broken is Break.UNHEARD:
            raise StreamError("The stream was lost.")
        return answer


def _published(entry: Element) -> str:
    return entry.findtext(f"{{{ATOM}}}published", "")


def _seen(entry: Element) -> Seen:
    answered = entry.find(f"{{{THREAD}}}in-reply-to")
    return Seen(
        entry.findtext(f"{{{ATOM}}}content", ""),
        parent="" if answered is None else answered.get("ref", "").partition(";item=")[2],
        language=entry.get("{http://www.w3.org/XML/1998/namespace}lang", ""),
        author=entry.findtext(f"{{{ATOM}}}author/{{{ATOM}}}uri", "").removeprefix("xmpp:"),
        published=datetime.fromisoformat(_published(entry)),
    )


class TestPubsub(UnclearSuite):
    @pytest.fixture
    async def bench(self, relay: Relay, node: str, server: Service) -> PubsubBench:
        bench = PubsubBench(relay, node, server.component_secret)
        await bench.primary.probe()
        return bench


async def test_a_probe_makes_the_node_open_and_lasting(
    relay: Relay, primary: PubsubPrimary, node: str
) -> None:
    for _ in range(2):
        probe = await primary.probe()
        assert (probe.reach, probe.reason) == (Reach.UP, "")
    answer = await relay.ask_as(
        RELAY, "get", f"<pubsub xmlns='{OWNER}'><configure node='{node}'/></pubsub>"
    )
    found = {
        field.get("var"): field.findtext(f"{XDATA}value") for field in answer.iter(f"{XDATA}field")
    }
    assert found["pubsub#persist_items"] == "1"
    assert found["pubsub#max_items"] == "max"
    assert found["pubsub#access_model"] == "open"
    assert found["pubsub#notify_retract"] == "1"


async def test_an_item_is_an_atom_entry_under_the_posts_id(
    relay: Relay, primary: PubsubPrimary, node: str
) -> None:
    await primary.probe()
    done = await primary.insert(OPERATOR, TEA, "any")
    escaped = node.replace("/", "%2F")
    where = f"xmpp:{SERVICE}?;node={escaped};item="
    assert (done.outcome, done.remote_id) == (Outcome.INSERTED, TEA.id)
    assert done.remote_url == f"{where}{TEA.id}"
    ((item, entry),) = (await entries(relay, node)).items()
    assert item == TEA.id
    assert entry.tag == f"{{{ATOM}}}entry"
    assert entry.findtext(f"{{{ATOM}}}id") == TEA.atom_id
    assert _seen(entry) == Seen(*("Tea?", None, "k3e.ab12cd", "en", "alice@example.test"), NOON)
    answered = entry.find(f"{{{THREAD}}}in-reply-to")
    assert answered is not None
    assert answered.get("href") == f"{where}k3e.ab12cd"


async def test_subscribers_hear_of_posts_edits_and_deletions(
    relay: Relay, primary: PubsubPrimary, node: str
) -> None:
    await primary.probe()
    reader = f"reader@{RELAY}"
    await relay.ask_as(
        reader,
        "set",
        f"<pubsub xmlns='{PUBSUB}'><subscribe node='{node}' jid='{reader}'/></pubsub>",
    )
    await primary.insert(OPERATOR, TEA, "any")
    await primary.edit(OPERATOR, TEA.id, replace(TEA, text="Coffee?", updated=NOON), "any")
    await primary.delete(OPERATOR, TEA.id)
    told = []
    while len(told) < 3:
        items = (await relay.heard.get()).find(f"{EVENT}event/{EVENT}items")
        if items is not None and items.get("node") == node and len(items):
            told.append(items[0])
    assert [each.tag for each in told] == [f"{EVENT}item", f"{EVENT}item", f"{EVENT}retract"]
    assert [each.get("id") for each in told] == [TEA.id] * 3
    texts = [each.findtext(f"{{{ATOM}}}entry/{{{ATOM}}}content") for each in told]
    assert texts == ["Tea?", "Coffee?", None]


async def test_a_node_that_is_gone_is_made_again(
    relay: Relay, server: Service, primary: PubsubPrimary, node: str
) -> None:
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == Absent()
    assert (await primary.delete(OPERATOR, TEA.id)).outcome is Outcome.INSERTED
    done = await primary.insert(OPERATOR, TEA, "any")
    if not server.makes_nodes_by_itself:
        assert (done.outcome, done.scope, done.reason) == (Outcome.RETRY, Scope.DRIVER, "no_node")
        assert (await primary.probe()).reach is Reach.UP
        done = await primary.insert(OPERATOR, TEA, "any")
    assert done.outcome is Outcome.INSERTED


@pytest.mark.parametrize("visibility", [Visibility.PRIVATE, Visibility.DIRECT])
async def test_what_is_not_for_everybody_is_refused(
    relay: Relay, primary: PubsubPrimary, node: str, visibility: Visibility
) -> None:
    await primary.probe()
    done = await primary.insert(OPERATOR, replace(TEA, visibility=visibility), "any")
    assert (done.outcome, done.scope) == (Outcome.REJECTED, Scope.POST)
    assert await entries(relay, node) == {}


async def test_a_node_of_somebody_else_needs_his_permission(relay: Relay, node: str) -> None:
    primary = PubsubPrimary(partial(relay.ask, sender=WRITER), SERVICE, node)
    await relay.ask_as(BOSS, "set", f"<pubsub xmlns='{PUBSUB}'><create node='{node}'/></pubsub>")
    await _affiliate(relay, node, "none")
    done = await primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.scope, done.reason) == (Outcome.AUTH, Scope.DRIVER, "forbidden")
    assert "let the relay's domain" in done.detail
    await _affiliate(relay, node, "publisher")
    assert (await primary.probe()).reach is Reach.UP
    assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED
    found = Found((Candidate(TEA.id, f"xmpp:{SERVICE}?;node=blog%2F{node[5:]};item={TEA.id}"),))
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == found
    assert (await primary.delete(OPERATOR, TEA.id)).outcome is Outcome.INSERTED
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == Absent()


async def _affiliate(relay: Relay, node: str, affiliation: str) -> None:
    await relay.ask_as(
        BOSS,
        "set",
        f"<pubsub xmlns='{OWNER}'><affiliations node='{node}'>"
        f"<affiliation jid='{WRITER}' affiliation='{affiliation}'/></affiliations></pubsub>",
    )


async def test_a_node_that_keeps_little_is_told(
    relay: Relay, primary: PubsubPrimary, node: str
) -> None:
    await primary.probe()
    await configure(relay, node, max_items="7")
    probe = await primary.probe()
    assert (probe.reach, probe.reason) == (Reach.UP, "keeps_less")
    assert "the newest 7 only" in probe.detail
    await configure(relay, node, persist_items="0")
    probe = await primary.probe()
    assert (probe.reach, probe.reason) == (Reach.DOWN, "not_kept")
    assert "pubsub#persist_items" in probe.detail


async def test_a_service_that_does_not_take_us_is_a_matter_of_credentials(
    relay: Relay, server: Service
) -> None:
    # There the relay is no admin. ejabberd has no such service, and may not look elsewhere for it.
    closed = PubsubPrimary(relay.ask, "closed.example.test", "blog")
    probe = await closed.probe()
    assert (probe.reach, probe.reason) == (Reach.AUTH, "forbidden")
    done = await closed.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.scope) == (Outcome.AUTH, Scope.DRIVER)


async def test_what_the_stream_does_decides_what_is_known() -> None:
    async with ProsodyService() as server, connected(server) as relay:
        primary = PubsubPrimary(relay.ask, SERVICE, "blog")
        await primary.probe()
        relay.within_s = 0.3
        server.pause()
        hung = await primary.insert(OPERATOR, TEA, "any")
        assert (hung.outcome, hung.scope, hung.reason) == (
            *(Outcome.UNKNOWN, Scope.DRIVER),
            "timeout",
        )
        server.resume()
        relay.within_s = 5.0
        look = await primary.reconcile(OPERATOR, attempt(TEA))  # behind what hung
        assert isinstance(look, Found)
        down = asyncio.Event()
        up = asyncio.Event()
        relay.component.went_down, relay.component.came_up = down.set, up.set
        asked = asyncio.ensure_future(primary.insert(OPERATOR, TEA, "any"))
        await server.kill()  # before it is asked, and before anybody knows
        lost = await asked
        assert (lost.outcome, lost.scope, lost.reason) == (Outcome.UNKNOWN, Scope.DRIVER, "reset")
        await down.wait()
        refused = await primary.insert(OPERATOR, TEA, "any")
        assert (refused.outcome, refused.reason) == (Outcome.RETRY, "no_stream")
        assert (await primary.probe()).reach is Reach.DOWN
        failed = await primary.reconcile(OPERATOR, attempt(TEA))
        assert isinstance(failed, LookFailed)
        await server.start()
        await up.wait()
        assert isinstance(await primary.reconcile(OPERATOR, attempt(TEA)), Found)


# What the services here do not say by themselves


def says(*answers: str) -> Callable[..., Any]:
    """A service that answers with these errors (`condition` or `condition wait`), then results."""
    left = list(answers)

    async def ask(to: str, kind: str, payload: Element) -> Element:
        if not left:
            return Element(tag("iq"), type="result")
        condition, _, kind = left.pop(0).partition(" ")
        iq = Element(tag("iq"), type="error")
        error = SubElement(iq, tag("error"), type=kind or "cancel")
        if condition:
            SubElement(error, f"{{urn:ietf:params:xml:ns:xmpp-stanzas}}{condition}")
        SubElement(error, "{urn:ietf:params:xml:ns:xmpp-stanzas}text").text = "<b>Secrets</b>"
        return iq

    return ask


@pytest.mark.parametrize(
    ("said", "outcome", "scope"),
    [
        ("forbidden auth", Outcome.AUTH, Scope.DRIVER),
        ("not-authorized auth", Outcome.AUTH, Scope.DRIVER),
        ("registration-required auth", Outcome.AUTH, Scope.DRIVER),
        ("not-allowed", Outcome.AUTH, Scope.DRIVER),
        ("item-not-found", Outcome.RETRY, Scope.DRIVER),
        ("service-unavailable", Outcome.RETRY, Scope.DRIVER),
        ("remote-server-not-found", Outcome.RETRY, Scope.DRIVER),
        ("feature-not-implemented", Outcome.RETRY, Scope.DRIVER),
        ("resource-constraint wait", Outcome.RETRY, Scope.DRIVER),
        ("policy-violation wait", Outcome.RETRY, Scope.DRIVER),
        ("policy-violation modify", Outcome.REJECTED, Scope.POST),
        ("not-acceptable modify", Outcome.REJECTED, Scope.POST),
        ("bad-request modify", Outcome.REJECTED, Scope.POST),
        ("remote-server-timeout wait", Outcome.UNKNOWN, Scope.DRIVER),
        ("internal-server-error wait", Outcome.UNKNOWN, Scope.DRIVER),
        ("", Outcome.UNKNOWN, Scope.DRIVER),
    ],
)
async def test_what_an_error_means(said: str, outcome: Outcome, scope: Scope) -> None:
    results: list[Result] = [
        await PubsubPrimary(says(said), SERVICE, "n" * 1023).insert(OPERATOR, TEA, "any"),
        await PubsubPrimary(says(said), SERVICE, "n" * 1023).edit(OPERATOR, TEA.id, TEA, "any"),
    ]
    if said != "item-not-found":
        results.append(
            await PubsubPrimary(says(said), SERVICE, "n" * 1023).delete(OPERATOR, TEA.id)
        )
    for each in results:
        assert (each.outcome, each.scope) == (outcome, scope)
        assert each.reason
        assert 0 < len(each.detail) <= 200
        assert "Secrets" not in each.detail


@pytest.mark.parametrize(
    ("answers", "reach"),
    [
        (["item-not-found"], Reach.UP),  # and made
        (["item-not-found", "conflict"], Reach.UP),  # made by somebody else meanwhile
        (["item-not-found", "not-acceptable modify"], Reach.UP),  # made as the service wants it
        (["item-not-found", "not-acceptable modify", "not-acceptable modify"], Reach.DOWN),
        (["item-not-found", "forbidden auth"], Reach.AUTH),
        (["forbidden auth"], Reach.UP),
        (["feature-not-implemented"], Reach.UP),
        (["forbidden auth", "item-not-found"], Reach.UP),  # and made
        (["forbidden auth", "item-not-found", "forbidden auth"], Reach.AUTH),
        (["service-unavailable", "service-unavailable"], Reach.DOWN),
        (["resource-constraint wait"], Reach.DOWN),
        (["internal-server-error wait"], Reach.DOWN),
    ],
)
async def test_what_a_probe_makes_of_it(answers: list[str], reach: Reach) -> None:
    probe = await PubsubPrimary(says(*answers), SERVICE, "blog").probe()
    assert probe.reach is reach
    assert (probe.caps is None) == (reach is not Reach.UP)
    assert bool(probe.reason) == bool(probe.detail) == (reach is not Reach.UP)


@pytest.mark.parametrize(
    ("said", "look"),
    [
        ("item-not-found", Absent),
        ("forbidden auth", CannotTell),
        ("feature-not-implemented", CannotTell),
        ("service-unavailable", LookFailed),
        ("internal-server-error wait", LookFailed),
    ],
)
async def test_what_a_look_makes_of_it(said: str, look: type) -> None:
    primary = PubsubPrimary(says(said), SERVICE, "blog")
    assert isinstance(await primary.reconcile(OPERATOR, attempt(TEA)), look)


async def test_another_item_than_the_one_asked_for_is_not_found() -> None:
    async def ask(to: str, kind: str, payload: Element) -> Element:
        iq = Element(tag("iq"), type="result")
        items = SubElement(SubElement(iq, f"{{{PUBSUB}}}pubsub"), f"{{{PUBSUB}}}items", node="blog")
        SubElement(items, f"{{{PUBSUB}}}item", id="k3g.ab12cd")
        return iq

    primary = PubsubPrimary(ask, SERVICE, "blog")
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == Absent()
