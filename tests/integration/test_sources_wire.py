"""Posts from authors' own microblogs, where it matters in what order things come."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from xml.sax.saxutils import escape, quoteattr

import pytest
from sqlalchemy import select

from tests.integration.wire import HOME, RELAY, Wire, wired
from tests.integration.world import NO_LIMITS, Clock
from xmpprelay.core.atom import Said
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.sourced import OwnItem
from xmpprelay.core.text import message_id
from xmpprelay.sources import RETRACTED, WAITING
from xmpprelay.store.schema import post
from xmpprelay.store.sources import SOURCE

ALICE, BOB, CAROL = (f"{name}@example.test" for name in ("alice", "bob", "carol"))
EVENT = "http://jabber.org/protocol/pubsub#event"
THREAD = "http://purl.org/syndication/thread/1.0"
ATOM = "http://www.w3.org/2005/Atom"


class Blog:
    """Alice's own microblog, from which the relay takes her posts."""

    def __init__(self, wire: Wire, clock: Clock) -> None:
        self.wire = wire
        self.clock = clock

    async def says(self, text: str, sender: str = ALICE, **more: str) -> str:
        """Somebody types a line; what is answered."""
        self.wire.taken()
        self.wire.says(f"{sender}/x", text, **more)
        await self.wire.quiet()
        bodies = [each.body for each in self.wire.taken() if (each.to or "").startswith(sender)]
        return " ".join(filter(None, bodies))

    def entry(self, text: str, answers: int | None = None, at: datetime | None = None) -> str:
        """An entry, in answer to a post or not; None: it is published now."""
        thread = ""
        if answers is not None:
            name = message_id(answers, self.wire.service.db.epoch)
            thread = f"<in-reply-to xmlns='{THREAD}' ref='xmpp:{RELAY}?;node={name}'/>"
        return (
            f"<entry xmlns='{ATOM}'><title>{escape(text)}</title>"
            f"<published>{(at or datetime.now(UTC)).isoformat()}</published>{thread}</entry>"
        )

    def shows(
        self, item: str, text: str, answers: int | None = None, at: datetime | None = None
    ) -> None:
        """Her server tells of an entry."""
        self.event(f"<item id={quoteattr(item)}>{self.entry(text, answers, at)}</item>")

    def event(self, inside: str) -> None:
        """Her server tells of something there."""
        self.wire.feeds(
            f"<message from='{ALICE}' to='{HOME}'><event xmlns='{EVENT}'>"
            f"<items node='{MICROBLOG}'>{inside}</items></event></message>"
        )

    async def publishes(self, item: str, text: str, answers: int | None = None) -> None:
        self.shows(item, text, answers)
        await self.wire.quiet()

    async def takes_all(self) -> None:
        """Time passes until nothing waits."""
        sources = self.wire.service.sources
        while self.who in sources._waiting:
            self.clock.passes(hours=1)
            sources.tick()
            await self.wire.quiet()

    async def posts(self) -> list[tuple[int, str, int | None]]:
        """What she has posted, and what each answers; of what stands."""
        asked = select(post.c.number, post.c.text, post.c.parent).where(
            post.c.author == self.who, post.c.kind == "post", post.c.deleted.is_(False)
        )
        rows = await self.wire.service.db.read(lambda conn: list(conn.execute(asked)))
        return sorted((row.number, row.text, row.parent) for row in rows)

    @property
    def who(self) -> int:
        person = self.wire.service.graph.by_jid(ALICE)
        assert person is not None
        return person.id


@pytest.fixture
async def blog(tmp_path: Path) -> AsyncIterator[Blog]:
    clock = Clock()
    async with wired(tmp_path, clock) as wire:
        blog = Blog(wire, clock)
        for jid in (ALICE, BOB, CAROL):
            await blog.says(f"join {jid.partition('@')[0]}", jid)
        await blog.says("is it so?", BOB)
        await blog.says("shall we have tea?", CAROL)
        since = datetime.now(UTC) - timedelta(minutes=1)
        wire.service.sources.load([(blog.who, SOURCE, since.isoformat())])
        yield blog


# The same by chat and as an entry


async def test_the_same_answer_to_two_people_is_two_posts(blog: Blog) -> None:
    await blog.publishes("e1", "yes")
    await blog.says("re #1 yes")
    await blog.says("re #2 yes")
    assert await blog.posts() == [(3, "yes", None), (4, "@bob yes", 1), (5, "@carol yes", 2)]


async def test_an_entry_that_answers_one_is_not_the_same_as_a_line_to_another(blog: Blog) -> None:
    await blog.says("re #1 of course")
    await blog.publishes("e1", "of course", answers=2)
    await blog.publishes("e2", "of course", answers=1)  # that is the line
    await blog.says("re #2 of course")  # and that the entry
    assert await blog.posts() == [(3, "@bob of course", 1), (4, "@carol of course", 2)]


async def test_one_entry_is_one_line_and_one_line_is_one_entry(blog: Blog) -> None:
    await blog.publishes("e1", "ha")
    assert "it was posted already" in await blog.says("ha")
    assert "it was posted already" not in await blog.says("ha")
    await blog.publishes("e2", "ha")  # the second line
    assert [number for number, _, _ in await blog.posts()] == [3, 4]
    await blog.publishes("e3", "ha")
    assert "ok #5: it was posted already" in await blog.says("ha")
    assert [number for number, _, _ in await blog.posts()] == [3, 4, 5]


async def test_a_line_that_is_sent_again_is_still_that_entry_and_can_be_corrected(
    blog: Blog,
) -> None:
    await blog.publishes("e1", "ha")
    assert "ok #3: it was posted already" in await blog.says("ha", id="a")
    await blog.publishes("e2", "ha")
    assert "ok #3: it was posted already" in await blog.says("ha", id="a")
    assert "ok #4: it was posted already" in await blog.says("ha", id="b")
    blog.wire.feeds(
        f"<message from='{ALICE}/x' to='{HOME}' type='chat' id='c'><body>ha, ha</body>"
        "<replace xmlns='urn:xmpp:message-correct:0' id='a'/></message>"
    )
    await blog.wire.quiet()
    assert await blog.posts() == [(3, "ha, ha", None), (4, "ha", None)]


# What waits


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Blog]:
    """Alice may post two things, and two more each hour."""
    limits = replace(NO_LIMITS, posts_per_second=0.001, burst=2)
    clock = Clock()
    async with wired(tmp_path, clock, limits=limits) as wire:
        blog = Blog(wire, clock)
        await blog.says("join alice")
        since = datetime.now(UTC) - timedelta(minutes=1)
        wire.service.sources.load([(blog.who, SOURCE, since.isoformat())])
        yield blog


async def test_what_is_retracted_while_it_waits_is_never_posted_however_much_waits(
    slow: Blog,
) -> None:
    for number in range(2 + WAITING):
        await slow.publishes(f"e{number}", f"entry {number}")
    for number in (0, 3, 5):
        slow.event(f"<retract id='e{number}'/>")
    await slow.takes_all()
    standing = [text for _, text, _ in await slow.posts()]
    there = set(range(2 + WAITING)) - {0, 3, 5}
    assert standing == [f"entry {number}" for number in sorted(there)]


async def test_what_has_no_room_is_found_by_a_look_and_leaves_room_for_retractions(
    slow: Blog,
) -> None:
    looks = slow.wire.service.own_nodes._due
    for number in range(2 + WAITING):
        await slow.publishes(f"e{number}", f"entry {number}")
    assert slow.who not in looks
    await slow.publishes("more", "more")
    assert slow.who in looks
    for number in range(RETRACTED + 1):
        slow.event(f"<retract id='gone {number}'/>")
    assert len(slow.wire.service.sources._waiting[slow.who]) == WAITING + RETRACTED
    await slow.wire.quiet()
    assert "is not posted here any more" in await slow.says("source off")
    assert not slow.wire.service.sources._held.total()


async def test_each_new_text_of_an_entry_that_waits_counts(slow: Blog) -> None:
    for name in ("e0", "e1"):
        await slow.publishes(name, name)
    at = datetime.now(UTC)
    for text in ("a", "a", "b", "a"):
        slow.shows("e2", text, at=at)
    waiting = slow.wire.service.sources._waiting
    assert len(waiting[slow.who]) == 3
    await slow.takes_all()
    assert [text for _, text, _ in await slow.posts()] == ["e0", "e1", "a"]


async def test_what_is_published_and_retracted_twice_while_it_waits_is_gone(slow: Blog) -> None:
    for name in ("e0", "e1"):
        await slow.publishes(name, name)
    for text in ("a", "b"):
        await slow.publishes("e2", text)
        slow.event("<retract id='e2'/>")
    await slow.takes_all()
    assert [text for _, text, _ in await slow.posts()] == ["e0", "e1"]


async def test_what_finds_no_room_among_what_its_author_sends_is_taken_later(blog: Blog) -> None:
    service, go_on = blog.wire.service, asyncio.Event()

    async def waits() -> None:
        await go_on.wait()

    async def nothing() -> None: ...

    service.intake.put(ALICE, waits)
    await asyncio.sleep(0)
    blog.shows("e1", "one")
    while service.intake.put(ALICE, nothing):
        pass
    blog.shows("e2", "two")
    service.sources.came(blog.who, [OwnItem("e3", Said("without a date"))], live=True)
    blog.event("<retract id='e1'/>")
    go_on.set()
    await blog.wire.quiet()
    service.sources.tick()
    await blog.wire.quiet()
    assert [text for _, text, _ in await blog.posts()] == ["two", "without a date"]


async def test_what_is_typed_before_an_entry_is_posted_before_it(blog: Blog) -> None:
    blog.shows("e1", "one")
    blog.wire.says(f"{ALICE}/x", "two")
    blog.shows("e3", "three")
    await blog.wire.quiet()
    assert [text for _, text, _ in await blog.posts()] == ["one", "two", "three"]


async def test_an_entry_that_nobody_has_foreseen_takes_no_other_with_it(slow: Blog) -> None:
    sources = slow.wire.service.sources
    unforeseen = cast(tuple[str, ...], (None,))
    for _ in range(2):  # at once, and out of what waits
        names = [f"e{len(await slow.posts())}", "unforeseen", f"e{len(await slow.posts()) + 1}"]
        for name in names:
            answers = unforeseen if name == "unforeseen" else ()
            said = Said(name, in_reply_to=answers)
            sources.came(slow.who, [OwnItem(name, said)], live=True)
        await slow.takes_all()
    assert [text for _, text, _ in await slow.posts()] == ["e0", "e1", "e2", "e3"]
    assert sources.failures == 2
    assert not slow.wire.service.intake.failures
