"""What an author shows of himself: a name, some words, an address on the web, a picture.

It comes from two places: what he sets here, and what his own address shows. A part that he has set
himself, or has taken away here, is `typed`; what his own address shows is for the other parts only.

Nothing here is private: whoever may know of the author may know all of it (S6.1).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha1
from typing import Final

from xmpprelay.core.text import clean, clean_line, is_blank
from xmpprelay.errors import BadRequest, TooLong


class Part(StrEnum):
    """One part of a profile, by the name that people type."""

    NAME = "name"
    ABOUT = "about"
    URL = "url"
    PICTURE = "picture"


LIMITS: Final = {Part.NAME: 50, Part.ABOUT: 500, Part.URL: 300}
"""Characters that a part may have. A name stands in a line of a contact list; what is about
somebody is a paragraph; and a card has to fit into one stanza beside its picture."""

_NOT_IN_URL: Final = r"\s<>\"\\^`{|}"
_URL: Final = re.compile(
    rf"https?://[^{_NOT_IN_URL}'/?#]+(?:[/?#][^{_NOT_IN_URL}]*)?", re.IGNORECASE
)
"""An address on the web; what is left out must be written with % (RFC 3986 §2)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the relay itself has encoded it."""

    data: bytes  # PNG
    width: int  # pixels
    height: int

    @property
    def sha1(self) -> str:
        """Its id (XEP-0084 §3.1, XEP-0153 §3.1)."""
        return sha1(self.data).hexdigest()  # noqa: S324 - what the specifications ask for


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture without its bytes, which stay in the database."""

    sha1: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """All that an author shows; an empty text is none."""

    name: str = ""
    about: str = ""
    url: str = ""
    picture: Shown | None = None
    typed: frozenset[Part] = frozenset()
    source: str | None = None  # the hash of his own address's picture when that was last looked at;
    # "": it had none; None: it was never looked at


NO_PROFILE: Final = Profile()


def checked(part: Part, text: str) -> str:
    """A text for a part of a profile, cleaned; "" is none.

    Raises TooLong, or BadRequest for what is no address on the web.
    """
    text = _cleaned(part, text)
    most = LIMITS[part]
    if len(text) > most:
        raise TooLong(f"A {part} has {most} characters at most; this one has {len(text):,}.")
    if part is Part.URL and text and _URL.fullmatch(text) is None:
        raise BadRequest("An address on the web begins with https:// or http://.")
    return text


def fitting(part: Part, text: str) -> str:
    """The same for what his own address shows: it is cut to fit, and what is no address is none."""
    text = _cleaned(part, text)
    if part is Part.URL:
        good = len(text) <= LIMITS[part] and _URL.fullmatch(text) is not None
        return text if good else ""
    most = LIMITS[part]
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _cleaned(part: Part, text: str) -> str:
    text = clean(text).strip() if part is Part.ABOUT else clean_line(text)
    return "" if is_blank(text) else text


def fits_words(words: Iterable[str], handle: str, name: str) -> bool:
    """Whether a handle and a name have all of these words, casefolded, in them."""
    text = f"{handle} {name.casefold()}"
    return all(word in text for word in words)
