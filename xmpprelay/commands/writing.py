"""Commands about writing: to one person, in answer, boosts, likes, edits, deletions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.commands.values import Handle, Jid, PostId, Value
from xmpprelay.core.model import Draft, Person
from xmpprelay.core.text import short_id
from xmpprelay.errors import BadCommand, NotRegistered, UnknownHandle, UnknownPost

_LATELY: Final = timedelta(days=7)
"""How far back `boost` and `like`, typed to somebody, look for his last post: a guess."""


async def _d(rooms: Rooms, call: Call) -> str:
    """`d WHO TEXT`: to that person alone, or refused; never posted (S4.3)."""
    author = rooms.relay.author(call.sender)
    target = _reached(rooms, call.arguments["who"])
    return (await rooms.relay.letters.write(author, target, _said(call))).said


def _reached(rooms: Rooms, value: Value) -> Person:
    """The person whom one writes to: anybody whom the relay knows (S13.1)."""
    if isinstance(value, Handle):
        return rooms.people.named(value.name)
    if not isinstance(value, Jid):
        raise BadCommand("Name a person, such as @alice.")
    local, _, domain = value.jid.rpartition("@")
    if domain == rooms.domain:
        return rooms.people.named(local)
    person = rooms.graph.by_jid(value.jid)
    if person is None:
        raise UnknownHandle(
            f"Nobody here has the address {value.jid}, so nothing was sent: "
            f"write to xmpp:{value.jid} from your client."
        )
    return person


async def _re(rooms: Rooms, call: Call) -> str:
    """`re #ID TEXT`."""
    return (await rooms.relay.reply(_said(call), _number(call))).said


async def _boost(rooms: Rooms, call: Call) -> str:
    """`boost #ID`; in somebody's window also `boost`."""
    author = rooms.relay.author(call.sender)
    number = await _meant(rooms, call, author)
    return (await rooms.relay.changes.boost(author, call.draft, number)).said


async def _like(rooms: Rooms, call: Call) -> str:
    """`like #ID`; in somebody's window also `like`."""
    person = rooms.graph.by_jid(call.sender)
    if person is None:
        raise NotRegistered("You are not known here yet: `follow NAME` or `join NAME` first.")
    post = await rooms.relay.sight.seen(person.id, await _meant(rooms, call, person))
    await rooms.relay.likes.like(person, post)
    return f"You like #{short_id(post.content.number)}."


async def _edit(rooms: Rooms, call: Call) -> str:
    """`edit #ID TEXT`."""
    author = rooms.relay.author(call.sender)
    return (await rooms.relay.changes.edit(author, _said(call), _number(call))).said


async def _del(rooms: Rooms, call: Call) -> str:
    """`del`, `del #ID`."""
    author = rooms.relay.author(call.sender)
    number = _number(call) if "id" in call.arguments else None
    return (await rooms.relay.changes.delete(author, call.draft, number)).said


def _said(call: Call) -> Draft:
    return replace(call.draft, text=call.text)


def _number(call: Call) -> int:
    value = call.arguments["id"]
    if not isinstance(value, PostId):
        raise BadCommand("Name a post, such as #k3f.")
    return value.number


async def _meant(rooms: Rooms, call: Call, person: Person) -> int:
    """The post that is named, or answered, or the last one of whose window it is (S3.3)."""
    if "id" in call.arguments:
        return _number(call)
    if call.draft.replies_to is not None:
        answered = await rooms.relay.sight.named(person.id, call.draft.replies_to)
        if answered is not None:
            return answered.number
    if call.here is None:
        raise BadCommand("Name a post, such as #k3f.")
    since = rooms.now() - _LATELY
    last = await rooms.relay.sight.last_of(call.here.id, person.id, since)
    if last is None:
        raise UnknownPost(f"You got no post of @{call.here.handle} lately: name one, such as #k3f.")
    return last.number


async def _report(rooms: Rooms, call: Call) -> str:
    """`report #ID [TEXT]`: shows a post to the operator."""
    reporter = rooms.graph.by_jid(call.sender)
    if reporter is None:
        raise NotRegistered("You are not known here yet: `follow NAME` or `join NAME` first.")
    post = await rooms.relay.sight.seen(reporter.id, _number(call))
    await rooms.reporting.report(reporter, post, call.text)
    return f"#{short_id(post.content.number)} is reported; its author is not told."


VERBS: Final[Mapping[str, Function]] = {
    "report": _report,
    "d": _d,
    "re": _re,
    "boost": _boost,
    "like": _like,
    "edit": _edit,
    "del": _del,
}
"""The verbs that this file does."""
