"""What the words after a verb can be, and how one word is read as such.

A `Kind` reads one word and gives a value, a `Miss`, or None. A Miss means: this has the shape of
the argument and was probably meant so, but nobody has that name, its mark is missing, or the number
is beyond all sense. None means: this is just a word. The difference decides whether a short line is
asked about or posted (S15, guard i). Reading never raises, whatever the word is.

A name fits only if it resolves (`Names` says so) or carries its mark: `@bob`, a dot in a domain.
Where a line is forced to be a command by `:`, the shape is enough, and whoever runs the command
finds that nobody is there.
"""

import re
from dataclasses import dataclass
from datetime import time, timedelta
from enum import IntEnum
from typing import Final, Protocol

from xmpprelay.commands.values import (
    DASHES,
    UNITS,
    Code,
    Domain,
    Group,
    Handle,
    Jid,
    Member,
    Phrase,
    PostId,
    Rate,
    Tag,
    Value,
)
from xmpprelay.commands.words import Word
from xmpprelay.core.handles import COMMAND_WORDS, as_handle
from xmpprelay.core.text import language_tag, parse_short_id


class Names(Protocol):
    """What the grammar may know of the sender's world. All names are given in lower case."""

    @property
    def registered(self) -> bool:
        """Whether the sender has a handle."""

    def has_handle(self, handle: str) -> bool:
        """Whether somebody here has the handle."""

    def has_group(self, name: str) -> bool:
        """Whether the sender has a group of that name."""

    def knows_jid(self, jid: str) -> bool:
        """Whether the bare JID, as typed, is that of a person the relay knows."""


class Cause(IntEnum):
    """Why a word that has the shape of an argument is none; the highest is the surest sign."""

    INCOMPLETE = 1  # the words fit, and more are needed
    MARK = 2  # the quotation marks, the `#` or the like are missing
    NAME = 3  # nobody, and no group of the sender's, has that name
    RANGE = 4  # everything fits, but the number is too small or too large


@dataclass(frozen=True, slots=True)
class Miss:
    """Has the shape of what is asked for, but is none."""

    cause: Cause
    sentence: str  # the beginning of one, in lower case, without a full stop


@dataclass(frozen=True, slots=True)
class Reading:
    """What a word is read against."""

    names: Names
    forced: bool = False  # the line began with `:`


class Kind(Protocol):
    """A type of argument."""

    @property
    def usage(self) -> str:
        """How it is written in a usage line."""

    def fit(self, word: Word, reading: Reading) -> Value | Miss | None:
        """The value of the word; a Miss if it only has the shape; None if it has not even that."""


class Choice:
    """One of a few fixed words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.usage = "|".join(words)

    def fit(self, word: Word, reading: Reading) -> str | None:
        """The word in lower case."""
        text = word.text.lower()
        return text if text in self.words and not word.quoted else None


class Either:
    """The first of several kinds that gives a value; else the last Miss."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds
        self.usage = "|".join(kind.usage for kind in kinds)

    def fit(self, word: Word, reading: Reading) -> Value | Miss | None:
        """As the kinds do, in their order."""
        miss = None
        for kind in self.kinds:
            found = kind.fit(word, reading)
            if isinstance(found, Miss):
                miss = found
            elif found is not None:
                return found
        return miss


_LABEL: Final = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_DOTTED: Final = re.compile(rf"(?:{_LABEL}\.)+[^\W\d_](?:[\w-]{{0,61}}[^\W_])")
_HOST: Final = re.compile(_LABEL)
_MAX_DOMAIN_CHARS: Final = 253
_MAX_LOCAL_CHARS: Final = 1023
_NOT_IN_LOCAL: Final = re.compile(r"[\s\"&'/:<>@]")  # RFC 7622 §3.3.1


def _is_domain(text: str) -> bool:
    return len(text) <= _MAX_DOMAIN_CHARS and _DOTTED.fullmatch(text) is not None


class Who:
    """A person: a handle that somebody has, `@handle`, or a bare JID."""

    usage = "WHO"

    def fit(self, word: Word, reading: Reading) -> Handle | Jid | Miss | None:
        """A handle or JID in lower case."""
        if word.quoted:
            return None
        marked = word.text.startswith("@")
        text = word.text.removeprefix("@").lower()
        if "@" in text:
            return self._jid(text, reading)
        handle = as_handle(text)
        if handle is None:
            return None
        if marked or reading.forced or reading.names.has_handle(handle):
            return Handle(handle)
        return Miss(Cause.NAME, f"no @{handle} here")

    def _jid(self, text: str, reading: Reading) -> Jid | Miss | None:
        local, _, host = text.partition("@")
        if not 0 < len(local) <= _MAX_LOCAL_CHARS or _NOT_IN_LOCAL.search(local):
            return None
        if _is_domain(host):
            return Jid(text)
        if _HOST.fullmatch(host) is None:
            return None
        if reading.forced or reading.names.knows_jid(text):
            return Jid(text)
        return Miss(Cause.NAME, f"nobody known as {text}")


class NewHandle:
    """A handle to be taken; nobody has it yet, so that it cannot resolve.

    Someone who has a handle must force it (`:join us`) or mark it (`join @us`): else "join us" on
    any ordinary evening would give him another name. Whether it may be taken is said later.
    """

    usage = "HANDLE"

    def fit(self, word: Word, reading: Reading) -> str | Miss | None:
        """The handle as typed, without `@`; not checked."""
        text = word.text.removeprefix("@")
        if word.quoted or not text:
            return None
        if reading.forced or text != word.text or not reading.names.registered:
            return text
        if as_handle(text) is None:
            return None
        return Miss(Cause.MARK, f"you have a handle already; `:join {text}` changes it")


_GROUP_NAME: Final = re.compile(r"(?![0-9]+[mhd]?$)(?=.*[^\W\d_])\w{1,20}")


class GroupName:
    """A group of the sender's; with `new`, any name that a group could have."""

    usage = "GROUP"

    def __init__(self, *, new: bool = False) -> None:
        self.new = new

    def fit(self, word: Word, reading: Reading) -> Group | Miss | None:
        """The group, its name in lower case."""
        name = word.text.lower()
        if word.quoted or _GROUP_NAME.fullmatch(name) is None:
            return None
        if self.new or reading.names.has_group(name):
            return Group(name)
        return Miss(Cause.NAME, f"you have no group {name}")


class Members:
    """One person of a `group` line, with `-` in front if he is to leave it."""

    usage = "[-]WHO"

    def fit(self, word: Word, reading: Reading) -> tuple[Member, ...] | Miss | None:
        """One member, in a tuple."""
        remove = word.text[:1] in DASHES and word.text != ""
        who = WHO.fit(Word(word.text[1:], word.quoted) if remove else word, reading)
        return (Member(who, remove),) if isinstance(who, Handle | Jid) else who


class Id:
    """A post's short id with its `#`."""

    usage = "#ID"

    def fit(self, word: Word, reading: Reading) -> PostId | Miss | None:
        """The number of the post."""
        if word.quoted:
            return None
        number = parse_short_id(word.text)
        if number is None:
            return None
        if word.text.startswith("#"):
            return PostId(number)
        # "like this" is a post, "like k3f" wants to be a command: no word has digits or no vowel.
        # Not even `:` replaces the mark: `:del old` must not delete #0ld.
        digits = any(char in "0123456789" for char in word.text)
        if digits or not _VOWELS.search(word.text) or reading.forced:
            return Miss(Cause.MARK, f"an id begins with #, as in `#{word.text.lower()}`")
        return None


_VOWELS: Final = re.compile("[aeiouyAEIOUY]")
_SPAN: Final = re.compile(r"([0-9]+)([mhdMHD])")
_MAX_SPAN: Final = timedelta(days=366)


class Span:
    """A span of time: `30m`, `2h`, `3d`."""

    usage = "SPAN"

    def fit(self, word: Word, reading: Reading) -> timedelta | Miss | None:
        """From one minute to 366 days."""
        found = _SPAN.fullmatch(word.text)
        if word.quoted or found is None:
            return None
        unit = UNITS[found[2].lower()]
        count = _number(found[1])
        if not 0 < count <= _MAX_SPAN // unit:
            return Miss(Cause.RANGE, f"{_cut(word.text)} is no sensible span: 1m to 366d")
        return count * unit


_RATE: Final = re.compile(r"([0-9]+)/([mhdMHD])")
_MAX_RATE: Final = 1_000


class RateKind:
    """So many in a minute, an hour or a day: `4/h`."""

    usage = "N/h"

    def fit(self, word: Word, reading: Reading) -> Rate | Miss | None:
        """From 1 to 1,000."""
        found = _RATE.fullmatch(word.text)
        if word.quoted or found is None:
            return None
        count = _number(found[1])
        if not 0 < count <= _MAX_RATE:
            return Miss(Cause.RANGE, f"{_cut(word.text)} is no sensible rate: 1/d to 1000/m")
        return Rate(count, UNITS[found[2].lower()])


_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})")


class Clock:
    """A time of day: `08:00`."""

    usage = "HH:MM"

    def fit(self, word: Word, reading: Reading) -> time | Miss | None:
        """00:00 to 23:59, without a zone."""
        found = _CLOCK.fullmatch(word.text)
        if word.quoted or found is None:
            return None
        hour, minute = int(found[1]), int(found[2])
        if hour > 23 or minute > 59:
            return Miss(Cause.RANGE, f"{word.text} is no time of day: 00:00 to 23:59")
        return time(hour, minute)


class Number:
    """A whole number between two bounds, both included."""

    usage = "N"

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def fit(self, word: Word, reading: Reading) -> int | Miss | None:
        """The number."""
        if word.quoted or _DIGITS.fullmatch(word.text) is None:
            return None
        number = _number(word.text)
        if not self.low <= number <= self.high:
            said = f"{_cut(word.text)} is out of range: {self.low} to {self.high}"
            return Miss(Cause.RANGE, said)
        return number


_DIGITS: Final = re.compile("[0-9]+")


def _number(digits: str) -> int:
    # int() refuses thousands of digits, and no argument needs ten.
    return int(digits) if len(digits) < 10 else 10**10


def _cut(text: str) -> str:
    return text if len(text) <= 12 else f"{text[:11]}…"


class DomainKind:
    """A domain with a dot in it, `*.` in front for its subdomains too."""

    usage = "DOMAIN"

    def fit(self, word: Word, reading: Reading) -> Domain | None:
        """The domain in lower case."""
        name = word.text.lower()
        subdomains = name.startswith("*.")
        name = name.removeprefix("*.")
        return Domain(name, subdomains) if not word.quoted and _is_domain(name) else None


_TAG: Final = re.compile(r"#(?=.*[^\W\d_])\w{1,100}")


class TagKind:
    """A hashtag with its `#`, and with at least one letter."""

    usage = "#TAG"

    def fit(self, word: Word, reading: Reading) -> Tag | None:
        """The tag in lower case, without `#`."""
        if word.quoted or _TAG.fullmatch(word.text) is None:
            return None
        return Tag(word.text[1:].lower())


_MAX_PHRASE_CHARS: Final = 100


class Quoted:
    """A phrase between quotation marks; with `asks`, a bare word is a Miss."""

    def __init__(
        self, usage: str = '"WORDS"', *, asks: bool = False, most: int = _MAX_PHRASE_CHARS
    ) -> None:
        self.usage = usage
        self.asks = asks
        self.most = most

    def fit(self, word: Word, reading: Reading) -> Phrase | Miss | None:
        """The phrase, at most 100 characters if nothing else is said."""
        if word.quoted and len(word.text) > self.most:
            return Miss(Cause.RANGE, f"that is too much: {self.most} characters at most")
        if word.quoted:
            return Phrase(word.text) if word.text else None
        return Miss(Cause.MARK, 'such words stand in "quotation marks"') if self.asks else None


_URL: Final = re.compile(r"https?://[^\s\"]+", re.IGNORECASE)


class Url:
    """An address on the web; whether it is well-formed is said later."""

    usage = "URL"

    def fit(self, word: Word, reading: Reading) -> str | Miss | None:
        """The address as typed, between quotation marks or not."""
        if _URL.fullmatch(word.text) is not None:
            return word.text
        if not word.quoted and "." not in word.text:
            return None
        return Miss(Cause.MARK, "an address on the web begins with https://")


class Language:
    """A language tag: `de`, `pt-BR`."""

    usage = "LANGUAGE"

    def fit(self, word: Word, reading: Reading) -> str | None:
        """The tag as typed."""
        return None if word.quoted else language_tag(word.text)


_ZONE: Final = re.compile(
    r"[A-Za-z]+(?:/[A-Za-z0-9_+-]+){1,2}|UTC|GMT|[+-][0-9]{1,2}(?::?[0-9]{2})?"
)


class Zone:
    """A time zone: `Europe/Berlin`, `UTC`, `+05:30`."""

    usage = "ZONE"

    def fit(self, word: Word, reading: Reading) -> str | Miss | None:
        """The zone as typed; whether there is one of that name is said later."""
        if word.quoted:
            return None
        text = word.text.upper() if len(word.text) == 3 else word.text
        if _ZONE.fullmatch(text) is not None and len(text) <= 40:
            return text
        return Miss(Cause.MARK, "a zone is written as in `tz Europe/Berlin`")


class VerbWord:
    """The name of a command."""

    usage = "COMMAND"

    def fit(self, word: Word, reading: Reading) -> str | None:
        """The word in lower case; an alias stays one."""
        text = word.text.lower()
        return text if text in COMMAND_WORDS and not word.quoted else None


_CODE: Final = re.compile(r"[A-Za-z0-9_-]{16,200}")
_SHOWN_AT: Final = re.compile(r"https?://\S+[?&]code=([A-Za-z0-9_-]{16,200})(?:&\S*)?")
"""The page that shows a code has it in its address as well."""

_ANY_CODE: Final = re.compile("[!#-~]+")
"""What a service may give out (RFC 6749 A.11), but for a space and the quotation mark."""


def code_in(word: str) -> Code | None:
    """The code that a word is, or that stands in it as in the address of the page that shows it."""
    shown = _SHOWN_AT.fullmatch(word)
    if shown is not None:
        return Code(shown[1])
    return Code(word) if _CODE.fullmatch(word) else None


class InstanceOrCode:
    """A primary's domain, or the code that it gave out."""

    usage = "INSTANCE|CODE"

    def fit(self, word: Word, reading: Reading) -> Domain | Code | Miss | None:
        """A word with a dot is an instance, else it is a code, which has at least 16 characters."""
        if word.quoted:
            return None
        host = word.text.lower().removeprefix("https://").removesuffix("/")
        if _is_domain(host):
            return Domain(host)
        code = code_in(word.text)
        if code is None and reading.forced and _ANY_CODE.fullmatch(word.text):
            code = Code(word.text)
        if code is not None:
            return code
        return Miss(
            Cause.MARK, "`link` takes an instance with a dot in it, or the code it gave you"
        )


WHO: Final = Who()
HANDLE: Final = NewHandle()
GROUP: Final = GroupName()
NEW_GROUP: Final = GroupName(new=True)
MEMBERS: Final = Members()
NAME: Final = Either(GROUP, WHO)
"""A name that is both a group and a handle is the group; `@bbc` is the person (S10.1)."""
ID: Final = Id()
SPAN: Final = Span()
RATE: Final = RateKind()
CLOCK: Final = Clock()
TAG: Final = TagKind()
QUOTED: Final = Quoted()
TARGET: Final = Either(DomainKind(), TAG, QUOTED, WHO)
ZONE: Final = Zone()
LANGUAGE: Final = Language()
URL: Final = Url()
VERB: Final = VerbWord()
LINK: Final = InstanceOrCode()
ON_OFF: Final = Choice("on", "off")
