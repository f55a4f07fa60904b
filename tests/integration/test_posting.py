"""What becomes a post, what does not, and what is said about it (S1, S4.3, S12.3, S15)."""

import itertools
from typing import Final

from tests.integration.clients import DELAY, HINTS, RECEIPTS, SID, Person, count, new_id
from tests.integration.world import World
from xmpprelay.config import Limits

OMEMO: Final = "eu.siacs.conversations.axolotl"


async def follower(world: World) -> tuple[Person, Person]:
    """alice, who posts, and bob, who follows her."""
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.adds("alice")
    return alice, bob


async def posted_since(bob: Person, alice: Person) -> list[str]:
    """What has come to bob so far, whatever alice did; shown by a post behind it all."""
    mark = f"mark {new_id()}"
    await alice.says(mark)
    await bob.gets_post(mark)
    return [text for text in bob.posts() if not text.startswith("mark ")]


# --- posts ---------------------------------------------------------------------------------------


async def test_a_message_of_either_kind_to_either_address_is_a_post(world: World) -> None:
    alice, bob = await follower(world)
    kinds = ("type='chat'", "type='normal'", "", "type='nobody knows'")  # RFC 6121 §5.2.2
    for kind, to in itertools.product(kinds, (alice.home, alice.relay, f"{alice.home}/any")):
        text = f"as {kind} to {to}"
        alice.sends_raw(
            f"<message to='{to}' {kind} id='{new_id()}'><body>{text}</body>"
            f"<request xmlns='{RECEIPTS}'/></message>"
        )
        receipt = await alice.gets(lambda stanza: stanza.has("received", RECEIPTS))
        assert receipt.sender == to, "from the address that was written to"
        await alice.gets(lambda stanza: (stanza.body or "").startswith("ok #"), sender=alice.home)
        got = await bob.gets_post(text)
        assert (got.sender, got.type) == (bob.author("alice"), "chat")


async def test_a_post_is_built_anew_with_ids_of_the_relay(world: World) -> None:
    alice, bob = await follower(world)
    carol = (await world.people("carol"))[0]
    await carol.says("follow alice")
    await carol.fence()
    name = alice.sends("hello", **{"xml:lang": "pt-BR"})
    by_author, by_home = await bob.gets_post("hello"), await carol.gets_post("hello")
    epoch = world.service.db.epoch
    for got in (by_author, by_home):
        assert got.id == got.post_id == f"1.{epoch}" != name
        assert got.xml.get("{http://www.w3.org/XML/1998/namespace}lang") == "pt-BR"
        assert got.has("no-store", HINTS)
        assert not got.has("delay", DELAY)
    assert (by_author.body, by_home.body) == ("hello", "alice: hello  #1")
    assert (by_author.sender, by_home.sender) == (bob.author("alice"), bob.home)
    assert "/" not in by_author.to, "to the bare JID"


async def test_what_is_forged_in_a_stanza_stays_outside(world: World) -> None:
    alice, bob = await follower(world)
    await bob.joins("bob")
    forged = (
        "<nick xmlns='http://jabber.org/protocol/nick'>bob</nick>",
        "<x xmlns='vcard-temp:x:update'><photo>x</photo></x>",
        f"<addresses xmlns='http://jabber.org/protocol/address'><address type='to' "
        f"jid='{bob.jid}'/><address type='ofrom' jid='{bob.author('bob')}'/></addresses>",
        f"<delay xmlns='{DELAY}' from='{alice.relay}' stamp='2001-01-01T00:00:00Z'/>",
        f"<stanza-id xmlns='{SID}' id='9.zzzzzz' by='{alice.home}'/>",
        "<html xmlns='http://jabber.org/protocol/xhtml-im'><body/></html>",
        "<reply xmlns='urn:xmpp:reply:0' id='x'/>",
        "<from xmlns='jabber:client'>bob@relay.example.test</from>",
        "<subject>forged</subject>",
        "<thread>forged</thread>",
        f"<store xmlns='{HINTS}'/>",
    )
    await alice.says("only me", inside="".join(forged))
    got = await bob.gets_post("only me")
    assert {child.tag.rpartition("}")[2] for child in got.xml} == {"body", "origin-id", "no-store"}
    assert {name for name in got.xml.attrib if "lang" not in name} == {"from", "to", "type", "id"}
    assert got.sender == bob.author("alice")


async def test_carbons_and_forwarded_messages_are_nobodys_words(world: World) -> None:
    alice, bob = await follower(world)
    inner = f"<message from='{bob.jid}' type='chat'><body>his</body></message>"
    for wrapped in (
        f"<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>",
        f"<received xmlns='urn:xmpp:carbons:2'>{inner}</received>",
        f"<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>",
        f"<result xmlns='urn:xmpp:mam:2'>{inner}</result>",
    ):
        for body in ("", "<body>carried</body>"):
            alice.sends_raw(f"<message to='{alice.home}' type='chat'>{body}{wrapped}</message>")
    assert await posted_since(bob, alice) == []
    assert not count(alice.mail.ledger, type="error")


async def test_a_bodys_other_languages_are_left_out(world: World) -> None:
    alice, bob = await follower(world)
    two = "<body xml:lang='de'>Hallo</body><body>hello</body>"
    await alice.says(None, body=two)
    assert await posted_since(bob, alice) == ["hello"]


# --- nothing to post -----------------------------------------------------------------------------


async def test_what_is_no_text_is_no_post_and_not_answered(world: World) -> None:
    alice, bob = await follower(world)
    silent = (
        "<message to='{home}' type='groupchat'><body>room</body></message>",
        "<message to='{home}' type='headline'><body>news</body></message>",
        "<message to='{home}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/>"
        "</message>",
        "<message to='{home}' type='chat'><subject>only</subject></message>",
        f"<message to='{{home}}' type='chat'><received xmlns='{RECEIPTS}' id='x'/></message>",
        "<message to='{home}' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>"
        "</message>",
    )
    before = len(alice.mail.ledger)
    for stanza in silent:
        for to in (alice.home, alice.relay, alice.author("alice"), alice.author("nobody")):
            alice.sends_raw(stanza.format(home=to))
    await alice.fence()
    said = [each.body for each in alice.mail.ledger[before:] if each.kind == "message"]
    said = [text for text in said if text is None or "follows you" not in text]  # comes when it may
    assert said == [None, "pong"], "the fence's receipt and answer"
    assert await posted_since(bob, alice) == []


async def test_an_empty_text_is_refused(world: World) -> None:
    [alice] = await world.authors("alice")
    for body in ("", " ", "\n\t ", "\u200b", "\u3164", "\u2028"):
        refused = await alice.is_refused(None, body=f"<body>{body}</body>")
        assert (refused.condition, refused.type) == ("bad-request", "modify")
        assert "type something" in refused.text
    assert world.service.db.next_number == 1


async def test_the_limits_of_a_post_are_sharp(world: World) -> None:
    alice, bob = await follower(world)
    for text in ("x" * 2000, "\U0001f600" * 2000, "&" * 1600, '"' * 1333 + "x"):
        await alice.says(text)
        got = await bob.gets_post(text)
        assert len(repr(got).encode()) < 10_000, "RFC 6120 §13.12"
    for text in ("x" * 2001, "\U0001f600" * 1999 + "&", "&" * 1601, '"' * 1334):
        refused = await alice.is_refused(text)
        assert (refused.condition, refused.type) == ("policy-violation", "modify")
        assert "shorten it" in refused.text
    assert world.service.db.next_number == 5


# --- encrypted -----------------------------------------------------------------------------------


ENCRYPTED: Final = (
    ("I sent you an OMEMO encrypted message but your client doesn't seem to support that.", ""),
    ("hidden", "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>"),
    ("hidden", f"<encrypted xmlns='{OMEMO}'/>"),
    (None, f"<encrypted xmlns='{OMEMO}'/>"),
    ("hidden", "<encrypted xmlns='urn:xmpp:omemo:2'/>"),
    ("hidden", "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>"),
    ("hidden", "<x xmlns='jabber:x:encrypted'>x</x>"),
    ("?OTRv23?", ""),
    ("?OTR:AAMDJ+MVmSfjFZcAAAAAAQAAAAIAAADA1g5IjD1ZGLDVQEyCgCyn9hb.", ""),
    ("-----BEGIN PGP MESSAGE-----\nhQEMA", ""),
    (":join me", f"<encrypted xmlns='{OMEMO}'/>"),
    ("follow alice", f"<encrypted xmlns='{OMEMO}'/>"),
)


async def test_what_came_encrypted_is_neither_posted_nor_obeyed(world: World) -> None:
    alice, bob = await follower(world)
    for (body, element), to in itertools.product(
        ENCRYPTED, (alice.home, alice.relay, alice.author("alice"))
    ):
        refused = await alice.is_refused(body, to, inside=element)
        assert refused.condition == "bad-request", body
        assert "Send it unencrypted" in refused.text
    assert await posted_since(bob, alice) == []


async def test_an_automatic_reply_is_not_posted(world: World) -> None:
    [alice] = await world.authors("alice")
    assert (await alice.is_refused("[auto-reply] I am away")).condition == "not-allowed"
    assert world.service.db.next_number == 1


async def test_changes_of_a_post_are_not_posted_as_text(world: World) -> None:
    alice, bob = await follower(world)
    for element, condition in (
        ("<replace xmlns='urn:xmpp:message-correct:0'/>", "bad-request"),
        ("<retract xmlns='urn:xmpp:message-retract:1' id='x'/>", "item-not-found"),
        ("<retract xmlns='urn:xmpp:message-retract:1'/>", "bad-request"),
        (
            "<apply-to xmlns='urn:xmpp:fasten:0' id='x'>"
            "<retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
            "item-not-found",
        ),
        ("<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>x</reaction></reactions>", None),
    ):
        refused = await alice.tries("the fallback text", inside=element)
        assert (None if refused is None else refused.condition) == condition
    assert await posted_since(bob, alice) == []


# --- commands ------------------------------------------------------------------------------------


async def test_a_message_to_one_person_is_never_posted(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await bob.says("dms none")
    for line in (
        "d bob hello", "D @bob hello", "dm nobody hello", "pm bob", "d", "dm", "d bob two\nlines",
        ":d bob hello", "pm says hi", "d\u00a0bob hello",
    ):  # fmt: skip
        refused = await alice.is_refused(line)
        assert refused.condition in ("not-allowed", "bad-request"), line
    assert await posted_since(bob, alice) == []
    assert not [each for each in bob.mail.ledger if "hello" in (each.body or "")]


async def test_a_line_that_may_be_a_slip_is_asked_about(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    for line in ("folow bob", "follow nobody", "last night", "gm bob are you there"):
        world.clock.passes(seconds=11)
        assert "`\\" in await alice.says(line), line
        assert "`\\" in (await alice.is_refused(line)).text, "again at once: not as a text"
    assert await posted_since(bob, alice) == []
    assert (await alice.says("\\last night")).startswith("ok #")
    await bob.gets_post("last night")


async def test_text_in_the_window_of_one_person_is_refused_if_he_takes_none(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await bob.says("dms none")
    for text in ("how are you?", "@alice hello", "re me", "two\nlines", "\\follow alice"):
        refused = await alice.is_refused(text, alice.author("bob"))
        assert refused.condition == "not-allowed", text
        assert "nothing was sent" in refused.text
    assert await posted_since(bob, alice) == []
    assert await alice.says("follow", alice.author("bob")) == (
        "You follow @bob now. `unfollow bob` ends it."
    )


async def test_an_address_of_nobody_is_told(world: World) -> None:
    [alice] = await world.authors("alice")
    refused = await alice.is_refused("hello?", alice.author("nobody"))
    assert (refused.condition, refused.type) == ("item-not-found", "cancel")


# --- who, how often, again -----------------------------------------------------------------------


async def test_posting_needs_a_handle(world: World) -> None:
    [alice] = await world.people("alice")
    refused = await alice.is_refused("hello")
    assert (refused.condition, refused.type) == ("registration-required", "auth")
    assert "join" in refused.text
    await alice.joins("alice")  # which posts it (S12.3)
    assert await alice.says("hello again") == "ok #2: nobody follows you yet"


async def test_a_resend_makes_one_post_and_repeats_the_receipt(world: World) -> None:
    alice, bob = await follower(world)
    for _ in range(3):  # the same stanza, as XEP-0198 sends it again
        answer = await alice.says("once", id="again", origin="again")
        assert answer.startswith("ok #1: ")
    assert answer == "ok #1: it was posted already"
    await alice.says("once", id="another", origin="again")
    assert await posted_since(bob, alice) == ["once"]


async def test_ids_that_begin_again_make_new_posts(world: World) -> None:
    alice, bob = await follower(world)
    for text in ("one", "two", "one"):
        await alice.says(text, id="1", origin="")
    assert await posted_since(bob, alice) == ["one", "two"], "the third is the first again"
    world.clock.passes(minutes=11)
    await alice.says("one", id="1", origin="")
    assert await posted_since(bob, alice) == ["one", "two", "one"]


async def test_the_same_ids_of_two_people_are_two_posts(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    [carol] = await world.people("carol")
    for author in ("alice", "bob"):
        await carol.says(f"follow {author}")
    for author in (alice, bob):
        await author.says("same", id="1", origin="1")
    await carol.gets_post("same", id=f"1.{world.service.db.epoch}")
    await carol.gets_post("same", id=f"2.{world.service.db.epoch}")


async def test_what_is_too_fast_is_told_when_to_come_again(world: World) -> None:
    await world.starts(limits=Limits(posts_per_second=0.5, burst=2))
    alice, bob = await follower(world)
    for n in range(2):
        await alice.says(f"post {n}", id=str(n))
    refused = await alice.is_refused("post 2", id="2", origin="2")
    assert (refused.condition, refused.type) == ("policy-violation", "wait")
    assert "Send it again in 2 s" in refused.text
    assert await alice.says("post 1", id="1") == "ok #2: it was posted already"
    world.clock.passes(seconds=2)
    await alice.says("post 2", id="2", origin="2")
    world.clock.passes(seconds=10)
    assert await posted_since(bob, alice) == ["post 0", "post 1", "post 2"]


async def test_counts_are_told_only_where_they_give_nobody_away(world: World) -> None:
    [alice] = await world.authors("alice")
    far = await world.far()
    for n, told in enumerate(("nobody follows you yet", "1 person", "2 people")):
        assert await alice.says(f"post {n}") == f"ok #{n + 1}: {told}"
        far.says(f"eve{n}", "follow alice")
        await far.fence(f"eve{n}")
    for n in (3, 4):
        far.says(f"eve{n}", "follow alice")
        await far.fence(f"eve{n}")
    assert await alice.says("to five") == "ok #4: 5 now, 0 later"


async def test_an_author_never_gets_his_own_post(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    refused = await alice.is_refused("follow alice")
    assert refused.condition == "not-allowed"
    await alice.says("mine")
    await bob.gets_post("mine")
    await alice.fence()
    assert alice.posts() == []
