"""Posts from authors' own microblogs, where it matters in what order things come."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from sqlalchemy import select

from tests.integration.wire import HOME, RELAY, Wire, wired
from xmpprelay.core.sourced import MICROBLOG
from xmpprelay.core.text import message_id
from xmpprelay.store.schema import post
from xmpprelay.store.sources import SOURCE

ALICE, BOB, CAROL = (f"{name}@example.test" for name in ("alice", "bob", "carol"))
EVENT = "http://jabber.org/protocol/pubsub#event"
THREAD = "http://purl.org/syndication/thread/1.0"
ATOM = "http://www.w3.org/2005/Atom"


class Blog:
    """Alice's own microblog, from which the relay takes her posts."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def says(self, text: str, sender: str = ALICE, **more: str) -> str:
        """Somebody types a line; what is answered."""
        self.wire.taken()
        self.wire.says(f"{sender}/x", text, **more)
        await self.wire.quiet()
        bodies = [each.body for each in self.wire.taken() if (each.to or "").startswith(sender)]
        return " ".join(filter(None, bodies))

    def entry(self, text: str, answers: int | None = None) -> str:
        """An entry that is published now, in answer to a post or not."""
        thread = ""
        if answers is not None:
            name = message_id(answers, self.wire.service.db.epoch)
            thread = f"<in-reply-to xmlns='{THREAD}' ref='xmpp:{RELAY}?;node={name}'/>"
        return (
            f"<entry xmlns='{ATOM}'><title>{escape(text)}</title>"
            f"<published>{datetime.now(UTC).isoformat()}</published>{thread}</entry>"
        )

    def shows(self, item: str, text: str, answers: int | None = None) -> None:
        """Her server tells of an entry."""
        inside = f"<item id={quoteattr(item)}>{self.entry(text, answers)}</item>"
        self.event(inside)

    def event(self, inside: str) -> None:
        self.wire.feeds(
            f"<message from='{ALICE}' to='{HOME}'><event xmlns='{EVENT}'>"
            f"<items node='{MICROBLOG}'>{inside}</items></event></message>"
        )

    async def publishes(self, item: str, text: str, answers: int | None = None) -> None:
        self.shows(item, text, answers)
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
    async with wired(tmp_path) as wire:
        blog = Blog(wire)
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
