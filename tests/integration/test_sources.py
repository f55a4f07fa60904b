"""Posts that authors publish on their own microblog, at their own address, with their own client.

The node is a real one of the server's, made as clients make it; `notify_retract` is what XEP-0472
asks of it.
"""

from dataclasses import replace
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, fromstring
from xml.sax.saxutils import escape, quoteattr

from sqlalchemy import select

from tests.integration.clients import Person, Stanza, new_id
from tests.integration.world import World
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.text import message_id
from xmpprelay.store.schema import sourced
from xmpprelay.store.sources import known_entries

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = f"{PUBSUB}#owner"
EVENT = f"{PUBSUB}#event"
CONFIG = {"max_items": "50", "notify_retract": "1", "presence_based_delivery": "0"}
"""By the last one an ejabberd tells subscribers elsewhere of retractions too; Prosody has none."""

ATOM = "http://www.w3.org/2005/Atom"


def entry(text: str, at: datetime | None, more: str = "", own_id: str = "") -> str:
    """The entry of a client."""
    stamp = "" if at is None else f"<published>{at.isoformat()}</published>"
    return (
        f"<entry xmlns='{ATOM}'><title>{escape(text)}</title>"
        f"{own_id or f'<id>urn:uuid:{new_id()}</id>'}"
        f"<author><name>Mallory</name><uri>xmpp:mallory@example.org</uri></author>{stamp}{more}"
        "</entry>"
    )


async def sets(person: Person, payload: str) -> None:
    """Her client asks her own server for something, which is done."""
    answer = await person.asks(person.jid, payload, "set")
    assert answer.type == "result", answer


def _form(kind: str, **fields: str) -> str:
    values = {"FORM_TYPE": kind} | {f"pubsub#{name}": value for name, value in fields.items()}
    inner = "".join(
        f"<field var='{name}'><value>{value}</value></field>" for name, value in values.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{inner}</x>"


class Blog:
    """Somebody's own microblog."""

    def __init__(self, world: World, person: Person) -> None:
        self.world = world
        self.person = person

    async def begins(self) -> "Blog":
        """The node is made, with one entry, which is history."""
        await self.publishes("before", item="history")
        form = _form(f"{PUBSUB}#node_config", **CONFIG)
        configure = f"<configure node='{MICROBLOG}'>{form}</configure>"
        await sets(self.person, f"<pubsub xmlns='{OWNER}'>{configure}</pubsub>")
        return self

    async def publishes(
        self,
        text: str,
        item: str | None = None,
        *,
        more: str = "",
        dated: bool = True,
        own_id: str = "",
    ) -> str:
        name = item or new_id()
        at = datetime.now(UTC) if dated else None
        await sets(
            self.person,
            f"<pubsub xmlns='{PUBSUB}'><publish node='{MICROBLOG}'><item id={quoteattr(name)}>"
            f"{entry(text, at, more, own_id)}</item></publish></pubsub>",
        )
        return name

    async def retracts(self, item: str) -> None:
        await sets(
            self.person,
            f"<pubsub xmlns='{PUBSUB}'><retract node='{MICROBLOG}' notify='true'>"
            f"<item id='{item}'/></retract></pubsub>",
        )

    async def knows(self, item: str) -> None:
        """Return when the relay has dealt with an item."""
        person = self.world.person_id(self.person)

        async def known() -> bool:
            db = self.world.service.db
            return item in await db.read(lambda conn: known_entries(conn, person, [item]))

        while not await known():
            pass


async def at_work(world: World) -> tuple[Person, Person, Blog]:
    """Alice, whose posts come from her own microblog, and Bob, who follows her."""
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.says("follow alice")
    await world.live(bob)
    blog = await Blog(world, alice).begins()
    await alice.says("source pep")
    await listening(world, alice)
    return alice, bob, blog


async def listening(world: World, alice: Person) -> None:
    """Return when the relay hears at once of what she publishes, on whatever server."""
    nodes, person = world.service.own_nodes, world.person_id(alice)
    await world.until(lambda: bool(nodes._shown.get(person)) and not nodes._looking)
    await alice.gets(
        lambda stanza: stanza.has("c", "http://jabber.org/protocol/caps"),
        kind="presence",
        sender=alice.home,
    )


async def test_an_entry_is_a_post_and_another_text_of_it_an_edit(world: World) -> None:
    alice, bob, blog = await at_work(world)
    item = await blog.publishes("from my blog")
    post = await bob.gets_post("from my blog")
    await blog.publishes("from my blog, corrected", item=item)
    edit = await bob.gets(lambda stanza: stanza.has("replace", "urn:xmpp:message-correct:0"))
    assert "from my blog, corrected" in (edit.body or "")
    replaced = edit.child("replace", "urn:xmpp:message-correct:0")
    assert replaced is not None
    assert replaced.get("id") == post.post_id
    await blog.retracts(item)
    await bob.gets(lambda stanza: stanza.has("retract", "urn:xmpp:message-retract:1"))
    assert "before" not in bob.posts()
    assert bob.posts().count("from my blog") == 1
    assert post.sender == bob.home
    assert (post.body or "").startswith("alice: ")  # whoever the entry says has written it
    assert (await alice.is_refused("del")).condition == "item-not-found"
    assert "before" not in bob.posts()


async def test_what_is_published_while_the_relay_is_away_is_found_and_nothing_twice(
    world: World,
) -> None:
    alice, bob, blog = await at_work(world)
    first = await blog.publishes("first")
    await bob.gets_post("first")
    await world.stops()
    await blog.publishes("second")
    await blog.publishes("first, corrected", item=first)
    undated = await blog.publishes("without a date", dated=False)
    await world.starts()
    await world.live(bob)
    await bob.gets_post("second")
    await bob.gets(lambda stanza: "first, corrected" in (stanza.body or ""))
    await blog.knows(undated)
    await listening(world, alice)
    await blog.publishes("third")
    await bob.gets_post("third")
    assert [text for text in bob.posts() if text != "first, corrected"] == [
        "first", "second", "third",
    ]  # fmt: skip


async def test_the_same_by_chat_and_as_an_entry_is_one_post(world: World) -> None:
    alice, bob, blog = await at_work(world)
    told = await alice.says("by chat first")
    await bob.gets_post("by chat first")
    item = await blog.publishes(" by chat\nfirst ")
    await blog.knows(item)
    await blog.publishes("as an entry first")
    await bob.gets_post("as an entry first")
    assert (await alice.says("as an entry first")).endswith("it was posted already")
    await alice.says("the fence")
    await bob.gets_post("the fence")
    assert bob.posts() == ["by chat first", "as an entry first", "the fence"]
    await blog.retracts(item)  # it is that post
    await bob.gets(lambda stanza: stanza.has("retract", "urn:xmpp:message-retract:1"))
    assert "by chat first" not in await alice.says("last alice")
    assert told.startswith("ok #1")


async def test_what_does_not_come_from_her_own_node_leaves_no_trace(world: World) -> None:
    alice, bob, blog = await at_work(world)
    [mallory] = await world.authors("mallory")
    now = datetime.now(UTC)

    def event(node: str, text: str, inside: str = "", **attributes: str) -> str:
        written = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
        return (
            f"<message to='{alice.home}' type='headline'><event xmlns='{EVENT}'>"
            f"<items node='{node}'><item id='forged-{new_id()}' {written}>{entry(text, now)}"
            f"</item></items></event>{inside}</message>"
        )

    mallory.sends_raw(event(MICROBLOG, "from somebody else"))
    mallory.sends_raw(event(MICROBLOG, "as alice's", publisher=alice.jid))
    alice.sends_raw(event(MICROBLOG, "from a device of hers"))
    alice.sends_raw(event(MICROBLOG, "from a device", "<body>with a body</body>"))
    await mallory.fence()
    await alice.fence()
    # What her own server could send, and did not:
    forged = [
        event("urn:xmpp:other", "another node"),
        event(MICROBLOG, "of another publisher", publisher=mallory.jid),
        event(
            MICROBLOG,
            "by another",
            "<addresses xmlns='http://jabber.org/protocol/address'>"
            f"<address type='replyto' jid='{mallory.jid}/x'/></addresses>",
        ),
    ]
    for each in forged:
        stanza = fromstring(each.replace("<message", "<message xmlns='jabber:component:accept'", 1))
        stanza.set("from", alice.jid)
        world.service.component.take_message(stanza)
    await blog.publishes("the fence")
    await bob.gets_post("the fence")
    assert bob.posts() == ["the fence"]
    who = world.person_id(alice)
    rows = await world.service.db.read(lambda conn: list(conn.execute(select(sourced))))
    assert {row.item for row in rows if row.person == who} - {"history"} == {
        row.item for row in rows if row.number is not None
    }
    assert {row.person for row in rows} == {who}


async def test_what_the_relay_has_published_there_itself_is_not_taken(world: World) -> None:
    _, bob, blog = await at_work(world)
    name = message_id(7, world.service.db.epoch)
    await blog.publishes("by its item", item=name)
    ours = f"<id>xmpp:{world.config.xmpp.domain}?;node={name}</id>"
    await blog.publishes("by its id", own_id=ours)
    await blog.publishes("the fence")
    await bob.gets_post("the fence")
    assert bob.posts() == ["the fence"]


async def test_an_answer_to_a_post_is_a_reply_whichever_way_it_is_named(world: World) -> None:
    alice, bob, blog = await at_work(world)
    await bob.joins("bob")
    await alice.says("follow bob")
    await bob.says("a question")
    post = await alice.gets_post("a question")
    where = f"xmpp:bob@{world.config.xmpp.domain}?;node={MICROBLOG};item={post.post_id}"
    thread = f"<in-reply-to xmlns='http://purl.org/syndication/thread/1.0' ref='{where}'/>"
    await blog.publishes("an answer", more=thread)
    await bob.gets_post("@bob an answer")
    answer = world.service.delivery.post(2)
    assert answer is not None
    assert answer.parent == 1


async def test_what_is_refused_is_told_once_and_a_better_text_of_it_is_taken(world: World) -> None:
    alice, bob, blog = await at_work(world)
    item = await blog.publishes("x" * 2001)
    told = await alice.hears()
    assert told.startswith("An entry on your own microblog was not taken")
    assert "2,001" in told
    await blog.knows(item)
    await blog.publishes("x" * 2001, item=item)
    await blog.publishes("shorter", item=item)
    await bob.gets_post("shorter")
    await alice.fence()
    assert sum("not taken" in (each.body or "") for each in alice.mail.ledger) == 1


async def test_what_comes_too_fast_is_taken_later_in_order(world: World) -> None:
    limits = replace(world.config.limits, posts_per_second=0.001, burst=2)
    await world.starts(limits=limits)
    _, bob, blog = await at_work(world)
    for number in range(4):
        await blog.publishes(f"post {number}")
    await bob.gets_post("post 1")
    sources, waiting = world.service.sources, world.service.sources._waiting
    await world.until(lambda: any(len(each) == 2 for each in waiting.values()))
    world.clock.passes(minutes=60)
    sources.tick()
    await bob.gets_post("post 3")
    assert bob.posts() == [f"post {number}" for number in range(4)]


async def test_off_is_off_and_leaving_forgets_all(world: World) -> None:
    alice, bob, blog = await at_work(world)
    await blog.publishes("one")
    await bob.gets_post("one")
    assert (await alice.says("source off")).endswith("is not posted here any more.")
    assert (await alice.says("source off")).startswith("Nothing of your own")
    await blog.publishes("two")
    await alice.says("the fence")
    await bob.gets_post("the fence")
    assert bob.posts() == ["one", "the fence"]
    await alice.says("source pep")
    await alice.says("leave-relay yes")
    person = world.person_id(alice)
    assert not world.service.sources.listens_to(person)
    rows = await world.service.db.read(lambda conn: list(conn.execute(select(sourced))))
    assert not rows


async def test_whoever_hides_is_told_what_to_do_and_is_heard_once_she_has(world: World) -> None:
    alice = await world.person("alice", shows_presence=None)
    [bob] = await world.people("bob")
    await alice.comes()
    await alice.joins("alice")
    await bob.says("follow alice")
    await world.live(bob)
    blog = await Blog(world, alice).begins()
    told = await alice.says("source pep")
    assert f"let {alice.home} see when you are online" in told
    await blog.publishes("not heard yet")
    alice.sends_raw(f"<presence to='{alice.home}' type='subscribed'/>")
    await bob.gets_post("not heard yet")
    assert bob.posts() == ["not heard yet"]


async def test_the_server_may_be_started_anew(fragile_world: World) -> None:
    world = fragile_world
    alice, bob, blog = await at_work(world)
    await blog.publishes("before it")
    await bob.gets_post("before it")
    await world.settled()
    await world.server.flush()
    await world.server.restart()
    await world.until(lambda: world.streams == 2)
    for person in (alice, bob):
        await person.drops()
        await person.comes()
    await world.live(bob)
    await listening(world, alice)
    await blog.publishes("after it")
    await bob.gets_post("after it")
    assert bob.posts() == ["before it", "after it"]


async def test_an_answer_to_an_entry_of_another_authors_own_node_is_a_reply(world: World) -> None:
    alice, bob, blog = await at_work(world)
    await bob.joins("bob")
    other = await Blog(world, bob).begins()
    await bob.says("source pep")
    await listening(world, bob)
    item = await blog.publishes("a question")
    await bob.gets_post("a question")
    where = f"xmpp:{alice.jid}?;node={MICROBLOG};item={item}"
    thread = f"<in-reply-to xmlns='http://purl.org/syndication/thread/1.0' href='{where}'/>"
    await other.publishes("an answer", more=thread)
    await alice.gets_post("@alice an answer")


async def test_the_first_post_ever_makes_the_node_and_is_found(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.says("follow alice")
    await world.live(bob)
    await alice.says("source pep")
    await listening(world, alice)
    nodes = world.service.own_nodes
    world.clock.passes(minutes=1)  # it is looked for once more, and then only now and then
    nodes.minute()
    await world.until(lambda: not nodes._looking)
    await Blog(world, alice).publishes("hello, world")
    await alice.fence()
    world.clock.passes(minutes=5)  # a Prosody tells of no node that is made
    nodes.minute()
    await bob.gets_post("hello, world")
    await bob.fence()
    assert bob.posts() == ["hello, world"]


async def test_a_node_that_is_emptied_and_made_anew_takes_no_post_back(world: World) -> None:
    alice, bob, blog = await at_work(world)
    await blog.publishes("it stays")
    await bob.gets_post("it stays")
    for verb in ("purge", "delete"):
        await sets(alice, f"<pubsub xmlns='{OWNER}'><{verb} node='{MICROBLOG}'/></pubsub>")
    await blog.publishes("a new beginning")
    await alice.fence()
    world.clock.passes(minutes=1)  # a Prosody tells of no node that is made anew
    world.service.own_nodes.minute()
    await bob.gets_post("a new beginning")
    assert bob.posts() == ["it stays", "a new beginning"]
    assert "it stays" in await bob.says("last alice 2")


async def test_what_goes_to_the_server_of_an_author_elsewhere(world: World) -> None:
    [bob] = await world.people("bob")
    far = await world.far()
    carol = f"carol@{far.domain}"
    far.says("carol", "join carol")
    await far.gets(lambda stanza: (stanza.body or "").startswith("Welcome"))
    await bob.says("follow carol")
    await world.live(bob)

    async def asked(verb: str, answer: str) -> Element:
        def fits(stanza: Stanza) -> bool:
            return stanza.xml.find(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}{verb}") is not None

        iq = await far.gets(fits, kind="iq", to=carol, sender=far.home)
        far.sends(f"<iq from='{carol}' to='{iq.sender}' id='{iq.id}' {answer}</iq>")
        return iq.xml[0][0]

    far.says("carol", "source pep")
    subscribe = await asked("subscribe", "type='result'>")
    assert (subscribe.get("node"), subscribe.get("jid")) == (MICROBLOG, far.home)
    old = f"<item id='old'>{entry('old', datetime.now(UTC))}</item>"
    inside = f"<pubsub xmlns='{PUBSUB}'><items node='{MICROBLOG}'>{old}</items></pubsub>"
    items = await asked("items", f"type='result'>{inside}")
    assert (items.get("node"), items.get("max_items")) == (MICROBLOG, "20")
    taken = f"What you publish on your own microblog ({MICROBLOG} at {carol}) is posted here"
    await far.gets(lambda stanza: (stanza.body or "").startswith(taken))
    for sender, text in ((f"{carol}/phone", "forged"), (carol, "from her server")):
        for name, said in (("old", "old"), ("new", text)):
            item = f"<item id='{name}'>{entry(said, datetime.now(UTC))}</item>"
            far.sends(
                f"<message from='{sender}' to='{far.home}'><event xmlns='{EVENT}'>"
                f"<items node='{MICROBLOG}'>{item}</items></event><body>{said}</body></message>"
            )
    await bob.gets_post("from her server")
    assert bob.posts() == ["from her server"]
    far.says("carol", "source off")
    unsubscribe = await asked("unsubscribe", "type='result'>")
    assert (unsubscribe.get("node"), unsubscribe.get("jid")) == (MICROBLOG, far.home)
