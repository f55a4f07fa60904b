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
    PUBSUB,
    entry,
    items,
    publish,
    pubsub,
    specific,
    subscribe,
    texts,
)
from tests.integration.wire import RELAY, Wire, wired
from xmpprelay.xmpp.pubsub.nodes import MAX_ENTRY_BYTES
from xmpprelay.xmpp.stanzas import MAX_DEPTH, serialise

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

    return padded(1 + size_bytes - len(serialise(fromstring(padded(1)))))


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
