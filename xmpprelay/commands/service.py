"""Commands about services behind the relay: what goes there (S14), and what is taken from there."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.commands.values import PostId
from xmpprelay.core.model import Person
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.text import short_id
from xmpprelay.errors import BadCommand, NotThere, Refused, StoreError, TryLater
from xmpprelay.inserting import Inserting
from xmpprelay.sources import Reach
from xmpprelay.trickle.wishes import line_of

LISTED: Final = 20
"""So many pending posts are shown; the rest are counted."""


def _inserting(rooms: Rooms) -> Inserting:
    if rooms.inserting is None or not rooms.inserting.places:
        raise Refused("This relay has no service behind it: what is posted stays here.")
    return rooms.inserting


def _author(rooms: Rooms, call: Call) -> Person:
    return rooms.relay.author(call.sender)


async def _queue(rooms: Rooms, call: Call) -> str:
    """`queue`: how much waits, and how long it will take."""
    del call
    try:
        return "\n".join(await _inserting(rooms).lines())
    except StoreError as error:
        raise TryLater("The relay cannot look that up at the moment. Try later.") from error


async def _pending(rooms: Rooms, call: Call) -> str:
    """`pending`: what is not inserted yet of one's own posts."""
    inserting, author = _inserting(rooms), _author(rooms, call)
    found = await inserting.wishes.pending(author)
    if not found:
        return "None of your posts waits."
    lines = [line_of(each) for each in found[:LISTED]]
    if len(found) > LISTED:
        lines.append(f"and {len(found) - LISTED} more")
    ahead = await inserting.wishes.before(found[0].post.number)
    head = f"{len(found)} of yours are" if len(found) > 1 else "One of yours is"
    return "\n".join([f"{head} not inserted, {ahead} of others before:", *lines])


async def _drop(rooms: Rooms, call: Call) -> str:
    """`drop #ID`, `drop all`: it is not inserted; who follows has had it all the same."""
    inserting, author = _inserting(rooms), _author(rooms, call)
    which = call.arguments["id"]
    number = which.number if isinstance(which, PostId) else None
    count = await inserting.wishes.drop(author, number)
    if number is not None:
        return f"#{short_id(number)} will not be inserted; your followers keep it."
    return f"{_posts(count)} of yours will not be inserted; your followers keep them."


async def _resend(rooms: Rooms, call: Call) -> str:
    """`resend #ID`: what was held, parked or refused is tried again."""
    inserting, author = _inserting(rooms), _author(rooms, call)
    which = call.arguments["id"]
    if not isinstance(which, PostId):
        raise BadCommand("Name a post: `resend #k3f`.", "resend #ID")
    await inserting.wishes.resend(author, which.number)
    return f"#{short_id(which.number)} is tried again; `pending` shows how it stands."


async def _expire(rooms: Rooms, call: Call) -> str:
    """`expire SPAN`: what has waited for longer is dropped, now and from now on; `expire off`."""
    inserting, author = _inserting(rooms), _author(rooms, call)
    span = call.arguments["span"]
    if not isinstance(span, timedelta):
        await inserting.wishes.expire(author, timedelta())
        return "Your posts wait for as long as it takes."
    count = await inserting.wishes.expire(author, span)
    now = f" {_posts(count)} had." if count else ""
    return f"What waits for longer will not be inserted; your followers keep it.{now}"


async def _source(rooms: Rooms, call: Call) -> str:
    """`source pep`, `source off`: posts come from one's own microblog as well."""
    if rooms.sources is None:
        raise NotThere("Posts cannot be taken from elsewhere here.")
    if call.arguments["setting"] == "off":
        if await rooms.sources.turn_off(call.sender):
            return "What you publish on your own microblog is not posted here any more."
        return "Nothing of your own microblog was posted here."
    since, reach = await rooms.sources.turn_on(call.sender)
    taken = (
        f"What you publish on your own microblog ({MICROBLOG} at {call.sender}) is posted here, "
        f"from {since:%Y-%m-%d %H:%M} UTC on; `source off` ends that."
    )
    shows = rooms.sources.hears_at_once(call.sender)
    allow = f"let {rooms.sources.home} see when you are online (your client asks you)"
    match reach:
        case None:
            return taken if shows else f"{taken} Please {allow}, so that I hear of it at once."
        case Reach.CLOSED:
            return f"{taken} But I may not read it: {allow}, or open it to everybody."
        case Reach.MISSING:
            return f"{taken} There is none yet." + ("" if shows else f" Please {allow}.")
        case Reach.SILENT:
            return f"{taken} But your server does not tell what is there; I ask again every hour."


def _posts(count: int) -> str:
    return "1 post" if count == 1 else f"{count} posts"


VERBS: Final[Mapping[str, Function]] = {
    "queue": _queue,
    "pending": _pending,
    "drop": _drop,
    "resend": _resend,
    "expire": _expire,
    "source": _source,
}
"""The verbs that this file does."""
