"""Questions that are asked of the relay (IQs): each is answered, once, and with the truth."""

import itertools
from collections import Counter
from typing import Final
from xml.etree.ElementTree import Element

from tests.integration.clients import Person, new_id
from tests.integration.world import World
from xmpprelay import __version__
from xmpprelay.config import Contact, Registration

INFO: Final = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
ITEMS: Final = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
VERSION: Final = "<query xmlns='jabber:iq:version'/>"
PING: Final = "<ping xmlns='urn:xmpp:ping'/>"
VCARD: Final = "<vCard xmlns='vcard-temp'/>"
REGISTER: Final = "<query xmlns='jabber:iq:register'/>"

DISCO: Final = "{http://jabber.org/protocol/disco#info}"


def register(handle: str) -> str:
    return f"<query xmlns='jabber:iq:register'><username>{handle}</username></query>"


async def info(person: Person, address: str) -> tuple[set[tuple[str, str]], set[str]]:
    """The identities and the features of an address."""
    answer = (await person.asks(address, INFO)).xml[0]
    identities = {
        (each.get("category", ""), each.get("type", "")) for each in answer.iter(f"{DISCO}identity")
    }
    return identities, {each.get("var", "") for each in answer.iter(f"{DISCO}feature")}


def form_of(answer: Element) -> dict[str, list[str]]:
    """The fields of a data form, by their names."""
    data = "{jabber:x:data}"
    return {
        field.get("var", ""): [value.text or "" for value in field.iter(f"{data}value")]
        for field in answer.iter(f"{data}field")
    }


# --- every question, to every address ------------------------------------------------------------


async def test_every_question_is_answered_once_by_whom_it_was_put_to(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    addresses = [
        bob.relay, bob.home, bob.author("alice"), bob.author("bob"), bob.author("nobody"),
        f"{bob.relay}/x", f"{bob.home}/x", f"{bob.author('alice')}/x", f"{bob.author('nobody')}/x",
    ]  # fmt: skip
    payloads = [
        INFO, ITEMS, VERSION, PING, VCARD, REGISTER,
        INFO.replace("/>", " node='x'/>"), ITEMS.replace("/>", " node='x'/>"),
        "", "<a xmlns='unheard-of'/>", f"{PING}{PING}", "<query/>", "text",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='x'/></pubsub>",
        "<command xmlns='http://jabber.org/protocol/commands' node='x'/>",
        "<time xmlns='urn:xmpp:time'/>", "<query xmlns='jabber:iq:last'/>",
        "<query xmlns='jabber:iq:roster'/>", "<query xmlns='jabber:iq:search'/>",
        "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>",
    ]  # fmt: skip
    asked = {}
    for to in addresses:
        for payload, kind in itertools.product(payloads, ("get", "set")):
            name = new_id()
            asked[name] = to
            bob.sends_raw(f"<iq id='{name}' type='{kind}' to='{to}'>{payload}</iq>")
        await bob.fence()  # not a flood
    for to, kind in itertools.product(addresses, ("result", "error")):
        bob.sends_raw(f"<iq id='{new_id()}-answer' type='{kind}' to='{to}'>{INFO}</iq>")
    await bob.fence()
    answers = [each for each in bob.mail.ledger if each.kind == "iq" and each.id in asked]
    assert Counter(each.id for each in answers) == dict.fromkeys(asked, 1)
    assert all(each.sender == asked[each.id or ""] for each in answers)
    assert all(each.type in ("result", "error") for each in answers)
    assert all(each.condition and each.text for each in answers if each.type == "error")
    assert not [each for each in bob.mail.ledger if (each.id or "").endswith("-answer")]
    assert await alice.says("still there") == "ok #1: nobody follows you yet"


async def test_an_answer_that_nobody_asked_for_confirms_nothing(world: World) -> None:
    """A window is confirmed by its destination alone: ids are not guessed, and `from` counts."""
    await world.starts()
    far, odd = await world.far(), await world.far("odd.test")
    far.pings = odd.pings = False
    question = world.service.component.ping(far.domain)
    asked = await far.gets(kind="iq", type="get")
    forged = f"<iq from='{odd.domain}' to='{far.relay}' id='{asked.id}' type='result'/>"
    odd.sends(forged)
    odd.sends(f"<iq from='x@{odd.domain}' to='{far.relay}' id='{asked.id}' type='error'/>")
    await odd.fence("x")
    assert not question.done()
    far.sends(f"<iq from='{far.domain}' to='{far.relay}' id='{asked.id}' type='result'/>")
    assert (await question).get("type") == "result"


# --- disco, version, contacts --------------------------------------------------------------------


async def test_disco_tells_what_each_address_is(world: World) -> None:
    [alice] = await world.authors("alice")
    everywhere = {
        "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items",
        "jabber:iq:version", "urn:xmpp:ping", "vcard-temp", "urn:ietf:params:xml:ns:vcard-4.0",
        "http://jabber.org/protocol/commands", "urn:xmpp:reply:0", "urn:xmpp:fallback:0",
        "urn:xmpp:message-correct:0", "urn:xmpp:message-retract:1", "urn:xmpp:reactions:0",
    }  # fmt: skip
    whole = everywhere | {"jabber:iq:register", "urn:xmpprelay:0", "urn:xmpp:receipts"}
    searched = {"jabber:iq:search", "http://jabber.org/protocol/rsm"}
    identities, features = await info(alice, alice.relay)
    assert identities == {("gateway", "xmpprelay"), ("pubsub", "service")}
    assert without_pubsub(features) == whole | searched
    identities, features = await info(alice, alice.home)
    assert (identities, without_pubsub(features)) == ({("client", "bot")}, whole)
    identities, features = await info(alice, alice.author("alice"))
    assert identities == {("account", "registered"), ("pubsub", "pep")}
    assert without_pubsub(features) == everywhere | {"http://jabber.org/protocol/rsm"}
    assert features >= {"urn:xmpp:microblog:0", "http://jabber.org/protocol/pubsub#publish"}
    assert (await alice.asks(alice.author("nobody"), INFO)).condition == "item-not-found"
    node = INFO.replace("/>", " node='x'/>")
    assert (await alice.asks(alice.relay, node)).condition == "item-not-found"


def without_pubsub(features: set[str]) -> set[str]:
    return {each for each in features if "pubsub" not in each and "microblog" not in each}


async def test_disco_items_of_the_domain_name_home_and_the_public_authors(world: World) -> None:
    alice, *_, carol = await world.authors("alice", "dora", "bob", "carol")
    await carol.says("protect on")
    items = (await alice.asks(alice.relay, ITEMS)).xml[0]
    public = [alice.author(name) for name in ("alice", "bob", "dora")]
    assert [item.get("jid") for item in items] == [alice.home, *public]
    assert len((await alice.asks(alice.home, ITEMS)).xml[0]) == 0


async def test_the_operators_addresses_can_be_asked_for(world: World) -> None:
    contact = Contact(
        abuse=("mailto:abuse@example.org",), support=("xmpp:a@example.org", "https://x")
    )
    await world.starts(contact=contact)
    [alice] = await world.people("alice")
    form = form_of((await alice.asks(alice.relay, INFO)).xml)
    assert form == {
        "FORM_TYPE": ["http://jabber.org/network/serverinfo"],
        "abuse-addresses": ["mailto:abuse@example.org"],
        "support-addresses": ["xmpp:a@example.org", "https://x"],
    }
    assert form_of((await alice.asks(alice.home, INFO)).xml) == {}


async def test_version_and_ping_are_answered_everywhere(world: World) -> None:
    [alice] = await world.authors("alice")
    for address in (alice.relay, alice.home, alice.author("alice")):
        answer = (await alice.asks(address, VERSION)).xml[0]
        told = {child.tag.rpartition("}")[2]: child.text for child in answer}
        assert told == {"name": "xmpprelay", "version": __version__}
        pong = await alice.asks(address, PING)
        assert (pong.type, len(pong.xml)) == ("result", 0)


async def test_vcards_name_home_and_authors(world: World) -> None:
    [alice] = await world.authors("alice")
    for address, name in (
        (alice.home, f"xmpprelay on {alice.relay}"),
        (alice.author("alice"), "alice"),
        (alice.author("ALICE"), "alice"),
    ):
        card = (await alice.asks(address, VCARD)).xml[0]
        assert card.findtext("{vcard-temp}NICKNAME") == name
        assert card.findtext("{vcard-temp}FN") == name
    assert (await alice.asks(alice.author("nobody"), VCARD)).condition == "item-not-found"


# --- registration (XEP-0077) ---------------------------------------------------------------------


async def test_a_client_registers_by_its_form(world: World) -> None:
    alice, bob = await world.people("alice", "bob")
    form = (await alice.asks(alice.relay, REGISTER)).xml[0]
    assert [child.tag.rpartition("}")[2] for child in form] == ["instructions", "username"]
    done = await alice.asks(alice.relay, register("Alice"), "set")
    assert (done.type, len(done.xml)) == ("result", 0)
    assert await alice.says("hello") == "ok #1: nobody follows you yet"
    form = (await alice.asks(alice.home, REGISTER)).xml[0]
    told = {child.tag.rpartition("}")[2]: child.text for child in form}
    assert told == {"registered": None, "username": "alice"}

    assert (await alice.asks(alice.relay, register("alice"), "set")).type == "result", "again"
    assert (await alice.asks(alice.relay, register("alicia"), "set")).type == "result", "renamed"
    other = await alice.asks(alice.relay, register("alina"), "set")
    assert (other.condition, other.error_type) == ("not-allowed", "cancel")
    for handle in ("alice", "ALICE", "al1ce", "a_lice"):
        taken = await bob.asks(bob.relay, register(handle), "set")
        assert (taken.condition, taken.error_type) == ("conflict", "cancel"), handle
    for handle in ("b", "x" * 21, "42", "böb", "b b", "home", "admin", "follow", "3h", "adm1n"):
        refused = await bob.asks(bob.relay, register(handle), "set")
        assert (refused.condition, refused.error_type) == ("not-acceptable", "modify"), handle
    for payload in (register(""), REGISTER):
        empty = await bob.asks(bob.relay, payload, "set")
        assert (empty.condition, empty.error_type) == ("bad-request", "modify")
    elsewhere = await bob.asks(bob.author("alicia"), register("bob"), "set")
    assert elsewhere.condition == "service-unavailable"
    assert (await bob.asks(bob.relay, register("bob"), "set")).type == "result"


async def test_join_says_the_same_as_the_form(world: World) -> None:
    alice, bob = await world.people("alice", "bob")
    await alice.joins("alice")
    assert (await alice.says(":join alice")).startswith("Welcome, @alice")
    assert (await alice.says(":join alicia")).startswith("You are @alicia now")
    assert (await alice.is_refused(":join alina")).condition == "not-allowed"
    assert (await bob.is_refused("join al1ce")).condition == "conflict"
    assert (await bob.is_refused("join home")).condition == "not-acceptable"
    assert (await bob.is_refused("join x")).condition in ("not-acceptable", "bad-request")
    await bob.joins("bob")


async def test_a_closed_relay_takes_nobody_new(world: World) -> None:
    [alice] = await world.authors("alice")
    await world.stops()
    await world.starts(registration=Registration(policy="closed", reserved=("mayor*",)))
    [bob] = await world.people("bob")
    refused = await bob.asks(bob.relay, register("bob"), "set")
    assert (refused.condition, refused.error_type) == ("not-allowed", "cancel")
    assert (await bob.is_refused("join bob")).condition == "not-allowed"
    assert (await bob.says("follow alice")).startswith("You follow @alice now.")
    await alice.says("hello")
    await bob.gets_post("hello")
    assert (await alice.asks(alice.relay, register("alice"), "set")).type == "result"


async def test_the_operators_reserved_handles_are_refused(world: World) -> None:
    await world.starts(registration=Registration(reserved=("mayor*",)))
    [bob] = await world.people("bob")
    refused = await bob.asks(bob.relay, register("mayor_bob"), "set")
    assert (refused.condition, refused.error_type) == ("not-acceptable", "modify")


async def test_two_who_want_the_same_handle_at_once_do_not_both_get_it(world: World) -> None:
    await world.starts()
    far = await world.far()
    for who in ("eve", "fay", "gil"):
        far.sends(
            f"<iq from='{who}@far.test' to='{far.relay}' id='{who}' type='set'>"
            f"{register('star')}</iq>"
        )
    answers = [await far.gets(kind="iq", id=who) for who in ("eve", "fay", "gil")]
    assert [each.condition for each in answers] == [None, "conflict", "conflict"]
