"""A post's text cut into pieces, so that a page can show its addresses, names and tags as links.

Nothing is lost or changed: the pieces put together are the text. What a piece becomes, and that it
is escaped, is the business of whoever shows it; an address is one of https or http only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Sort(Enum):
    """What a piece is."""

    TEXT = auto()
    LINK = auto()  # an address on the web
    NAME = auto()  # `@alice`
    TAG = auto()  # `#tea`


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text."""

    sort: Sort
    text: str  # as it stands there

    @property
    def bare(self) -> str:
        """A name or a tag without its mark."""
        return self.text[1:] if self.sort in (Sort.NAME, Sort.TAG) else self.text


_PIECE: Final = re.compile(
    r"(?P<link>(?<!\w)https?://[^\s<>\"\x00-\x1f]+)"
    r"|(?P<name>(?<![\w@])@[A-Za-z0-9_]{2,20}(?![\w@]|\.\w))"
    r"|(?P<tag>(?<![\w&#/])#(?=\w*[^\W\d])\w{1,50}(?!\w))",
    re.IGNORECASE,
)
_SORTS: Final = {"link": Sort.LINK, "name": Sort.NAME, "tag": Sort.TAG}

_ENDING: Final = frozenset(".,:;!?'*_~…»”’")
_BRACKETS: Final = ((")", "("), ("]", "["), ("}", "{"))


def pieces(text: str) -> Iterator[Piece]:
    """The pieces of a text, in order; none is empty."""
    done = 0
    for found in _PIECE.finditer(text):
        sort = _SORTS[found.lastgroup or ""]
        shown = _without_ending(found[0]) if sort is Sort.LINK else found[0]
        if sort is Sort.LINK and not shown.partition("://")[2]:
            continue
        if done < found.start():
            yield Piece(Sort.TEXT, text[done : found.start()])
        yield Piece(sort, shown)
        done = found.start() + len(shown)
    if done < len(text):
        yield Piece(Sort.TEXT, text[done:])


def _without_ending(address: str) -> str:
    """An address without what belongs to the sentence around it."""
    end = len(address)
    unopened = {close: address.count(close) - address.count(open_) for close, open_ in _BRACKETS}
    while end:
        last = address[end - 1]
        if unopened.get(last, 0) > 0:
            unopened[last] -= 1
        elif last not in _ENDING:
            break
        end -= 1
    return address[:end]
