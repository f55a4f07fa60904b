"""Commands about seeing less: groups, `off` and `on`, caps, digests; and how the relay is."""

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms, listed
from xmpprelay.commands.values import Group, Member, Rate, Value, show
from xmpprelay.core.model import Person
from xmpprelay.core.volume import LoadState
from xmpprelay.core.wishes import EVERYTHING, Cap, Wishes, group_in, of_author, of_group
from xmpprelay.errors import BadCommand, Refused, StoreError, TryLater, UnknownHandle

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

SHORTEST: Final = timedelta(minutes=10)
LONGEST: Final = timedelta(days=7)
"""Between these a digest comes."""

NO_CAP: Final = 1000
"""So many in an hour are more than anybody may post: a cap like that is none."""

# --- Groups --------------------------------------------------------------------------------------


async def _group(rooms: Rooms, call: Call) -> str:
    """`group NAME [[-]WHO …]`."""
    group, members = call.arguments["group"], call.arguments.get("members", ())
    if not isinstance(group, Group) or not isinstance(members, tuple):
        raise BadCommand("Name a group and people: `group news bbc -cnn`.", "group GROUP [-]WHO …")
    person = await rooms.people.known(call.sender)
    if not members:
        return f"{group.name}: {_names(_own(rooms, person, group))}"
    add, remove = _who(rooms, members, remove=False), _who(rooms, members, remove=True)
    if group.name not in rooms.less.groups(person) and not add:
        raise UnknownHandle(f"You have no group {group.name}: `groups` lists those that you have.")
    now = await rooms.less.change_group(person, group.name, add, remove)
    if not now:
        return f"Nobody is left in {group.name}, so it is gone."
    return f"{group.name}: {_names(now)}"


def _who(rooms: Rooms, members: tuple[Member, ...], *, remove: bool) -> list[Person]:
    return [rooms.who(member.who) for member in members if member.remove is remove]


def _own(rooms: Rooms, person: Person, group: Group) -> list[Person]:
    members = rooms.less.groups(person).get(group.name)
    if members is None:
        raise UnknownHandle(f"You have no group {group.name}: `groups` lists those that you have.")
    return members


async def _groups(rooms: Rooms, call: Call) -> str:
    """`groups`."""
    person = rooms.graph.by_jid(call.sender)
    groups = {} if person is None else rooms.less.groups(person)
    if person is None or not groups:
        return "You have no groups. `group news bbc cnn` makes one."
    off = rooms.less.is_off(person)
    return "\n".join(
        f"{name}{' (off)' if of_group(name) in off else ''}: {_names(members)}"
        for name, members in groups.items()
    )


def _names(people: list[Person]) -> str:
    return listed(_name(person) for person in people)


def _name(person: Person) -> str:
    return person.jid if person.handle is None else f"@{person.handle}"


# --- Whom it is about ----------------------------------------------------------------------------


def _caller(rooms: Rooms, call: Call) -> Person:
    person = rooms.graph.by_jid(call.sender)
    if person is None:
        raise Refused("You follow nobody here; `follow NAME` first.")
    return person


def _subject(rooms: Rooms, person: Person, what: Value | None) -> tuple[str, str, str]:
    """Of an argument: the subject, how it is named in a sentence, and how it is typed."""
    if what is None:
        return EVERYTHING, "anybody", ""
    if isinstance(what, Group):
        _own(rooms, person, what)
        return of_group(what.name), f"the group {what.name}", what.name
    author = _followed(rooms, person, what)
    return of_author(author.id), _name(author), _name(author)


def _followed(rooms: Rooms, person: Person, who: Value) -> Person:
    author = rooms.who(who)
    if rooms.graph.follow(person.id, author.id) is None:
        raise Refused(f"You do not follow @{author.handle}; `follow {author.handle}` first.")
    return author


def _typed(rooms: Rooms, subject: str) -> str:
    if subject == EVERYTHING:
        return "everything"
    return group_in(subject) or _name(rooms.graph.person(int(subject)))


# --- off, on, on+ --------------------------------------------------------------------------------


async def _off(rooms: Rooms, call: Call) -> str:
    """`off [WHAT] [SPAN]`."""
    person = _caller(rooms, call)
    subject, name, typed = _subject(rooms, person, call.arguments.get("what"))
    span = call.arguments.get("span")
    if span is not None and not isinstance(span, timedelta):
        raise BadCommand("How long? As in `off 3h`.", "off [WHAT] [SPAN]")
    await rooms.less.off(person, subject, span)
    for_so_long = "" if span is None else f" for {show(span)}"
    end = f"`on {typed}`" if typed else "`on`"
    more = "" if subject.isdigit() else f", `on+{f' {typed}' if typed else ''}` also brings it"
    return (
        f"Nothing of {name} comes{for_so_long}, except for what is for you personally. "
        f"{end} ends that{more}."
    )


async def _on(rooms: Rooms, call: Call) -> str:
    """`on [WHAT]`."""
    person = _caller(rooms, call)
    subject, name, _ = _subject(rooms, person, call.arguments.get("what"))
    was_off = await rooms.less.on(person, subject)
    answer = f"Posts of {name} come again." if was_off else _was_on(name)
    return answer + _still_off(rooms, person)


async def _on_again(rooms: Rooms, call: Call) -> str:
    """`on+ [GROUP]`."""
    person = _caller(rooms, call)
    subject, name, _ = _subject(rooms, person, call.arguments.get("what"))
    missed = await rooms.less.on_again(person, subject)
    if missed is None:
        return _was_on(name) + _still_off(rooms, person)
    came = [f"{missed.coming} that you missed are on their way"] if missed.coming else []
    came += [f"{missed.left} more by `more`"] if missed.left else []
    came += [f"{missed.told} as a digest"] if missed.told else []
    what = ", ".join(came) if came else "you have missed nothing"
    return f"Posts of {name} come again: {what}." + _still_off(rooms, person)


def _was_on(name: str) -> str:
    return "Not everything was off." if name == "anybody" else f"Posts of {name} were not off."


def _still_off(rooms: Rooms, person: Person) -> str:
    still = [_typed(rooms, subject) for subject in rooms.less.is_off(person)]
    return f" Still off: {listed(still)}." if still else ""


# --- max and digest ------------------------------------------------------------------------------


async def _max(rooms: Rooms, call: Call) -> str:
    """`max WHO N/h`, `max WHO N/d`."""
    person = _caller(rooms, call)
    author = _followed(rooms, person, call.arguments["who"])
    rate = call.arguments["rate"]
    if not isinstance(rate, Rate) or rate.per not in (HOUR, DAY):
        raise BadCommand(
            f"`max` counts by the hour or by the day: `max {author.handle} 4/h`, "
            f"`max {author.handle} 20/d`.",
            "max WHO N/h",
        )
    if rate.per == HOUR and rate.count >= NO_CAP:
        await rooms.less.set_cap(person, author, None)
        return f"However much @{author.handle} posts, all of it comes."
    await rooms.less.set_cap(person, author, Cap(rate.count, daily=rate.per == DAY))
    span = "day" if rate.per == DAY else "hour"
    return (
        f"The first {rate.count} posts of @{author.handle} in each {span} come, no more. "
        f"`last {author.handle}` has all of them; `max {author.handle} {NO_CAP}/h` ends it."
    )


async def _digest(rooms: Rooms, call: Call) -> str:
    """`digest WHAT [SPAN]`, `digest WHAT daily HH:MM`, `digest WHAT off`."""
    person = _caller(rooms, call)
    subject, name, typed = _subject(rooms, person, call.arguments["what"])
    how, at = call.arguments.get("how"), call.arguments.get("at")
    if how == "off":
        await rooms.less.set_digest(person, subject)
        return f"Posts of {name} come by themselves, however many there are."
    if isinstance(at, time):
        await rooms.less.set_digest(person, subject, at=at)
        where = _clock(rooms.choices.of(person.id))
        return f"Posts of {name} come in one message a day, at {at:%H:%M} ({where})."
    every = call.arguments.get("span", HOUR)
    if not isinstance(every, timedelta) or not SHORTEST <= every <= LONGEST:
        raise BadCommand(
            f"A digest comes every {show(SHORTEST)} to {show(LONGEST)}: `digest {typed} 1h`.",
            "digest WHAT [SPAN]",
        )
    await rooms.less.set_digest(person, subject, every=every)
    return f"Posts of {name} come in one message every {show(every)}, if there are any."


def _clock(wishes: Wishes) -> str:
    """By which clock a daily digest comes."""
    if wishes.zone is not None:
        return f"in {wishes.zone}"
    if wishes.client_zone is not None:
        return f"in the time of your client, UTC{wishes.client_zone}"
    return "in UTC; `tz Europe/Berlin` changes that"


# --- How the relay is ----------------------------------------------------------------------------

_STATES: Final = {
    LoadState.NORMAL: "All is well",
    LoadState.BUSY: "Busy, so posts of outlets come by digest",
    LoadState.PEAK: "Overloaded, so posts of outlets and firehoses come by digest",
}


async def _status(rooms: Rooms, call: Call) -> str:
    """`status`."""
    del call
    volume = rooms.volume
    volume.sample()
    wait = f"{volume.waiting:,} deliveries are waiting"
    if volume.waiting:
        wait += f", for about {max(1, round(volume.wait_s)):,} s"
    lines = [f"{_STATES[volume.state]}: {wait}."]
    if rooms.inserting is None or not rooms.inserting.places:
        lines.append("Primary service: none configured.")
    else:
        try:
            lines += await rooms.inserting.lines()
        except StoreError as error:
            raise TryLater("The relay cannot look that up at the moment. Try later.") from error
    return "\n".join(lines)


VERBS: Final[Mapping[str, Function]] = {
    "group": _group,
    "groups": _groups,
    "off": _off,
    "on": _on,
    "on+": _on_again,
    "max": _max,
    "digest": _digest,
    "status": _status,
}
"""The verbs that this file does."""
