"""XEP-0060, use case by use case: what is offered, and the error that it names for what is not.

Each row is a question to an author's address and what has to come back. Alice is an author with a
few items, Pia a protected one; Bob posts here as well, Eve does not, and neither is subscribed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pytest

from tests.integration.clients import Person, Stanza
from tests.integration.pubsub import (
    ATOM,
    DATA,
    MICROBLOG,
    OWNER,
    PUBSUB,
    body_option,
    entry,
    form,
    items,
    publish,
    published,
    pubsub,
    retract,
    specific,
    subscribe,
    unsubscribe,
)
from tests.integration.test_questions import form_of, info
from tests.integration.world import NO_LIMITS, World

ITEM: Final = f"<item>{entry('x')}</item>"
OUTCAST: Final = "<affiliation jid='e@x.test' affiliation='outcast'/>"

NODE: Final = f"node='{MICROBLOG}'"
COMMENTS: Final = f"{MICROBLOG}:comments/first"
OPTIONS: Final = f"{PUBSUB}#subscribe_options"
CONFIG: Final = f"{PUBSUB}#node_config"
PUBLISH_OPTIONS: Final = f"{PUBSUB}#publish-options"

Answer = tuple[str, str, str | None]
"""The type and the condition of an error, and the one of XEP-0060's own; `result` has neither."""

RESULT: Final[Answer] = ("result", "", None)
NO_NODE: Final[Answer] = ("cancel", "item-not-found", None)
FORBIDDEN: Final[Answer] = ("auth", "forbidden", None)
BAD: Final[Answer] = ("modify", "bad-request", None)
NOT_THERE: Final[Answer] = ("cancel", "feature-not-implemented", "unsupported")


def bad(condition: str) -> Answer:
    return "modify", "bad-request", condition


def owner(inside: str) -> str:
    return pubsub(inside, OWNER)


def options(jid: str, inside: str = "") -> str:
    return pubsub(f"<options {NODE} jid='{jid}'>{inside}</options>")


def with_options(**fields: str) -> str:
    chosen = f"<publish-options>{form(PUBLISH_OPTIONS, **fields)}</publish-options>"
    return publish(entry("x"), "o", options=chosen)


def configured(kind: str = "submit", **fields: str) -> str:
    return owner(f"<configure {NODE}>{form(CONFIG, kind, **fields)}</configure>")


def role(what: str, jid: str, **attributes: str) -> str:
    written = " ".join(f"{name}='{value}'" for name, value in attributes.items())
    return owner(f"<{what}s {NODE}><{what} jid='{jid}' {written}/></{what}s>")


ME: Final = "me@here"
"""In a row: the bare JID of who asks."""

# (who asks, the type of the question, the question, what has to come back)
ROWS: Final[Mapping[str, tuple[str, str, str, Answer]]] = {
    # §5.6, §5.7
    "subscriptions": ("bob", "get", pubsub("<subscriptions/>"), RESULT),
    "of a node": ("bob", "get", pubsub(f"<subscriptions {NODE}/>"), RESULT),
    "of none": ("bob", "get", pubsub("<subscriptions node='x'/>"), NO_NODE),
    "affiliations": ("bob", "get", pubsub("<affiliations/>"), RESULT),
    "affiliation to none": ("bob", "get", pubsub("<affiliations node='x'/>"), NO_NODE),
    # §6.1.3
    "subscribes another": ("bob", "set", subscribe("eve@example.test"), bad("invalid-jid")),
    "subscribes nobody": ("bob", "set", pubsub(f"<subscribe {NODE}/>"), bad("jid-required")),
    "subscribes to none": ("bob", "set", subscribe(ME, "x"), NO_NODE),
    "names no node": ("bob", "set", pubsub(f"<subscribe jid='{ME}'/>"), bad("nodeid-required")),
    "to comments": ("bob", "set", subscribe(ME, COMMENTS), NOT_THERE),
    "to himself": ("alice", "set", subscribe(ME), ("cancel", "not-allowed", None)),
    "odd options": (
        "bob",
        "set",
        subscribe(ME, options=f"<options>{form(OPTIONS, digest='1')}</options>"),
        bad("invalid-options"),
    ),
    # §6.2.3
    "unsubscribes": (
        "bob", "set", unsubscribe(ME), ("cancel", "unexpected-request", "not-subscribed")
    ),
    "unsubscribes another": ("bob", "set", unsubscribe("eve@example.test"), FORBIDDEN),
    "unsubscribes from none": ("bob", "set", unsubscribe(ME, "x"), NO_NODE),
    # §6.3.4, §6.4
    "options of one who is not": (
        "bob", "get", options(ME), ("cancel", "unexpected-request", "not-subscribed")
    ),
    "another's options": ("bob", "get", options("eve@example.test"), FORBIDDEN),
    "no JID": ("bob", "get", pubsub(f"<options {NODE}/>"), bad("jid-required")),
    "options of no node": (
        "bob", "get", pubsub(f"<options node='x' jid='{ME}'/>"), NO_NODE
    ),
    "default options": ("bob", "get", pubsub(f"<default {NODE}/>"), RESULT),
    "of nobody's node": ("bob", "get", pubsub("<default/>"), RESULT),
    "with an attribute of another namespace": (
        "bob", "get", pubsub(f"<default {NODE} xmlns:o='urn:o' o:x='y'/>"), RESULT
    ),
    # §6.5.9
    "items": ("eve", "get", items(), RESULT),
    "items of none": ("eve", "get", items(node="x"), NO_NODE),
    "items of no name": ("eve", "get", pubsub("<items/>"), bad("nodeid-required")),
    "unknown item": ("eve", "get", items("<item id='x'/>"), RESULT),
    "item without id": ("eve", "get", items("<item/>"), bad("item-required")),
    "too many items": (
        "eve", "get", items("<item id='x'/>" * 101), ("modify", "not-acceptable", None)
    ),
    "a page of a million": ("eve", "get", items(max_items="1000000"), RESULT),
    "a page of none": ("eve", "get", items(max_items="0"), RESULT),
    "a page of nonsense": ("eve", "get", items(max_items="-1"), BAD),
    "a set of nonsense": ("eve", "get", items(page="<max>many</max>"), BAD),
    "a set by index": ("eve", "get", items(page="<index>3</index>"), NOT_THERE),
    "a set from nowhere": ("eve", "get", items(page="<after>x</after>"), NO_NODE),
    "comments": ("eve", "get", items(node=COMMENTS), RESULT),
    "comments on none": ("eve", "get", items(node=f"{MICROBLOG}:comments/x"), NO_NODE),
    # §7.1.3
    "publishes at another's": ("bob", "set", publish(entry("x")), FORBIDDEN),
    "a stranger comments": (
        "eve", "set", publish(entry("x"), node=COMMENTS), ("auth", "registration-required", None)
    ),
    "to none": ("alice", "set", publish(entry("x"), node="x"), NO_NODE),
    "no item": ("alice", "set", pubsub(f"<publish {NODE}/>"), bad("item-required")),
    "two items": (
        "alice",
        "set",
        pubsub(f"<publish {NODE}>{ITEM}{ITEM}</publish>"),
        bad("invalid-payload"),
    ),
    "no payload": ("alice", "set", publish(""), bad("payload-required")),
    "two payloads": ("alice", "set", publish(entry("x") * 2), bad("invalid-payload")),
    "no entry": ("alice", "set", publish("<x xmlns='y'/>"), bad("invalid-payload")),
    "a feed": (
        "alice", "set", publish(f"<feed xmlns='{ATOM}'><title>x</title></feed>", "0"),
        bad("invalid-payload"),
    ),
    "no text": ("alice", "set", publish(entry(" ")), bad("invalid-payload")),
    "33 KiB": (
        "alice", "set", publish(entry("x", f"<summary>{'y' * 33 * 1024}</summary>")),
        ("modify", "not-acceptable", "payload-too-big"),
    ),
    "10,000 children": (
        "alice", "set", publish(entry("x", "<a/>" * 10_000)),
        ("modify", "not-acceptable", "payload-too-big"),
    ),
    "2,001 characters": (
        "alice", "set", publish(entry("x" * 2001)),
        ("modify", "not-acceptable", "payload-too-big"),
    ),
    "a long id": (
        "alice", "set", publish(entry("x"), "x" * 201), ("modify", "not-acceptable", None)
    ),
    "a space before the id": (
        "alice", "set", publish(entry("x"), " x"), ("modify", "not-acceptable", None)
    ),
    "an id like ours": ("alice", "set", publish(entry("x"), "news.42"), RESULT),
    "another access": (
        "alice", "set", with_options(access_model="whitelist"),
        ("cancel", "conflict", "precondition-not-met"),
    ),
    "an odd condition": (
        "alice", "set", with_options(moon="full"), ("cancel", "conflict", "precondition-not-met")
    ),
    "as it is": (
        "alice", "set",
        with_options(access_model="open", persist_items="true", max_items="10",
                     deliver_payloads="false", send_last_published_item="never"),
        RESULT,
    ),
    "a long id in bytes": ("alice", "set", publish(entry("x"), "\U0001f600" * 101), BAD),
    "attributes of another namespace": (
        "alice", "set",
        publish(entry("x", "<link rel='replies' href='https://a.test/' thr:count='3'/>"), "thr"),
        RESULT,
    ),
    # §7.2.3
    "retracts another's": ("bob", "set", retract("first"), FORBIDDEN),
    "retracts none": ("alice", "set", retract("x"), NO_NODE),
    "retracts from none": ("alice", "set", retract("first", "x"), NO_NODE),
    "retracts from no name": (
        "alice", "set", pubsub("<retract><item id='first'/></retract>"), bad("nodeid-required")
    ),
    "retracts nothing": ("alice", "set", pubsub(f"<retract {NODE}/>"), bad("item-required")),
    "retracts no id": (
        "alice", "set", pubsub(f"<retract {NODE}><item/></retract>"), bad("item-required")
    ),
    # §8.1.3
    "creates what is there": (
        "alice", "set", pubsub(f"<create {NODE}/>"), ("cancel", "conflict", None)
    ),
    "creates another": ("alice", "set", pubsub("<create node='urn:x'/>"), NOT_THERE),
    "creates at another's": ("bob", "set", pubsub("<create node='urn:x'/>"), FORBIDDEN),
    "creates without a name": (
        "alice", "set", pubsub("<create/><configure/>"),
        ("modify", "not-acceptable", "nodeid-required"),
    ),
    # §8.2.3, §8.2.5, §8.3
    "configure": ("alice", "get", owner(f"<configure {NODE}/>"), RESULT),
    "another's": ("bob", "get", owner(f"<configure {NODE}/>"), FORBIDDEN),
    "of no node": ("alice", "get", owner("<configure node='x'/>"), NO_NODE),
    "of no name": ("alice", "get", owner("<configure/>"), bad("nodeid-required")),
    "of comments": ("alice", "get", owner(f"<configure node='{COMMENTS}'/>"), RESULT),
    "cancels": ("alice", "set", configured("cancel"), RESULT),
    "leaves as it is": ("alice", "set", configured(notify_retract="true"), RESULT),
    "wants no news of deletions": (
        "alice", "set", configured(notify_retract="0"), ("modify", "not-acceptable", None)
    ),
    "wants a whitelist": (
        "alice", "set", configured(access_model="whitelist"), ("modify", "not-acceptable", None)
    ),
    "sends no form": ("alice", "set", owner(f"<configure {NODE}/>"), BAD),
    "default": ("alice", "get", owner("<default/>"), RESULT),
    "default of another": ("bob", "get", owner("<default/>"), FORBIDDEN),
    # §8.4.3, §8.5.3
    "deletes": ("alice", "set", owner(f"<delete {NODE}/>"), ("cancel", "not-allowed", None)),
    "deletes another's": ("bob", "set", owner(f"<delete {NODE}/>"), FORBIDDEN),
    "deletes none": ("alice", "set", owner("<delete node='x'/>"), NO_NODE),
    "purges": ("alice", "set", owner(f"<purge {NODE}/>"), NOT_THERE),
    "purges another's": ("bob", "set", owner(f"<purge {NODE}/>"), FORBIDDEN),
    # §8.8, §8.9
    "subscribers": ("alice", "get", owner(f"<subscriptions {NODE}/>"), RESULT),
    "another's subscribers": ("bob", "get", owner(f"<subscriptions {NODE}/>"), FORBIDDEN),
    "subscribers of none": ("alice", "get", owner("<subscriptions node='x'/>"), NO_NODE),
    "subscribes who has not asked": (
        "alice", "set", role("subscription", "eve@x.test", subscription="subscribed"),
        ("modify", "not-acceptable", None),
    ),
    "a state that there is not": (
        "alice", "set", role("subscription", "eve@x.test", subscription="unconfigured"), NOT_THERE
    ),
    "affiliates": ("alice", "get", owner(f"<affiliations {NODE}/>"), RESULT),
    "another's affiliates": ("bob", "get", owner(f"<affiliations {NODE}/>"), FORBIDDEN),
    "a publisher": (
        "alice", "set", role("affiliation", "eve@x.test", affiliation="publisher"), NOT_THERE
    ),
    "herself an outcast": (
        "alice", "set", role("affiliation", ME, affiliation="outcast"),
        ("modify", "not-acceptable", None),
    ),
    "nobody": ("alice", "set", role("affiliation", "", affiliation="outcast"), bad("invalid-jid")),
    "the same twice": (
        "alice",
        "set",
        owner(
            f"<affiliations {NODE}>{OUTCAST}{OUTCAST}</affiliations>"
        ),
        BAD,
    ),
    # what there is not at all
    "nothing": ("bob", "get", pubsub(""), BAD),
    "what nobody knows": ("bob", "set", pubsub("<dance/>"), NOT_THERE),
    "a get of a set": ("alice", "get", publish(entry("x")), NOT_THERE),
}  # fmt: skip


@pytest.fixture
async def people(world: World) -> dict[str, Person]:
    alice, pia, bob = await world.authors("alice", "pia", "bob")
    [eve] = await world.people("eve")
    for number, name in enumerate(("first", "second"), 1):
        await published(alice, "alice", f"post {number}", name)
    await pia.says("protect on")
    return {"alice": alice, "pia": pia, "bob": bob, "eve": eve}


def came_back(answer: Stanza) -> Answer:
    if answer.type == "result":
        return RESULT
    assert answer.text, f"no sentence for people: {answer}"
    return answer.error_type or "", answer.condition or "", specific(answer)


async def test_every_question_gets_the_answer_that_the_specification_names(
    people: dict[str, Person],
) -> None:
    wrong = []
    for name, (who, kind, payload, expected) in ROWS.items():
        person = people[who]
        asked = payload.replace(ME, person.jid)
        answer = await person.asks(person.author("alice"), asked, kind)
        if came_back(answer) != expected:
            wrong.append(f"{name}: {came_back(answer)} is not {expected}: {answer.text}")
    assert not wrong, "\n".join(wrong)
    await people["alice"].fence()


async def test_the_ids_of_the_relay_cannot_be_chosen(
    people: dict[str, Person], world: World
) -> None:
    bob = people["bob"]
    await bob.says("hello")
    for name in (f"1.{world.service.db.epoch}", f"zzz.{world.service.db.epoch}"):
        answer = await bob.asks(bob.author("bob"), publish(entry("x"), name), "set")
        assert came_back(answer) == ("cancel", "conflict", None)
        gone = await bob.asks(bob.author("bob"), retract(name), "set")
        assert came_back(gone) == NO_NODE


async def test_what_is_not_supported_says_which_feature_that_is(people: dict[str, Person]) -> None:
    alice = people["alice"]
    for payload, feature in (
        (owner(f"<purge {NODE}/>"), "purge-nodes"),
        (pubsub("<create node='urn:x'/>"), "create-nodes"),
        (role("affiliation", "e@x.test", affiliation="publisher"), "publisher-affiliation"),
    ):
        answer = await alice.asks(alice.author("alice"), payload, "set")
        found = answer.xml.find(f".//{{{PUBSUB}#errors}}unsupported")
        assert found is not None, answer
        assert found.get("feature") == feature


async def test_a_protected_node_is_for_subscribers(people: dict[str, Person]) -> None:
    bob = people["bob"]
    answer = await bob.asks(bob.author("pia"), items())
    assert came_back(answer) == ("auth", "not-authorized", "not-subscribed")
    query = f"<query xmlns='http://jabber.org/protocol/disco#items' {NODE}/>"
    answer = await bob.asks(bob.author("pia"), query)
    assert came_back(answer) == ("auth", "not-authorized", "not-subscribed")


async def test_there_are_no_nodes_at_the_relays_own_addresses(people: dict[str, Person]) -> None:
    bob = people["bob"]
    for address in (bob.relay, bob.home):
        for kind, payload, expected in (
            ("get", items(), NO_NODE),
            ("set", publish(entry("x")), NO_NODE),
            ("set", subscribe(bob.jid), NO_NODE),
            ("get", pubsub("<subscriptions/>"), RESULT),
            ("get", pubsub("<affiliations/>"), RESULT),
            ("get", owner(f"<configure {NODE}/>"), NO_NODE),
        ):
            answer = await bob.asks(address, payload, kind)
            assert came_back(answer) == expected, f"{address} {payload}: {answer}"


# --- what is offered ------------------------------------------------------------------------------


def states(answer: Stanza, what: str) -> Sequence[tuple[str, str]]:
    return [
        (each.get("jid") or each.get("node") or "", each.get(what, ""))
        for each in answer.xml.iter()
        if each.tag.endswith(f"}}{what}")
    ]


async def test_who_is_what_is_told_to_himself_and_to_the_owner(people: dict[str, Person]) -> None:
    alice, pia, bob, eve = people["alice"], people["pia"], people["bob"], people["eve"]
    await bob.asks(bob.author("pia"), subscribe(bob.jid), "set")
    mine = pubsub("<subscriptions/>")
    assert states(await bob.asks(bob.author("pia"), mine), "subscription") == [(bob.jid, "pending")]
    theirs = owner(f"<subscriptions {NODE}/>")
    assert states(await pia.asks(pia.author("pia"), theirs), "subscription") == []
    let = role("subscription", bob.jid, subscription="subscribed")
    assert (await pia.asks(pia.author("pia"), let, "set")).type == "result"
    assert states(await bob.asks(bob.author("pia"), mine), "subscription") == [
        (bob.jid, "subscribed")
    ]
    assert states(await pia.asks(pia.author("pia"), theirs), "subscription") == [
        (bob.jid, "subscribed")
    ]
    own = pubsub("<affiliations/>")
    assert states(await bob.asks(bob.author("pia"), own), "affiliation") == [(MICROBLOG, "member")]
    assert states(await pia.asks(pia.author("pia"), own), "affiliation") == [(MICROBLOG, "owner")]
    out = role("affiliation", eve.jid, affiliation="outcast")
    assert (await pia.asks(pia.author("pia"), out, "set")).type == "result"
    everybody = owner(f"<affiliations {NODE}/>")
    assert states(await pia.asks(pia.author("pia"), everybody), "affiliation") == [
        (pia.jid, "owner"), (bob.jid, "member"), (eve.jid, "outcast")
    ]  # fmt: skip
    assert (await eve.asks(eve.author("pia"), own)).condition == "item-not-found"
    for jid in (bob.jid, eve.jid):
        end = role("affiliation", jid, affiliation="none")
        assert (await pia.asks(pia.author("pia"), end, "set")).type == "result"
    assert states(await pia.asks(pia.author("pia"), everybody), "affiliation") == [
        (pia.jid, "owner")
    ]
    assert states(await alice.asks(alice.author("pia"), own), "affiliation") == []


async def test_who_could_not_be_changed_comes_back_with_what_he_is(
    people: dict[str, Person],
) -> None:
    alice, bob = people["alice"], people["bob"]
    await bob.asks(bob.author("alice"), subscribe(bob.jid), "set")
    both = owner(
        f"<subscriptions {NODE}><subscription jid='nobody@x.test' subscription='subscribed'/>"
        f"<subscription jid='{bob.jid}' subscription='none'/></subscriptions>"
    )
    answer = await alice.asks(alice.author("alice"), both, "set")
    assert answer.condition == "not-acceptable"
    assert states(answer, "subscription") == [("nobody@x.test", "none")]
    mine = pubsub("<subscriptions/>")
    assert states(await bob.asks(bob.author("alice"), mine), "subscription") == []


async def test_options_are_shown_and_set(people: dict[str, Person]) -> None:
    bob = people["bob"]
    at = bob.author("alice")
    await bob.asks(at, subscribe(bob.jid, options=body_option("true")), "set")
    for value in ("1", "0"):
        answer = await bob.asks(at, options(bob.jid))
        assert form_of(answer.xml)["pubsub#include_body"] == [value]
        chosen = form(OPTIONS, include_body="0")
        assert (await bob.asks(at, options(bob.jid, chosen), "set")).type == "result"
    wrong = await bob.asks(at, options(bob.jid, form(OPTIONS, deliver="0")), "set")
    assert came_back(wrong) == bad("invalid-options")


async def test_the_access_model_protects_and_opens(people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    at = alice.author("alice")
    assert (await alice.asks(at, configured(access_model="authorize"), "set")).type == "result"
    assert (await bob.asks(at, items())).condition == "not-authorized"
    shown = form_of((await alice.asks(at, owner(f"<configure {NODE}/>"))).xml)
    assert shown["pubsub#access_model"][0] == "authorize"
    assert (await alice.asks(at, configured(access_model="open"), "set")).type == "result"
    assert (await bob.asks(at, items())).type == "result"


async def test_nodes_are_discovered_with_what_they_are(people: dict[str, Person]) -> None:
    eve = people["eve"]
    at = eve.author("alice")
    identities, features = await info(eve, at)
    assert {("account", "registered"), ("pubsub", "pep")} <= identities
    assert {f"{PUBSUB}#publish", f"{PUBSUB}#rsm", "urn:xmpp:pubsub-social-feed:1"} <= features
    identities, _ = await info(eve, eve.relay)
    assert ("pubsub", "service") in identities
    query = "<query xmlns='http://jabber.org/protocol/disco#{}'{}/>"
    answer = await eve.asks(at, query.format("items", ""))
    nodes = {each.get("node") for each in answer.xml[0]}
    assert {MICROBLOG, "urn:xmpp:avatar:metadata", "http://jabber.org/protocol/nick"} <= nodes
    answer = await eve.asks(at, query.format("items", f" {NODE}"))
    assert [(each.get("jid"), each.get("node"), each.get("name")) for each in answer.xml[0]] == [
        (at, None, "first"), (at, None, "second")
    ]  # fmt: skip
    answer = await eve.asks(at, query.format("info", f" {NODE}"))
    told = form_of(answer.xml)
    assert told["FORM_TYPE"] == [f"{PUBSUB}#meta-data"]
    assert told["pubsub#type"] == [MICROBLOG]
    assert told["pubsub#owner"] == [at]
    assert told["pubsub#max_items"] == ["max"]
    for node in (*nodes, COMMENTS):
        answer = await eve.asks(at, query.format("info", f" node='{node}'"))
        assert answer.type == "result", node
        assert answer.xml[0].find(f".//{{{DATA}}}x") is not None, node
    for which in ("info", "items"):
        answer = await eve.asks(at, query.format(which, " node='x'"))
        assert answer.condition == "item-not-found"


async def test_who_publishes_too_fast_is_told_when_to_go_on(world: World) -> None:
    await world.starts(limits=replace(NO_LIMITS, burst=2, posts_per_second=0.01))
    [alice] = await world.authors("alice")
    for number in range(2):
        await published(alice, "alice", f"post {number}", f"n{number}")
    answer = await alice.asks(alice.author("alice"), publish(entry("post 2"), "n2"), "set")
    assert came_back(answer) == ("wait", "resource-constraint", None)
    assert "again in" in answer.text
    assert await published(alice, "alice", "post 1", "n1") == "n1", "a resend is never too fast"
