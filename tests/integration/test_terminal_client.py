"""Somebody with a terminal client (profanity): what he types, and what he sees on his screen."""

from pathlib import Path

from tests.integration.terminal import Terminal
from tests.integration.world import World
from tests.servers import new_account


async def test_he_joins_follows_answers_blocks_and_runs_a_command(
    world: World, short_path: Path
) -> None:
    [alice] = await world.authors("alice")
    account = await new_account(world.server, "bob")
    async with Terminal(short_path, "profanity") as bob:
        await bob.shows("Profanity")
        await bob.types("/splash off")
        await bob.types(
            f"/connect {account.jid} server {account.host} port {account.port} tls disable"
        )
        await bob.shows("Enter password")
        await bob.types(account.password)
        await bob.shows("logged in successfully")
        await bob.types(f"/msg {alice.home} join bob")
        await bob.shows("Welcome, @bob.")
        await bob.types("follow alice")
        await bob.shows("You follow @alice now.")
        await alice.hears()
        await alice.says("hello, is anybody there?")
        await bob.shows("alice: hello, is anybody there? #1")
        await bob.types("re #1 I am")
        await bob.shows("ok #2")
        await alice.gets_post("@alice I am", sender=alice.home)
        await bob.types("block alice")
        await bob.shows("Nothing passes between you and")
        await alice.says("still there?")
        await alice.fence()
        await bob.types(f"/cmd exec ping {alice.home}")
        screen = await bob.shows("pong")
        assert "still there?" not in screen
