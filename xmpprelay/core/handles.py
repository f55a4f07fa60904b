"""Handles: which names people may take, and which names look the same.

A handle is 2 to 20 characters of a-z, 0-9 and `_`, whatever case it is typed in. Two handles that
differ only in what the eye mistakes (0 and o, 1 and l, rn and m ...) have the same skeleton, and
only one of them can exist; the store keeps the skeleton unique over live and retired handles.

Reserved words are compared by their skeletons too: nobody should be `adm1n`. The words of the
command grammar are kept here as data, since this room knows nothing of `commands/`; a test holds
the two together. This file decides on form alone: who has a handle is for the store. S12.1
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

from xmpprelay.errors import HandleRefused

MIN_CHARS: Final = 2
MAX_CHARS: Final = 20

COMMAND_WORDS: Final = frozenset(
    [
        "approve",
        "archive",
        "block",
        "blocks",
        "boost",
        "catchup",
        "d",
        "del",
        "delivery",
        "deny",
        "digest",
        "dm",
        "dms",
        "drop",
        "edit",
        "expire",
        "export",
        "f",
        "fav",
        "feed",
        "find",
        "follow",
        "followers",
        "following",
        "get",
        "group",
        "groups",
        "help",
        "ids",
        "join",
        "lang",
        "last",
        "leave",
        "leave-relay",
        "like",
        "link",
        "lose",
        "max",
        "mentions",
        "mode",
        "more",
        "mute",
        "mutes",
        "off",
        "on",
        "on+",
        "pending",
        "ping",
        "pm",
        "profile",
        "protect",
        "queue",
        "quiet",
        "re",
        "repeat",
        "replies",
        "report",
        "requests",
        "resend",
        "rt",
        "show",
        "skip",
        "source",
        "stats",
        "status",
        "timeline",
        "tz",
        "u",
        "unblock",
        "unfollow",
        "unlink",
        "unmute",
        "whois",
        "why",
        "window",
    ]
)
"""Every first word of a command line, aliases included (S15)."""

RESERVED_WORDS: Final = frozenset(
    """
    home admin root abuse postmaster support help status relay security moderator all me yes on off
    public everyone

    no none new private author chat headline reply ask pep daily boosts followed
    you us we they him her it this that the and for not now here there today tonight tomorrow
    everybody nobody anybody anyone someone somebody
    admins administrator administrators mod mods moderators operator operators owner staff team
    official verified system server service bot bots info contact noreply
    webmaster hostmaster mailer daemon mailer_daemon api www feeds mail
    xmpp jabber xmpprelay anonymous guest unknown null nil undefined
    """.split()  # noqa: SIM905 - rows of words can be read, 90 quoted ones cannot
)
"""Words that nobody may be called: offices, the relay's own, and words that commands take (S12.1).

The everyday words ("us", "today") would turn "follow us" and "last tonight" into commands.
"""

_HANDLE: Final = re.compile(r"[A-Za-z0-9_]{2,20}")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_]")
_SPAN: Final = re.compile(r"[0-9]+[mhd]")
_LOOKALIKES: Final = str.maketrans({"_": None, "0": "o", "1": "l", "i": "l", "5": "s"})
_SHAPE: Final = "a handle has 2 to 20 characters of a-z, 0-9 and _"


def skeleton(handle: str) -> str:
    """What two handles have in common if people can mistake one for the other.

    Lower case, `_` dropped, 0 to o, 1 and i to l, 5 to s, rn to m, vv to w. S12.1
    """
    return handle.lower().translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


_RESERVED_SKELETONS: Final = frozenset(skeleton(word) for word in RESERVED_WORDS)
_COMMAND_SKELETONS: Final = frozenset(skeleton(word) for word in COMMAND_WORDS)


def as_handle(text: str) -> str | None:
    """The lower-case handle if the text has the form of one, else None.

    Says nothing of reserved words, and not whether anybody has it. No `@` is taken off.
    """
    if _HANDLE.fullmatch(text) is None or not _has_letter(text) or _is_span(text):
        return None
    return text.lower()


def check_handle(text: str, reserved_patterns: Iterable[str] = ()) -> str:
    """The lower-case handle that the typed text stands for, if somebody may take it.

    White space around it and one leading `@` are dropped. `reserved_patterns` are the operator's,
    with `*` and `?`; they hold for look-alikes too. Raises HandleRefused with a sentence that says
    what is wrong and what could be typed instead. S12.1
    """
    typed = text.strip().removeprefix("@")
    patterns = tuple(reserved_patterns)
    problem = _ill_formed(typed)
    if problem is None:
        if _is_reserved(typed, patterns):
            # No example here: `admin_1` would be just what reserving "admin" is against.
            raise HandleRefused(
                f"`{typed}` is reserved, or looks like a name that is: choose another handle."
            )
        return typed.lower()
    instead = _instead(typed, patterns)
    raise HandleRefused(
        f"{problem}: choose another handle, for example `{instead}`."
        if instead
        else f"{problem}: choose another handle."
    )


def _ill_formed(typed: str) -> str | None:
    """What is wrong with the handle, as the beginning of a sentence; None if nothing is."""
    if not typed:
        return f"This is empty, and {_SHAPE}"
    if found := _OTHER.search(typed):
        return f"There is {_named(found[0])} in this, and {_SHAPE}"
    if len(typed) < MIN_CHARS:
        return f"`{typed}` is too short, and {_SHAPE}"
    if len(typed) > MAX_CHARS:
        return f"This is too long by {len(typed) - MAX_CHARS}, and {_SHAPE}"
    if not _has_letter(typed):
        return f"`{typed}` has no letter, and a handle needs one"
    if _is_span(typed):
        return f"`{typed}` looks like a span of time, as in `off 3h`"
    if skeleton(typed) in _COMMAND_SKELETONS:
        return f"`{typed}` is a command, or looks like one"
    return None


def _is_reserved(handle: str, patterns: tuple[str, ...]) -> bool:
    bones = skeleton(handle)
    return bones in _RESERVED_SKELETONS or any(
        fnmatchcase(handle.lower(), pattern.lower()) or fnmatchcase(bones, skeleton(pattern))
        for pattern in patterns
    )


def _has_letter(text: str) -> bool:
    # S12.1 says "not digits only". The underscore is no more of a name than a digit: `_` alone has
    # an empty skeleton, and `1_2` that of `12`.
    return not text.replace("_", "0").isdigit()


def _is_span(text: str) -> bool:
    return _SPAN.fullmatch(text.lower()) is not None


def _named(char: str) -> str:
    if char.isspace():
        return "a space"
    return f"`{char}`" if char.isprintable() else "an invisible character"


def derived(text: str, reserved_patterns: Iterable[str] = ()) -> Iterator[str]:
    """Handles that may be made of a text, such as the first part of an address, the nearest first.

    Whether somebody has one of them, or one like it, is for the store. None, where nothing can be
    made of it. S12.3
    """
    patterns = tuple(reserved_patterns)
    base = _base(text)
    tails = ("", *(f"_{number}" for number in range(2, 21)))
    # Not `admin_2`: it would be just what reserving "admin" is against.
    starts = (f"u_{base}",) if _is_reserved(base, patterns) else (base, f"u_{base}")
    for start in starts if base else ():
        for tail in tails:
            handle = f"{start[: MAX_CHARS - len(tail)]}{tail}"
            if _ill_formed(handle) is None and not _is_reserved(handle, patterns):
                yield handle


def _base(typed: str) -> str:
    plain = unicodedata.normalize("NFKD", typed[: 4 * MAX_CHARS].replace("ß", "ss"))
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    return _OTHER.sub("_", letters).strip("_").lower()


def _instead(typed: str, patterns: tuple[str, ...]) -> str | None:
    """A handle near to what was typed that would pass, or None."""
    base = _base(typed)
    if not base:
        return None
    for candidate in (base[:MAX_CHARS], f"{base[: MAX_CHARS - 2]}_1", f"n_{base[: MAX_CHARS - 2]}"):
        if _ill_formed(candidate) is None and not _is_reserved(candidate, patterns):
            return candidate
    return None
