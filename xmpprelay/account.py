"""A person's account: joining under a handle, changing it, the first text, leaving (S12).

Who writes before he has a handle is treated by the operator's policy. `register`: his text is kept
for ten minutes, and `join NAME` publishes it. `open`: he gets a handle made of his address, and the
text is posted. `closed`: neither.

A handle that somebody has given up tells the new one for a while and is then nobody's for a year
(`store/account.py`). Follows, blocks and all the rest belong to the person and never to the handle,
so that nothing passes to whoever takes it later.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final

from xmpprelay.choices import Choices
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.handles import check_handle, derived, skeleton
from xmpprelay.core.model import Draft, Mode, Person, Post, Queued
from xmpprelay.errors import HandleTaken, NotRegistered, RelayError, StoreError, TryLater
from xmpprelay.people import People
from xmpprelay.relay import Relay
from xmpprelay.store.account import (
    Blanked,
    BlankRow,
    Renamed,
    RenameRow,
    blank_posts,
    leave,
    rename,
)
from xmpprelay.store.database import Database
from xmpprelay.store.queries import Handle

KEPT_FOR_S: Final = 600.0
"""So long the text of somebody without a handle is kept (S12.3)."""

KEPT: Final = 1000
"""Texts that are kept at once; above it the oldest go."""

KEPT_CHARS: Final = 8000
"""What is longer is not kept; it is no post under any configuration."""

_TRIES: Final = 20
"""Handles that are tried for one address."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of a `join`."""

    person: Person
    before: str | None = None  # the handle that he had
    post: Post | None = None  # of the text that was kept for him
    refusal: str | None = None  # why that text was not posted after all


class Account:
    """Changes of people's accounts.

    `joined` is told of everybody who has got his first handle, `renamed` of who has another one,
    `forget` of everybody who has left, and `queued` of what does not wait for the primary any more.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        people: People,
        choices: Choices,
        relay: Relay,
        *,
        policy: str,
        reserved: Iterable[str],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._people = people
        self._choices = choices
        self._relay = relay
        self._policy = policy
        self._reserved = tuple(reserved)
        self._now = now
        self._monotonic = monotonic
        self._kept: OrderedDict[str, tuple[float, Draft]] = OrderedDict()
        self.forget: list[Callable[[int], None]] = [people.forget, choices.forget]
        self.joined: Callable[[Person], object] = lambda _: None
        self.renamed: Callable[[int], None] = lambda _: None
        self.queued: Callable[[Sequence[Queued]], None] = lambda _: None

    def load(self, handles: Iterable[Handle]) -> None:
        """Take up who had which handle before."""
        for each in handles:
            if each.successor is not None and each.retired is not None:
                self._people.former(each.handle, each.successor, each.retired)

    # Joining

    async def join(self, jid: str, typed: str) -> Joined:
        """Give somebody a handle, or another one; and post what was kept for him (S12.2, S12.3).

        Raises HandleRefused, HandleTaken, Refused (registration is closed; renamed too lately),
        TooMany, TryLater: then nothing has changed.
        """
        before = self._graph.by_jid(jid)
        if before is not None and before.handle is not None:
            return await self._rename(before, before.handle, typed)
        person = await self._people.join(jid, typed)
        self.joined(person)
        draft = self._take_kept(jid)
        if draft is None:
            return Joined(person)
        try:
            return Joined(person, post=(await self._relay.accept(draft)).post)
        except RelayError as error:
            return Joined(person, refusal=error.sentence)

    async def _rename(self, person: Person, before: str, typed: str) -> Joined:
        handle = check_handle(typed, self._reserved)
        if handle == before:
            return Joined(person)
        row = RenameRow(person.id, handle, skeleton(handle))
        try:
            renamed = await self._db.write(rename, row, committed=self._renamed)
        except StoreError as error:
            raise _later() from error
        return Joined(renamed.person, before=before)

    def _renamed(self, renamed: Renamed) -> None:
        self._graph.add_person(renamed.person)
        self._people.former(renamed.before, renamed.person.id, renamed.at)
        self.renamed(renamed.person.id)

    # Before one has joined

    async def newcomer(self, draft: Draft) -> str:
        """Let somebody without a handle post: gives what to tell him besides (S12.3).

        Raises NotRegistered with what to do instead; his text is kept then, where that is of use.
        """
        if self._policy == "open":
            person = await self._derive(draft.author)
            return f"You are @{person.handle} here; `:join NAME` changes that."
        if self._policy != "register":
            raise NotRegistered(
                "This relay takes nobody new at the moment, so this was not posted; you can follow "
                "people here."
            )
        if len(draft.text) > KEPT_CHARS:
            raise NotRegistered(
                "You have no handle here yet, so this was not posted. Send `join yourname` first; "
                "then something shorter."
            )
        self._keep(draft)
        raise NotRegistered(
            "You have no handle here yet, so this was not posted. Send `join yourname` within ten "
            "minutes, and it is."
        )

    async def _derive(self, jid: str) -> Person:
        local = jid.rpartition("@")[0]
        for handle in islice(derived(local, self._reserved), _TRIES):
            with suppress(HandleTaken):
                person = await self._people.join(jid, handle)
                self.joined(person)
                return person
        raise NotRegistered(
            "No handle can be made of your address, so this was not posted. Send `join yourname` "
            "first, then this message again."
        )

    def _keep(self, draft: Draft) -> None:
        self._kept.pop(draft.author, None)
        self._kept[draft.author] = (self._monotonic(), draft)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _take_kept(self, jid: str) -> Draft | None:
        at, draft = self._kept.pop(jid, (0.0, None))
        return draft if self._monotonic() - at < KEPT_FOR_S else None

    def tick(self) -> None:
        """A minute has passed: let go of texts that were kept for too long."""
        oldest = self._monotonic() - KEPT_FOR_S
        while self._kept and next(iter(self._kept.values()))[0] <= oldest:
            self._kept.popitem(last=False)

    # Leaving

    async def leave(self, jid: str) -> bool:
        """Remove somebody: handle, posts, follows, settings; whether there was anybody.

        His posts are blanked first, a portion at a time, so that a fault in between leaves him able
        to leave again. Nobody is sent anything: what was delivered stays where it is. Raises
        TryLater.
        """
        self._kept.pop(jid, None)
        person = self._graph.by_jid(jid)
        if person is None:
            return False
        try:
            row = BlankRow(person.id, 0)
            while numbers := (await self._blank_next(row)).numbers:
                row = BlankRow(person.id, numbers[-1])
            left = partial(self._left, person)
            await self._db.write(leave, person.id, committed=left)
        except StoreError as error:
            raise _later() from error
        return True

    async def _blank_next(self, row: BlankRow) -> Blanked:
        return await self._db.write(blank_posts, row, committed=self._blanked)

    def _blanked(self, blanked: Blanked) -> None:
        """What is under way of these posts goes no further."""
        for number in blanked.numbers:
            post = self._delivery.post(number)
            if post is not None:
                self._delivery.revise(_blank(post))
        self.queued(blanked.queued)

    def _left(self, person: Person, _: None) -> None:
        graph = self._graph
        self._end_follows(person)
        for target in graph.blocks.of(person.id):
            graph.unblock(person.id, target)
        graph.protect(person.id, on=False)
        for forget in self.forget:
            forget(person.id)
        graph.add_person(replace(person, handle=None))

    def _end_follows(self, person: Person) -> None:
        """Both ways; the servers of those who had him as a contact are told when they ask."""
        graph = self._graph
        for author in list(graph.following(person.id)):
            follow = graph.follow(person.id, author.id)
            graph.end_follow(person.id, author.id)
            if follow is not None and follow.mode is Mode.AUTHOR:
                self._people.follow_ended(person, author)
        for follower in list(graph.followers(person.id)):
            graph.end_follow(follower.id, person.id)


def _blank(post: Post) -> Post:
    """A post of somebody who leaves; of a change also what it changes."""
    original = post.original
    if original is not None and original.author == post.author:
        original = _blank(original)
    blank = replace(post, text="", deleted=True, targets=(), mentions=())
    return replace(blank, original=original)


def _later() -> TryLater:
    return TryLater("The relay cannot store this at the moment; nothing was changed. Try later.")
