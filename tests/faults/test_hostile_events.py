"""Events from an author's own node that are worse than a server lets through (row 40)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.wire import HOME, Wire, wired
from xmpprelay.config import Limits
from xmpprelay.core.atom import ATOM, MAX_ENTRY_BYTES
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.sources import WAITING
from xmpprelay.xmpp.own_items import ITEMS_READ
from xmpprelay.xmpp.stanzas import MAX_DEPTH

ANN = "ann@example.test"
EVENT = "http://jabber.org/protocol/pubsub#event"


@asynccontextmanager
async def listening(folder: Path, **tables: Any) -> AsyncIterator[Wire]:
    """Ann's posts come from her own node, of which nobody tells what is there."""
    async with wired(folder, **tables) as wire:
        wire.says(ANN, "join ann")
        await wire.quiet()
        wire.service.component.answer_within_s = 0.01
        wire.says(ANN, "source pep")
        await wire.quiet()
        assert any("is posted here" in (each.body or "") for each in wire.taken())
        wire.service.own_nodes._seen.add(1)  # as if it had been looked at
        yield wire


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    async with listening(tmp_path) as wire:
        yield wire


def item(number: int | str, text: str) -> str:
    at = "<published>2999-01-01T00:00:00Z</published>"
    return f"<item id='{number}'><entry xmlns='{ATOM}'><title>{text}</title>{at}</entry></item>"


def event(inside: str) -> str:
    return (
        f"<message from='{ANN}' to='{HOME}' type='headline'><event xmlns='{EVENT}'>{inside}"
        "</event></message>"
    )


async def goes_on(wire: Wire) -> None:
    """The stream is up, nothing has failed, and an entry is a post."""
    before = wire.service.db.next_number
    wire.feeds(event(f"<items node='{MICROBLOG}'>{item('fence', 'still here')}</items>"))
    await wire.quiet()
    assert wire.service.component.up
    assert not wire.service.component.failures + wire.service.intake.failures
    post = wire.service.delivery.post(before)
    assert post is not None
    assert post.text == "still here"


async def test_of_ten_thousand_items_the_last_ones_are_posts(wire: Wire) -> None:
    many = "".join(item(number, f"post {number}") for number in range(10_000))
    wire.feeds(event(f"<items node='{MICROBLOG}'>{many}</items>"))
    await wire.quiet()
    assert wire.service.db.next_number == 1 + ITEMS_READ
    last = wire.service.delivery.post(ITEMS_READ)
    assert last is not None
    assert last.text == "post 9999"
    await goes_on(wire)


async def test_what_is_too_big_or_too_deep_is_no_post(wire: Wire) -> None:
    deep = "<x>" * (MAX_DEPTH + 100) + "</x>" * (MAX_DEPTH + 100)
    for inside in (
        f"<items node='{MICROBLOG}'>{item('big', 'x' * MAX_ENTRY_BYTES)}</items>",
        f"<items node='{MICROBLOG}'><item id='deep'>{deep}</item></items>",
    ):
        wire.feeds(event(inside))
    await wire.quiet()
    assert wire.service.db.next_number == 1
    told = [each.body or "" for each in wire.taken() if each.body]
    assert sum("An entry may have 32 KiB" in each for each in told) == 1
    await goes_on(wire)


async def test_what_is_no_event_is_nothing(wire: Wire) -> None:
    for inside in (
        "",
        "<items/>",
        "<items node=''/>",
        f"<items node='{MICROBLOG}'/>",
        f"<items node='{MICROBLOG}'><item/><retract/><item id=''/><x/></items>",
        f"<items node='{MICROBLOG}'><retract id='unknown'/></items>",
        f"<items node='{MICROBLOG}'>text</items>",
        f"<items xmlns='urn:x' node='{MICROBLOG}'>{item('x', 'foreign')}</items>",
        f"<configuration node='{MICROBLOG}'><x xmlns='jabber:x:data'/></configuration>",
        f"<subscription node='{MICROBLOG}' jid='{HOME}' subscription='none'/>",
        f"<purge node='{MICROBLOG}'/><delete node='{MICROBLOG}'/><collection/>",
    ):
        wire.feeds(event(inside))
    wire.feeds(f"<message from='{ANN}' to='{HOME}'><event xmlns='{EVENT}'/><event/></message>")
    await wire.quiet()
    assert wire.service.db.next_number == 1
    assert not [each for each in wire.taken() if each.kind == "message"]
    await goes_on(wire)


async def test_a_flood_is_taken_at_her_rate_and_what_waits_is_bounded(tmp_path: Path) -> None:
    limits = Limits(posts_per_second=0.001, burst=3)
    async with listening(tmp_path, limits=limits) as wire:
        for number in range(100):
            wire.feeds(event(f"<items node='{MICROBLOG}'>{item(number, f'post {number}')}</items>"))
            if not number % 20:
                await wire.quiet()  # else the intake is full
        await wire.quiet()
        assert wire.service.db.next_number == 1 + limits.burst
        [waiting] = wire.service.sources._waiting.values()
        ids = [str(number) for number in range(limits.burst, limits.burst + WAITING)]
        assert [each.change.id for each in waiting] == ids
