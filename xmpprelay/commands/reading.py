"""Commands that read: one author's posts, one's own stream, one post, a search; `why`, `whois`.

An author whom the asker may not know is answered as one who does not exist (S6.1); see
`Rooms.author` and `Commands.read`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from xmpprelay.commands.calls import Call, Function, Rooms
from xmpprelay.commands.values import PostId, Tag, Value
from xmpprelay.core.model import Person
from xmpprelay.core.text import short_id
from xmpprelay.reading import SHOWN, Found, age, fitting, has_tag, has_words, line_of

_LAST: Final = 5
_TIMELINE: Final = 10
_FOUND: Final = 10
_PEOPLE: Final = 5


async def _show_last(rooms: Rooms, call: Call) -> str:
    """`last WHO [N]`."""
    author = rooms.author(call, call.arguments["who"])
    count = _count(call, _LAST)
    found = await rooms.reading.last(call.sender, author, count)
    if not found.posts:
        return f"There are no posts of @{author.handle} to show."
    return _listed(rooms, found, f"last {author.handle}", count)


async def _timeline(rooms: Rooms, call: Call) -> str:
    """`timeline [N]`."""
    count = _count(call, _TIMELINE)
    found = await rooms.reading.timeline(call.sender, count)
    if not found.posts:
        return "There are no posts of those whom you follow. `follow NAME` changes that."
    return _listed(rooms, found, "timeline", count)


async def _find(rooms: Rooms, call: Call) -> str:
    """`find "WORDS"`, also of people; `find #TAG`."""
    what: Value = call.arguments["what"]
    if isinstance(what, Tag):
        return await _find_posts(rooms, call, has_tag(what.name))
    words = _words(what)
    people = await rooms.directory.find(call.sender, words, _PEOPLE + 1)
    posts = await _find_posts(rooms, call, has_words(words))
    if not people:
        return posts
    names = [_named(rooms, each) for each in people[:_PEOPLE]]
    more = ", and more" if len(people) > _PEOPLE else ""
    return f"People: {', '.join(names)}{more}\n{posts}"


async def _find_posts(rooms: Rooms, call: Call, fits: Callable[[str], bool]) -> str:
    found = await rooms.reading.find(call.sender, fits, _FOUND)
    if not found.posts:
        return (
            "No such post; only the newest are looked through." if found.more else "No such post."
        )
    return "\n".join(_lines(rooms, found))


def _named(rooms: Rooms, author: Person) -> str:
    name = rooms.profiles.of(author.id).name
    return f"@{author.handle} ({name})" if name else f"@{author.handle}"


def _words(value: Value) -> str:
    return getattr(value, "text", "")


async def _show(rooms: Rooms, call: Call) -> str:
    """`show #ID`."""
    post = await rooms.reading.show(call.sender, _number(call))
    line = line_of(rooms.graph, post, rooms.now())
    if post.parent is None:
        return line
    return f"{line} · replies to #{short_id(post.parent)}"


async def _why(rooms: Rooms, call: Call) -> str:
    """`why #ID`."""
    return await rooms.reading.why(call.sender, _number(call))


async def _whois(rooms: Rooms, call: Call) -> str:
    """`whois WHO`."""
    author = rooms.author(call, call.arguments["who"])
    about = await rooms.reading.about(call.sender, author)
    profile = rooms.profiles.of(author.id)
    parts = [f"{_named(rooms, author)}, {author.handle}@{rooms.domain}"]
    if about.since is not None:
        parts.append(f"here since {about.since:%Y-%m-%d}")
    parts.append(f"{about.followers} follower{'' if about.followers == 1 else 's'}")
    if about.protected:
        parts.append("protected")
    if rooms.choices.is_bot(author.id):
        parts.append("a bot")
    if about.last is not None:
        parts.append(f"last post {_ago(age(about.last, rooms.now()))}")
    line = ", ".join(parts)
    return "\n".join([line, *filter(None, (profile.about, profile.url))])


def _ago(span: str) -> str:
    if span == "now":
        return "just now"
    return f"on {span}" if span.count("-") == 2 else f"{span} ago"


async def _stats(rooms: Rooms, call: Call) -> str:
    """`stats`."""
    del call
    counts = await rooms.reading.counts()
    return (
        f"{counts.people} people, {counts.handles} with a handle; {counts.follows} follows; "
        f"{counts.posts} entries in the journal."
    )


def _listed(rooms: Rooms, found: Found, command: str, count: int) -> str:
    """The posts, and how to see more of them."""
    lines = _lines(rooms, found)
    if len(lines) < len(found.posts):
        lines.insert(0, f"The last {len(lines)}; more is too long for one message.")
    elif found.more and count < SHOWN:
        lines.append(f"`{command} {min(SHOWN, 2 * count)}` shows more.")
    return "\n".join(lines)


def _lines(rooms: Rooms, found: Found) -> list[str]:
    now = rooms.now()
    return fitting([line_of(rooms.graph, post, now) for post in found.posts])


def _count(call: Call, usual: int) -> int:
    count = call.arguments.get("n", usual)
    return min(count, SHOWN) if isinstance(count, int) else usual


def _number(call: Call) -> int:
    post = call.arguments["id"]
    assert isinstance(post, PostId)  # noqa: S101 - what the grammar gives
    return post.number


VERBS: Final[Mapping[str, Function]] = {
    "last": _show_last,
    "timeline": _timeline,
    "find": _find,
    "show": _show,
    "why": _why,
    "whois": _whois,
    "stats": _stats,
}
"""The verbs that this file does."""
