"""Posts by pubsub: published by their author, read by anybody, sent to who has subscribed."""

from tests.integration.clients import Person
from tests.integration.pubsub import (
    ATOM,
    EVENT,
    MICROBLOG,
    PUBSUB,
    THREAD,
    body_option,
    entry,
    is_event,
    items,
    publish,
    published,
    pubsub,
    retract,
    specific,
    subscribe,
    texts,
    the_entry,
    unsubscribe,
)
from tests.integration.test_interests import answer_of, showing, tells
from tests.integration.world import World
from xmpprelay.core.atom import item_uri


async def follows_by_pubsub(person: Person, handle: str, options: str = "") -> None:
    answer = await person.asks(person.author(handle), subscribe(person.jid, options=options), "set")
    found = answer.xml.find(f".//{{{PUBSUB}}}subscription")
    assert found is not None, answer
    assert found.get("subscription") == "subscribed", answer


async def test_a_published_entry_is_a_post_to_everybody(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await bob.adds("alice")
    await carol.says("follow alice")
    await world.live(bob, carol)
    name = await published(alice, "alice", "Tea?")
    got = await bob.gets_post("Tea?", sender=bob.author("alice"))
    assert got.post_id == name
    await carol.gets_post("Tea?", sender=carol.home)
    answer = await bob.asks(bob.author("alice"), items())
    assert texts(answer) == {name: "Tea?"}
    assert the_entry(answer).findtext(f"{{{ATOM}}}author/{{{ATOM}}}uri") == (
        f"xmpp:{bob.author('alice')}"
    )


async def test_the_same_id_again_is_an_edit_and_the_same_again_changes_nothing(
    world: World,
) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await world.live(bob)
    assert await published(alice, "alice", "Tea?", "first") == "first"
    got = await bob.gets_post("Tea?")
    assert await published(alice, "alice", "Tea?", "first") == "first"
    assert await published(alice, "alice", "Coffee!", "first") == "first"
    edited = await bob.gets_post("Coffee!")
    replaced = edited.child("replace", "urn:xmpp:message-correct:0")
    assert replaced is not None
    assert replaced.get("id") == got.post_id
    assert bob.posts() == ["Tea?", "Coffee!"]
    answer = await bob.asks(bob.author("alice"), items("<item id='first'/>"))
    assert texts(answer) == {"first": "Coffee!"}
    updated = the_entry(answer).findtext(f"{{{ATOM}}}updated", "")
    assert updated > the_entry(answer).findtext(f"{{{ATOM}}}published", "")


async def test_a_retracted_item_is_deleted_for_everybody(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await world.live(bob)
    await published(alice, "alice", "Tea?", "first")
    got = await bob.gets_post("Tea?")
    answer = await alice.asks(alice.author("alice"), retract("first"), "set")
    assert answer.type == "result"
    gone = await bob.gets(lambda each: each.has("retract", "urn:xmpp:message-retract:1"))
    retracted = gone.child("retract", "urn:xmpp:message-retract:1")
    assert retracted is not None
    assert retracted.get("id") == got.post_id
    assert texts(await bob.asks(bob.author("alice"), items())) == {}
    again = await alice.asks(alice.author("alice"), retract("first"), "set")
    assert again.condition == "item-not-found"
    anew = await alice.asks(alice.author("alice"), publish(entry("Tea!"), "first"), "set")
    assert anew.condition == "conflict"


async def test_an_entry_that_answers_a_post_is_a_reply(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    name = await published(alice, "alice", "Tea?", "first")
    where = item_uri(alice.author("alice"), MICROBLOG, name)
    reply = entry("with milk", f"<thr:in-reply-to ref='x' href='{where}'/>")
    answer = await bob.asks(bob.author("bob"), publish(reply), "set")
    assert answer.type == "result", answer
    got = await alice.gets_post("@alice with milk", sender=alice.home)
    comments = f"{MICROBLOG}:comments/{name}"
    found = await alice.asks(alice.author("alice"), items(node=comments))
    assert texts(found) == {got.post_id: "@alice with milk"}
    answered = the_entry(found).find(f"{{{THREAD}}}in-reply-to")
    assert answered is not None
    assert answered.get("href") == where


async def test_an_entry_never_answers_a_direct_message(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await alice.says("follow bob")
    await alice.says("d bob just you")
    letter = await bob.gets_post("just you")
    where = item_uri(bob.author("alice"), MICROBLOG, letter.post_id or "")
    reply = entry("all of you", f"<thr:in-reply-to ref='x' href='{where}'/>")
    answer = await bob.asks(bob.author("bob"), publish(reply), "set")
    assert answer.condition == "not-allowed"
    await alice.fence()
    assert alice.posts() == []


async def test_a_comment_is_a_reply_whatever_id_it_has(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await published(alice, "alice", "Tea?", "first")
    node = f"{MICROBLOG}:comments/first"
    for person in (bob, carol):
        comment = publish(entry(f"yes, says {person.jid}"), "1", node)
        answer = await person.asks(person.author("alice"), comment, "set")
        assert answer.type == "result", answer
    again = publish(entry("no"), "1", node)
    assert (await bob.asks(bob.author("alice"), again, "set")).type == "result"
    found = texts(await carol.asks(carol.author("alice"), items(node=node)))
    assert list(found.values()) == ["@alice no", f"@alice yes, says {carol.jid}"]
    assert (await bob.asks(bob.author("alice"), retract("1", node), "set")).type == "result"
    found = texts(await carol.asks(carol.author("alice"), items(node=node)))
    assert list(found.values()) == [f"@alice yes, says {carol.jid}"]


async def test_a_subscriber_gets_events_and_no_chat(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await follows_by_pubsub(bob, "alice")
    await follows_by_pubsub(carol, "alice", body_option("1"))
    await world.live(bob, carol)
    name = await published(alice, "alice", "Tea?", "first")
    for person in (bob, carol):
        got = await person.gets(is_event, sender=person.author("alice"))
        assert texts(got) == {name: "Tea?"}
        assert got.type == "headline"
        assert got.body == (None if person is bob else "Tea?")
    await published(alice, "alice", "Coffee!", "first")
    assert texts(await bob.gets(is_event)) == {name: "Coffee!"}
    assert (await carol.gets(is_event)).body == "Coffee!"
    await alice.asks(alice.author("alice"), retract("first"), "set")
    for person in (bob, carol):
        gone = (await person.gets(is_event)).xml.find(f".//{{{EVENT}}}retract")
        assert gone is not None
        assert gone.get("id") == "first"
    await bob.fence()
    assert bob.posts() == []


async def test_what_is_for_a_subscriber_comes_so_that_any_client_shows_it(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await follows_by_pubsub(bob, "alice")
    await world.live(bob)
    await alice.says("@bob tea?")
    got = await bob.gets(is_event)
    assert (got.type, got.body) == ("chat", "@bob tea?")
    await bob.says("follow alice")
    await alice.says("d bob just you")
    letter = await bob.gets_post("just you")
    assert not is_event(letter)


async def test_a_boost_is_an_item_that_names_whom_it_repeats(world: World) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await follows_by_pubsub(carol, "bob")
    await world.live(carol)
    name = await published(alice, "alice", "Tea?", "first")
    short = (await bob.says("last alice")).rpartition("#")[2].split()[0]
    await bob.says(f"boost #{short}")
    repeated = the_entry(await carol.gets(is_event, sender=carol.author("bob")))
    assert repeated.findtext(f"{{{ATOM}}}author/{{{ATOM}}}name") == "alice"
    links = {each.get("rel"): each.get("href") for each in repeated.iter(f"{{{ATOM}}}link")}
    assert links["via"] == item_uri(carol.author("alice"), MICROBLOG, name)


async def test_what_is_published_under_the_id_of_a_boost_is_refused(world: World) -> None:
    """A boost has no text of its own: it would have become the new text of what it repeats."""
    [alice] = await world.authors("alice")
    name = await published(alice, "alice", "Tea?", "first")
    await alice.says("boost #" + (await alice.says("last alice")).rpartition("#")[2].split()[0])
    there = alice.author("alice")
    boost, *_ = [each for each in texts(await alice.asks(there, items())) if each != name]
    answer = await alice.asks(there, publish(entry("Coffee!"), boost), "set")
    assert answer.condition == "not-allowed"
    assert set(texts(await alice.asks(there, items())).values()) == {"Tea?"}


async def test_the_end_of_a_subscription_ends_the_follow_by_all_doors(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await follows_by_pubsub(bob, "alice")
    answer = await bob.asks(bob.author("alice"), unsubscribe(bob.jid), "set")
    assert answer.type == "result"
    await bob.gets(kind="presence", type="unsubscribed", sender=bob.author("alice"))
    assert "nobody" in await bob.says("following")
    again = await bob.asks(bob.author("alice"), unsubscribe(bob.jid), "set")
    assert (again.condition, specific(again)) == ("unexpected-request", "not-subscribed")
    await follows_by_pubsub(bob, "alice")
    await alice.says(f"lose {bob.jid}")
    lost = (await bob.gets(is_event)).xml.find(f".//{{{EVENT}}}subscription")
    assert lost is not None
    assert lost.get("subscription") == "none"


async def test_a_protected_author_is_asked_and_then_read(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    name = await published(alice, "alice", "Tea?")
    await alice.says("protect on")
    closed = await bob.asks(bob.author("alice"), items())
    assert (closed.condition, specific(closed)) == ("not-authorized", "not-subscribed")
    answer = await bob.asks(bob.author("alice"), subscribe(bob.jid), "set")
    pending = answer.xml.find(f".//{{{PUBSUB}}}subscription")
    assert pending is not None
    assert pending.get("subscription") == "pending"
    again = await bob.asks(bob.author("alice"), subscribe(bob.jid), "set")
    assert (again.condition, specific(again)) == ("not-authorized", "pending-subscription")
    await alice.says("approve bob")
    told = (await bob.gets(is_event)).xml.find(f".//{{{EVENT}}}subscription")
    assert told is not None
    assert told.get("subscription") == "subscribed"
    assert texts(await bob.asks(bob.author("alice"), items())) == {name: "Tea?"}
    await world.live(bob)
    later = await published(alice, "alice", "More tea?")
    assert texts(await bob.gets(is_event)) == {later: "More tea?"}


async def test_who_is_blocked_reads_nothing_and_asks_for_ever(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await published(alice, "alice", "Tea?", "first")
    await alice.says("block bob")
    nobody = await bob.asks(bob.author("nobody"), items())
    for asked in (items(), items("<item id='first'/>"), pubsub("<subscriptions/>")):
        hidden = await bob.asks(bob.author("alice"), asked)
        assert hidden.condition == "item-not-found"
        assert hidden.text == nobody.text.replace("nobody", "alice")
    answer = await bob.asks(bob.author("alice"), subscribe(bob.jid), "set")
    pending = answer.xml.find(f".//{{{PUBSUB}}}subscription")
    assert pending is not None
    assert pending.get("subscription") == "pending"
    assert "has not asked" not in await alice.says("requests")


async def test_pages_go_on_from_an_item(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    for number in range(7):
        await published(alice, "alice", f"post {number}", f"n{number}")
    ask = lambda page="", **more: bob.asks(bob.author("alice"), items(page=page, **more))  # noqa: E731
    assert list(texts(await ask(max_items="2"))) == ["n5", "n6"]
    assert list(texts(await ask(max_items="1000000"))) == [f"n{each}" for each in range(7)]
    assert list(texts(await ask("<max>3</max>"))) == ["n0", "n1", "n2"]
    assert list(texts(await ask("<max>3</max><after>n2</after>"))) == ["n3", "n4", "n5"]
    assert list(texts(await ask("<max>3</max><before/>"))) == ["n4", "n5", "n6"]
    assert list(texts(await ask("<max>3</max><before>n4</before>"))) == ["n1", "n2", "n3"]
    assert list(texts(await ask("<max>3</max><after>n6</after>"))) == []
    await alice.asks(alice.author("alice"), retract("n2"), "set")
    assert list(texts(await ask("<max>1</max><after>n2</after>"))) == ["n3"]
    lost = await ask("<max>3</max><after>unknown</after>")
    assert lost.condition == "item-not-found"


async def test_a_device_that_wants_events_gets_them_besides_the_chat(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await world.live(bob)
    wants = answer_of(f"{MICROBLOG}+notify")
    tells(bob, wants)
    bob.sends_raw(showing(wants))
    devices = world.service.interests.devices
    await world.until(lambda: bool(devices(world.person_id(bob), MICROBLOG)))
    name = await published(alice, "alice", "Tea?", "first")
    await bob.gets_post("Tea?", sender=bob.author("alice"))
    copy = await bob.gets(is_event, sender=bob.author("alice"))
    assert copy.to == bob.full_jid
    assert texts(copy) == {name: "Tea?"}
    await alice.asks(alice.author("alice"), retract("first"), "set")
    await bob.gets(lambda each: each.has("retract", "urn:xmpp:message-retract:1"))
    gone = (await bob.gets(is_event)).xml.find(f".//{{{EVENT}}}retract")
    assert gone is not None
    assert gone.get("id") == name


async def test_who_was_away_has_the_events_when_he_returns_and_once(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await follows_by_pubsub(bob, "alice")
    await world.live(bob)
    await bob.leaves()
    await world.away(bob)
    names = [await published(alice, "alice", f"post {n}", f"n{n}") for n in range(3)]
    await bob.comes()
    held = [await bob.gets(is_event) for _ in names]
    assert [list(texts(each)) for each in held] == [[name] for name in names]
    assert all(each.has("delay", "urn:xmpp:delay") for each in held)
    later = await published(alice, "alice", "live")
    assert list(texts(await bob.gets(is_event))) == [later]
    assert not [each for each in bob.mail.waiting if is_event(each)]


async def test_subscriptions_and_items_are_there_after_a_restart(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await follows_by_pubsub(bob, "alice", body_option("1"))
    name = await published(alice, "alice", "Tea?", "first")
    await world.restarts()
    await world.live(bob)
    answer = await bob.asks(bob.author("alice"), items())
    assert texts(answer) == {name: "Tea?"}
    await published(alice, "alice", "Coffee!", "first")
    edited = await bob.gets(lambda each: is_event(each) and each.body == "Coffee!")
    assert texts(edited) == {name: "Coffee!"}


async def test_an_author_is_told_what_the_result_does_not_say(world: World) -> None:
    [alice] = await world.authors("alice")
    answer = await alice.asks(alice.author("alice"), publish(entry("@nobody hello")), "set")
    assert answer.type == "result"
    assert "no @nobody here" in await alice.hears()
