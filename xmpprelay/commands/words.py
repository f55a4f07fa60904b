"""How a command line falls into words.

At any white space that Unicode knows, a quoted phrase being one word. What a keyboard adds or
changes without showing it (full-width forms, direction marks, typographic quotation marks) makes no
difference to a command. A post never comes through here: it stays as it was typed.
"""

import re
import unicodedata
from dataclasses import dataclass
from itertools import islice
from typing import Final

_QUOTES: Final = '"“”„«»「」『』＂'  # straight, and what keyboards make of it in other languages
_WORD: Final = re.compile(rf"[{_QUOTES}]([^{_QUOTES}]*)[{_QUOTES}](?=\s|$)|\S+")
_MAX_PLAIN_CHARS: Final = 256
"""NFKC takes seconds for a word of some ten thousand combining marks: it is quadratic in them."""

_DIRECTION_MARKS: Final = dict.fromkeys([0x200E, 0x200F, 0x061C])


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command line."""

    text: str
    quoted: bool = False  # stood between quotation marks, which are not in `text`


def plain(word: str) -> str:
    """The word without what a keyboard may add unseen: full-width forms, direction marks.

    A word of more than 256 characters, which is no argument of anything, stays as it is.
    """
    if word.isascii() or len(word) > _MAX_PLAIN_CHARS:
        return word
    return unicodedata.normalize("NFKC", word.translate(_DIRECTION_MARKS))


def split(text: str, most: int | None = None) -> list[Word]:
    """The first `most` words of a line, or all; a quoted phrase is one word."""
    return [
        Word(plain(found[0])) if found[1] is None else Word(" ".join(found[1].split()), quoted=True)
        for found in islice(_WORD.finditer(text), most)
    ]


def phrase(text: str) -> Word:
    """The whole text as one quoted word."""
    bare = "".join(char for char in text if char not in _QUOTES)
    return Word(" ".join(bare.split()), quoted=True)
