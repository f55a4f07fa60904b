"""Commands about one's account: `join`, `leave-relay`, `export`."""

from collections.abc import Mapping
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.core.text import short_id
from xmpprelay.errors import UnknownHandle


async def _join(rooms: Rooms, call: Call) -> str:
    """`join HANDLE`: a handle, or another one."""
    joined = await rooms.account.join(call.sender, str(call.arguments["handle"]))
    handle = joined.person.handle
    if joined.before is not None:
        return (
            f"You are @{handle} now, {handle}@{rooms.domain}. @{joined.before} tells that for 90 "
            "days, and nobody else can take it for a year after."
        )
    welcome = f"Welcome, @{handle}. What you write here is posted now; `help` lists more."
    if joined.post is not None:
        return f"{welcome} What you wrote before is posted as #{short_id(joined.post.number)}."
    if joined.refusal is not None:
        return f"{welcome} What you wrote before was not posted: {joined.refusal}"
    return welcome


async def _leave(rooms: Rooms, call: Call) -> str:
    """`leave-relay yes`."""
    if not await rooms.account.leave(call.sender):
        raise UnknownHandle("You are not known here: there is nothing to delete.")
    return (
        "You have left. Your handle, posts, follows and settings are deleted here; what others "
        "were sent stays with them."
    )


async def _export(rooms: Rooms, call: Call) -> str:
    """`export`."""
    return (
        "The operator can give you all that is held of you, at once, by "
        f"`xmpprelay people export-data {call.sender}`; a link comes with the relay's web pages."
    )


VERBS: Final[Mapping[str, Function]] = {
    "join": _join,
    "leave-relay": _leave,
    "export": _export,
}
"""The verbs that this file does."""
