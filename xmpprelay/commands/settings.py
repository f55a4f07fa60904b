"""Commands that set something.

Each setting of `choices.SETTINGS` is a verb of the same name with one word; what is said when it is
set stands in one table here, and the form of all settings (`xmpp/adhoc.py`) is made from the same
verbs.
"""

import re
import zoneinfo
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.commands.values import Value
from xmpprelay.errors import BadCommand
from xmpprelay.people import CATCHUP, CATCHUP_USUAL, catchup_number, catchup_word

_SAID: Final[Mapping[str, Mapping[str, str]]] = {
    "replies": {
        "all": "You get all replies of those whom you follow.",
        "following": "You get a reply to somebody else only if you follow that person too.",
        "none": "You get no replies to others; replies to you still come.",
    },
    "mentions": {
        "all": "Anybody can mention you.",
        "following": "You get mentions only from those whom you follow.",
        "none": "You get no mentions from those whom you do not follow.",
    },
    "dms": {
        "followed": "Those whom you follow can write to you alone.",
        "all": "Anybody can write to you alone.",
        "none": "Nobody can write to you alone.",
    },
    "delivery": {
        "chat": "Posts come as chat messages.",
        "headline": "Posts come as headlines: on all your devices, and nothing is kept.",
    },
    "archive": {
        "on": "Your server may keep posts in your archive.",
        "off": "Your server is asked not to keep posts.",
    },
    "window": {
        "dm": "Text in one person's window goes to that person alone.",
        "reply": "`@name` at the beginning makes a public reply in one person's window, too.",
        "ask": "Text in one person's window is asked about.",
    },
    "quiet": {
        "on": "A post is answered by its receipt alone.",
        "off": "A post is answered by `ok` and who gets it.",
    },
    "ids": {
        "on": "Posts show their ids everywhere.",
        "off": "Posts show their ids only when they come from this address.",
    },
}


async def _setting(rooms: Rooms, call: Call, name: str) -> str:
    word = str(call.arguments["setting"])
    person = await rooms.people.known(call.sender)
    await rooms.choices.set(person.id, name, word)
    return _SAID[name][word]


def _setter(name: str) -> Function:
    async def run(rooms: Rooms, call: Call) -> str:
        return await _setting(rooms, call, name)

    return run


async def _lang(rooms: Rooms, call: Call) -> str:
    """`lang LANGUAGE`."""
    language = str(call.arguments["language"])
    person = await rooms.people.known(call.sender)
    await rooms.choices.set(person.id, "lang", language)
    return f"Your posts are in `{language}`, where your client does not say otherwise."


async def _tz(rooms: Rooms, call: Call) -> str:
    """`tz ZONE`."""
    zone = known_zone(str(call.arguments["zone"]))
    person = await rooms.people.known(call.sender)
    await rooms.choices.set(person.id, "tz", zone)
    return f"Your time zone is {zone}."


_OFFSET: Final = re.compile(r"([+-])([0-9]{1,2}):?([0-9]{2})?")


def known_zone(typed: str) -> str:
    """The zone as it is kept: a name of the zone database, or +HH:MM; BadCommand: there is none."""
    offset = _OFFSET.fullmatch(typed)
    if offset is not None:
        hours, minutes = int(offset[2]), int(offset[3] or 0)
        if hours > 14 or minutes > 59:
            raise BadCommand(f"{typed} is no time zone: -14:00 to +14:00, or as in Europe/Berlin.")
        return f"{offset[1]}{hours:02}:{minutes:02}"
    name = _zones().get(typed.lower())
    if name is None:
        raise BadCommand(f"There is no time zone {typed}: write it as in `tz Europe/Berlin`.")
    return name


@lru_cache(maxsize=1)
def _zones() -> Mapping[str, str]:
    return {name.lower(): name for name in ("UTC", "GMT", *zoneinfo.available_timezones())}


# --- All settings as one form --------------------------------------------------------------------

FORM: Final = (*_SAID, "lang", "tz", CATCHUP)
"""The verbs that the form of all settings has a field for, in its order."""


def present(rooms: Rooms, person: int | None) -> Mapping[str, str]:
    """The words of somebody's settings as they are now; without those that have no default."""
    words: dict[str, str] = {}
    for name in FORM:
        if name == CATCHUP:
            newest = None if person is None else rooms.people.catchup_of(person)
            words[name] = catchup_word(CATCHUP_USUAL if newest is None else newest)
            continue
        word = rooms.choices.word(-1 if person is None else person, name)
        if word is not None:
            words[name] = word
    return words


async def set_all(rooms: Rooms, jid: str, values: Mapping[str, Value | None]) -> str:
    """Set several settings, all or none; None is back to the default. Gives what to answer."""
    words: dict[str, str | None] = {}
    for name, value in values.items():
        if value is None:
            words[name] = None
        else:
            words[name] = known_zone(str(value)) if name == "tz" else str(value)
    person = await rooms.people.known(jid)
    before = present(rooms, person.id)
    changed = {name: word for name, word in words.items() if word != before.get(name)}
    if not changed:
        return "Nothing has changed."
    newest = changed.get(CATCHUP)

    def committed() -> None:
        if newest is not None:
            rooms.people.take_catchup(person.id, catchup_number(newest))

    await rooms.choices.set_all(person.id, changed, committed)
    return f"Changed: {', '.join(changed)}."


VERBS: Final[Mapping[str, Function]] = {
    **{name: _setter(name) for name in _SAID},
    "lang": _lang,
    "tz": _tz,
}
"""The verbs that this file does."""
