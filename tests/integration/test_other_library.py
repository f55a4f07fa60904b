"""People whose client is made with another library than the relay (aioxmpp)."""

import pytest

from tests.integration.test_profiles import card, jpeg
from tests.integration.world import World
from tests.servers import new_account
from tests.servers.aioxmpp import PYTHON, AioxmppClient

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="aioxmpp has no environment here: tools/setup test makes it"
)


NODE = "urn:xmpp:microblog:0"


async def client(world: World, name: str) -> AioxmppClient:
    return AioxmppClient(await new_account(world.server, name))


async def test_a_follower_gets_posts_live_and_after_an_absence(world: World) -> None:
    [alice] = await world.authors("alice")
    address = alice.author("alice")
    bob = await client(world, "bob")
    async with bob:
        await bob.do("subscribe", to=address)
        await bob.next("presence", type="subscribe", **{"from": alice.home})
        await bob.do("subscribed", to=alice.home)
        await bob.next("presence", type="subscribed", **{"from": address})
        await bob.next("presence", type="available", **{"from": address})
        await alice.says("grüße & <b>")
        got = await bob.next("message", **{"from": address})
        assert (got["body"], got["type"], got["delay"]) == ("grüße & <b>", "chat", None)
    await alice.says("while he is away")
    async with bob:
        late = await bob.next("message", **{"from": address})
        assert late["body"] == "while he is away"
        assert late["delay"] is not None
        await bob.do("send_chat", to=alice.home, body="unfollow alice")
        await bob.next("presence", type="unsubscribed", **{"from": address})


async def test_commands_are_forms_for_it(world: World) -> None:
    [alice] = await world.authors("alice")
    async with await client(world, "bob") as bob:
        done = await bob.do("command", to=alice.home, node="ping")
        assert (done["status"], done["notes"], done["fields"]) == ("completed", ["pong"], [])
        done = await bob.do("command", to=alice.home, node="follow", who="alice")
        assert (done["status"], done["fields"]) == ("completed", ["who"])
        assert done["notes"] == ["You follow @alice now. `unfollow alice` ends it."]
        await alice.says("hello")
        assert (await bob.next("message", **{"from": alice.home}))["body"] == "alice: hello  #1"


async def test_an_author_joins_posts_and_is_told(world: World) -> None:
    [bob] = await world.people("bob")
    async with await client(world, "alice") as alice:
        for text, answer in (
            (
                "join alice",
                "Welcome, @alice. What you write here is posted now; `help` lists more.",
            ),
            ("hello", "ok #1: nobody follows you yet"),
        ):
            await alice.do("send_chat", to=bob.home, body=text)
            assert (await alice.next("message"))["body"] == answer
        await bob.adds("alice")
        await alice.next("message")  # bob follows you
        await alice.do("send_chat", to=bob.home, body="hello again\nin two lines", id="one")
        assert (await alice.next("message"))["body"] == "ok #2: 1 person"
        await bob.gets_post("hello again\nin two lines", sender=bob.author("alice"))
        await alice.do("send_chat", to=bob.home, body="d bob psst")
        assert (await alice.next("message"))["type"] == "error"
        await bob.fence()
        assert bob.posts() == ["hello again\nin two lines"]


async def test_a_subscriber_gets_posts_edits_and_retractions_until_he_ends_it(
    world: World,
) -> None:
    [alice] = await world.authors("alice")
    node = {"to": alice.author("alice"), "node": NODE}
    async with await client(world, "bob") as bob:
        assert (await bob.do("pubsub_subscribe", **node))["state"] == "subscribed"
        await bob.next("presence", type="subscribe", **{"from": alice.home})
        await bob.do("subscribed", to=alice.home)
        await alice.says("grüße & #tea")
        item = await bob.next("item", **{"from": node["to"]})
        assert (item["node"], item["publisher"]) == (NODE, node["to"])
        assert (item["text"], item["tags"], item["body"]) == ("grüße & #tea", ["tea"], None)
        await alice.says("edit #1 grüße")
        edited = await bob.next("item", id=item["id"])
        assert (edited["text"], edited["tags"]) == ("grüße", [])
        await alice.says("del #1")
        await bob.next("retracted", node=NODE, id=item["id"])
        await bob.do("pubsub_unsubscribe", **node)
        await alice.says("nobody subscribes")
        await bob.do("pubsub_subscribe", **node)
        await alice.says("bob does again")
        assert (await bob.next("item"))["text"] == "bob does again"
        listed = await bob.do("pubsub_items", most=5, **node)
        assert [each["text"] for each in listed["items"]] == ["nobody subscribes", "bob does again"]


async def test_a_subscription_to_a_protected_author_is_pending_until_he_agrees(
    world: World,
) -> None:
    [alice] = await world.authors("alice")
    await alice.says("protect on")
    node = {"to": alice.author("alice"), "node": NODE}
    async with await client(world, "bob") as bob:
        assert (await bob.do("pubsub_subscribe", **node))["state"] == "pending"
        assert (await bob.do("pubsub_subscriptions", **node))["states"] == ["pending"]
        with pytest.raises(AssertionError, match="not-authorized"):
            await bob.do("pubsub_items", **node)
        await alice.says("for those whom I know")
        asked = bob.jid.partition("/")[0]
        await alice.says(f"approve {asked}")
        await bob.next("subscription", state="subscribed", jid=asked)
        await bob.do("subscribed", to=alice.home)
        await alice.says("for bob as well")
        assert (await bob.next("item"))["text"] == "for bob as well"


async def test_an_author_publishes_answers_edits_and_retracts_by_pubsub(world: World) -> None:
    [bob] = await world.authors("bob")
    await bob.says("Tea?")
    async with await client(world, "alice") as alice:
        await alice.do("send_chat", to=bob.home, body="join alice")
        await alice.next("message")
        await bob.adds("alice")
        own = {"to": bob.author("alice"), "node": NODE}
        [question] = (await alice.do("pubsub_items", to=bob.author("bob"), node=NODE))["items"]
        done = await alice.do("pubsub_publish", text="hello", id="one", language="en-GB", **own)
        assert done["id"] == "one"
        await bob.gets_post("hello", sender=own["to"])
        where = f"xmpp:{bob.author('bob')}?;node=urn%3Axmpp%3Amicroblog%3A0;item={question['id']}"
        await alice.do("pubsub_publish", text="Yes, please", answers=where, **own)
        answer = await bob.gets_post("@bob Yes, please", sender=own["to"])
        thread = answer.child("thread")
        assert thread is not None
        assert thread.text == question["id"]
        await alice.do("pubsub_publish", text="hello again", id="one", **own)
        assert (await bob.gets_post("hello again")).has("replace", "urn:xmpp:message-correct:0")
        await alice.do("pubsub_retract", id="one", **own)
        [left] = (await alice.do("pubsub_items", **own))["items"]
        assert left["text"] == "@bob Yes, please"
        with pytest.raises(AssertionError, match="forbidden"):
            await alice.do("pubsub_publish", text="x", to=bob.author("bob"), node=NODE)


async def test_it_finds_and_verifies_the_picture_of_an_author(world: World) -> None:
    [alice] = await world.authors("alice")
    address = alice.author("alice")
    async with await client(world, "bob") as bob:
        assert (await bob.do("avatar", to=address))["pictures"] == []
        new = card(jpeg(), NICKNAME="Ally")
        assert (await alice.asks(address, new, "set")).type == "result"
        shown = world.service.profiles.of(world.person_id(alice)).picture
        assert shown is not None
        [found] = (await bob.do("avatar", to=address))["pictures"]
        assert found == {
            "id": shown.sha1, "type": "image/png", "width": 256, "bytes": shown.size_bytes,
            "by": "PubsubAvatarDescriptor",
        }  # fmt: skip
