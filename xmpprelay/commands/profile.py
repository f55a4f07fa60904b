"""The command `profile`: what others see of oneself, set here or taken over from one's own address.

A picture comes by a client (`xmpp/profiles.py`): by a line it can only be taken away.
"""

from collections.abc import Mapping
from typing import Final

from xmpprelay.choices import BOT
from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.commands.values import Phrase, Value
from xmpprelay.core.model import Person
from xmpprelay.core.profile import Part
from xmpprelay.errors import NotRegistered

_SAID: Final[Mapping[Part, tuple[str, str]]] = {
    Part.NAME: ("Your name is: {}", "You have no name but your handle."),
    Part.ABOUT: ("Your description is: {}", "You have no description."),
    Part.URL: ("Your address on the web is: {}", "You show no address on the web."),
}
"""What is said of a part that is set, and of one that is taken away."""

_OFF: Final = "off"


async def _profile(rooms: Rooms, call: Call) -> str:
    """`profile` alone, or one of its parts with what it is to be."""
    person = rooms.graph.by_jid(call.sender)
    if person is None or person.handle is None:
        raise NotRegistered("Only who posts here has a profile: `join yourname` first.")
    field = call.arguments.get("field")
    if field is None:
        return _shown(rooms, person)
    if field == BOT:
        word = str(call.arguments["setting"])
        await rooms.choices.set(person.id, BOT, word)
        return "You are shown as a bot." if word == "on" else "You are not shown as a bot."
    if field == "own":
        return await _own(rooms, person)
    if field == Part.PICTURE:
        await rooms.profiles.set(person, {}, (None,))
        return "You show no picture."
    return await _set(rooms, person, Part(str(field)), call.arguments["text"])


async def _set(rooms: Rooms, person: Person, part: Part, value: Value) -> str:
    text = value.text if isinstance(value, Phrase) else str(value)
    if not isinstance(value, Phrase) and text == _OFF:
        text = ""
    now = await rooms.profiles.set(person, {part: text})
    said, nothing = _SAID[part]
    shown: str = getattr(now, part.value)
    return said.format(shown) if shown else nothing


async def _own(rooms: Rooms, person: Person) -> str:
    if await rooms.profiles.own(person):
        return f"What {person.jid} shows is taken over in a moment: `profile` shows it then."
    return (
        f"What {person.jid} shows was looked at only just now, and is taken over with your next "
        "change of it; or send this again in ten minutes."
    )


def _shown(rooms: Rooms, person: Person) -> str:
    profile, handle = rooms.profiles.of(person.id), person.handle
    picture = profile.picture
    return "\n".join(
        [
            f"You are @{handle}, {handle}@{rooms.domain}.",
            f"Name: {profile.name or 'none'}",
            f"About: {profile.about or 'nothing'}",
            f"Address on the web: {profile.url or 'none'}",
            f"Picture: {'none' if picture is None else f'{picture.width} × {picture.height}'}",
            f"Bot: {'yes' if rooms.choices.is_bot(person.id) else 'no'}",
            _origin(profile.typed, person.jid),
        ]
    )


def _origin(typed: frozenset[Part], jid: str) -> str:
    """Where it comes from."""
    parts = [part.value for part in Part if part in typed]
    if not parts:
        return f"All but `bot` is taken over from {jid}."
    if len(parts) == len(Part):
        return f"`profile own` takes it over from {jid}."
    return f"Set here: {', '.join(parts)}; the rest is taken over from {jid}."


VERBS: Final[Mapping[str, Function]] = {"profile": _profile}
"""The verbs that this file does."""
