"""How a command line falls into words.

At any white space that Unicode knows, a quoted phrase being one word. What a keyboard adds or
changes without showing it (full-width forms, direction marks, typographic quotation marks) makes no
difference to a command. A post never comes through here: it stays as it was typed.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

_QUOTES: Final = '"“”„«»「」『』＂'  # straight, and what keyboards make of it in other languages
_WORD: Final = re.compile(rf"[{_QUOTES}]([^{_QUOTES}]*)[{_QUOTES}](?=\s|$)|\S+")
_DIRECTION_MARKS: Final = dict.fromkeys([0x200E, 0x200F, 0x061C])


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command line."""

    text: str
    quoted: bool = False  # stood between quotation marks, which are not in `text`


def plain(word: str) -> str:
    """The word without what a keyboard may add unseen: full-width forms, direction marks."""
    if word.isascii():
        return word
    return unicodedata.normalize("NFKC", word.translate(_DIRECTION_MARKS))


def split(text: str) -> list[Word]:
    """The words of a line, at any white space; a quoted phrase is one word."""
    return [
        Word(plain(found[0])) if found[1] is None else Word(" ".join(found[1].split()), quoted=True)
        for found in _WORD.finditer(text)
    ]


def phrase(text: str) -> Word:
    """The whole text as one quoted word."""
    bare = "".join(char for char in text if char not in _QUOTES)
    return Word(" ".join(bare.split()), quoted=True)
