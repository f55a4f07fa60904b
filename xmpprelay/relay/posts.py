"""Posts, replies and mentions (S2); and what text typed in one person's window is (S3).

A text that begins with `@name` is a reply, so is one that answers a post by `re #id` or by the
client's own way (XEP-0461); names elsewhere are mentions. Whom it reaches is not decided here:
`core/routing.py` does that, at each delivery.

A window with one person looks private. So what is typed there goes to that person alone, unless it
answers a public post or its owner has chosen otherwise; a wrong guess towards public is the worse.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.mentions import Named, read_names
from xmpprelay.core.model import Appended, Draft, Kind, Person, Post
from xmpprelay.core.primary import Visibility
from xmpprelay.core.text import check_length, short_id
from xmpprelay.core.wishes import Window
from xmpprelay.errors import NotRegistered, Refused
from xmpprelay.journal import Journal
from xmpprelay.relay.changes import Changes
from xmpprelay.relay.letters import Letters
from xmpprelay.relay.likes import Likes
from xmpprelay.relay.publishing import Publishing
from xmpprelay.relay.sight import Sight
from xmpprelay.relay.taking import Accepted, PostLimits, Taking
from xmpprelay.store.database import Database
from xmpprelay.store.posts import PostRow

CONVERSATION: Final = timedelta(hours=12)
"""`@bob text` answers the last post of bob's that its author was sent in this time (S2.8)."""

FEW: Final = 5
"""Below so many, two numbers would tell an author whether his only follower is online (S1.5)."""


class Relay:
    """The way of everything that people write into the journal.

    `home` is the address at which one writes in public; `first_time` says, once, that a person was
    never told of something; `mention` says something unasked to a bare JID. `live_per_hour`, which
    is set by whoever knows about volume, gives how many posts of an author an hour come by
    themselves (S10.3). `account_of` gives the account in whose name a draft of an author is
    inserted into the primary, `most` who may see at most what the author posts now there, `waits`
    what the answer to a post says of that; these are set by whoever inserts. `is_posted` gives the
    post that has just been made of what a row says, by another way than the row's.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        journal: Journal,
        limits: PostLimits,
        *,
        domain: str,
        home: str,
        first_time: Callable[[int, str], bool],
        mention: Callable[[str, str], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph
        self._delivery = delivery
        self._limits = limits
        self._domain = domain
        self._home = home
        self._first_time = first_time
        self._now = now
        self._taking = Taking(journal, limits, graph.follower_count, monotonic)
        self.live_per_hour: Callable[[int], int | None] = _all
        self.account_of: Callable[[Draft, int], int | None] = _nobodys
        self.most: Callable[[int], Visibility] = _everybody
        self.waits: Callable[[Post, int], str] = _nothing_waits
        self.is_posted: Callable[[PostRow], Awaitable[Post | None]] = _by_no_other_way
        self.sight = Sight(db, graph, delivery)
        self.letters = Letters(
            graph, self.sight, self._taking, home=home, max_chars=limits.max_chars, now=now
        )
        self.changes = Changes(
            graph,
            self.sight,
            self._taking,
            self._names,
            self._counted,
            lambda author: self.live_per_hour(author),
            limits.max_chars,
        )
        self.publishing = Publishing(
            self.author, self.sight, self.changes, self.accept, self.reply, db.epoch
        )
        self.likes = Likes(db, graph, mention, now=now, monotonic=monotonic)

    def author(self, jid: str) -> Person:
        """The person who writes; NotRegistered: he has no handle (S5.6, S12)."""
        author = self._graph.by_jid(jid)
        if author is None or author.handle is None:
            raise NotRegistered(
                "You have no handle here yet, so this was not posted. "
                "Send `join yourname` first, then this message again."
            )
        return author

    # In public

    async def accept(self, draft: Draft) -> Accepted:
        """Make a post safe, or give the post that this draft made before (promises 1 and 2).

        A draft that answers a direct message becomes one (S3.2). Raises NotRegistered, BadRequest
        (nothing in it), TooLong, TooFast, TryLater, UnknownPost (what it answers is gone, or not
        for him), Refused (a direct message that is not taken); then nothing was stored. A
        cancellation leaves it open whether the post was made; the same draft again makes it
        certain.
        """
        author = self.author(draft.author)
        return await self._publish(author, draft, await self._answered(author, draft))

    async def reply(self, draft: Draft, number: int) -> Accepted:
        """Answer a post (`re #id text`, S2.7). Raises what `accept` does."""
        author = self.author(draft.author)
        return await self._publish(author, draft, await self.sight.seen(author.id, number))

    async def _answered(self, author: Person, draft: Draft) -> Post | None:
        """The post, or the boost, that a draft's <reply/> names, if it is any of ours."""
        name = draft.replies_to
        return None if name is None else await self.sight.named(author.id, name)

    async def _publish(self, author: Person, draft: Draft, answered: Post | None) -> Accepted:
        parent = None if answered is None else answered.content
        if parent is not None and parent.kind is Kind.DIRECT:
            return await self.letters.answer(author, draft, parent)
        check_length(draft.text, self._limits.max_chars)
        row, unknown = await self._row(author, draft, parent)
        before = await self.is_posted(row)
        if before is None:
            appended = await self._taking.append(row)
        else:
            appended = Appended(before, duplicate=True)
        post = appended.post
        told = [] if self._graph.wishes(author.id).quiet else [self._counted(post)]
        if appended.duplicate:
            told = [f"ok #{short_id(post.number)}: it was posted already"] if told else []
            return Accepted(post, appended.duplicate, "; ".join(told))
        if told and row.account is not None and (waits := self.waits(post, row.account)):
            told.append(waits)
        notes = self._not_seen_by(author, post)
        if unknown is not None:
            undone = "sent as an ordinary post; `del` within 2 minutes undoes it"
            notes.insert(0, f"no @{unknown} here; {undone}")
        return Accepted(post, appended.duplicate, "; ".join(told + notes), "; ".join(notes))

    async def _row(
        self, author: Person, draft: Draft, parent: Post | None
    ) -> tuple[PostRow, str | None]:
        """The row of a post, and the name with which it begins, if nobody has it (S2.6)."""
        named = self._names(draft.text)
        leading, elsewhere = named.leading, named.elsewhere
        if draft.forced:  # never a reply, whatever it looks like; `.@bob` is none either (S2)
            leading, elsewhere = (), leading + elsewhere
        text, targets, unknown = draft.text, leading, None if draft.forced else named.unknown
        if parent is not None:
            text = self._begun_with(author, parent, text, leading)
            targets = (parent.author, *(p for p in leading if p != parent.author))
            unknown = None
        elif leading and leading[0] != author.id:
            since = self._now() - CONVERSATION
            parent = await self.sight.last_of(leading[0], author.id, since)
        row = PostRow(
            author=author.id,
            text=text,
            lang=draft.lang or self._graph.wishes(author.id).lang,
            origin=draft.origin,
            stanza_id=draft.stanza_id,
            lanes=self._graph.lanes,
            targets=targets,
            mentions=tuple(sorted(set(elsewhere).difference((author.id, *targets)))),
            parent=None if parent is None else parent.number,
            root=None if parent is None else parent.root or parent.number,
            relay_only=draft.relay_only,
            live_per_hour=self.live_per_hour(author.id),
            attachments=draft.attachments,
            account=self.account_of(draft, author.id),
            most=self.most(author.id),
            item=draft.item,
        )
        return row, unknown

    def _begun_with(self, author: Person, parent: Post, text: str, leading: tuple[int, ...]) -> str:
        """The text with the name of whom it answers in front, where that is missing (S2.7)."""
        answered = self._graph.person(parent.author)
        if answered.id == author.id or answered.id in leading or answered.handle is None:
            return text
        return f"@{answered.handle} {text}"

    def _names(self, text: str) -> Named:
        return read_names(text, self._resolve)

    def _resolve(self, name: str, domain: str | None) -> int | None:
        """The person of `@name`, or of `@name@domain`; None: there is none here (S2.10)."""
        person = None
        if domain is not None:
            person = self._graph.by_jid(f"{name}@{domain}")
        if domain is None or domain == self._domain:
            person = self._graph.by_handle(name)
        return None if person is None else person.id

    # What its author is told (S1.5)

    def _counted(self, post: Post) -> str:
        now, later = self._delivery.audience_now(post)
        total = now + later
        name = f"ok #{short_id(post.number)}"
        if total >= FEW:
            return f"{name}: {now} now, {later} later"
        nobody = "0 people" if self._graph.follower_count(post.author) else "nobody follows you yet"
        people = {0: nobody, 1: "1 person"}.get(total, f"{total} people")
        return f"{name}: {people}"

    def _not_seen_by(self, author: Person, post: Post) -> list[str]:
        """Whom a protected author names in vain; of blocks nothing is said (S2.9)."""
        if not self._graph.protected(author.id):
            return []
        others = (self._graph.person(p) for p in post.addressed if p != author.id)
        return [
            f"{other.handle or other.jid} does not follow you and will not see this"
            for other in others
            if self._graph.follows_since(other.id, author.id) is None
        ]

    # In the window of one person (S3)

    async def typed(self, draft: Draft, here: Person | None) -> str:
        """Do what a text is for that was typed to `home`, or in one person's window; the answer.

        Raises what `accept` and `Letters.write` do; what is refused is neither posted nor sent.
        """
        if here is None:
            return (await self.accept(draft)).said
        author = self.author(draft.author)
        answered = await self._answered(author, draft)
        if answered is not None and answered.content.kind is not Kind.DIRECT:
            return await self._in_public(author, draft, answered)
        window = self._graph.wishes(author.id).window
        if answered is None and here.id != author.id:
            if window is Window.REPLY and not draft.forced:
                return await self._to_all(author, draft, here)
            if window is Window.ASK:
                raise Refused(
                    f"Nothing was sent: begin with `d {here.handle}` to write to @{here.handle} "
                    f"alone, or write `@{here.handle} …` to {self._home} for all to see."
                )
        parent = None if answered is None else answered.content
        return await self._in_private(author, draft, here, parent)

    async def _in_public(self, author: Person, draft: Draft, answered: Post) -> str:
        accepted = await self._publish(author, draft, answered)
        if not accepted.duplicate and self._first_time(author.id, "public reply"):
            notice = "this answers a public post, so all can see it; `del` takes it back"
            return "; ".join(told for told in (accepted.said, notice) if told)
        return accepted.said

    async def _to_all(self, author: Person, draft: Draft, here: Person) -> str:
        """S3.4: whoever chose `window reply` writes to all there, with the name in front."""
        if here.id not in self._names(draft.text).leading:
            draft = replace(draft, text=f"@{here.handle} {draft.text}")
        return (await self._publish(author, draft, None)).said

    async def _in_private(
        self, author: Person, draft: Draft, here: Person, parent: Post | None
    ) -> str:
        accepted = await self.letters.write(author, here, draft, parent)
        plain = parent is None and not accepted.duplicate
        if plain and self._first_time(author.id, "window"):
            notice = (
                f"what you type here goes to @{here.handle} alone; `re #id text`, or the answer "
                f"to a post of theirs, is public, and so is `@{here.handle} …` to {self._home}"
            )
            return "; ".join(told for told in (accepted.said, notice) if told)
        return accepted.said

    # Now and then

    def tick(self) -> None:
        """A minute has passed."""
        self.likes.tick()


def _all(_author: int) -> int | None:
    return None


def _nobodys(_draft: Draft, _author: int) -> int | None:
    return None


def _everybody(_author: int) -> Visibility:
    return Visibility.PUBLIC


def _nothing_waits(_post: Post, _account: int) -> str:
    return ""


async def _by_no_other_way(_row: PostRow) -> Post | None:
    return None
