"""Digests: one message now and then in place of many posts (S10.3).

Three kinds, one form. Somebody chooses digests of an author or of a group (`digest bbc 1h`): each
has a time of its own. What is surplus of an outlet or a firehose comes to all his followers who
have chosen nothing, in rounds: all followers of one author at once, so that his posts are read once
and not once a follower. And whoever has said `catchup digest` gets what a return leaves to `more`
in this form.

The audience function says what belongs into a digest, when it is sent: what the live stream leaves
to it, and nothing else. For each person and subject one number says up to where he has had it. A
digest goes no further than the fan-out has gone by him, so that what it has told is never sent
again if he changes his mind.

*Every change of what a digest is about sends first what waits* (`Change`). In the moment in which
the change is committed each post below it is asked about by the old and by the new rules: what
would come by neither any more is sent as a digest at once.

Sent first, then noted, both in one turn of the loop, without waiting in between. A crash before the
note is on the disk therefore sends at most one portion of digests again, and never loses one: the
same choice as for posts (docs/flow.md). A digest is no post, though: it is one chat message, and if
the stream breaks right behind it, it is gone. `last` has what it told.
"""

import asyncio
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Kind, Post
from xmpprelay.core.recipients import State
from xmpprelay.core.routing import Outlet, decide
from xmpprelay.core.text import short_id
from xmpprelay.core.volume import due_at, round_of
from xmpprelay.core.wishes import Digest, of_author
from xmpprelay.errors import StoreError
from xmpprelay.journal import Journal
from xmpprelay.log import get_logger
from xmpprelay.store.database import Database
from xmpprelay.store.less import (
    Digested,
    Flushed,
    had_by,
    had_of,
    newest_of_authors,
    note_digests,
)
from xmpprelay.store.queries import posts

log = get_logger("digests")

LINES: Final = 10
"""Posts that one digest tells (S10.3)."""

LINE_CHARS: Final = 140
"""Characters of each."""

SHELF: Final = 2000
"""The newest posts that one digest looks at: what lies below them it does not even count."""

PORTION: Final = 100
"""Digests sent and noted together at most; then others have their turn."""

LOOKED_AT: Final = 4000
"""Posts looked at for that: fewer digests go together where each is about many."""

ASKED_FOR_AT_MOST: Final = 100
"""The most that `last` shows."""

NAMED: Final = 5
"""Authors whom the last line of a digest names."""

WAIT_FOR_ROOM_S: Final = 0.5


@dataclass(slots=True)
class _Chosen:
    """A digest that somebody has chosen, and how far it has come."""

    digest: Digest
    number: int
    at: datetime  # when it was sent last, or chosen
    zone: str | None = None
    due: datetime | None = None  # reckoned for that zone

    def due_in(self, zone: str | None) -> datetime:
        if self.due is None or self.zone != zone:
            self.zone, self.due = zone, due_at(self.digest, zone_of(zone), self.at)
        return self.due

    def sent(self, number: int, at: datetime) -> None:
        self.number, self.at, self.due = max(self.number, number), at, None


class Digests:
    """The digests of one relay.

    `tell` says something to a bare JID; `has_room` whether the stream takes more at the moment;
    `rounds` gives the authors of whom something may be surplus, and how often it is to come; and
    `feed` the address of an author's public feed, empty if he has none.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        journal: Journal,
        tell: Callable[[str, str], None],
        *,
        wake: Callable[[], None],
        now: Callable[[], datetime],
        has_room: Callable[[], bool] = lambda: True,
        rounds: Callable[[], Mapping[int, timedelta]] = dict,
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._journal = journal
        self._tell = tell
        self._wake = wake
        self._now = now
        self._has_room = has_room
        self._rounds = rounds
        self.feed: Callable[[int], str] = lambda _: ""
        self._ticking: asyncio.Task[None] | None = None
        self._returns: set[asyncio.Task[None]] = set()
        self.failures = 0  # what was not foreseen
        self._chosen: dict[tuple[int, str], _Chosen] = {}
        self._round: dict[int, int] = {}  # author -> the round that was sent last
        self._flushed: dict[tuple[int, str], int] = {}  # since the round under way was read

    def load(self, digests: Mapping[int, Mapping[str, Digest]], sent: Iterable[Digested]) -> None:
        """Take up what is stored."""
        last = {(each.person, each.subject): each for each in sent}
        for person, chosen in digests.items():
            for subject, digest in chosen.items():
                row = last.get((person, subject))
                number, at = (0, self._now()) if row is None else (row.number, row.at)
                if digest.on:
                    self._chosen[person, subject] = _Chosen(digest, number, at)

    # What is due

    def minute(self) -> None:
        """A minute has passed: see what is due, unless that is still being done."""
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        try:
            await self.tick()
        except StoreError as error:
            log.warning("digests.not_sent", why=error.sentence)
        except Exception:  # the top of the task: the next minute may be better
            self.failures += 1
            log.exception("digests.failed")
        finally:
            self._ticking = None

    async def close(self) -> None:
        """Send nothing more; what was sent is noted."""
        for task in (self._ticking, *self._returns):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def tick(self) -> None:
        """Send what is due to those who are live; whoever is not gets it when he is."""
        await self._send_chosen()
        await self._send_rounds()

    async def _send_chosen(self) -> None:
        now = self._now()
        due = []
        for (person, subject), chosen in list(self._chosen.items()):
            if self._graph.wishes(person).digests.get(subject) != chosen.digest:
                del self._chosen[person, subject]  # he has left the relay
            elif self._is_live(person):
                when = chosen.due_in(self._graph.wishes(person).clock)
                if when <= now:
                    due.append((when, person, subject))
        due.sort()
        for first in range(0, len(due), PORTION):
            await self._wait_for_room()
            portion = [(person, subject) for _, person, subject in due[first : first + PORTION]]
            await self._send_portion(portion)

    async def _send_portion(self, keys: Sequence[tuple[int, str]]) -> None:
        """Read for each, or for all who have chosen the same author at once; then send."""
        upto = self._delivery.next_number - 1
        after: dict[frozenset[int], int] = {}
        wanted: list[tuple[int, str, frozenset[int]]] = []
        for person, subject in keys:
            if (person, subject) in self._chosen:
                authors = self._graph.wishes(person).authors_of(subject)
                wanted.append((person, subject, authors))
                number = self._chosen[person, subject].number
                after[authors] = min(number, after.get(authors, number))
        shelves = {
            authors: await self._read(authors, number, upto) for authors, number in after.items()
        }
        rows, looked_at = [], 0
        for person, subject, authors in wanted:
            chosen = self._chosen.get((person, subject))
            if chosen is None or not self._is_live(person):
                continue
            upto_him = min(upto, self._delivery.passed_upto(person))
            self._send(person, subject, shelves[authors], chosen.number, upto_him)
            chosen.sent(upto_him, self._now())
            rows.append(Digested(person, subject, chosen.number, chosen.at))
            looked_at += len(shelves[authors])
            if looked_at > LOOKED_AT:
                await self._note(rows)
                rows, looked_at = [], 0
        await self._note(rows)

    async def _send_rounds(self) -> None:
        now = self._now()
        for author, every in self._rounds().items():
            number = round_of(author, every, now)
            if self._round.setdefault(author, number) != number:
                self._round[author] = number
                await self._send_round(author)

    async def _send_round(self, author: int) -> None:
        """The surplus posts of one author, to all followers who have chosen nothing."""
        subject, upto = of_author(author), self._delivery.next_number - 1
        self._flushed.clear()
        had = await self._db.read(lambda conn: had_by(conn, subject))
        people = [
            follower.id
            for follower in self._graph.followers(author)
            if self._is_live(follower.id) and (follower.id, subject) not in self._chosen
        ]
        if not people:
            return
        after = min(had.get(person, self._followed(person, author) - 1) for person in people)
        shelf = await self._read((author,), after, upto, surplus=True)
        portion = max(1, min(PORTION, LOOKED_AT // max(1, len(shelf))))
        for first in range(0, len(people), portion):
            await self._wait_for_room()
            rows = []
            copies = _Copies(self, self._graph, author, self._as_now(shelf))
            for person in people[first : first + portion]:
                if not self._is_live(person) or (person, subject) in self._chosen:
                    continue
                before = self._flushed.get((person, subject), had.get(person, 0))
                upto_him = min(upto, self._delivery.passed_upto(person))
                text = copies.text_for(person, before, upto_him)
                if text is not None:
                    self._say(person, text)
                    rows.append(Digested(person, subject, upto_him, self._now()))
            await self._note(rows)

    def _followed(self, person: int, author: int) -> int:
        return self._graph.follows_since(person, author) or 1

    async def _read(
        self, authors: Iterable[int], after: int, upto: int, *, surplus: bool = False
    ) -> list[Post]:
        some = list(authors)
        return await self._db.read(
            lambda conn: newest_of_authors(conn, some, after, upto, SHELF, surplus=surplus)
        )

    def _is_live(self, person: int) -> bool:
        return self._delivery.state_of(person) is State.LIVE

    async def _wait_for_room(self) -> None:
        while not self._has_room():  # noqa: ASYNC110 - nobody tells when there is room again
            await asyncio.sleep(WAIT_FOR_ROOM_S)

    async def _note(self, rows: Sequence[Digested]) -> None:
        """Begun in the turn of the loop in which the digests were sent."""
        if rows:
            await self._db.write(note_digests, rows)
        await asyncio.sleep(0)

    def _send(self, person: int, subject: str, shelf: Iterable[Post], had: int, upto: int) -> None:
        some = [post for post in shelf if had < post.number <= upto]
        self.tell(
            person,
            [post for post in self._as_now(some) if self.subject_of(post, person) == subject],
        )

    def _as_now(self, shelf: Iterable[Post]) -> list[Post]:
        """Posts as they are now, if they have changed since they were read."""
        now = (self._delivery.post(post.number) or post for post in shelf)
        return [post for post in now if not (post.deleted or post.content.deleted)]

    def subject_of(self, post: Post, person: int) -> str | None:
        """The subject of the digest that brings a post to a person; None: none does."""
        if not decide(self._graph, post, person, Outlet.DIGEST).yes:
            return None
        wishes = self._graph.wishes(person)
        return wishes.digest_for(post.author, post.number, surplus=post.surplus)

    def tell(self, person: int, some: Sequence[Post]) -> None:
        """Send posts, ascending, as one digest; nothing if there are none."""
        if some:
            self._say(person, self.text(some))

    def _say(self, person: int, text: str) -> None:
        self._tell(self._graph.person(person).jid, text)
        self._delivery.digest_sent(person, self._now())

    def text(self, some: Sequence[Post]) -> str:
        """Up to ten lines, oldest first, and how to see the rest (S10.3)."""
        lines = [self.line(post) for post in some[:LINES]]
        if left := some[LINES:]:
            counts = Counter(self._name(post.author) for post in left).most_common(NAMED)
            ways = ", ".join(f"`last {name} {min(n, ASKED_FOR_AT_MOST)}`" for name, n in counts)
            where = self.feed(left[0].author) if len(counts) == 1 else ""
            lines.append(f"and {len(left)} more: {ways}" + (f" or {where}" if where else ""))
        return "\n".join(lines)

    def line(self, post: Post) -> str:
        """A post as one line, cut to a length that fits a telephone."""
        name = self._name(post.author)
        if post.kind is Kind.BOOST:
            name = f"{name} boosts {self._name(post.content.author)}"
        text = " ".join(post.content.text.split())
        if len(text) > LINE_CHARS:
            text = text[: LINE_CHARS - 1].rstrip() + "…"
        return f"{name}: {text}  #{short_id(post.number)}"

    def _name(self, author: int) -> str:
        return self._graph.person(author).handle or "?"

    # Changes of what a digest is about

    async def change(
        self, person: int, authors: Iterable[int], subjects: Iterable[str]
    ) -> "Change":
        """A change that concerns the digests of these subjects, and these authors' posts.

        Raises StoreError.
        """
        change = Change(person, frozenset(authors), frozenset(subjects), self._delivery.next_number)
        change.posts = await self._may_wait(change)
        return change

    async def _may_wait(self, change: "Change") -> dict[int, Post]:
        """What the change may put from one way to another, as far as it is not in memory."""
        if not change.authors:
            return {}
        person, authors, upto = change.person, change.authors, change.number - 1
        found = []
        chosen = [
            self._chosen[person, subject].number
            for subject in change.subjects
            if (person, subject) in self._chosen
        ]
        lacked = self._delivery.lacks_from(person)
        after = min([*chosen, lacked - 1])
        if after < upto:
            found += await self._read(authors, after, upto)
        shed = authors.intersection(self._rounds())
        if shed:
            subjects = [of_author(author) for author in shed]
            had = await self._db.read(lambda conn: had_of(conn, person, subjects))
            after = min(
                had.get(of_author(author), self._followed(person, author) - 1) for author in shed
            )
            found += await self._read(shed, after, upto, surplus=True)
        return {post.number: post for post in found}

    def changed(self, change: "Change", flushed: Flushed, apply: Callable[[], None]) -> None:
        """The change is committed: `apply` puts it into the graph; send what waits no more.

        To be called in the commit's callback, so that everything below `flushed.number` is here,
        and nothing above it.
        """
        before = [
            (post, self._way(change, post, flushed.had))
            for post in self._posts_of(change, flushed.number)
        ]
        apply()
        moved = [post for post, way in before if self._is_left_over(change, post, way)]
        at = self._now()
        for subject in change.subjects:
            self._flushed[change.person, subject] = flushed.number - 1
            if chosen := self._chosen.get((change.person, subject)):
                chosen.sent(flushed.number - 1, at)
        self.tell(change.person, moved)

    def _posts_of(self, change: "Change", number: int) -> list[Post]:
        posts = {n: self._delivery.post(n) or post for n, post in change.posts.items()}
        for later in range(change.number, number):
            post = self._delivery.post(later)
            if post is not None and post.author in change.authors:
                posts[later] = post
        return [posts[n] for n in sorted(posts)]

    def _way(self, change: "Change", post: Post, had: Mapping[str, int]) -> "_Way":
        subject = self.subject_of(post, change.person)
        told = subject is not None and post.number <= had.get(subject, 0)
        live = decide(self._graph, post, change.person).yes
        waits = self._delivery.yet_to_come(change.person, post.number)
        return _Way(subject, told=told, live=live, waits=waits)

    def _is_left_over(self, change: "Change", post: Post, before: "_Way") -> bool:
        """Whether neither the live stream nor a digest will bring a post after the change."""
        comes_live = before.waits and decide(self._graph, post, change.person).yes
        if before.subject in change.subjects:
            return not before.told and not comes_live
        to_digest = self.subject_of(post, change.person) is not None
        return before.live and before.waits and not comes_live and to_digest

    def choose(
        self, person: int, subject: str, digest: Digest | None, number: int, at: datetime
    ) -> None:
        """Somebody has chosen a digest, or none any more (None, or one that is off)."""
        key = (person, subject)
        if digest is None or not digest.on:
            self._chosen.pop(key, None)
        else:
            self._chosen[key] = _Chosen(digest, number, at)

    def daily(self) -> set[int]:
        """Who has chosen a digest that comes at a time of the day."""
        return {person for (person, _), each in self._chosen.items() if each.digest.at is not None}

    def number_of(self, person: int, subject: str) -> int:
        """Up to where somebody has had a digest that he has chosen; 0: there is none."""
        chosen = self._chosen.get((person, subject))
        return 0 if chosen is None else chosen.number

    # A return in one message (S11.2)

    def returned(self, person: int, counts: Mapping[int, int]) -> None:
        """A return is over and has left something to `more`: tell it as a digest."""
        task = asyncio.get_running_loop().create_task(self.at_return(person, counts))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def at_return(self, person: int, counts: Mapping[int, int]) -> None:
        """Tell the newest of what a return has left to `more`; `more` has the rest.

        `counts` are the posts of each author that it has left. What is told here is taken out of
        the rest in the same turn of the loop.
        """
        rest = self._delivery.rest_of(person)
        if rest is None:
            return
        try:
            numbers, remain = await self._journal.of_rest(person, rest, None, LINES)
            found = await self._db.read(lambda conn: posts(conn, numbers))
        except StoreError as error:
            log.warning("return.not_read", why=error.sentence)
            return
        newest = [post for post in found if decide(self._graph, post, person).yes]
        if not newest or self._delivery.rest_of(person) is not rest:
            return
        text = "\n".join(self.line(post) for post in newest)
        left = None
        if remain:
            left = replace(rest, last=numbers[0] - 1)
            older = Counter(counts)
            older.subtract(post.author for post in newest)
            most = (+older).most_common(NAMED)
            names = ", ".join(f"{self._name(author)} {count}" for author, count in most)
            text += f"\nand {remain} older: {names}. `more` or `skip`"
        self._say(person, text)
        self._delivery.fetch(person, (), left, self._now())
        self._wake()


@dataclass(slots=True)
class Change:
    """A change of what digests are about, on its way to the disk."""

    person: int
    authors: frozenset[int]  # whose posts may come another way after it
    subjects: frozenset[str]  # whose digests it concerns
    number: int  # posts from here on are in memory
    posts: dict[int, Post] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a post came to a person before a change."""

    subject: str | None  # of the digest that brought it
    told: bool  # that digest has been sent
    live: bool  # by itself
    waits: bool  # neither the fan-out nor a return has brought it yet


class _Copies:
    """The digests of one portion of an author's followers: most of them get the same text."""

    def __init__(self, digests: Digests, graph: Graph, author: int, shelf: Sequence[Post]) -> None:
        self._digests = digests
        self._subject = of_author(author)
        found = graph.reach(shelf[0]) if shelf else None
        self._simple: Set[int] = frozenset() if found is None else found[0] - found[1]
        self._shelf = shelf
        self._numbers = [post.number for post in shelf]
        self._plain = all(post.kind is Kind.POST and not post.addressed for post in shelf)
        self._texts: dict[tuple[int, int], str] = {}

    def text_for(self, person: int, had: int, upto: int) -> str | None:
        """What comes to a person above one number and up to another; None: nothing."""
        first, last = bisect_right(self._numbers, had), bisect_right(self._numbers, upto)
        some = self._shelf[first:last]
        if not some:
            return None
        if self._plain and person in self._simple:
            if (first, last) not in self._texts:
                self._texts[first, last] = self._digests.text(some)
            return self._texts[first, last]
        his = [p for p in some if self._digests.subject_of(p, person) == self._subject]
        return self._digests.text(his) if his else None


_OFFSET: Final = re.compile(r"([+-])(\d{1,2})(?::?(\d{2}))?")


@lru_cache(maxsize=1024)
def zone_of(name: str | None) -> tzinfo:
    """The zone of that name or offset; UTC for one that nobody knows, and for none."""
    offset = _OFFSET.fullmatch(name or "")
    if offset is not None:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(span if offset[1] == "+" else -span) if span < timedelta(days=1) else UTC
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
