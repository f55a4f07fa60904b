"""The command `feed`: where one's posts are on the web, and where one's own stream is, in secret.

The secret addresses are said once, when they are made: nobody can look them up later, since only
their hash is kept.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.core.model import Person
from xmpprelay.errors import NotRegistered, NotThere

_MAKE: Final = "`feed new` makes a secret address for your own stream."


async def _feed(rooms: Rooms, call: Call) -> str:
    """`feed`, `feed new`, `feed private`, `feed public`."""
    if not rooms.feeds.places.base_url:
        raise NotThere("This relay has no pages and no feeds; `last WHO` and `timeline` are here.")
    what = call.arguments.get("what")
    person = await rooms.people.known(call.sender)
    if what is None:
        return _shown(rooms, person)
    if what == "new":
        return await _new(rooms, person)
    return await _set(rooms, person, on=what == "public")


def _shown(rooms: Rooms, person: Person) -> str:
    lines = [_public(rooms, person)]
    since = rooms.feeds.secret_since(person.id)
    if since is not None:
        lines.append(
            f"Your secret addresses are those that you were told on {_day(since)}; `feed new` "
            "makes others, and ends those."
        )
    elif rooms.feeds.served:
        lines.append(_MAKE)
    return "\n".join(lines)


def _public(rooms: Rooms, person: Person) -> str:
    """Where his posts are on the web, or why they are not."""
    feeds, handle = rooms.feeds, person.handle
    if handle is None:
        return "You have no public feed: only who posts here has one."
    if rooms.graph.protected(person.id):
        return "Your posts are protected, so they are in no public feed."
    if feeds.is_private(person.id):
        return "Your feed and your page are off the web; `feed public` puts them back."
    if not feeds.is_public(person.id):
        return "Your posts are in no public feed."
    places = feeds.places
    return (
        f"Everybody can read what you post at {places.feed(handle)} (as RSS: "
        f"{places.feed(handle, 'rss')}), with your replies at {places.feed_with_replies(handle)}. "
        "`feed private` takes it off the web."
    )


async def _new(rooms: Rooms, person: Person) -> str:
    feeds = rooms.feeds
    if not feeds.served:
        raise NotThere("This relay serves no secret feeds; `timeline` shows your stream here.")
    ended = feeds.secret_since(person.id) is not None
    secret, places = await feeds.new_secret(person.id), feeds.places
    return "\n".join(
        [
            f"Your stream: {places.home(secret)}",
            f"As RSS: {places.home(secret, 'rss')}",
            f"What names you: {places.mentions(secret)}",
            "They are told only now, and whoever has them reads what you may read."
            + (" The ones before have ended." if ended else " `feed new` ends them."),
        ]
    )


async def _set(rooms: Rooms, person: Person, *, on: bool) -> str:
    feeds = rooms.feeds
    if person.handle is None:
        raise NotRegistered("Only who posts here has a public feed: `join yourname` first.")
    await feeds.set_public(person.id, on=on)
    if on:
        return _public(rooms, person)
    return (
        "Your feed and your page are off the web; what was read there may be kept elsewhere. "
        "Your followers get all as before, and so does who asks from a Jabber client: "
        "`protect on` keeps others out there, too."
    )


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d}"


VERBS: Final[Mapping[str, Function]] = {"feed": _feed}
"""The verbs that this file does."""
