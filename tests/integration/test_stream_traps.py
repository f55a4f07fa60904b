"""What would end the stream, the relay, or a follow without a word, on a real server."""

import itertools
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import pytest

from tests.integration.clients import STANZAS, count
from tests.integration.pubsub import items, texts
from tests.integration.world import World
from xmpprelay.config import Contact
from xmpprelay.core.model import Draft
from xmpprelay.core.recipients import State
from xmpprelay.store.posts import PostRow, append_post
from xmpprelay.xmpp.stanzas import MAX_DEPTH

ERRORS: Final = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "gone": "cancel",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "subscription-required": "auth",
    "undefined-condition": "cancel",
    "unexpected-request": "wait",
}
"""Every condition of RFC 6120 §8.3.3, with a type that goes with it."""


def error(condition: str, kind: str) -> str:
    return f"<error type='{kind}'><{condition} xmlns='{STANZAS}'/></error>"


def nested(depth: int) -> str:
    """Elements in elements: as the child of a stanza they make it `depth` deep."""
    return "<a xmlns='test'>" + "<a>" * (depth - 2) + "</a>" * (depth - 2) + "</a>"


# --- presence is answered from the store -----------------------------------------------------


async def test_a_login_after_a_restart_of_the_relay_ends_no_follow(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.adds("alice")
    await bob.leaves()
    bob.mail.forget()
    await world.restarts()
    await bob.comes()
    await bob.gets(kind="presence", sender=bob.author("alice"), type=None)
    [probe] = [each for each in world.presences if each.type == "probe"]
    assert probe.sender == bob.full_jid
    await alice.says("still there?")
    await bob.gets_post("still there?", sender=bob.author("alice"))
    assert not count(bob.mail.ledger, type="unsubscribed")
    roster = (await bob.asks(bob.jid, "<query xmlns='jabber:iq:roster'/>")).xml[0]
    kept = {item.get("jid"): item.get("subscription") for item in roster}
    assert kept[bob.author("alice")] == "to"


async def test_a_probe_of_somebody_who_does_not_follow_is_answered_with_the_truth(
    world: World,
) -> None:
    await world.authors("alice")
    far = await world.far()
    for who in ("alice", "nobody"):
        far.sends(f"<presence from='eve@far.test' to='{who}@{far.relay}' type='probe'/>")
        await far.gets(sender=f"{who}@{far.relay}", to="eve@far.test", type="unsubscribed")


# --- depth -----------------------------------------------------------------------------------

DEPTHS: Final = (MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 0)
"""0: the deepest that the server passes on."""


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_deep_question_is_answered_and_ends_nothing(world: World, depth: int) -> None:
    depth = depth or world.server.deepest
    await world.starts()
    far = await world.far()
    for to in (far.relay, far.home):
        far.sends(f"<iq from='eve@far.test/x' to='{to}' id='deep' type='set'>{nested(depth)}</iq>")
        answer = await far.gets(kind="iq", id="deep", sender=to)
        expected = "policy-violation" if depth > MAX_DEPTH else "service-unavailable"
        assert answer.condition == expected
    await far.fence("eve")
    assert world.streams == 1


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_deep_message_is_posted_or_refused_and_ends_nothing(
    world: World, depth: int
) -> None:
    depth = depth or world.server.deepest
    await world.starts()
    far = await world.far()
    far.says("eve", "join eve")
    await far.fence("eve")
    far.mail.forget()
    far.sends(
        f"<message from='eve@far.test/x' to='{far.home}' type='chat' id='deep'>"
        f"<body>down and down</body>{nested(depth)}</message>"
    )
    answer = await far.gets(kind="message")
    if depth > MAX_DEPTH:
        assert (answer.id, answer.condition) == ("deep", "policy-violation")
    else:
        assert answer.body == "ok #1: nobody follows you yet"
    for kind in ("error", "groupchat", "headline"):
        far.sends(
            f"<message from='eve@far.test/x' to='{far.home}' type='{kind}' id='deep'>"
            f"<body>down and down</body>{nested(depth)}</message>"
        )
    far.sends(f"<presence from='eve@far.test/x' to='{far.home}'>{nested(depth)}</presence>")
    await far.fence("eve")
    assert not [each for each in far.mail.waiting if each.kind == "message"]
    assert world.streams == 1


# --- forbidden characters --------------------------------------------------------------------

FORBIDDEN: Final = "\x00\x08\x0b\x1b\x1f\ufffe\uffff\ud800"
REPLACED: Final = "\ufffd" * len(FORBIDDEN)


async def test_text_from_the_configuration_cannot_end_the_stream(world: World) -> None:
    contact = Contact(abuse=(f"mailto:abuse{FORBIDDEN}@example.org",))
    await world.starts(contact=contact)
    [alice] = await world.people("alice")
    answer = await alice.asks(alice.relay, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    values = [each.text for each in answer.xml.iter("{jabber:x:data}value")]
    assert f"mailto:abuse{REPLACED}@example.org" in values
    await alice.fence()
    assert world.streams == 1


async def test_text_that_came_by_no_stanza_cannot_end_the_stream(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    allowed_by_sqlite = FORBIDDEN.replace("\ud800", "")
    draft = Draft(alice.jid, f"a{allowed_by_sqlite}b", None, None, None)
    await world.service.relay.accept(draft)
    await bob.gets_post(f"a{REPLACED[1:]}b")
    world.service.voice.tell(bob.jid, f"hint{FORBIDDEN}")
    await bob.gets(body=f"hint{REPLACED}")
    await bob.fence()
    assert world.streams == 1


async def test_characters_at_every_boundary_pass_or_go_and_end_nothing(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    edges = (
        0x09, 0x0A, 0x0D, 0x20, 0x7E, 0x7F, 0x80, 0x84, 0x85, 0x86, 0x9F, 0xA0, 0xAD, 0x200B,
        0x200E, 0x2028, 0x202E, 0x2066, 0xD7FF, 0xE000, 0xFDD0, 0xFEFF, 0xFFFD, 0x10000, 0x1FFFE,
        0xE0001, 0x10FFFF,
    )  # fmt: skip
    for code in edges:
        typed = f"<body>[{code:x}] a&#{code};b</body>"
        await alice.says(None, body=typed)
        answer = await alice.is_refused(None, body=f"<body>:join bo&#{code};b</body>")
        assert answer.condition in ("bad-request", "not-acceptable", "conflict")
        got = await bob.gets(lambda stanza, code=code: f"[{code:x}]" in (stanza.body or ""))
        assert got.type == "chat"
    await bob.fence()
    assert world.streams == 1


async def test_markup_in_a_text_stays_text(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    for text in ("</body></message>", "<!-- c -->", "<?pi?>", "]]>", "&#0; &amp; '\"", "<a b='c'"):
        await alice.says(text)
        await bob.gets_post(text)
        assert (await alice.is_refused(f":join {text}")).condition
    assert world.streams == 1


# --- errors --------------------------------------------------------------------------


async def test_errors_of_all_kinds_are_neither_posted_nor_answered(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    [carol] = await world.people("carol")
    for each in (bob, carol):
        await each.says("follow alice")
    await alice.says("the first")
    post = await bob.gets_post("the first")
    assert post.post_id
    await bob.says("follow alice")
    bob.mail.forget()
    addresses = (bob.home, bob.relay, bob.author("alice"), bob.author("bob"), bob.author("nobody"))
    for to, (condition, kind) in itertools.product(addresses, ERRORS.items()):
        for name in (post.post_id, "1.zzzzzz", "2zz." + post.post_id.partition(".")[2], "other"):
            bob.sends_raw(
                f"<message to='{to}' type='error' id='{name}'>"
                f"<body>{escape(post.body or '')} join me</body>{error(condition, kind)}</message>"
            )
    for to, (condition, kind) in itertools.product(addresses, ERRORS.items()):
        for stanza in ("iq", "presence"):
            bob.sends_raw(
                f"<{stanza} to='{to}' type='error' id='{post.post_id}'>"
                f"{error(condition, kind)}</{stanza}>"
            )
    await bob.fence()
    assert {each.post_id for each in bob.mail.waiting} <= {post.post_id}, "only the post again"
    assert not count(bob.mail.waiting, type="error")
    await alice.says("the second")
    await carol.gets_post("the second")
    assert world.service.db.next_number == 3


async def test_an_unreachable_domain_is_told_from_a_refusal(world: World) -> None:
    """slixmpp reads `service-unavailable` as `feature-not-implemented` here."""
    [alice] = await world.authors("alice")
    far = await world.far()
    for who in ("eve", "fay"):
        far.says(who, "follow alice")
        await far.fence(who)
    await alice.says("to all")
    bounced = await far.gets(to="eve@far.test", body="alice: to all  #1")
    fay = world.person_id("fay@far.test")
    for condition, state in (
        ("service-unavailable", State.LIVE),
        ("remote-server-timeout", State.AWAY),
    ):
        far.sends(
            f"<message from='eve@far.test' to='{far.home}' type='error' id='{bounced.post_id}'>"
            f"{error(condition, ERRORS[condition])}</message>"
        )
        await far.fence("eve")
        assert world.service.delivery.state_of(fay) is state


# --- JIDs -----------------------------------------------------------------------------------


async def test_handles_are_ascii_whatever_a_jid_may_be(world: World) -> None:
    await world.starts()
    far = await world.far()
    far.says("groß", "join groß")
    refused = await far.gets(kind="message")  # to groß or gross, as the server passes names on
    assert refused.condition == "not-acceptable"
    far.says("groß", "join gross")
    assert ((await far.gets(kind="message")).body or "").startswith("Welcome, @gross")
    far.says("gross", "join gross")
    assert "you have a handle already" in ((await far.gets(kind="message")).body or "")
    person = world.service.graph.by_handle("gross")
    assert person is not None
    assert person.jid == "gross@far.test"


# --- answers whose length others choose -------------------------------------------------------


@pytest.mark.parametrize("name", ["\U0001f600" * 190, "'" * 190], ids=["emoji", "quotes"])
async def test_a_page_of_items_with_long_ids_ends_nothing(world: World, name: str) -> None:
    """Such ids were taken once; a page of a hundred of them was 600 KB long."""
    alice, bob = await world.authors("alice", "bob")
    for number in range(100):
        row = PostRow(world.person_id(alice), "x", item=f"{name}{number}")
        await world.service.db.write(append_post, row)
    for asked in (
        items(max_items="100"),
        items("".join(f"<item id={quoteattr(f'{name}{number}')}/>" for number in range(50))),
        items(f"<item id={quoteattr(f'{name}7')}/>" * 100),
    ):
        assert texts(await bob.asks(bob.author("alice"), asked))
    assert world.streams == 1


async def test_a_long_id_of_a_question_ends_nothing(world: World) -> None:
    await world.authors("alice")
    far = await world.far()
    ping = "<ping xmlns='urn:xmpp:ping'/>"
    name = '"' * 100_000
    far.sends(f"<iq from='eve@far.test/x' to='{far.relay}' id='{name}' type='get'>{ping}</iq>")
    far.sends(f"<iq from='eve@far.test/x' to='{far.relay}' id='short' type='get'>{ping}</iq>")
    await far.mail.gets(kind="iq", id="short")
    assert world.streams == 1
