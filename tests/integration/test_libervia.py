"""Somebody who posts with Libervia's command line, at his author's address or at his own.

Libervia's backend is logged in with the priority 50, and whatever comes for his bare JID goes to
the highest; so his other client has a higher one here, to hear what home@relay has to say.
"""

import json
from pathlib import Path
from typing import Any

from tests.integration.clients import Person
from tests.integration.world import World
from tests.servers.libervia import Libervia
from tests.servers.rare import needs
from tests.servers.towns import TOWNS

RUNS_IN = TOWNS[:1]  # all of it is between the client and the relay
pytestmark = needs("dbus-daemon", "libervia-backend", "libervia-cli")

NODE = "urn:xmpp:microblog:0"
REPLACE = "urn:xmpp:message-correct:0"


async def an_author(world: World, name: str) -> Person:
    """Somebody who has joined, and who hears with his other client as well."""
    await world.starts()
    person = await world.person(name)
    await person.comes("<presence><priority>100</priority></presence>")
    return await person.joins(name)


def an_editor(folder: Path, text: str) -> str:
    """A program that puts this text into the file it is given."""
    program = folder / "editor"
    program.write_text(f"#!/bin/sh\necho '{text}' >\"$1\"\n")
    program.chmod(0o700)
    return str(program)


def _at(author: str) -> tuple[str, ...]:
    return "--service", author, "--node", NODE


async def entries(client: Libervia, author: str) -> list[dict[str, Any]]:
    """What Libervia makes of an author's posts; not what it has kept of an earlier answer."""
    got = await client.runs(
        *("blog", "get", "--service", author, "--max-items", "20", "--no-cache", "-O", "json-raw")
    )
    found: list[dict[str, Any]] = json.loads(got)[0]
    return found


async def test_a_reader_pages_through_a_node_and_answers(world: World, short_path: Path) -> None:
    alice = await an_author(world, "alice")
    [bob] = await world.authors("bob")
    for number in range(25):
        await bob.says(f"number {number}")
    async with Libervia(alice.account, short_path) as client:
        at = _at(bob.author("bob"))
        everything = ("blog", "get", *at, "--max", "30", "-O", "json-raw")
        await client.runs(*everything)
        # It has kept all pages by now, if it knows that there are any, and shows what it has kept.
        found = json.loads(await client.runs(*everything))[0]
        assert [each["content"] for each in found] == [f"number {number}" for number in range(25)]
        [comments] = found[3]["comments"]
        answers = ("--service", comments["service"], "--node", comments["node"])
        await client.runs("blog", "set", *answers, given="Which number?")
        await bob.gets_post("@bob Which number?")
        shown = await client.runs("blog", "get", *answers, "--no-cache", "-O", "json-raw")
        [answer] = json.loads(shown)[0]
        assert (answer["content"], answer["author"]) == ("@bob Which number?", "alice")


async def test_an_author_publishes_reads_edits_and_deletes(world: World, short_path: Path) -> None:
    alice = await an_author(world, "alice")
    [bob] = await world.authors("bob")
    await bob.adds("alice")
    author = alice.author("alice")
    async with Libervia(alice.account, short_path) as client:
        said = await client.runs("blog", "set", *_at(author), given="Tea, &amp; <b>milk</b>?")
        assert said.startswith("Item published with ID "), said
        first = said.split()[-1]
        await bob.gets_post("Tea, & milk?", sender=author)
        titled = ("--title", "On tea", "--tag", "tea", "--language", "de")
        await client.runs("blog", "set", *_at(author), *titled, given="Two lines<br/>of tea")
        await bob.gets_post("Two lines\nof tea #tea", sender=author)

        oldest, newest = await entries(client, author)
        assert (oldest["id"], oldest["content"]) == (first, "Tea, & milk?")
        assert (newest["content"], newest["tags"]) == ("Two lines\nof tea #tea", ["tea"])
        assert (newest["language"], newest["author_jid"]) == ("de", author)

        item = ("--item", first)
        editor = an_editor(short_path, "No tea")
        await client.runs("blog", "edit", *_at(author), *item, EDITOR=editor)
        assert (await bob.gets_post("No tea", sender=author)).has("replace", REPLACE)

        await client.runs("pubsub", "delete", *_at(author), "--item", newest["id"], "--force")
        [left] = await entries(client, author)
        assert (left["id"], left["content"]) == (first, "No tea")
        listed = await bob.says("last alice")
        assert listed.startswith("alice: No tea  #1"), listed
        assert "\n" not in listed

        await bob.says("protect on")
        code, _, complaint = await client.tries("blog", "set", *_at(bob.author("bob")), given="x")
        assert (code, "This node is @bob's alone." in complaint) == (4, True), complaint
        code, _, complaint = await client.tries("blog", "get", *_at(bob.author("bob")))
        assert (code, "@bob lets approved followers read" in complaint) == (4, True), complaint


async def test_what_an_author_publishes_at_home_is_posted_edited_and_deleted(
    world: World, short_path: Path
) -> None:
    alice = await an_author(world, "alice")
    [bob] = await world.authors("bob")
    await bob.adds("alice")
    await alice.adds("bob")
    await world.live(alice)  # so home@relay sees when she is there, and may read her node
    author = alice.author("alice")
    async with Libervia(alice.account, short_path) as client:
        await client.runs("blog", "set", given="It was before, and is history.")
        assert "But" not in await alice.says("source pep")
        await client.runs("blog", "set", given="Tea at home?")
        await bob.gets_post("Tea at home?", sender=author)
        titled = ("--title", "On tea", "--tag", "tea")
        said = await client.runs("blog", "set", *titled, given="<p>One cup</p><p>Two cups</p>")
        item = ("--item", said.split()[-1])
        await bob.gets_post("One cup\n\nTwo cups #tea", sender=author)
        await client.runs("blog", "edit", *item, EDITOR=an_editor(short_path, "No cup"))
        edited = await bob.gets_post("No cup #tea", sender=author)
        assert edited.has("replace", REPLACE)
        await client.runs("pubsub", "delete", "--node", NODE, *item, "--force")
        # What is deleted there goes the way of what is published there, behind it.
        await client.runs("blog", "set", given="The fence")
        await bob.gets_post("The fence")
        listed = await bob.says("last alice")
        assert [line.partition("  #")[0] for line in listed.splitlines()] == [
            "alice: Tea at home?",
            "alice: The fence",
        ]
