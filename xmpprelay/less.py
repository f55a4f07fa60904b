"""What people want to see less of: groups, `off` and `on`, caps and digests (S7, S10).

A choice is written first, and counts from its commit on. Spans are kept with the times at which
they begin and end, and are compared with the time at which a post was accepted: so nothing has to
happen when a span ends, and a restart in its midst changes nothing.

A choice that takes posts out of a digest, or puts them into one, goes through `digests.py`, which
sends what would otherwise be lost, or come twice.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from xmpprelay.choices import Choices
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post, Rest
from xmpprelay.core.routing import OFF, decide
from xmpprelay.core.wishes import Cap, Span, Wishes, of_author, of_group
from xmpprelay.digests import Change, Digests
from xmpprelay.errors import StoreError, TryLater
from xmpprelay.store import less as rows
from xmpprelay.store.database import Database
from xmpprelay.store.less import (
    CapRow,
    DigestKept,
    DigestRow,
    Flush,
    GroupKept,
    GroupRow,
    OffRow,
    OnKept,
    OnRow,
    Stored,
    change_group,
    first_since,
    had_of,
    last_span,
    prune_offs,
    set_cap,
    set_digest,
    switch_off,
    switch_on,
)
from xmpprelay.store.queries import candidates_for
from xmpprelay.store.writer import Operation

Key = TypeVar("Key")
T = TypeVar("T")

FETCH_AT_ONCE: Final = 20
"""Posts that one `on+` brings; the rest comes by `more` (S10.1)."""

LATELY: Final = timedelta(days=1)
"""`on+` also brings what a span kept away that has ended by itself, for so long."""

LOOKED_AT: Final = 5000
"""The newest posts that `on+` looks through."""

PRUNE_EVERY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Missed:
    """What `on+` found."""

    coming: int  # posts on their way
    left: int  # more that `more` brings
    told: int  # that came as a digest


class Less:
    """What the people of one relay want to see less of.

    `learn_zone` asks which time it is where a person is, if he has not said so; it is set by
    whoever builds the relay.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        choices: Choices,
        digests: Digests,
        *,
        wake: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._choices = choices
        self._digests = digests
        self._wake = wake
        self._now = now
        self._minutes = 0
        self.learn_zone: Callable[[Person], Awaitable[None]] = _nobody_tells

    def load(self, conn: Connection) -> None:
        """Take up what is stored."""
        stored = rows.load(conn)
        for person in _everybody(stored):
            self._choices.change(
                person,
                groups=stored.groups.get(person, {}),
                offs=stored.offs.get(person, {}),
                caps=stored.caps.get(person, {}),
                digests=stored.digests.get(person, {}),
            )
        self._digests.load(stored.digests, stored.digested)

    def minute(self) -> None:
        """A minute has passed; once a day what ended long ago is forgotten."""
        self._minutes += 1
        if self._minutes % PRUNE_EVERY_MINUTES == 1:
            pruned = self._db.submit(prune_offs, None)
            pruned.add_done_callback(lambda done: done.cancelled() or done.exception())

    # Groups (S10.1)

    def groups(self, person: Person) -> dict[str, list[Person]]:
        """A person's groups, and who is in each, both in alphabetical order."""
        groups = self._wishes(person).groups
        return {name: self._people(groups[name]) for name in sorted(groups)}

    def _people(self, ids: Iterable[int]) -> list[Person]:
        return sorted(map(self._graph.person, ids), key=lambda p: p.handle or p.jid)

    async def change_group(
        self, person: Person, name: str, add: Iterable[Person], remove: Iterable[Person]
    ) -> list[Person]:
        """Put people into a group, and take others out; who is in it now.

        One that nobody is in any more is gone, with all that was chosen for it. Raises TooMany,
        TryLater; then nothing has changed.
        """
        into, out = {each.id for each in add}, {each.id for each in remove}
        wishes, subject = self._wishes(person), of_group(name)
        moved: set[int] = set()
        if subject in wishes.digests:
            members = wishes.groups.get(name, frozenset())
            moved = (into - members) | (out & members)

        def row(flush: Flush) -> GroupRow:
            return GroupRow(person.id, name, tuple(into), tuple(out), flush)

        def changed(kept: GroupKept, change: Change) -> None:
            self._digests.changed(
                change, kept.flushed, lambda: self._keep_group(person.id, name, kept.members)
            )

        subjects = {subject} if moved else set()
        kept: GroupKept = await self._move(person, moved, subjects, change_group, row, changed)
        return self._people(kept.members)

    def _keep_group(self, person: int, name: str, members: frozenset[int]) -> None:
        wishes = self._choices.of(person)
        if members:
            self._choices.change(person, groups={**wishes.groups, name: members})
            return
        self._digests.choose(person, of_group(name), None, 0, self._now())
        self._choices.change(
            person,
            groups=_without(wishes.groups, name),
            offs=_without(wishes.offs, of_group(name)),
            digests=_without(wishes.digests, of_group(name)),
        )

    # Digests (S10.3)

    async def set_digest(
        self,
        person: Person,
        subject: str,
        *,
        every: timedelta | None = None,
        at: time | None = None,
    ) -> None:
        """Let posts of an author or a group come by digest, or none of them (neither given).

        A daily one comes at its time in `Wishes.clock`. Raises TryLater; then nothing has changed.
        """

        def row(flush: Flush) -> DigestRow:
            return DigestRow(person.id, subject, every, at, flush)

        def changed(kept: DigestKept, change: Change) -> None:
            digest = kept.digest

            def apply() -> None:
                digests = {**self._choices.of(person.id).digests, subject: digest}
                self._choices.change(person.id, digests=digests)
                self._digests.choose(person.id, subject, digest, kept.flushed.number - 1, kept.at)

            self._digests.changed(change, kept.flushed, apply)

        authors = self._wishes(person).authors_of(subject)
        await self._move(person, authors, {subject}, set_digest, row, changed)
        if at is not None:
            await self.learn_zone(person)

    async def _move(
        self,
        person: Person,
        moved: Iterable[int],
        subjects: Iterable[str],
        operation: Operation[Any, Any],
        row: Callable[[Flush], Any],
        changed: Callable[[Any, Change], None],
    ) -> Any:
        """Make a change that puts posts of these authors from one way to another.

        It concerns all digests that one of them is in, and so all who are in those.
        """
        wishes = self._wishes(person)
        concerned = set(subjects)
        for author in moved:
            concerned.add(of_author(author))
            concerned.update(s for s in wishes.subjects(author) if s in wishes.digests)
        authors = frozenset(moved).union(*map(wishes.authors_of, concerned))
        try:
            change = await self._digests.change(person.id, authors, concerned)
            return await self._db.write(
                operation,
                row(Flush(person.id, tuple(sorted(concerned)))),
                committed=lambda kept: changed(kept, change),
            )
        except StoreError as error:
            raise _later() from error

    # Caps (S10.3)

    async def set_cap(self, person: Person, author: Person, cap: Cap | None) -> None:
        """Let no more than so much of an author come, or all of it (None). Raises TryLater."""

        def changed(_: Cap | None) -> None:
            caps = _without(self._choices.of(person.id).caps, author.id)
            self._choices.change(person.id, caps=caps if cap is None else {**caps, author.id: cap})

        try:
            await self._db.write(set_cap, CapRow(person.id, author.id, cap), committed=changed)
        except StoreError as error:
            raise _later() from error

    # off and on (S7, S10.1)

    async def off(self, person: Person, subject: str, span: timedelta | None) -> None:
        """Let nothing come of an author, a group or anybody, from now on. Raises TryLater.

        What is off already ends at the new time.
        """
        try:
            await self._db.write(
                switch_off,
                OffRow(person.id, subject, span),
                committed=lambda spans: self._keep_spans(person.id, subject, spans),
            )
        except StoreError as error:
            raise _later() from error

    async def on(self, person: Person, subject: str) -> bool:
        """End what is off, now; whether it was. What came meanwhile stays away. Raises TryLater."""

        def changed(kept: OnKept) -> None:
            self._keep_spans(person.id, subject, kept.spans)

        try:
            kept = await self._db.write(switch_on, OnRow(person.id, subject), committed=changed)
        except StoreError as error:
            raise _later() from error
        return kept.span is not None

    def _keep_spans(self, person: int, subject: str, spans: tuple[Span, ...]) -> None:
        offs = _without(self._choices.of(person).offs, subject)
        self._choices.change(person, offs={**offs, subject: spans} if spans else offs)

    def is_off(self, person: Person) -> list[str]:
        """The subjects that are off now."""
        now, offs = self._now(), self._wishes(person).offs
        return [s for s, spans in offs.items() if any(span.covers(now) for span in spans)]

    async def on_again(self, person: Person, subject: str) -> Missed | None:
        """End what is off, and send what it has kept away; None: nothing was off.

        Also where it has ended by itself within a day. The newest come by the way of a return, the
        rest by `more`, and what digests have passed over meanwhile as one. Raises TryLater.
        """
        spans = self._wishes(person).offs.get(subject, ())
        span = last_span(spans, self._now(), LATELY)
        if span is None:
            return None
        missed: list[Missed] = []
        upto = self._delivery.next_number - 1
        try:
            found = await self._db.read(lambda conn: self._in_span(conn, person, span, upto))
            had = await self._db.read(
                lambda conn: had_of(conn, person.id, {of_author(p.author) for p in found})
            )

            def changed(kept: OnKept) -> None:
                posts = [*found, *self._in_memory(upto + 1)]
                kept_away = [post for post in posts if self._kept_away(post, person.id)]
                self._keep_spans(person.id, subject, kept.spans)
                missed.append(self._bring(person.id, posts, kept_away, had))

            row = OnRow(person.id, subject, LATELY)
            await self._db.write(switch_on, row, committed=changed)
        except StoreError as error:
            raise _later() from error
        self._wake()
        return missed[0]

    def _in_span(self, conn: Connection, person: Person, span: Span, upto: int) -> list[Post]:
        first = first_since(conn, span.since)
        return candidates_for(conn, person.id, first, upto, LOOKED_AT, newest=True)

    def _in_memory(self, first: int) -> Iterator[Post]:
        for number in range(first, self._delivery.next_number):
            post = self._delivery.post(number)
            if post is not None:
                yield post

    def _kept_away(self, post: Post, person: int) -> bool:
        """Whether a post has passed him by because it was off, and nothing else."""
        if decide(self._graph, post, person) is not OFF:
            return False
        return not self._delivery.yet_to_come(person, post.number)

    def _bring(
        self, person: int, posts: Sequence[Post], kept_away: Sequence[Post], had: Mapping[str, int]
    ) -> Missed:
        live = [post for post in kept_away if decide(self._graph, post, person).yes]
        told = [post for post in kept_away if self._digest_has_passed(post, person, had)]
        self._digests.tell(person, told)
        if not live:
            return Missed(0, 0, len(told))
        newest, older = live[-FETCH_AT_ONCE:], live[:-FETCH_AT_ONCE]
        rest = self._delivery.rest_of(person)
        if older:
            first, last = older[0].number, older[-1].number
            bringing = {post.author for post in live}
            others = {p.author for p in posts if first <= p.number <= last} - bringing
            rest = Rest(first, last, tuple((author, first) for author in sorted(others)))
        numbers = [post.number for post in newest]
        self._delivery.fetch(person, numbers, rest, self._now())
        return Missed(len(newest), len(older), len(told))

    def _digest_has_passed(self, post: Post, person: int, had: Mapping[str, int]) -> bool:
        """Whether a post belongs into a digest that has come further already."""
        subject = self._digests.subject_of(post, person)
        if subject is None:
            return False
        passed = max(had.get(subject, 0), self._digests.number_of(person, subject))
        return post.number <= passed

    def _wishes(self, person: Person) -> Wishes:
        return self._choices.of(person.id)


def _everybody(stored: Stored) -> set[int]:
    return stored.groups.keys() | stored.offs.keys() | stored.caps.keys() | stored.digests.keys()


def _without(of: Mapping[Key, T], key: Key) -> dict[Key, T]:
    return {each: value for each, value in of.items() if each != key}


async def _nobody_tells(_: Person) -> None:
    """How it is until somebody can be asked."""


def _later() -> TryLater:
    return TryLater("The relay cannot store this at the moment; nothing was changed. Try later.")
