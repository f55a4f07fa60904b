"""Corrections, retractions and reactions, as clients send them (S8.2, S9).

Each names another message by its id: one of the relay's, or the one that the client gave its own
message. None of them is ever posted as a text, but for the correction of a message that became no
post: that is simply read anew.
"""

from dataclasses import replace

from xmpprelay.commands.grammar import Ask, Text
from xmpprelay.commands.run import Commands
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Kind, Person, Post
from xmpprelay.errors import BadRequest, Refused, UnknownPost
from xmpprelay.relay import Relay
from xmpprelay.xmpp.incoming import About


class Changes:
    """Does what a message is to another one."""

    def __init__(self, graph: Graph, relay: Relay, commands: Commands) -> None:
        self._graph = graph
        self._relay = relay
        self._commands = commands

    async def do(self, draft: Draft, about: About | None, here: Person | None) -> str | None:
        """The answer; empty: none is needed. None: it is to be read as a new message.

        `here` is the author in whose window it was written. Raises RelayError.
        """
        if about is None:
            raise BadRequest("This does not say which message it is about; nothing was changed.")
        if about.retracts is not None:
            return await self._retract(draft, about.retracts)
        if about.reacts_to is not None:
            return await self._react(draft, about.reacts_to, likes=about.likes)
        if about.corrects is not None:
            return await self._correct(draft, about.corrects, here)
        return None

    async def _retract(self, draft: Draft, name: str) -> str:
        author = self._relay.author(draft.author)
        post = await self._relay.sight.named(author.id, name)
        if post is None:
            raise UnknownPost("No post was made of that message, so there is none to delete.")
        accepted = await self._relay.changes.delete(author, draft, post.number)
        return self._unless_quiet(author, accepted.said)

    async def _react(self, draft: Draft, name: str, *, likes: bool) -> str:
        """A reaction of whatever kind is a like; the client shows it, so nothing is said."""
        person = self._graph.by_jid(draft.author)
        post = None if person is None else await self._relay.sight.named(person.id, name)
        if person is not None and post is not None:
            change = self._relay.likes.like if likes else self._relay.likes.unlike
            await change(person, post)
        return ""

    async def _correct(self, draft: Draft, name: str, here: Person | None) -> str | None:
        author = self._graph.by_jid(draft.author)
        post = None if author is None else await self._relay.sight.named(author.id, name)
        if author is None or post is None:
            return None
        line = self._commands.read(draft.text, draft.author, here)
        if isinstance(line, Ask):
            return line.sentence
        if not isinstance(line, Text) or not _may_stand(post, here):
            raise Refused(
                "This cannot take the place of that post, which stays as it is: "
                "send it as a new message."
            )
        accepted = await self._relay.changes.edit(
            author, replace(draft, text=line.text), post.number
        )
        return self._unless_quiet(author, accepted.said)

    def _unless_quiet(self, author: Person, said: str) -> str:
        return "" if self._graph.wishes(author.id).quiet else said


def _may_stand(post: Post, here: Person | None) -> bool:
    """Whether text from this window may show where the post does.

    What is typed to one person looks private: it must not come into a post that was not for him.
    """
    return here is None or post.kind is Kind.DIRECT or here.id in post.addressed
