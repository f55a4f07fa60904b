"""Items that are forged, deep, huge or a bomb: each is refused, and leaves no trace (rows 31, 40).

The test is the server (`tests/integration/wire.py`), so it sends what no server lets through.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import fromstring, tostring

import pytest

from tests.integration.clients import Stanza
from tests.integration.pubsub import (
    ATOM,
    EVENT,
    MICROBLOG,
    OWNER,
    PUBSUB,
    RSM,
    entry,
    items,
    publish,
    pubsub,
    specific,
    subscribe,
    texts,
)
from tests.integration.wire import RELAY, Wire, wired
from xmpprelay.core.atom import MAX_ENTRY_BYTES
from xmpprelay.store.posts import PostRow, append_post
from xmpprelay.xmpp.stanzas import MAX_DEPTH, MAX_STANZA_BYTES, serialise, size_at_least

ANN: Final = "ann@example.test"
BOB: Final = "bob@example.test"
EVE: Final = "eve@far.test"
AT_ANN: Final = f"ann@{RELAY}"
XHTML: Final = "http://www.w3.org/1999/xhtml"


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    """Ann posts, and so does Bob, who has subscribed to her and is there."""
    async with wired(tmp_path) as wire:
        wire.says(ANN, "join ann")
        wire.says(BOB, "join bob")
        await wire.quiet()
        await asks(wire, BOB, subscribe(BOB), "set")
        wire.feeds(f"<presence from='{BOB}/x' to='home@{RELAY}'/>")
        wire.feeds(f"<presence from='{BOB}' to='home@{RELAY}' type='subscribed'/>")
        await wire.quiet()
        wire.taken()
        yield wire


async def asks(wire: Wire, who: str, payload: str, kind: str = "get") -> Stanza:
    wire.feeds(f"<iq from='{who}/x' to='{AT_ANN}' id='q' type='{kind}'>{payload}</iq>")
    await wire.quiet()
    [answer] = [each for each in wire.taken() if each.kind == "iq" and each.id == "q"]
    return answer


async def goes_on(wire: Wire) -> None:
    """The stream is up, and a post goes its way."""
    assert wire.service.component.up
    wire.says(ANN, "still here")
    await wire.quiet()
    events = [each for each in wire.taken() if each.has("event", EVENT)]
    assert [list(texts(each).values()) for each in events] == [["still here"]]
    assert not wire.service.component.failures + wire.service.intake.failures


# --- forged (row 31) ------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [BOB, EVE])
async def test_nobody_publishes_in_somebody_elses_name(wire: Wire, who: str) -> None:
    for payload in (
        publish(entry("forged")),
        publish(entry("forged"), node=f"{MICROBLOG}:comments/1"),
        publish(f"<x xmlns='{ATOM}'/>", node="http://jabber.org/protocol/nick"),
        pubsub(f"<retract node='{MICROBLOG}'><item id='1'/></retract>"),
    ):
        assert (await asks(wire, who, payload, "set")).type == "error", payload
    assert wire.service.db.next_number == 1
    assert texts(await asks(wire, ANN, items())) == {}
    await goes_on(wire)


async def test_the_author_is_who_sends_it_whatever_the_entry_says(wire: Wire) -> None:
    forged = (
        f"<entry xmlns='{ATOM}'><author><name>bob</name><uri>xmpp:bob@{RELAY}</uri></author>"
        "<title>mine</title><id>tag:x</id><link rel='alternate' href='https://evil.test/'/>"
        "<published>2001-01-01T00:00:00Z</published><source><title>x</title></source>"
        "<script xmlns='http://www.w3.org/1999/xhtml'>x</script></entry>"
    )
    payload = pubsub(
        f"<publish node='{MICROBLOG}'><item id='i' publisher='{BOB}'>{forged}</item></publish>"
    )
    wire.feeds(f"<iq from='{ANN}/x' to='{AT_ANN}' id='q' type='set'>{payload}</iq>")
    await wire.quiet()
    [event] = [each for each in wire.taken() if each.has("event", EVENT)]
    sent = tostring(event.xml, encoding="unicode")
    read = tostring((await asks(wire, BOB, items())).xml, encoding="unicode")
    for each in (sent, read):
        assert f"xmpp:ann@{RELAY}" in each
        for foreign in ("bob</", BOB + "'", "evil", "2001", "tag:x", "script", "source"):
            assert foreign not in each, foreign
        assert f'publisher="ann@{RELAY}"' in each
    assert event.sender == AT_ANN


@pytest.mark.parametrize("sender", [BOB, EVE, f"{ANN}/x", ANN])
async def test_an_event_that_somebody_sends_is_nothing_here(wire: Wire, sender: str) -> None:
    """Of an author, too, as long as he has not asked for it."""
    for to in (AT_ANN, f"home@{RELAY}", RELAY):
        for kind in ("headline", "normal", "chat"):
            wire.feeds(
                f"<message from='{sender}' to='{to}' type='{kind}'><event xmlns='{EVENT}'>"
                f"<items node='{MICROBLOG}'><item id='1'>{entry('forged')}</item></items></event>"
                "</message>"
            )
    await wire.quiet()
    assert [each for each in wire.taken() if each.kind == "message"] == []
    assert texts(await asks(wire, ANN, items())) == {}
    await goes_on(wire)


# --- deep, huge, bombs (row 40) -------------------------------------------------------------------


def nested(depth: int) -> str:
    """An entry so deep that the whole question is nested `depth` elements deep, itself included."""
    inside = depth - 6  # iq, pubsub, publish, item, entry, content
    opened = f"<b xmlns='{XHTML}'>" * inside
    return (
        f"<entry xmlns='{ATOM}'><title/><content type='xhtml'>"
        f"{opened}deep{'</b>' * inside}</content></entry>"
    )


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 30_000])
async def test_depth(wire: Wire, depth: int) -> None:
    answer = await asks(wire, ANN, publish(nested(depth)), "set")
    if depth <= MAX_DEPTH:
        assert answer.type == "result", answer
        assert list(texts(await asks(wire, BOB, items())).values()) == ["deep"]
    else:
        assert (answer.type, answer.condition) == ("error", "policy-violation")
        assert texts(await asks(wire, BOB, items())) == {}
    await goes_on(wire)


def sized(size_bytes: int) -> str:
    """An entry that is so many bytes long when the relay writes it."""

    def padded(letters: int) -> str:
        return entry("big", f"<rights>{'x' * letters}</rights>")

    return padded(1 + size_bytes - size_at_least(fromstring(padded(1))))


async def test_size(wire: Wire) -> None:
    for size in (MAX_ENTRY_BYTES - 1, MAX_ENTRY_BYTES):
        assert (await asks(wire, ANN, publish(sized(size), f"{size}"), "set")).type == "result"
    for size in (MAX_ENTRY_BYTES + 1, 33 * 1024, 500 * 1024):
        answer = await asks(wire, ANN, publish(sized(size)), "set")
        assert answer.condition == "not-acceptable"
        assert specific(answer) == "payload-too-big"
    wire.taken()
    await goes_on(wire)


@pytest.mark.parametrize(
    "payload",
    [
        entry("x", "<a/>" * 10_000),
        entry("x", "<category term='a'/>" * 1_500),
        entry("x", "<thr:in-reply-to ref='a'/>" * 1_200),
        entry("x", "<link rel='enclosure' href='https://a.test/'/>" * 600),
        f"<entry xmlns='{ATOM}'><title type='html'>{'&lt;div>' * 3_000}</title></entry>",
        f"<entry xmlns='{ATOM}'><title type='html'>{'&lt;!--' * 3_000}</title></entry>",
        f"<entry xmlns='{ATOM}'><title type='html'>{'&lt;a href=x>' * 2_000}</title></entry>",
        f"<entry xmlns='{ATOM}'><title>{'&#x41;' * 2_001}</title></entry>",
        f"<entry xmlns='{ATOM}'>{'<title>x</title>' * 2_000}</entry>",
    ],
    ids=[
        "children",
        "tags",
        "answers",
        "enclosures",
        "divs",
        "comments",
        "links",
        "long",
        "titles",
    ],
)
async def test_bombs_are_answered_and_do_no_harm(wire: Wire, payload: str) -> None:
    answer = await asks(wire, ANN, publish(payload), "set")
    assert answer.type in ("result", "error")
    for text in texts(await asks(wire, ANN, items())).values():
        assert len(text) <= 2_000
    wire.taken()
    await goes_on(wire)


TAGS: Final = " ".join(
    f"#{one}{two}" for one in "abcdefghijklmnopqrstuvwxyz" for two in "abcdefghijklmnopqrstuvwxyz"
)[:2_000]


def long_id(number: int) -> str:
    """As long as an id was once let be."""
    return f"{number:03}" + "\U0001f600" * 197


async def stored(wire: Wire, count: int, text: str) -> list[str]:
    """Posts of Ann's with ids that were taken before ids were bounded; gives the ids."""
    ann = wire.service.graph.by_jid(ANN)
    assert ann is not None
    names = [long_id(number) for number in range(count)]
    for name in names:
        await wire.service.db.write(append_post, PostRow(ann.id, text, item=name))
    return names


@pytest.mark.parametrize("text", ["x", TAGS, "'" * 1_300], ids=["ids", "tags", "quotes"])
async def test_no_answer_is_too_long_for_a_server_whatever_is_stored(wire: Wire, text: str) -> None:
    names = await stored(wire, 100, text)
    rest, read = "", list[str]()
    while page := list(texts(answer := await asks(wire, BOB, items(page=f"<max>100</max>{rest}")))):
        assert len(serialise(answer.xml)) < MAX_STANZA_BYTES / 2
        rest = f"<after>{page[-1]}</after>"
        read += page
    assert read == names, "each once, in order, on one page or the next"
    for asked in (
        items(max_items="100"),
        items(page="<max>100</max><before/>"),
        items("".join(f"<item id='{name}'/>" for name in names)),
        items("".join(f"<item id='{number:x}.x'/><item id='{names[0]}'/>" for number in range(50))),
    ):
        answer = await asks(wire, BOB, asked)
        assert texts(answer)
        assert len(serialise(answer.xml)) < MAX_STANZA_BYTES / 2
    newest = await asks(wire, BOB, items(max_items="100"))
    assert list(texts(newest)) == names[-len(texts(newest)) :]
    assert newest.xml.find(f".//{{{RSM}}}first") is not None, "it says where to go on"


async def test_no_list_of_people_is_too_long_whatever_their_addresses(wire: Wire) -> None:
    domain = ".".join(["d" * 60] * 3)
    for begin in range(0, 300, 50):
        out = "".join(
            f"<affiliation jid='{'a' * 1_000}{number}@{domain}' affiliation='outcast'/>"
            for number in range(begin, begin + 50)
        )
        change = pubsub(f"<affiliations node='{MICROBLOG}'>{out}</affiliations>", OWNER)
        assert (await asks(wire, ANN, change, "set")).type == "result"
    asked = pubsub(f"<affiliations node='{MICROBLOG}'/>", OWNER)
    first = await asks(wire, ANN, asked)
    people = [each.get("jid", "") for each in first.xml.iter(f"{{{OWNER}}}affiliation")]
    assert 150 < len(people) < 301
    assert len(serialise(first.xml)) < MAX_STANZA_BYTES / 2
    page = f"<set xmlns='{RSM}'><before/></set>"
    last = await asks(wire, ANN, asked.replace("</pubsub>", f"{page}</pubsub>"))
    assert len(serialise(last.xml)) < MAX_STANZA_BYTES / 2
    people += [each.get("jid", "") for each in last.xml.iter(f"{{{OWNER}}}affiliation")]
    assert len(set(people)) == 301, "the two of them have all"


async def test_an_event_is_bounded_whatever_its_post_is_called(wire: Wire) -> None:
    ann = wire.service.graph.by_jid(ANN)
    assert ann is not None
    await stored(wire, 1, "first")
    wire.taken()
    wire.says(ANN, f"re #1 {TAGS[:1_900]}")
    await wire.quiet()
    [event] = [each for each in wire.taken() if each.has("event", EVENT)]
    assert len(serialise(event.xml)) < 10_000


@pytest.mark.parametrize("where", ["iq", "message", "receipt"])
async def test_a_long_id_of_a_stanza_is_not_said_again(wire: Wire, where: str) -> None:
    name = '"' * 200_000
    if where == "iq":
        wire.feeds(
            f"<iq from='{ANN}/x' to='{AT_ANN}' id='{name}' type='get'>"
            "<ping xmlns='urn:xmpp:ping'/></iq>"
        )
    else:
        inside = "<request xmlns='urn:xmpp:receipts'/>" if where == "receipt" else ""
        text = "" if where == "message" else "hello"
        wire.feeds(
            f"<message from='{ANN}/x' to='home@{RELAY}' id='{name}' type='chat'>"
            f"<body>{text}</body>{inside}</message>"
        )
    await wire.quiet()
    said = wire.taken()
    assert said
    assert all(len(serialise(each.xml)) < 10_000 for each in said)
    await goes_on(wire)


async def test_what_an_error_says_again_is_bounded(wire: Wire) -> None:
    field = f"<field var='{chr(34) * 100_000}'><value>x</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{field}</x>"
    payload = pubsub(f"<configure node='{MICROBLOG}'>{form}</configure>", OWNER)
    answer = await asks(wire, ANN, payload, "set")
    assert answer.condition == "not-acceptable"
    assert len(serialise(answer.xml)) < 50_000
    await goes_on(wire)


async def test_entities_cannot_be_declared(wire: Wire) -> None:
    """A DOCTYPE cannot stand inside of a stream, so what uses one ends it; nothing is posted."""
    wire.feeds(
        f"<iq from='{ANN}/x' to='{AT_ANN}' id='q' type='set'>"
        f"<pubsub xmlns='{PUBSUB}'><publish node='{MICROBLOG}'><item>"
        f"<entry xmlns='{ATOM}'><title>&bomb;</title></entry></item></publish></pubsub></iq>"
    )
    await wire.lost()
    wire.reopens()
    await wire.comes_up()
    assert texts(await asks(wire, ANN, items())) == {}
