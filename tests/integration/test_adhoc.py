"""Ad-hoc commands (XEP-0050): the same as typed ones, asked for by slixmpp's own plug-in."""

from dataclasses import replace
from typing import Any, Final
from xml.etree.ElementTree import Element

import pytest
from slixmpp.exceptions import IqError

from tests.integration.clients import Person
from tests.integration.test_questions import info
from tests.integration.world import World
from xmpprelay.commands.verbs import VERBS

COMMANDS: Final = "http://jabber.org/protocol/commands"
DATA: Final = "jabber:x:data"


class Client:
    """Somebody with slixmpp's plug-in for ad-hoc commands."""

    def __init__(self, person: Person) -> None:
        self.person = person
        client = person._connected()
        for name in ("xep_0030", "xep_0004", "xep_0050"):
            client.register_plugin(name)
        self._plugin: Any = client.plugin["xep_0050"]

    async def nodes(self, at: str) -> list[str]:
        """The commands that there are, as a client shows them."""
        found = await self._plugin.get_commands(jid=at)
        return [node for _, node, _ in found["disco_items"]["items"]]

    async def starts(self, node: str, at: str | None = None) -> Any:
        """Execute a command; gives the <command/> of the answer."""
        iq = await self._plugin.send_command(at or self.person.home, node, action="execute")
        return iq["command"]

    async def fills(self, node: str, at: str | None = None, **values: Any) -> Any:
        """Execute a command, fill in its form as it came, with these values, and complete it."""
        started = await self.starts(node, at)
        assert started["status"] == "executing"
        form = started["form"]
        before = form.get_values()
        form.reply()
        assert values.keys() <= before.keys(), f"there are {list(before)}"
        submitted = {n: v for n, v in {**before, **values}.items() if v is not None}
        form.set_values(submitted)
        iq = await self._plugin.send_command(
            at or self.person.home,
            node,
            action="complete",
            payload=form,
            sessionid=started["sessionid"],
        )
        return iq["command"]


def note(command: Any) -> tuple[str, str]:
    """The type and the text of the only note."""
    [found] = command["notes"]
    return found


def fields(command: Any) -> dict[str, Element]:
    return {each.get("var"): each for each in command.xml.iter(f"{{{DATA}}}field")}


def value(field: Element) -> str | None:
    found = field.find(f"{{{DATA}}}value")
    return None if found is None else found.text


# What there is


async def test_every_command_that_works_is_a_node_at_home_and_at_the_domain(world: World) -> None:
    [alice] = await world.people("alice")
    client = Client(alice)
    for address in (alice.home, alice.relay):
        assert set(await client.nodes(address)) == {*(verb.name for verb in VERBS), "settings"}
        _, features = await info(alice, address)
        assert COMMANDS in features


async def test_at_an_author_there_are_commands_about_a_person(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    nodes = await Client(bob).nodes(alice.author("alice"))
    assert {"follow", "unfollow", "last", "whois"} <= set(nodes)
    assert not {"settings", "ping", "join", "leave-relay"} & set(nodes)


async def test_a_node_tells_what_it_is(world: World) -> None:
    [alice] = await world.people("alice")
    info_of = "<query xmlns='http://jabber.org/protocol/disco#info' node='{}'/>"
    answer = await alice.asks(alice.home, info_of.format("follow"))
    query = answer.xml[0]
    assert query.get("node") == "follow"
    assert [(each.get("category"), each.get("type")) for each in query if each.get("category")] == [
        ("automation", "command-node")
    ]
    assert {each.get("var") for each in query if each.get("var")} == {COMMANDS, DATA}
    for node in ("nonsense", "admin-block"):
        answer = await alice.asks(alice.home, info_of.format(node))
        assert answer.condition == "item-not-found"


# Running them


async def test_a_command_without_arguments_runs_at_once(world: World) -> None:
    [alice] = await world.people("alice")
    done = await Client(alice).starts("ping")
    assert (done["status"], note(done)) == ("completed", ("info", "pong"))
    shown = await Client(alice).starts("help")
    assert shown["status"] == "executing", "its argument is optional, so there is a form"


async def test_one_joins_follows_and_reads_by_forms_alone(world: World) -> None:
    alice, bob = await world.people("alice", "bob")
    by_alice, by_bob = Client(alice), Client(bob)
    done = await by_alice.fills("join", handle="alice")
    assert note(done)[1].startswith("Welcome, @alice")
    done = await by_bob.fills("follow", who="alice")
    assert note(done) == ("info", "You follow @alice now. `unfollow alice` ends it.")
    await alice.says("one")
    await alice.says("two\nlines")
    done = await by_bob.fills("last", who="@alice", n="2")
    assert value(fields(done)["result"]) == "alice: one  #1 · now"
    lines = [each.text for each in fields(done)["result"].iter(f"{{{DATA}}}value")]
    assert lines == ["alice: one  #1 · now", "alice: two", "lines  #2 · now"]
    assert await bob.says("following") == "You follow 1: @alice"


async def test_at_an_author_the_form_has_that_author_filled_in(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    started = await Client(bob).starts("follow", alice.author("alice"))
    assert value(fields(started)["who"]) == "@alice"
    done = await Client(bob).fills("follow", alice.author("alice"))
    assert note(done)[1].startswith("You follow @alice now")


async def test_fields_have_fitting_types(world: World) -> None:
    [alice] = await world.people("alice")
    client = Client(alice)
    types = {}
    for node in ("quiet", "replies", "last"):
        started = await client.starts(node)
        types[node] = {name: each.get("type") for name, each in fields(started).items()}
        assert started["actions"] == {"complete"}
    assert types == {
        "quiet": {"setting": "boolean"},
        "replies": {"setting": "list-single"},
        "last": {"who": "text-single", "n": "text-single"},
    }


# What does not go


async def test_a_form_sent_back_half_filled_changes_nothing(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    for values in ({"who": ""}, {"who": "not a name"}):
        with pytest.raises(IqError) as refused:
            await Client(bob).fills("follow", **values)
        error = refused.value.iq["error"]
        assert (error["condition"], error["type"]) == ("bad-request", "modify")
        assert error.xml.find(f"{{{COMMANDS}}}bad-payload") is not None
        assert error["text"].endswith(".")
    assert (await bob.says("following")).startswith("You follow nobody")
    assert alice.posts() == []


async def test_what_a_command_refuses_is_a_note(world: World) -> None:
    [alice] = await world.people("alice")
    done = await Client(alice).fills("follow", who="nobody")
    assert done["status"] == "completed"
    assert note(done)[0] == "error"
    assert note(done)[1].startswith("There is no @nobody here.")


@pytest.mark.parametrize(
    ("attributes", "inside", "condition", "specific"),
    [
        ("node='nonsense'", "", "item-not-found", None),
        ("", "", "item-not-found", None),
        ("node='admin-block'", "", "item-not-found", None),
        ("node='follow' action='jump'", "", "bad-request", "malformed-action"),
        ("node='follow' action='prev'", "", "bad-request", "bad-action"),
        ("node='follow' action='next'", "", "bad-request", "bad-action"),
        ("node='follow' action='complete'", "", "bad-request", "bad-payload"),
        ("node='follow'", f"<x xmlns='{DATA}' type='submit'/>", "bad-request", "bad-payload"),
    ],
)
async def test_a_wrong_request_is_told_from_a_wrong_form(
    world: World, attributes: str, inside: str, condition: str, specific: str | None
) -> None:
    [alice] = await world.people("alice")
    command = f"<command xmlns='{COMMANDS}' {attributes}>{inside}</command>"
    answer = await alice.asks(alice.home, command, "set")
    assert answer.condition == condition
    assert answer.text
    error = answer.child("error")
    assert error is not None
    found = [each.tag.partition("}")[2] for each in error if each.tag.startswith(f"{{{COMMANDS}}}")]
    assert found == ([] if specific is None else [specific])


async def test_a_command_can_be_cancelled(world: World) -> None:
    [alice] = await world.people("alice")
    for attributes, inside in (
        ("action='cancel'", ""),
        ("", f"<x xmlns='{DATA}' type='cancel'/>"),
    ):
        command = f"<command xmlns='{COMMANDS}' node='follow' {attributes}>{inside}</command>"
        answer = await alice.asks(alice.home, command, "set")
        assert answer.xml[0].get("status") == "canceled"


async def test_for_whom_an_author_blocks_there_are_no_commands_at_that_author(
    world: World,
) -> None:
    alice, bob = await world.authors("alice", "bob")
    await alice.says("block bob")
    command = f"<command xmlns='{COMMANDS}' node='follow'/>"
    at_alice = await bob.asks(alice.author("alice"), command, "set")
    at_nobody = await bob.asks(alice.author("nobody"), command, "set")
    assert (at_alice.condition, at_alice.error_type) == (at_nobody.condition, at_nobody.error_type)
    assert at_alice.text.replace("alice@", "nobody@") == at_nobody.text


# All settings


async def test_the_form_of_settings_shows_what_is_set(world: World) -> None:
    [alice] = await world.people("alice")
    for line in ("replies all", "quiet off", "tz utc", "catchup 7", "ids on"):
        await alice.says(line)
    shown = {n: value(each) for n, each in fields(await Client(alice).starts("settings")).items()}
    assert shown == {
        "replies": "all", "mentions": None, "dms": "followed", "delivery": "chat",
        "archive": "0", "window": "dm", "quiet": "0", "ids": "1", "lang": None, "tz": "UTC",
        "catchup": "7",
    }  # fmt: skip


async def test_the_form_of_settings_sets_all_that_was_changed(world: World) -> None:
    [alice] = await world.people("alice")
    client = Client(alice)
    done = await client.fills("settings", replies="none", archive=True, tz="europe/berlin")
    assert note(done) == ("info", "Changed: replies, archive, tz.")
    done = await client.fills("settings")
    assert note(done) == ("info", "Nothing has changed.")
    await client.fills("settings", catchup="digest")
    done = await client.fills("settings", tz="", catchup="3")
    assert note(done) == ("info", "Changed: tz, catchup.")
    await world.restarts()
    shown = {n: value(each) for n, each in fields(await Client(alice).starts("settings")).items()}
    assert (shown["replies"], shown["archive"], shown["tz"], shown["catchup"]) == (
        "none", "1", None, "3",
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [{"catchup": "101"}, {"lang": "no language"}])
async def test_one_wrong_setting_and_none_is_changed(world: World, wrong: dict[str, str]) -> None:
    [alice] = await world.people("alice")
    client = Client(alice)
    before = {n: value(each) for n, each in fields(await client.starts("settings")).items()}
    with pytest.raises(IqError) as refused:
        await client.fills("settings", replies="none", **wrong)
    assert refused.value.iq["error"].xml.find(f"{{{COMMANDS}}}bad-payload") is not None
    done = await client.fills("settings", replies="none", tz="Europe/Nowhere")
    assert note(done)[0] == "error"
    after = {n: value(each) for n, each in fields(await client.starts("settings")).items()}
    assert after == before


# Admins


async def test_an_admin_blocks_and_unblocks_for_all(world: World) -> None:
    admin = await world.person("admin")
    xmpp = replace(world.config.xmpp, admins=(admin.jid,))
    await world.starts(xmpp=xmpp)
    await admin.comes()
    [alice] = await world.authors("alice")
    client = Client(admin)
    nodes = set(await client.nodes(admin.home))
    admins = {"admin-block", "admin-unblock", "admin-blocks"}
    assert nodes >= admins
    assert not set(await Client(alice).nodes(alice.home)) & admins
    done = await client.fills("admin-block", target=alice.jid)
    assert note(done) == ("info", f"{alice.jid} is blocked now.")
    assert (await alice.tries("hello")) is not None
    assert note(await client.starts("admin-blocks")) == ("info", alice.jid)
    done = await client.fills("admin-unblock", target=alice.jid)
    assert note(done) == ("info", f"{alice.jid} is blocked no more.")
    assert await alice.says("hello") == "ok #1: nobody follows you yet"
    with pytest.raises(IqError):
        await client.fills("admin-block", target=" ")
