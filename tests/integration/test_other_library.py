"""People whose client is made with another library than the relay (aioxmpp)."""

import pytest

from tests.integration.world import World
from tests.servers import new_account
from tests.servers.aioxmpp import PYTHON, AioxmppClient

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="aioxmpp has no environment here: tools/setup test makes it"
)


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
