"""Protected accounts: who asks to follow them, and what their authors answer (S5.2, S5.4).

A request is kept in the database alone: nothing that is sent depends on it. What the one who asked
sees is the same whether his request waits, was denied, has run out, or was made to somebody who
blocks him: nothing.
"""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Mode, Person
from xmpprelay.core.notices import Notices
from xmpprelay.errors import Refused, StoreError, TryLater
from xmpprelay.people import NOTICE_EVERY_S, People, Wire
from xmpprelay.store.database import Database
from xmpprelay.store.gate import PROTECT
from xmpprelay.store.keeping_out import (
    AnswerRow,
    approve_request,
    asked_by,
    deny_request,
    requests_of,
)
from xmpprelay.store.operations import Followed, SettingRow, set_setting

_LATER: Final = "The relay cannot store this at the moment; nothing was changed. Try later."


class Approval:
    """Who is protected, and who waits for an answer.

    `shown_otherwise` is told of whose posts other people may read from now on.
    """

    def __init__(
        self,
        db: Database,
        graph: Graph,
        people: People,
        wire: Wire,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._graph = graph
        self._people = people
        self._wire = wire
        self._now = now
        self._monotonic = monotonic
        self._requests: Notices[list[Person]] = Notices(NOTICE_EVERY_S, list)  # by author
        self.shown_otherwise: Callable[[int], None] = lambda _: None
        people.asked = self._asked

    def load(self, settings: Iterable[tuple[int, str, str]]) -> None:
        """Take up what is stored: (person, name, value); other names are left alone."""
        for person, name, value in settings:
            if name == PROTECT and value == "on":
                self._graph.protect(person, True)

    async def protect(self, author: Person, on: bool) -> int:
        """Let only approved people follow from now on, or everybody; how many followers there are.

        Who follows goes on following. Who waits when the protection ends follows from then on: now
        he could do so by himself. Raises TryLater.
        """
        row = SettingRow(author.id, PROTECT, "on" if on else None)

        def done(_: None) -> None:
            self._graph.protect(author.id, on)
            self.shown_otherwise(author.id)

        try:
            await self._db.write(set_setting, row, committed=done)
        except StoreError as error:
            raise TryLater(_LATER) from error
        if not on:
            for follower in await self.requests(author):
                await self.approve(author, follower)
        return self._graph.follower_count(author.id)

    async def requests(self, author: Person) -> list[Person]:
        """Who waits for an author's answer, in the order of their asking. Raises TryLater."""
        try:
            return await self._db.read(lambda conn: requests_of(conn, author.id, self._now()))
        except StoreError as error:
            raise TryLater(_LATER) from error

    async def asked_by(self, follower: Person) -> list[Person]:
        """Whom somebody has asked, and waits for as far as he can know. Raises TryLater."""
        try:
            ids = await self._db.read(lambda conn: asked_by(conn, follower.id, self._now()))
        except StoreError as error:
            raise TryLater(_LATER) from error
        return [self._graph.person(each) for each in ids]

    async def approve(self, author: Person, follower: Person) -> None:
        """Let somebody follow who has asked to. Raises Refused if he has not, TryLater."""

        def committed(followed: Followed | None) -> None:
            if followed is not None:
                self._people.take_follow(followed)

        row = AnswerRow(author.id, follower.id)
        try:
            followed = await self._db.write(approve_request, row, committed=committed)
        except StoreError as error:
            raise TryLater(_LATER) from error
        if followed is None:
            raise _no_request(follower)
        self._people.ask_presence(follower)
        if followed.follow.mode is Mode.AUTHOR:
            self._wire.admitted(follower, author)
        elif followed.follow.mode.is_pubsub:
            self._wire.subscription(follower, author, "subscribed")
        else:
            text = f"@{author.handle} lets you follow. `unfollow {author.handle}` ends it."
            self._wire.mention(follower.jid, text)

    async def deny(self, author: Person, follower: Person) -> None:
        """Refuse a request; nobody is told. Raises Refused if there is none, TryLater."""
        row = AnswerRow(author.id, follower.id)
        try:
            there = await self._db.write(deny_request, row)
        except StoreError as error:
            raise TryLater(_LATER) from error
        if not there:
            raise _no_request(follower)

    async def lose(self, author: Person, follower: Person) -> None:
        """End somebody's following. Raises Refused if he does not follow, TryLater."""
        if self._graph.follow(follower.id, author.id) is None:
            raise Refused(
                f"{short_name(follower)} does not follow you; `followers` lists who does."
            )
        await self._people.unfollow(follower.jid, author)

    # Telling the author: of the first at once, then at most every ten minutes, as of followers

    def _asked(self, author: Person, follower: Person) -> None:
        self._requests.of(author.id).append(follower)
        asked = self._requests.take(author.id, self._monotonic())
        if asked is not None:
            self._tell(author, asked)

    def tick(self) -> None:
        """A minute has passed: tell authors of requests that were kept for a common notice."""
        for author, asked in self._requests.due(self._monotonic()):
            self._tell(self._graph.person(author), asked)

    def forget(self, person: int) -> None:
        """Somebody has left: he is told of nothing any more."""
        self._requests.forget(person)

    def _tell(self, author: Person, asked: Iterable[Person]) -> None:
        waiting = [each for each in asked if not self._graph.cut(each.id, author.id)]
        if not waiting:
            self._requests.not_told(author.id)
            return
        if len(waiting) > 1:
            text = f"{len(waiting)} people want to follow you: `requests` lists them."
            self._wire.mention(author.jid, text, [("requests", "Requests")])
            return
        name = waiting[0].handle or waiting[0].jid
        self._wire.mention(
            author.jid,
            f"{plain_name(waiting[0])} wants to follow you: `approve {name}` / `deny {name}`",
            [(f"approve {name}", "Approve"), (f"deny {name}", "Deny")],
        )


def short_name(person: Person) -> str:
    """What does not tell the address of somebody with a handle, who may be no follower."""
    return person.jid if person.handle is None else f"@{person.handle}"


def plain_name(person: Person) -> str:
    """A person's handle and address as one reads them, such as `alice (alice@example.org)`."""
    return person.jid if person.handle is None else f"{person.handle} ({person.jid})"


def _no_request(follower: Person) -> Refused:
    return Refused(f"{plain_name(follower)} has not asked to follow you; `requests` lists who has.")
