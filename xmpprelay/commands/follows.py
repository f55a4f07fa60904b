"""Commands about following, and what a return left to `more`."""

from collections.abc import Mapping
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms, listed
from xmpprelay.core.model import Mode
from xmpprelay.errors import Refused
from xmpprelay.people import CATCHUP_DIGEST, Outcome, asked, name_of


async def _follow(rooms: Rooms, call: Call) -> str:
    """`follow WHO`."""
    author = rooms.who(call.arguments["who"])
    outcome = await rooms.people.follow(call.sender, author, None)
    if outcome is Outcome.ASKED:
        return asked(author)
    if outcome is Outcome.FOLLOWED:
        return f"You follow @{author.handle} already."
    return f"You follow @{author.handle} now. `unfollow {author.handle}` ends it."


async def _unfollow(rooms: Rooms, call: Call) -> str:
    """`unfollow WHO`."""
    author = rooms.who(call.arguments["who"])
    if await rooms.people.unfollow(call.sender, author):
        return f"You do not follow @{author.handle} any more."
    return f"You do not follow @{author.handle}; `following` lists whom you do."


async def _following(rooms: Rooms, call: Call) -> str:
    """`following`."""
    person = rooms.graph.by_jid(call.sender)
    authors = [] if person is None else list(rooms.graph.following(person.id))
    waits = [] if person is None else await rooms.approval.asked_by(person)
    asked_too = f" Asked, no answer yet: {listed(f'@{a.handle}' for a in waits)}" if waits else ""
    if not authors:
        return f"You follow nobody here. `follow NAME` changes that.{asked_too}"
    return f"You follow {len(authors)}: {listed(f'@{a.handle}' for a in authors)}{asked_too}"


async def _followers(rooms: Rooms, call: Call) -> str:
    """`followers`."""
    person = rooms.graph.by_jid(call.sender)
    people = [] if person is None else list(rooms.graph.followers(person.id))
    if not people:
        return "Nobody follows you yet."
    return f"{len(people)} follow you: {listed(name_of(p) for p in people)}"


async def _mode(rooms: Rooms, call: Call) -> str:
    """`mode WHO author|home`, `mode all author|home`."""
    mode = Mode(str(call.arguments["mode"]))
    who = call.arguments["who"]
    author = None if who == "all" else rooms.who(who)
    changed = await rooms.people.set_mode(call.sender, author, mode)
    whose = "All posts come" if author is None else f"Posts of @{author.handle} come"
    if not changed:
        raise Refused("You do not follow them; `follow NAME` first.")
    if mode is Mode.HOME:
        return f"{whose} from this address now."
    return f"{whose} from the authors' own addresses now."


async def _more(rooms: Rooms, call: Call) -> str:
    """`more`, `more WHO`."""
    who = call.arguments.get("who")
    come, remain = await rooms.people.more(call.sender, None if who is None else rooms.who(who))
    if not come:
        return "There is nothing more from your last absence."
    return f"{come} are on their way; {remain} more." if remain else f"The last {come}."


async def _skip(rooms: Rooms, call: Call) -> str:
    """`skip`."""
    there = rooms.people.skip(call.sender)
    return "Skipped." if there else "There is nothing to skip."


async def _catchup(rooms: Rooms, call: Call) -> str:
    """`catchup N`, `catchup digest`."""
    newest = call.arguments["n"]
    if not isinstance(newest, int):
        await rooms.people.set_catchup(call.sender, CATCHUP_DIGEST)
        return "After a longer absence you get one message with what is newest."
    await rooms.people.set_catchup(call.sender, newest)
    if newest == 0:
        return "After an absence you get one line that says how much there is."
    return f"After an absence you get the newest {newest}, and a line about the rest."


VERBS: Final[Mapping[str, Function]] = {
    "follow": _follow,
    "unfollow": _unfollow,
    "following": _following,
    "followers": _followers,
    "mode": _mode,
    "more": _more,
    "skip": _skip,
    "catchup": _catchup,
}
"""The verbs that this file does."""
