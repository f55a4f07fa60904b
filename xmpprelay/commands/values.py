"""The values that the arguments of a command can have, and how each is written back.

Plain data: what was typed, in lower case and without its mark. Nothing here knows whether there is
such a person, group or post.
"""

from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import Final

from xmpprelay.core.text import short_id

UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
"""The letters of a span and of a rate."""

_LETTERS: Final = {span: letter for letter, span in UNITS.items()}


@dataclass(frozen=True, slots=True)
class Handle:
    """A person by handle."""

    name: str  # lower case, without `@`


@dataclass(frozen=True, slots=True)
class Jid:
    """A person by bare JID."""

    jid: str  # lower case, otherwise as typed: to be prepared (RFC 7622) by whoever uses it


@dataclass(frozen=True, slots=True)
class Domain:
    """All of a domain."""

    name: str  # lower case
    subdomains: bool = False  # typed as `*.spam.org`: its subdomains too


@dataclass(frozen=True, slots=True)
class Tag:
    """A hashtag."""

    name: str  # lower case, without `#`


@dataclass(frozen=True, slots=True)
class Phrase:
    """What stood between quotation marks."""

    text: str  # one line, not empty


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the sender's."""

    name: str  # lower case


@dataclass(frozen=True, slots=True)
class Member:
    """One word of a `group` line."""

    who: Handle | Jid
    remove: bool = False  # typed with `-` in front


@dataclass(frozen=True, slots=True)
class PostId:
    """A post by its short id; whether there is such a post is not known here."""

    number: int


@dataclass(frozen=True, slots=True)
class Rate:
    """So many posts in a span."""

    count: int
    per: timedelta  # a minute, an hour or a day


@dataclass(frozen=True, slots=True)
class Code:
    """The code that a primary service showed to the sender; never shown anywhere else."""

    text: str = field(repr=False)


Value = (
    Handle | Jid | Domain | Tag | Phrase | Group | PostId | Rate | Code
    | timedelta | time | int | str | tuple[Member, ...]
)  # fmt: skip
"""What an argument can be. A `str` is a word of a choice, a language, a zone or a new handle."""


DASHES: Final = "-–−"
"""In front of who is to leave a group: keyboards make a longer one of it."""


def show(value: Value) -> str:
    """The value as it is typed, with its mark."""
    match value:
        case Handle(name):
            return f"@{name}"
        case Jid(text) | Group(text) | Code(text):
            return text
        case Domain(name, subdomains):
            return f"*.{name}" if subdomains else name
        case Tag(name):
            return f"#{name}"
        case Phrase(text):
            return f'"{text}"'
        case PostId(number):
            return f"#{short_id(number)}"
        case Rate(count, per):
            return f"{count}/{_LETTERS[per]}"
        case timedelta():
            return _show_span(value)
        case time():
            return f"{value:%H:%M}"
        case tuple():
            return " ".join(map(_show_member, value))
        case int() | str():
            return str(value)


def _show_member(one: Member) -> str:
    """With a mark where an address that begins with a dash would read as who is to leave."""
    text = show(one.who)
    if one.remove:
        return f"-{text}"
    return f"@{text}" if text[0] in DASHES else text


def _show_span(span: timedelta) -> str:
    for letter in "dh":
        if not span % UNITS[letter]:
            return f"{span // UNITS[letter]}{letter}"
    return f"{span // UNITS['m']}m"
