"""Who is here, who follows whom, what each has chosen: changed here, and nowhere else.

Each change is written first and takes effect in the commit's callback, in commit order, so that the
graph in memory never says more than the disk. What has to be said over XMPP about a change goes
through `Wire`, whichever door the change came by: four doors, one record (S5.1).
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final, Protocol, TypeVar

from xmpprelay.core.delivery import Delivery, without
from xmpprelay.core.graph import Graph
from xmpprelay.core.handles import check_handle, skeleton
from xmpprelay.core.model import Grant, Mode, Person, Rest
from xmpprelay.core.newcomers import DomainLimits, Newcomers
from xmpprelay.core.notices import Notices
from xmpprelay.errors import Refused, RelayError, StoreError, TryLater, UnknownHandle
from xmpprelay.journal import Journal
from xmpprelay.store.bulk import ImportedPerson, import_follows, import_people
from xmpprelay.store.database import Database
from xmpprelay.store.operations import (
    ANSWERED_FOR,
    Asked,
    EndRow,
    Followed,
    FollowRow,
    HandleRow,
    SettingRow,
    add_follow,
    add_person,
    end_follow,
    set_setting,
    take_handle,
)

T = TypeVar("T")

FETCH_AT_ONCE: Final = 20
"""Posts that one `more` brings (S11.2)."""

NOTICE_EVERY_S: Final = 600.0
"""Of new followers an author is told at once, then at most so often (S5.3)."""

NOTICE_NAMES: Final = 20
"""So many of them are named."""

CATCHUP: Final = "catchup"
"""The setting of S11.2: how many missed posts come by themselves."""

CATCHUP_USUAL: Final = 20
"""Of somebody who has not chosen."""

CATCHUP_DIGEST: Final = -1
"""`catchup digest`: none of them by themselves, but one message that tells them."""

TOLD: Final = "told "
"""Begins the name of a setting that says what a person has been told, once in his life."""

_CHUNK: Final = 1000
"""Rows of an import in one write: other people's posts go between two of them."""


class Outcome(Enum):
    """What became of the wish to follow somebody."""

    FOLLOWS = "follows"
    FOLLOWED = "followed"  # before already
    ASKED = "asked"  # it waits; what for is not said (S5.2, S6.1)


class Wire(Protocol):
    """What is said over XMPP about changes."""

    def ask_presence(self, person: Person) -> bool:
        """Ask somebody, once, to let home@relay see his presence (S5.5); False: it cannot now."""

    def follow_ended(self, follower: Person, author: Person) -> None:
        """Tell a follower's server that he follows no more."""

    def admitted(self, follower: Person, author: Person) -> None:
        """Tell a follower's server that the author has let him follow."""

    def subscription(self, follower: Person, author: Person, state: str) -> None:
        """Tell somebody who gets events what his subscription is now (XEP-0060 §12.12)."""

    def mention(self, jid: str, text: str, buttons: Sequence[tuple[str, str]] = ()) -> None:
        """Say something to somebody that he has not asked for, from home@relay.

        It can be answered by a button: (what it sends, what stands on it).
        """


class People:
    """The people of one relay."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        journal: Journal,
        wire: Wire,
        *,
        wake: Callable[[], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        open_to_all: bool,
        reserved: Sequence[str],
        max_follows: int,
        of_a_domain: DomainLimits,
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._journal = journal
        self._wire = wire
        self._wake = wake
        self._now = now
        self._monotonic = monotonic
        self._open_to_all = open_to_all
        self._reserved = tuple(reserved)
        self._max_follows = max_follows
        self._newcomers = Newcomers(graph, of_a_domain)
        self._catchup: dict[int, int] = {}
        self._new_followers: Notices[_Names] = Notices(NOTICE_EVERY_S, _Names)
        self._told: set[tuple[int, str]] = set()  # (person, what)
        self.asked: Callable[[Person, Person], None] = _nobody_asks  # (author, follower)
        self._former: dict[str, tuple[int, datetime]] = {}  # handle -> (person, since when not)
        self.came: Callable[[int], None] = lambda _: None  # so many people are new

    def load_settings(self, settings: Iterable[tuple[int, str, str]]) -> None:
        """Take up what is stored of what people have chosen: (person, name, value)."""
        for person, name, value in settings:
            if name == CATCHUP:
                self.take_catchup(person, catchup_number(value))
            elif name.startswith(TOLD):
                self._told.add((person, name.removeprefix(TOLD)))

    def first_time(self, person: int, what: str) -> bool:
        """Whether a person has never been told of this; from now on he has.

        Where that cannot be stored he is told again after a restart.
        """
        if (person, what) in self._told:
            return False
        self._told.add((person, what))
        self._keep_told(person, what, "yes")
        return True

    def not_told(self, person: int, what: str) -> None:
        """What he was told is over: if it begins anew, it is news again."""
        if (person, what) in self._told:
            self._told.remove((person, what))
            self._keep_told(person, what, None)

    def _keep_told(self, person: int, what: str, value: str | None) -> None:
        with contextlib.suppress(StoreError):
            stored = self._db.submit(set_setting, SettingRow(person, TOLD + what, value))
            stored.add_done_callback(lambda done: done.cancelled() or done.exception())

    # Who is here

    async def join(self, jid: str, typed: str) -> Person:
        """Give a person a handle (S12.1, S12.2).

        Raises HandleRefused or HandleTaken with what to type instead, Refused (he has one already,
        or registration is closed), TooMany (others of his domain have), TryLater.
        """
        known = self._graph.by_jid(jid)
        if known is not None and known.handle is not None:
            if known.handle == typed.strip().removeprefix("@").lower():
                return known
            raise Refused(f"You are @{known.handle} already; `:join NAME` changes that.")
        if not self._open_to_all:
            raise Refused("This relay takes nobody new at the moment; you can follow people here.")
        handle = check_handle(typed, self._reserved)
        self._newcomers.join(jid, self._monotonic())
        try:
            person = await self._person(jid)
            row = HandleRow(person.id, handle, skeleton(handle))
            return await self._db.write(take_handle, row, committed=self._named)
        except RelayError:
            self._newcomers.did_not_join(jid, self._monotonic())
            raise
        except StoreError as error:
            self._newcomers.did_not_join(jid, self._monotonic())
            raise _later() from error

    async def of_the_relay(self, jid: str, handle: str) -> Person:
        """Somebody who is the relay itself, with a reserved handle. Raises TryLater."""
        known = self._graph.by_jid(jid)
        if known is not None and known.handle is not None:
            return known
        try:
            person = await self._person(jid)
            row = HandleRow(person.id, handle, skeleton(handle))
            return await self._db.write(take_handle, row, committed=self._named)
        except StoreError as error:
            raise _later() from error

    def _named(self, person: Person) -> None:
        before = self._graph.by_jid(person.jid)
        if before is not None and before.handle is None:
            self._newcomers.have_a_handle(person.jid)
        self._graph.add_person(person)

    def named(self, handle: str) -> Person:
        """The person with that handle; UnknownHandle when there is none."""
        person = self._graph.by_handle(handle)
        if person is not None:
            return person
        successor = self.renamed(handle)
        if successor is not None:
            raise UnknownHandle(f"@{handle} is now @{successor.handle}.")
        raise self.nobody(handle)

    def nobody(self, handle: str) -> UnknownHandle:
        """What is said of a handle that nobody has, or nobody whom one may know."""
        return UnknownHandle(f"There is no @{handle} here. `help follow` tells how to follow.")

    def former(self, handle: str, person: int, since: datetime) -> None:
        """A handle was somebody's until then; for a while it tells who he is now (S12.2)."""
        self._former[handle] = (person, since)

    def renamed(self, handle: str) -> Person | None:
        """Who had a handle until lately and has another one now, or None (S12.2)."""
        person, since = self._former.get(handle.lower(), (0, None))
        if since is None or self._now() - since >= ANSWERED_FOR:
            return None
        found = self._graph.person(person)
        return None if found.handle is None else found

    async def known(self, jid: str) -> Person:
        """The person with a bare JID, who is made known if he is not. Raises TryLater."""
        return await self._person(jid)

    def catchup_of(self, person: int) -> int | None:
        """How many missed posts come by themselves, if somebody has chosen (S11.2)."""
        return self._catchup.get(person)

    def take_catchup(self, person: int, newest: int) -> None:
        """Put a committed choice of `catchup` into effect."""
        self._catchup[person] = newest
        self._delivery.set_catchup(person, max(0, newest))

    def wants_digest(self, person: int) -> bool:
        """Whether somebody wants what he missed in one message (`catchup digest`)."""
        return self._catchup.get(person) == CATCHUP_DIGEST

    def follow_ended(self, follower: Person, author: Person) -> None:
        """Tell a follower's server of a follow that has ended already."""
        self._wire.follow_ended(follower, author)

    def forget(self, person: int) -> None:
        """Somebody has left: nothing is remembered of what he chose or was told."""
        if self._catchup.pop(person, None) is not None:
            self._delivery.set_catchup(person, CATCHUP_USUAL)
        self._new_followers.forget(person)
        self._told = {(who, what) for who, what in self._told if who != person}

    async def _person(self, jid: str) -> Person:
        known = self._graph.by_jid(jid)
        if known is not None:
            return known
        self._newcomers.become_known(jid)
        try:
            return await self._db.write(add_person, jid, committed=self._made)
        except StoreError as error:
            self._newcomers.are_still_unknown(jid)
            raise _later() from error

    def _made(self, *people: Person) -> None:
        self.came(sum(self._graph.by_jid(person.jid) is None for person in people))
        for person in people:
            self._graph.add_person(person)

    # Who follows whom

    async def follow(self, jid: str, author: Person, mode: Mode | None) -> Outcome:
        """Let a person follow an author, or ask to (S5.1, S5.2); what became of it.

        `mode` None: an old follow keeps its mode, a new one is in home mode. Raises Refused (it is
        himself, or somebody whom he blocks), UnknownHandle (an author whom the operator has
        blocked), TooMany (he, or others of his domain), TryLater.
        """
        if jid == author.jid:
            raise Refused("That is you; you see your own posts where you write them.")
        if self._graph.barred(author.jid):
            raise self.nobody(author.handle or author.jid)
        before = self._graph.by_jid(jid)
        if before is not None and self._graph.blocks.has(before.id, author.jid):
            raise Refused(f"You block @{author.handle}: `blocks` lists what you would have to end.")
        new = before is None or self._graph.follow(before.id, author.id) is None
        if new:
            self._newcomers.follow(jid, self._monotonic())
        try:
            person = await self._person(jid)
            row = FollowRow(person.id, author.id, mode, self._max_follows)
            followed = await self._db.write(add_follow, row, committed=self._followed)
        except RelayError:
            if new:
                self._newcomers.did_not_follow(jid, self._monotonic())
            raise
        except StoreError as error:
            if new:
                self._newcomers.did_not_follow(jid, self._monotonic())
            raise _later() from error
        if isinstance(followed, Asked):
            if followed.new:
                self.asked(author, person)
            return Outcome.ASKED
        self.ask_presence(person)
        if followed.new:
            self._notice(author, person)
        return Outcome.FOLLOWS if followed.new else Outcome.FOLLOWED

    def ask_presence(self, person: Person) -> None:
        """Ask somebody who follows now to let his presence be seen, the first time (S5.5)."""
        if self._delivery.grant_of(person.id) is Grant.NEVER and self._wire.ask_presence(person):
            self._delivery.set_grant(person.id, Grant.ASKED, self._now())
            self._wake()

    def ask_again(self, person: Person) -> None:
        """Ask somebody to let his presence be seen, unless he does: he has just asked for it."""
        known = self._delivery.knows(person.id)
        granted = self._delivery.grant_of(person.id) is Grant.GRANTED
        if known and not granted and self._wire.ask_presence(person):
            self._delivery.set_grant(person.id, Grant.ASKED, self._now())
            self._wake()

    def take_follow(self, followed: Followed) -> None:
        """Put a committed follow into effect."""
        self._graph.add_follow(followed.follow)
        self._delivery.standing_made(followed.standing, self._now())
        person = followed.standing.person
        if person in self._catchup:
            self._delivery.set_catchup(person, max(0, self._catchup[person]))
        self._wake()

    def _followed(self, followed: Followed | Asked) -> None:
        if isinstance(followed, Followed):
            self.take_follow(followed)

    def _notice(self, author: Person, follower: Person) -> None:
        self._new_followers.of(author.id).add(name_of(follower))
        kept = self._new_followers.take(author.id, self._monotonic())
        if kept is not None:
            self._wire.mention(author.jid, kept.told())

    def tick(self) -> None:
        """A minute has passed: tell authors of followers that were kept for a common notice."""
        for author, kept in self._new_followers.due(self._monotonic()):
            self._wire.mention(self._graph.person(author).jid, kept.told())

    async def unfollow(self, jid: str, author: Person) -> bool:
        """End a follow, for all doors; whether there was one (S5.1). Raises TryLater."""
        person = self._graph.by_jid(jid)
        if person is None:
            return False

        before = self._graph.follow(person.id, author.id)

        def ended(_: bool) -> None:
            self._graph.end_follow(person.id, author.id)

        try:
            there = await self._db.write(end_follow, EndRow(person.id, author.id), committed=ended)
        except StoreError as error:
            raise _later() from error
        if there:
            self._wire.follow_ended(person, author)
            if before is not None and before.mode.is_pubsub:
                self._wire.subscription(person, author, "none")
        return there

    async def set_mode(self, jid: str, author: Person | None, mode: Mode) -> int:
        """Change how posts of one author, or of all, come; how many follows that is (S1.2)."""
        person = self._graph.by_jid(jid)
        if person is None:
            return 0
        authors = [author] if author is not None else list(self._graph.following(person.id))
        changed = 0
        for each in authors:
            if self._graph.follow(person.id, each.id) is not None:
                await self.follow(jid, each, mode)
                changed += 1
        return changed

    # What a return left

    async def more(self, jid: str, author: Person | None) -> tuple[int, int]:
        """Send the newest posts that the last return left; how many come, how many remain (S11.2).

        Of one author only, where one is given. Raises TryLater.
        """
        person = self._graph.by_jid(jid)
        rest = None if person is None else self._delivery.rest_of(person.id)
        if person is None or rest is None:
            return 0, 0
        only = None if author is None else author.id
        try:
            numbers, remain = await self._journal.of_rest(person.id, rest, only, FETCH_AT_ONCE)
        except StoreError as error:
            raise _later() from error
        left: Rest | None = rest
        if author is not None and numbers:
            left = without(rest, author.id, numbers[0])
        elif author is None:
            left = replace(rest, last=numbers[0] - 1) if remain else None
        self._delivery.fetch(person.id, numbers, left, self._now())
        self._wake()
        return len(numbers), remain

    def skip(self, jid: str) -> bool:
        """Drop what the last return left; whether there was anything (S11.2)."""
        person = self._graph.by_jid(jid)
        if person is None or self._delivery.rest_of(person.id) is None:
            return False
        self._delivery.drop_rest(person.id)
        self._wake()
        return True

    async def set_catchup(self, jid: str, newest: int) -> None:
        """How many missed posts come by themselves after a longer absence (S11.2)."""
        person = await self._person(jid)
        try:
            await self._db.write(set_setting, SettingRow(person.id, CATCHUP, catchup_word(newest)))
        except StoreError as error:
            raise _later() from error
        self.take_catchup(person.id, newest)

    # Many at once

    async def add_all(
        self,
        rows: Sequence[tuple[str, str | None, tuple[str, ...]]],
        progress: Callable[[int], None],
    ) -> tuple[int, int]:
        """Take up many people: (jid, handle or None, handles followed); how many people, follows.

        The rows are well-formed (`people_csv.py`). `progress` is told how many rows are through.
        An import that is broken off may be started again: what is there stays as it is.
        """
        by_handle: dict[str, int] = {}
        ids: list[int] = []
        for chunk in _chunks(rows):
            people = await self._db.write(
                import_people,
                [
                    ImportedPerson(jid, handle, None if handle is None else skeleton(handle))
                    for jid, handle, _ in chunk
                ],
                committed=self._add_people,
            )
            ids += [person.id for person in people]
            by_handle |= {p.handle: p.id for p in people if p.handle is not None}
            progress(len(ids) // 2)
        wanted = [
            FollowRow(person, author, None, None, approved=True)
            for person, (_, _, follows) in zip(ids, rows, strict=True)
            for author in (by_handle.get(h) or self.named(h).id for h in follows)
            if author != person
        ]
        added = 0
        for number, part in enumerate(_chunks(wanted), 1):
            followed = await self._db.write(import_follows, part, committed=self._add_follows)
            added += sum(each.new for each in followed)
            progress(len(ids) // 2 + len(ids) * number * _CHUNK // (2 * len(wanted) + 1))
        return len(ids), added

    def _add_people(self, people: Sequence[Person]) -> None:
        self._made(*people)
        self._newcomers.change()

    def _add_follows(self, followed: Sequence[Followed | Asked]) -> None:
        for each in followed:
            self._followed(each)


@dataclass(slots=True)
class _Names:
    """New followers of whom an author is yet to be told."""

    names: dict[str, None] = field(default_factory=dict)
    others: int = 0  # more than are named

    def add(self, name: str) -> None:
        if len(self.names) < NOTICE_NAMES or name in self.names:
            self.names[name] = None
        else:
            self.others += 1

    def told(self) -> str:
        names = list(self.names)
        if len(names) == 1:
            return f"{names[0]} follows you."
        ending = f", and {self.others} others" if self.others else ""
        return f"{len(names) + self.others} more follow you: {', '.join(names)}{ending}"


def _nobody_asks(_author: Person, _follower: Person) -> None:
    """Until it is set who tells authors of requests."""


def asked(author: Person) -> str:
    """What somebody is told who has to wait for an author, or waits for ever (S5.2, S6.1)."""
    return f"You have asked to follow @{author.handle}. Posts come once @{author.handle} agrees."


def catchup_number(word: str) -> int:
    """The value of `catchup` as it is typed and stored, as a number."""
    return CATCHUP_DIGEST if word == "digest" else int(word)


def catchup_word(newest: int) -> str:
    """The opposite of `catchup_number`."""
    return "digest" if newest == CATCHUP_DIGEST else str(newest)


def name_of(person: Person) -> str:
    """How a person is named to others: his handle, else his address."""
    return person.jid if person.handle is None else f"@{person.handle} ({person.jid})"


def _chunks(rows: Sequence[T]) -> Iterable[Sequence[T]]:
    return (rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK))


def _later() -> TryLater:
    return TryLater("The relay cannot store this at the moment; nothing was changed. Try later.")
