"""Direct messages: from one person to another, and to nobody else (S4).

A refusal has the same words whatever its cause is: that somebody blocks the sender must not show.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Kind, Person, Post
from xmpprelay.core.text import check_length
from xmpprelay.core.wishes import Dms
from xmpprelay.errors import Refused
from xmpprelay.relay.sight import Sight
from xmpprelay.relay.taking import Accepted, Taking
from xmpprelay.store.posts import PostRow, wrote_to

ANSWERABLE: Final = timedelta(days=7)
"""For so long a direct message may be answered, whoever may write else (S4.1)."""


class Letters:
    """Takes direct messages. `home` is the address at which one writes in public."""

    def __init__(
        self,
        graph: Graph,
        sight: Sight,
        taking: Taking,
        *,
        home: str,
        max_chars: int,
        now: Callable[[], datetime],
    ) -> None:
        self._graph = graph
        self._sight = sight
        self._taking = taking
        self._home = home
        self._max_chars = max_chars
        self._now = now

    async def write(
        self, author: Person, target: Person, draft: Draft, parent: Post | None = None
    ) -> Accepted:
        """Send a text to one person alone; `parent` is the direct message that it answers.

        Raises Refused (he does not take it), or what `Taking.append` raises; then nothing was sent.
        """
        if target.id == author.id:
            raise Refused(
                f"That is you, so nothing was sent; to post, write to {self._home}, "
                "to write to one person, `d NAME text`."
            )
        check_length(draft.text, self._max_chars)
        if not await self._may_write(author.id, target.id):
            name = target.jid if target.handle is None else f"@{target.handle}"
            raise Refused(
                f"{name} takes no direct messages from you, so nothing was sent; "
                f"`{name} …` to {self._home} is public."
            )
        row = PostRow(
            author=author.id,
            text=draft.text,
            lang=draft.lang or self._graph.wishes(author.id).lang,
            origin=draft.origin,
            stanza_id=draft.stanza_id,
            lanes=self._graph.lanes,
            kind=Kind.DIRECT,
            targets=(target.id,),
            parent=None if parent is None else parent.number,
            root=None if parent is None else parent.root or parent.number,
            relay_only=True,
        )
        appended = await self._taking.append(row)
        quiet = self._graph.wishes(author.id).quiet
        return Accepted(appended.post, appended.duplicate, "" if quiet else "sent")

    async def answer(self, author: Person, draft: Draft, parent: Post) -> Accepted:
        """Answer a direct message that somebody sent or got: to the other one of the two."""
        other = parent.targets[0] if parent.author == author.id else parent.author
        return await self.write(author, self._graph.person(other), draft, parent)

    async def _may_write(self, author: int, target: int) -> bool:
        if self._graph.cut(author, target):
            return False
        match self._graph.wishes(target).dms:
            case Dms.ALL:
                return True
            case Dms.FOLLOWED if self._graph.follows_since(target, author) is not None:
                return True
            case _:
                since = self._now() - ANSWERABLE
                return await self._sight.read(lambda conn: wrote_to(conn, target, author, since))
