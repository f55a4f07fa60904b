"""Commands about keeping out: blocks, mutes, and who may follow."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.approval import plain_name
from xmpprelay.commands.calls import Call, Function, Rooms, find_person, listed
from xmpprelay.commands.values import Domain, Handle, Jid, Phrase, Tag, Value, show
from xmpprelay.core.model import Person
from xmpprelay.core.wishes import Mute, Scope, Sort
from xmpprelay.errors import BadCommand, Refused, UnknownHandle
from xmpprelay.store.keeping_out import MuteRow

_FIRST_BLOCK: Final = "block"
"""What somebody was told of once: that a public feed can be read all the same."""

# --- Blocks --------------------------------------------------------------------------------------


async def _block(rooms: Rooms, call: Call) -> str:
    """`block WHO`, `block DOMAIN`, `block *.DOMAIN`."""
    typed = _to_block(call, "block", 'mute #tag` or `mute "words"` keeps posts away.')
    target, new = await rooms.keeping_out.block(call.sender, typed)
    name = _named(rooms, target)
    if not new:
        return f"You block {name} already."
    answer = f"Nothing passes between you and {name} any more. `unblock {name}` ends it."
    owner = await rooms.people.known(call.sender)
    public = owner.handle is not None and not rooms.graph.protected(owner.id)
    if public and rooms.people.first_time(owner.id, _FIRST_BLOCK):
        where = rooms.feeds.address_of(owner.id) or "a feed"
        answer += (
            " What you post in public can still be read where nobody has to say who he is, such as "
            f"{where}; `protect on` is the remedy."
        )
    return answer


async def _unblock(rooms: Rooms, call: Call) -> str:
    """`unblock WHO`, `unblock DOMAIN`, `unblock *.DOMAIN`."""
    typed = _to_block(call, "unblock", 'unmute #tag` or `unmute "words"` ends a mute.')
    target, there = await rooms.keeping_out.unblock(call.sender, typed)
    name = _named(rooms, target)
    if not there:
        return f"You do not block {name}; `blocks` lists what you do."
    return f"You do not block {name} any more. Who followed before has to do so anew."


async def _blocks(rooms: Rooms, call: Call) -> str:
    """`blocks`."""
    person = rooms.graph.by_jid(call.sender)
    targets = [] if person is None else rooms.keeping_out.blocks(person.id)
    if not targets:
        return "You block nobody."
    return f"You block {len(targets)}: {listed(_named(rooms, target) for target in targets)}"


def _to_block(call: Call, verb: str, instead: str) -> str:
    target = call.arguments["target"]
    if not isinstance(target, Handle | Jid | Domain):
        raise BadCommand(f"`{verb}` takes a person or a domain; `{instead}", f"{verb} WHO")
    return show(target)


def _named(rooms: Rooms, target: str) -> str:
    """A target by its handle, if it has one: that must not tell anybody's address."""
    person = rooms.graph.by_jid(target)
    return target if person is None or person.handle is None else f"@{person.handle}"


# --- Mutes ---------------------------------------------------------------------------------------

_WHAT: Final = {
    Scope.POSTS: "You see nothing of {} {}; replies to you and what is for you alone still come.",
    Scope.ALL: "You see nothing of {} {}, not even what is for you.",
    Scope.BOOSTS: "You do not see what {} boosts {}.",
}


async def _mute(rooms: Rooms, call: Call) -> str:
    """`mute TARGET`, `mute TARGET SPAN`, `mute WHO boosts`, `mute WHO all`."""
    sort, value, name = _to_mute(rooms, call.arguments["target"])
    given = call.arguments.get("span")
    span = given if isinstance(given, timedelta) else None
    scope = Scope(str(call.arguments.get("scope", "")))
    if sort is Sort.PERSON and value == _own(rooms, call):
        raise Refused("That is you; your own posts do not come to you anyway.")
    await rooms.keeping_out.mute(call.sender, _row(sort, value, scope, span))
    how_long = "from now on" if given is None else f"for {show(given)}"
    if sort is Sort.PERSON:
        answer = _WHAT[scope].format(name, how_long)
    else:
        answer = f"You see no posts with {name} {how_long}, but for replies to you."
    return f"{answer} `unmute {name}` ends it."


async def _unmute(rooms: Rooms, call: Call) -> str:
    """`unmute TARGET`."""
    sort, value, name = _to_mute(rooms, call.arguments["target"])
    if await rooms.keeping_out.unmute(call.sender, _row(sort, value)):
        return f"{name} is not muted any more; what was posted meanwhile does not come."
    return f"You do not mute {name}; `mutes` lists what you do."


async def _mutes(rooms: Rooms, call: Call) -> str:
    """`mutes`."""
    person = rooms.graph.by_jid(call.sender)
    mutes = [] if person is None else rooms.keeping_out.mutes(person.id)
    if not mutes:
        return "You mute nothing."
    now = rooms.now()
    return f"You mute {len(mutes)}: {listed(_shown(rooms, mute, now) for mute in mutes)}"


def _to_mute(rooms: Rooms, target: Value) -> tuple[Sort, str, str]:
    """What a mute is of, as it is kept, and how it is named."""
    match target:
        case Tag(name):
            return Sort.TAG, name, show(target)
        case Phrase(text):
            return Sort.WORD, text.lower(), show(target)
        case Domain():
            raise BadCommand(
                'People, #tags and "words" can be muted; `block` keeps a whole domain out.',
                "mute WHO",
            )
        case _:
            person = rooms.who(target)
            return Sort.PERSON, str(person.id), f"@{person.handle}"


def _row(
    sort: Sort, value: str, scope: Scope = Scope.POSTS, span: timedelta | None = None
) -> Callable[[int], MuteRow]:
    return lambda person: MuteRow(person, sort, value, scope, span)


def _shown(rooms: Rooms, mute: Mute, now: datetime) -> str:
    """A mute as it is typed, and how long it lasts."""
    match mute.sort:
        case Sort.PERSON:
            person = rooms.graph.person(int(mute.value))
            name = "somebody who has left" if person.handle is None else f"@{person.handle}"
        case Sort.TAG:
            name = show(Tag(mute.value))
        case Sort.WORD:
            name = show(Phrase(mute.value))
    scope = f" {mute.scope.value}" if mute.scope is not Scope.POSTS else ""
    if mute.span.until is None:
        return f"{name}{scope}"
    minutes = -((now - mute.span.until) // timedelta(minutes=1))
    return f"{name}{scope} ({_span(minutes)} left)"


def _span(minutes: int) -> str:
    for name, size in (("d", 24 * 60), ("h", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size}{name}"
    return f"{minutes}m"


def _own(rooms: Rooms, call: Call) -> str:
    person = rooms.graph.by_jid(call.sender)
    return "" if person is None else str(person.id)


# --- Who may follow ------------------------------------------------------------------------------


async def _protect(rooms: Rooms, call: Call) -> str:
    """`protect on`, `protect off`."""
    author = _author(rooms, call)
    on = call.arguments["setting"] == "on"
    followers = await rooms.approval.protect(author, on)
    if not on:
        return "Everybody may follow you from now on; those who waited for your answer do."
    return (
        "Nobody follows you any more unless you approve; `requests` lists who asks. "
        f"Your followers ({followers}) stay: `lose NAME` ends one. What you have posted so far "
        "stays in other people's caches."
    )


async def _requests(rooms: Rooms, call: Call) -> str:
    """`requests`."""
    waiting = await rooms.approval.requests(_author(rooms, call))
    if not waiting:
        return "Nobody waits for your answer."
    names = listed(plain_name(each) for each in waiting)
    return f"{len(waiting)} want to follow you: {names}. `approve NAME` or `deny NAME`"


async def _approve(rooms: Rooms, call: Call) -> str:
    """`approve WHO`."""
    follower = _somebody(rooms, call)
    await rooms.approval.approve(_author(rooms, call), follower)
    return f"{plain_name(follower)} follows you now. `lose {_short(follower)}` ends it."


async def _deny(rooms: Rooms, call: Call) -> str:
    """`deny WHO`."""
    follower = _somebody(rooms, call)
    await rooms.approval.deny(_author(rooms, call), follower)
    return f"{plain_name(follower)} does not follow you, and is not told."


async def _lose(rooms: Rooms, call: Call) -> str:
    """`lose WHO`."""
    follower = _somebody(rooms, call)
    await rooms.approval.lose(_author(rooms, call), follower)
    remedy = "`protect on` lets only those come back whom you approve"
    if rooms.graph.protected(_author(rooms, call).id):
        remedy = "nor again, unless you approve"
    return f"{plain_name(follower)} does not follow you any more; {remedy}."


def _author(rooms: Rooms, call: Call) -> Person:
    """Who types it, who needs a handle for it."""
    person = rooms.graph.by_jid(call.sender)
    if person is None or person.handle is None:
        raise Refused("Only who posts here has followers: `join NAME` first.")
    return person


def _somebody(rooms: Rooms, call: Call) -> Person:
    """Whom an argument names, with a handle or without."""
    who = call.arguments["who"]
    person = find_person(rooms.graph, rooms.people, rooms.domain, who)
    if person is None:
        raise UnknownHandle(f"Nobody is known here as {show(who)}.")
    return person


def _short(person: Person) -> str:
    return person.handle or person.jid


VERBS: Final[Mapping[str, Function]] = {
    "block": _block,
    "unblock": _unblock,
    "blocks": _blocks,
    "mute": _mute,
    "unmute": _unmute,
    "mutes": _mutes,
    "protect": _protect,
    "requests": _requests,
    "approve": _approve,
    "deny": _deny,
    "lose": _lose,
}
"""The verbs that this file does."""
