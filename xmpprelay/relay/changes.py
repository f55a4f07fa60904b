"""Boosts, edits and deletions (S8.1, S9): entries of the journal that are about a post.

Whose post it is and whether it may still be edited, the store says, in the transaction that does
it. A resend changes nothing twice, and is answered as the first one was.
"""

from collections.abc import Callable

from xmpprelay.core.graph import Graph
from xmpprelay.core.mentions import Named
from xmpprelay.core.model import Draft, Kind, Person, Post
from xmpprelay.core.text import check_length, short_id
from xmpprelay.errors import Refused
from xmpprelay.relay.sight import Sight
from xmpprelay.relay.taking import Accepted, Taking
from xmpprelay.store.posts import ChangeRow, PostRow, boost_of


class Changes:
    """Takes boosts, edits and deletions."""

    def __init__(
        self,
        graph: Graph,
        sight: Sight,
        taking: Taking,
        names: Callable[[str], Named],
        counted: Callable[[Post], str],
        live_per_hour: Callable[[int], int | None],
        max_chars: int,
    ) -> None:
        self._graph = graph
        self._sight = sight
        self._taking = taking
        self._names = names
        self._counted = counted
        self._live_per_hour = live_per_hour
        self._max_chars = max_chars

    async def boost(self, author: Person, draft: Draft, number: int) -> Accepted:
        """Show a post to the booster's followers; of a boost, what it shows (S8.1).

        Raises UnknownPost, Refused (it is for fewer people than all), or what `Taking` raises.
        """
        shown = (await self._sight.seen(author.id, number)).content
        name = f"#{short_id(shown.number)}"
        if shown.kind is Kind.DIRECT:
            raise Refused(f"{name} is a direct message, and stays with the two of you.")
        if self._graph.protected(shown.author):
            raise Refused(f"{name} is by somebody whose posts are protected, and stays there.")
        before = await self._sight.read(lambda conn: boost_of(conn, author.id, shown.number))
        if before is not None:
            return Accepted(before, True, f"{name} is boosted already.")
        row = PostRow(
            author=author.id,
            text="",
            origin=draft.origin,
            stanza_id=draft.stanza_id,
            lanes=self._graph.lanes,
            kind=Kind.BOOST,
            original=shown.number,
            live_per_hour=self._live_per_hour(author.id),
        )
        appended = await self._taking.append(row)
        return Accepted(appended.post, appended.duplicate, self._counted(appended.post))

    async def edit(self, author: Person, draft: Draft, number: int) -> Accepted:
        """Give a post the draft's text; class, targets and parent stay as they are (S9.1).

        Raises UnknownPost (none of his), Refused, TooLong, or what `Taking` raises.
        """
        post = (await self._sight.seen(author.id, number)).content
        check_length(draft.text, self._max_chars)
        text = self._as_reply(post, draft.text)
        told = f"ok #{short_id(post.number)}: edited"
        if post.author == author.id and text == post.text:
            return Accepted(post, True, told)
        named = Named() if post.kind is Kind.DIRECT else self._names(text)
        row = ChangeRow(
            author=author.id,
            number=post.number,
            text=text,
            mentions=named.leading + named.elsewhere,
            origin=draft.origin,
            stanza_id=draft.stanza_id,
            lanes=self._graph.lanes,
        )
        appended = await self._taking.change(row)
        return Accepted(appended.post, appended.duplicate, told)

    def _as_reply(self, post: Post, text: str) -> str:
        """The new text with the name that was put in front of the old one (S2.7)."""
        if post.kind is not Kind.POST or post.parent is None or not post.targets:
            return text
        answered = post.targets[0]
        missing = answered not in self._names(text).leading
        handle = self._graph.person(answered).handle
        if missing and handle and answered in self._names(post.text).leading:
            return f"@{handle} {text}"
        return text

    async def delete(self, author: Person, draft: Draft, number: int | None) -> Accepted:
        """Take a post, a boost or a direct message back; None: the author's last one (S9.2).

        Raises UnknownPost (none of his), or what `Taking` raises.
        """
        row = ChangeRow(
            author.id, number, None, (), draft.origin, draft.stanza_id, self._graph.lanes
        )
        appended = await self._taking.change(row)
        gone = appended.post.original
        name = "" if gone is None else f"#{short_id(gone.number)}"
        return Accepted(appended.post, appended.duplicate, f"{name} is deleted.")
