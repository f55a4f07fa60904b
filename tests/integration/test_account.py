"""A person's account: policies of registration, a new handle, leaving, all his data."""

import asyncio
import json
import sys
from typing import Final
from xml.etree import ElementTree

import pytest

from tests.integration.test_questions import REGISTER, register
from tests.integration.world import World
from xmpprelay.config import Registration

OPEN: Final = Registration(policy="open")
CLOSED: Final = Registration(policy="closed")
REMOVE: Final = "<query xmlns='jabber:iq:register'><remove/></query>"


# Policies (S12.3)


async def test_where_all_may_write_the_first_post_makes_a_handle(world: World) -> None:
    await world.starts(registration=OPEN)
    [alice] = await world.people("alice")
    handle = alice.jid.partition("@")[0].replace("-", "_")
    answer = await alice.says("hello")
    assert answer == (
        f"ok #1: nobody follows you yet. You are @{handle} here; `:join NAME` changes that."
    )
    assert await alice.says("again") == "ok #2: nobody follows you yet"
    assert (await alice.says("whois @" + handle)).startswith(f"@{handle}, ")


async def test_a_handle_made_of_an_address_is_unlike_all_others(world: World) -> None:
    await world.starts(registration=OPEN)
    far = await world.far()
    answers = []
    for who in ("carol", "car0l", "admin", "x"):
        far.says(who, "hello")
        answer = await far.gets(kind="message", sender=far.home, to=f"{who}@{far.domain}")
        answers.append((answer.body or "").partition("@")[2].partition(" ")[0])
    assert answers == ["carol", "car0l_2", "u_admin", "x_2"]


async def test_where_nobody_may_join_a_stranger_is_told_so(world: World) -> None:
    await world.starts(registration=CLOSED)
    [alice] = await world.people("alice")
    refusal = await alice.is_refused("hello")
    assert refusal.condition == "registration-required"
    assert "takes nobody new" in refusal.text
    assert (await alice.is_refused("join alice")).condition == "not-allowed"
    await world.stops()
    await world.starts(registration=Registration())
    answer = await alice.says("join alice")
    assert answer.endswith("`help` lists more."), "nothing was kept"


async def test_what_was_kept_goes_to_followers_as_any_post_does(world: World) -> None:
    alice, bob = await world.people("alice", "bob")
    await alice.is_refused("hello #world")
    assert (await alice.says("join alice")).endswith("posted as #1.")
    assert await bob.says("last alice") == "alice: hello #world  #1 · now"
    assert await alice.says("why #1") == "#1 is not sent to you: it is your own post (S1.7)."


async def test_what_is_kept_and_too_long_is_not_posted_and_he_is_told(world: World) -> None:
    [alice] = await world.people("alice")
    await alice.is_refused("x" * 2001)
    answer = await alice.says("join alice")
    assert "What you wrote before was not posted: " in answer
    assert await alice.says("last alice") == "There are no posts of @alice to show."


# Renaming (S12.2)


async def test_after_a_rename_posts_come_from_the_new_address(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await alice.says("one")
    await bob.gets_post("one", sender=alice.author("alice"))
    assert (await alice.says(":join alicia")).startswith("You are @alicia now")
    await alice.says("two")
    await bob.gets_post("two", sender=alice.author("alicia"))
    assert await bob.says("following") == "You follow 1: @alicia"


async def test_the_old_address_tells_the_new_one(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await alice.says(":join alicia")
    refusal = await bob.is_refused("psst", bob.author("alice"))
    assert refusal.condition == "gone"
    assert refusal.text == f"{bob.author('alice')} is now {bob.author('alicia')}."
    asked = await bob.asks(bob.author("alice"), "<ping xmlns='urn:xmpp:ping'/>")
    assert asked.condition == "gone"
    await bob.leaves()
    await bob.comes()
    told = await bob.hears()
    assert told.startswith(f"{bob.author('alice')} is now {bob.author('alicia')}")
    await alice.says("still for bob")
    await bob.gets_post("still for bob", sender=alice.author("alicia"))


async def test_who_is_blocked_is_not_told_the_new_name(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await alice.says("block bob")
    await alice.says(":join alicia")
    nobody = await bob.asks(bob.author("nobody"), "<ping xmlns='urn:xmpp:ping'/>")
    before = await bob.asks(bob.author("alice"), "<ping xmlns='urn:xmpp:ping'/>")
    assert before.condition == nobody.condition
    assert before.text == nobody.text.replace("nobody@", "alice@")
    for name in ("alice", "alicia"):
        unknown = await bob.is_refused("whois @zz")
        refused = await bob.is_refused(f"whois @{name}")
        assert refused.text.replace(name, "zz") == unknown.text


# Leaving (S12, XEP-0077 §3.2)


async def test_one_leaves_by_the_clients_form(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.adds("alice")
    await alice.adds("bob")
    await alice.says("hello")
    await bob.gets_post("hello")
    answer = await alice.asks(alice.relay, REMOVE, "set")
    assert answer.type == "result"
    await alice.gets(kind="presence", type="unsubscribed", sender=alice.author("bob"))
    assert await bob.says("followers") == "Nobody follows you yet."
    form = await alice.asks(alice.relay, REGISTER)
    assert form.child("query", "jabber:iq:register") is not None
    assert await bob.is_refused("show #1")
    assert (await alice.asks(alice.relay, register("alice"), "set")).condition == "conflict"
    assert (await alice.asks(alice.relay, register("alina"), "set")).type == "result"


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_waits_of_somebody_who_has_left_does_not_come(
    world: World, restarted: bool
) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await bob.says("follow alice")
    await bob.says("follow carol")
    await bob.says("mentions all")
    await world.live(bob)
    await alice.says("@bob here you are")
    await bob.gets_post("@bob here you are")
    await world.settled()
    await bob.leaves()
    await alice.says("edit #1 @bob there you are")
    await alice.says("del #1")
    await alice.says("unseen")
    await alice.says("@bob unseen as well")
    await alice.says("d bob and this")
    await carol.says("seen")
    await alice.says("leave-relay yes")
    if restarted:
        await world.restarts()
    await bob.comes()
    await bob.gets_post("seen")
    await bob.fence()
    assert bob.posts() == ["@bob here you are", "seen"]


# All the data of one person


async def test_the_command_line_gives_all_that_is_held_of_somebody(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await alice.says("hello & <welcome>")
    await alice.says("replies all")
    await alice.says("profile url https://a.example")
    config = world.folder / "relay.toml"
    config.write_text(
        f'[xmpp]\ndomain = "{world.server.component_domain}"\nsecret = "x"\n'
        f'[store]\nurl = "sqlite:///{world.folder}/relay.db"\n'
    )
    lines = (await _run("export-data", alice.jid, "--config", str(config))).splitlines()
    data = [json.loads(line) for line in lines]
    assert [each["type"] for each in data] == [
        "person", "handle", "profile", "setting", "follower", "post",
    ]  # fmt: skip
    assert data[-1]["text"] == "hello & <welcome>"
    feed = ElementTree.fromstring(
        await _run("export-data", alice.jid, "--atom", "--config", str(config))
    )
    atom = "{http://www.w3.org/2005/Atom}"
    assert [e.findtext(f"{atom}content") for e in feed.iter(f"{atom}entry")] == [
        "hello & <welcome>"
    ]
    assert feed.findtext(f"{atom}title")
    nobody = await _run("export-data", "nobody@example.org", "--config", str(config), fails=True)
    assert "nobody@example.org is not known" in nobody


async def _run(*arguments: str, fails: bool = False) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "xmpprelay", "people", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode != 0) is fails, err.decode()
    return (err if fails else out).decode()
