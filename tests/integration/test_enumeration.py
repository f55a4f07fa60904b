"""Reading tells nobody who is there: what is hidden and what does not exist are the same bytes.

One table of everything that can be asked about an author, another of everything that can be asked
about a post (docs/semantics.md, S6.1). Each is asked twice by the same person, once about what is
hidden from him and once about what does not exist, and all that the relay writes is compared, byte
by byte but for the name, the number and the random ids of messages. The relay is the real one, and
the test is its server (`wire.py`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import tostring

import pytest

from tests.integration.pubsub import MICROBLOG, OWNER, entry, items, publish, pubsub, retract
from tests.integration.wire import HOME, RELAY, Wire, wired
from xmpprelay.core.profile import Picture

ANN, BOB, EVE, PIA = (f"{name}@example.test" for name in ("ann", "bob", "eve", "pia"))
READERS: Final = {"a person with a handle": BOB, "somebody unknown": EVE}

ABSENT: Final = "zzq"
"""As long as `ann`, and nobody's."""

COMMANDS: Final = "http://jabber.org/protocol/commands"

# An author, by {name}


def typed(line: str, to: str = HOME) -> str:
    return f"<message to='{to}' type='chat' id='q'><body>{line}</body></message>"


def question(payload: str, kind: str = "get", to: str = f"{{name}}@{RELAY}") -> str:
    return f"<iq to='{to}' type='{kind}' id='q'>{payload}</iq>"


def presence(kind: str, to: str = f"{{name}}@{RELAY}") -> str:
    return f"<presence to='{to}' type='{kind}'/>"


def form(verb: str, fields: str, to: str = HOME) -> str:
    filled = "".join(
        f"<field var='{name}'><value>{value}</value></field>"
        for name, value in (each.split("=") for each in fields.split())
    )
    return question(
        f"<command xmlns='{COMMANDS}' node='{verb}' sessionid='s'>"
        f"<x xmlns='jabber:x:data' type='submit'>{filled}</x></command>",
        "set",
        to,
    )


OF_AUTHORS: Final = {
    "last": typed("last {name}"),
    "last, marked": typed("last @{name}"),
    "last, forced": typed(":last {name}"),
    "last, counted": typed("last @{name} 3"),
    "last, by address": typed(f"last {{name}}@{RELAY}"),
    "last, by JID": typed("last {name}@example.test"),
    "last, in capitals": typed("LAST @{name}"),
    "whois": typed("whois {name}"),
    "whois, marked": typed("whois @{name}"),
    "whois, forced": typed(":whois {name}"),
    "whois, by address": typed(f"whois {{name}}@{RELAY}"),
    "whois, by JID": typed("whois {name}@example.test"),
    "the form of last": form("last", "who={name}"),
    "the form of last, by JID": form("last", "who={name}@example.test"),
    "the form of whois": form("whois", "who={name}"),
    "the form of last, at his address": form("last", "n=3", f"{{name}}@{RELAY}"),
    "the form of whois, at his address": form("whois", "", f"{{name}}@{RELAY}"),
    "an empty form at his address": question(f"<command xmlns='{COMMANDS}' node='last'/>", "set"),
    "a search for his words": typed('find "words of {name}"'),
    "a search for his tag": typed("find #tagof{name}"),
    "a search for him": typed('find "{name}"'),
    "the form of find": form("find", "what={name}"),
    "a search in the directory": question(
        "<query xmlns='jabber:iq:search'><nick>{name}</nick></query>", "set", RELAY
    ),
    "a form in the directory": question(
        "<query xmlns='jabber:iq:search'><x xmlns='jabber:x:data' type='submit'>"
        "<field var='nick'><value>{name}</value></field></x></query>",
        "set",
        RELAY,
    ),
    "a probe": presence("probe"),
    "a probe with a resource": presence("probe", f"{{name}}@{RELAY}/x"),
    "the end of a subscription": presence("unsubscribe"),
    "disco#info": question("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
    "disco#info of commands": question(
        f"<query xmlns='http://jabber.org/protocol/disco#info' node='{COMMANDS}'/>"
    ),
    "disco#items": question("<query xmlns='http://jabber.org/protocol/disco#items'/>"),
    "disco#items of commands": question(
        f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>"
    ),
    "vCard": question("<vCard xmlns='vcard-temp'/>"),
    "vCard4": question("<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>"),
    "version": question("<query xmlns='jabber:iq:version'/>"),
    "ping": question("<ping xmlns='urn:xmpp:ping'/>"),
    "something unknown": question("<query xmlns='urn:example:unknown'/>"),
    "items": question(items()),
    "an item": question(items("<item id='1.{epoch}'/>")),
    "a page of items": question(items(page="<max>1</max><before/>")),
    "a page from an item on": question(items(page="<after>1.{epoch}</after>")),
    "comments": question(items(node=f"{MICROBLOG}:comments/1.{{epoch}}")),
    "his picture": question(items(node="urn:xmpp:avatar:metadata")),
    "items beside a subscription": question(
        items(page="<max>1</max>").replace(
            "<set", f"<subscribe node='{MICROBLOG}' jid='{BOB}'/><set"
        )
    ),
    "items behind a subscription": question(
        pubsub(f"<subscribe node='{MICROBLOG}' jid='{BOB}'/><items node='{MICROBLOG}'/>")
    ),
    "a name beside a subscription": question(
        pubsub("<items node='http://jabber.org/protocol/nick'/><subscribe/>")
    ),
    "a picture beside an end of one": question(
        pubsub("<items node='urn:xmpp:avatar:data'/><unsubscribe/>")
    ),
    "a vCard beside a subscription": question(
        pubsub("<items node='urn:xmpp:vcard4'/><subscribe/>")
    ),
    "affiliations beside a subscription": question(pubsub("<affiliations/><subscribe/>")),
    "a publication beside a subscription": question(
        publish(entry("x")).replace("</pubsub>", "<subscribe/></pubsub>"), "set"
    ),
    "options before a subscription": question(
        pubsub(f"<options node='{MICROBLOG}' jid='{BOB}'/><subscribe/>"), "set"
    ),
    "a retraction before the end of one": question(
        retract("1.{epoch}").replace("</pubsub>", "<unsubscribe/></pubsub>"), "set"
    ),
    "a making before a subscription": question(pubsub("<create node='x'/><subscribe/>"), "set"),
    "an owner's question beside a subscription": question(
        pubsub(f"<configure node='{MICROBLOG}'/><subscribe/>", OWNER)
    ),
    "subscriptions": question(pubsub("<subscriptions/>")),
    "subscriptions to his posts": question(pubsub(f"<subscriptions node='{MICROBLOG}'/>")),
    "affiliations": question(pubsub("<affiliations/>")),
    "options": question(pubsub(f"<options node='{MICROBLOG}' jid='bob@example.test'/>")),
    "a publication": question(publish(entry("x")), "set"),
    "a comment": question(publish(entry("x"), node=f"{MICROBLOG}:comments/1.{{epoch}}"), "set"),
    "a retraction": question(retract("1.{epoch}"), "set"),
    "the settings of his node": question(pubsub(f"<configure node='{MICROBLOG}'/>", OWNER)),
    "who has subscribed": question(pubsub(f"<subscriptions node='{MICROBLOG}'/>", OWNER)),
    "the making of a node": question(pubsub("<create node='x'/>"), "set"),
    "disco#info of his posts": question(
        f"<query xmlns='http://jabber.org/protocol/disco#info' node='{MICROBLOG}'/>"
    ),
    "disco#items of his posts": question(
        f"<query xmlns='http://jabber.org/protocol/disco#items' node='{MICROBLOG}'/>"
    ),
    "a change of his": question("<vCard xmlns='vcard-temp'/>", "set"),
}
"""Everything that shows whether there is an author. To ask to follow, and to write, are no reading:
they are answered as by somebody who is protected, and who takes no letters (S6.1)."""

TELL_NOBODY: Final = ("the end of a subscription", "something unknown")
"""The same is said of everybody."""

# A post, by {post}

OF_POSTS: Final = {
    "show": typed("show #{post}"),
    "why": typed("why #{post}"),
    "re": typed("re #{post} hello"),
    "boost": typed("boost #{post}"),
    "like": typed("like #{post}"),
    "edit": typed("edit #{post} hello"),
    "an item": question(items("<item id='{post}.{epoch}'/>"), to=f"ann@{RELAY}"),
    "comments on it": question(
        items(node=f"{MICROBLOG}:comments/{{post}}.{{epoch}}"), to=f"ann@{RELAY}"
    ),
    "disco#info of comments": question(
        "<query xmlns='http://jabber.org/protocol/disco#info' "
        f"node='{MICROBLOG}:comments/{{post}}.{{epoch}}'/>",
        to=f"ann@{RELAY}",
    ),
    "the form of show": form("show", "id={post}"),
    "the form of why": form("why", "id={post}"),
    "the form of boost": form("boost", "id={post}"),
    "del": typed("del #{post}"),  # the last, since it may work
}

HIDDEN: Final = {
    "of somebody who blocks him": "1",
    "of somebody protected": "2",
    "a letter to somebody else": "3",
    "deleted": "4",
    "the number of a deletion": "5",
}
MISSING: Final = "9"


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    """Ann blocks both readers; Pia is protected. Of five entries none is for them."""
    async with wired(tmp_path) as wire:
        for who, line in (
            *((ANN, "join ann"), (PIA, "join pia"), (BOB, "join bob")),
            *((ANN, "words of ann #tagofann"), (PIA, "protect on"), (PIA, "hello")),
            *((PIA, "follow ann"), (ANN, "d pia a letter"), (PIA, "gone"), (PIA, "del #4")),
            *((ANN, f"block {BOB}"), (ANN, f"block {EVE}")),
        ):
            wire.says(who, line)
            await wire.quiet()
        assert wire.service.db.next_number == 6
        wire.taken()
        wire.service.voice._now_s = lambda: 0.0  # what is said depends on how long ago the last was
        await answers(wire, BOB, typed("last nobody"))
        await answers(wire, EVE, typed("last nobody"))
        await answers(wire, PIA, typed("last nobody"))
        yield wire


async def answers(wire: Wire, reader: str, asked: str) -> list[bytes]:
    """All that is written because of a stanza, without what is random."""
    await wire.quiet()
    wire.taken()
    _asks(wire, reader, asked)
    return await _said(wire)


def _asks(wire: Wire, reader: str, asked: str) -> None:
    begin, rest = asked.split(" ", 1)
    wire.feeds(f"{begin} from='{reader}/phone' {rest}")


async def _said(wire: Wire) -> list[bytes]:
    await wire.quiet()
    said = [tostring(stanza.xml) for stanza in wire.taken()]
    return [re.sub(rb'(<ns0:message [^>]*) id="[0-9a-f]{32}"', rb"\1", each) for each in said]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
async def test_an_author_who_blocks_is_one_who_does_not_exist(wire: Wire, reader: str) -> None:
    for name, asked in OF_AUTHORS.items():
        hidden = await answers(wire, reader, asked.format(name="ann", epoch=wire.service.db.epoch))
        absent = await answers(wire, reader, asked.format(name=ABSENT, epoch=wire.service.db.epoch))
        assert absent, f"{name}: there is no answer"
        assert [each.replace(b"ann", ABSENT.encode()) for each in hidden] == absent, name


@pytest.mark.parametrize("number", HIDDEN.values(), ids=HIDDEN)
async def test_a_post_that_is_not_for_him_is_one_that_does_not_exist(
    wire: Wire, number: str
) -> None:
    for name, asked in OF_POSTS.items():
        hidden = await answers(wire, BOB, asked.format(post=number, epoch=wire.service.db.epoch))
        absent = await answers(wire, BOB, asked.format(post=MISSING, epoch=wire.service.db.epoch))
        assert absent, f"{name}: there is no answer"
        assert [_with_number(each, number, MISSING) for each in hidden] == absent, name


async def test_the_same_questions_tell_who_is_there_to_everybody_else(wire: Wire) -> None:
    """The control: each of them could have told."""
    for name, asked in OF_AUTHORS.items():
        shown = await answers(wire, PIA, asked.format(name="ann", epoch=wire.service.db.epoch))
        absent = await answers(wire, PIA, asked.format(name=ABSENT, epoch=wire.service.db.epoch))
        same = [each.replace(b"ann", ABSENT.encode()) for each in shown] == absent
        assert same is (name in TELL_NOBODY), name
    for name, asked in OF_POSTS.items():
        shown = await answers(wire, ANN, asked.format(post="1", epoch=wire.service.db.epoch))
        absent = await answers(wire, ANN, asked.format(post=MISSING, epoch=wire.service.db.epoch))
        assert [_with_number(each, "1", MISSING) for each in shown] != absent, name


@pytest.mark.parametrize("reading", [False, True], ids=["before it is begun", "while it is made"])
async def test_a_card_that_is_waited_for_is_not_given_past_a_block(
    wire: Wire, *, reading: bool
) -> None:
    """The block is made after the question has been taken (S6.2)."""
    graph, asked = wire.service.graph, OF_AUTHORS["vCard"]
    ann = graph.by_jid(ANN)
    assert ann is not None
    await wire.service.profiles.set(ann, {}, (Picture(b"a picture", 1, 1),))
    absent = await answers(wire, BOB, asked.format(name=ABSENT))
    graph.unblock(ann.id, BOB)
    free = asyncio.Event()
    wire.service.intake.put(BOB, free.wait)
    _asks(wire, BOB, asked.format(name="ann"))
    _asks(wire, BOB, question("<ping xmlns='urn:xmpp:ping'/>", to=RELAY))
    await _so(lambda: bool(wire.sent))
    [pong] = wire.taken()
    assert pong.type == "result", "the question before it is taken, and waits"
    free.set()
    if reading:
        left = wire.service.profiles._sent
        await _so(lambda: wire.service.profiles._sent is not left)
    graph.block(ann.id, BOB)
    assert [each.replace(b"ann", ABSENT.encode()) for each in await _said(wire)] == absent


async def _so(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - a matter of turns of this loop, and nobody is told
            await asyncio.sleep(0)


def _with_number(stanza: bytes, number: str, other: str) -> bytes:
    """The same about another post: `#1`, or the node of the comments on it."""
    for before in ("#", ":comments/"):
        stanza = stanza.replace(f"{before}{number}".encode(), f"{before}{other}".encode())
    return stanza
