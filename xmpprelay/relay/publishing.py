"""Posts that are published as items of their author's node (XEP-0060 §7).

An item is a post like any other: the same journal, rules and rates. What is different is that its
author gives it an id, if he likes, and that publishing an id again is an edit; so a resend, which
is the same id with the same text, changes nothing.

What an entry answers it names by the address or the id of an item. Where that is a post of this
relay's, it is a reply; where it is not, the post stands alone. What is published among the comments
on a post is a reply to it. Many publish there, so there the id that somebody gives only tells his
resends and edits, and the item has the relay's own.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from xmpprelay.core.model import Draft, Kind, Person, Post
from xmpprelay.core.text import number_in
from xmpprelay.errors import BadRequest, Refused, Taken, UnknownPost
from xmpprelay.relay.changes import Changes
from xmpprelay.relay.sight import Sight
from xmpprelay.relay.taking import Accepted
from xmpprelay.store.items import items_called
from xmpprelay.store.posts import own_message
from xmpprelay.store.queries import post_by_number

MAX_ITEM_BYTES: Final = 400
"""Of the id of a new item. It is in four addresses of an entry, and in those each byte that is no
ASCII takes three."""

_ITEMS: Final = frozenset({Kind.POST, Kind.BOOST})

Name = tuple[int | None, str]
"""Whose item it is, as a person id, and its id; None: any author's, by a message id of ours."""


class Publishing:
    """Takes items. `accept` and `reply` are the ways of every post."""

    def __init__(
        self,
        author: Callable[[str], Person],
        sight: Sight,
        changes: Changes,
        accept: Callable[[Draft], Awaitable[Accepted]],
        reply: Callable[[Draft, int], Awaitable[Accepted]],
        epoch: str,
    ) -> None:
        self._author = author
        self._sight = sight
        self._changes = changes
        self._accept = accept
        self._reply = reply
        self._epoch = epoch

    async def publish(
        self,
        draft: Draft,
        item: str | None,
        answered: Sequence[Name] = (),
        under: Post | None = None,
    ) -> Accepted:
        """Make an item a post, or edit the post that it is; None: it has no id yet.

        `answered` names what it answers; the first that is a post of this relay's counts. `under`
        is the post among whose comments it is published. Raises Taken (the id is that of a deleted
        post, or has the form of the relay's own and is none of his), BadRequest (the id is too
        long), UnknownPost (what it answers is gone, or not for him), what `Relay.accept` raises
        and, of an edit, what `Changes.edit` does, Refused (it answers a direct message, or is a
        boost); then nothing was stored.
        """
        author = self._author(draft.author)
        if item is not None:
            before = await self._own(author.id, item, under)
            if before is not None:
                return await self._again(author, draft, before)
            if number_in(item, self._epoch) is not None:
                raise Taken("Ids of this form are the relay's own: choose another one.")
            if len(item.encode()) > MAX_ITEM_BYTES:
                raise BadRequest(f"The id of an item has at most {MAX_ITEM_BYTES} bytes.")
            name = None if under is not None else item
            draft = replace(draft, item=name, origin=_origin(item, under))
        if under is not None:
            return await self._reply(draft, under.number)
        for each in answered:
            number = await self._number_of(each)
            if number is not None:
                post = await self._sight.seen(author.id, number)
                if post.content.kind is Kind.DIRECT:
                    raise Refused("This answers a direct message, and a node is public: write it.")
                return await self._reply(draft, number)
        return await self._accept(draft)

    async def _again(self, author: Person, draft: Draft, before: Post) -> Accepted:
        if before.deleted:
            raise Taken("This item was deleted; publish what you have to say under a new id.")
        if before.kind is Kind.BOOST:
            raise Refused("This item is a boost, which has no text of its own; edit the post.")
        return await self._changes.edit(author, draft, before.number)

    async def retract(self, draft: Draft, item: str, under: Post | None = None) -> Accepted:
        """Delete the post that an item of the draft's author is.

        Raises UnknownPost (he has none of that id), or what `Changes.delete` does.
        """
        author = self._author(draft.author)
        post = await self._own(author.id, item, under)
        if post is None or post.deleted:
            raise UnknownPost("You have no item of that id here.")
        return await self._changes.delete(author, draft, post.number)

    async def _own(self, author: int, item: str, under: Post | None) -> Post | None:
        """The post that is an author's item of that id, deleted or not; None: there is none."""
        number = number_in(item, self._epoch)

        def read(conn: Connection) -> Post | None:
            if number is not None:
                return post_by_number(conn, number)
            return own_message(conn, author, _origin(item, under))

        post = await self._sight.read(read)
        if post is None or post.author != author or post.kind not in _ITEMS:
            return None
        return post if under is None or post.parent == under.number else None

    async def _number_of(self, name: Name) -> int | None:
        author, item = name
        number = number_in(item, self._epoch)
        if number is not None or author is None:
            return number
        found = await self._sight.read(lambda conn: items_called(conn, author, [item]))
        return found[item].number if item in found else None


def _origin(item: str, under: Post | None) -> str:
    """The origin of a post that is an item: no <origin-id/> of a client's looks like it."""
    return f"item {item}" if under is None else f"item {under.number} {item}"
