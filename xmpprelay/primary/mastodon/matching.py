"""Whether a status at the server is a post that was sent.

Servers alter texts: white space, composition of characters, variants of emoji, names without their
host, links in pieces. What is compared is what is left when all of that is taken away. The text
in the list is HTML; where it only resembles the post, the server's source of it decides.

Pure.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from xmpprelay.core.html import html_to_text
from xmpprelay.core.primary import Status
from xmpprelay.primary.mastodon.meaning import time_of
from xmpprelay.primary.mastodon.profiles import Profile

_HOST: Final = re.compile(r"(?<!\w)@(\w[\w.+-]{0,63})@\w[\w-]{0,62}(?:\.[\w-]{1,63}){0,10}")
_NOTHING: Final = re.compile("[\u200b\u2060\ufeff\ufe0e\ufe0f]")  # of no width, and variants
_NO_LETTER: Final = re.compile(r"[\W_]+")
_LONG_CHARS: Final = 8
"""A text of so many letters that is a part of another one is no accident."""


class Likeness(Enum):
    """How like a status is to a post, by what a list says of it."""

    SAME = auto()
    NEAR = auto()  # the source of its text decides
    OTHER = auto()


def likeness(found: Mapping[str, Any], sent: Status, since: datetime, profile: Profile) -> Likeness:
    """How like a listed status is to what was sent; made before `since` (the server's clock): not.

    Boosts, polls and statuses behind a warning are never ours.
    """
    made_at = time_of(found)
    parents = {sent.in_reply_to} if profile.keeps_parents else {sent.in_reply_to, None}
    if (
        found.get("reblog") is not None
        or found.get("poll") is not None
        or found.get("spoiler_text")
        or found.get("visibility") != sent.visibility.value
        or _text(found.get("in_reply_to_id")) not in parents
        or (made_at is not None and made_at < since)
    ):
        return Likeness.OTHER
    shown = html_to_text(str(found.get("content") or ""))
    if folded(shown) == folded(sent.text):
        return Likeness.SAME
    return Likeness.NEAR if _resemble(_letters(shown), _letters(sent.text)) else Likeness.OTHER


def same_source(source: str, sent: Status, profile: Profile) -> bool:
    """Whether the text as it was typed, in the server's words, is the post's."""
    text = html_to_text(source) if profile.source_is_html else source
    return folded(text) == folded(sent.text)


def application_of(found: Mapping[str, Any]) -> str | None:
    """With what a status was made; None: it does not say."""
    application = found.get("application")
    name = application.get("name") if isinstance(application, dict) else None
    return name if isinstance(name, str) and name else None


def folded(text: str) -> str:
    """What no server alters: composed, without what has no width, white space as one space each,
    and names without their host."""
    text = _NOTHING.sub("", unicodedata.normalize("NFC", text))
    return " ".join(_HOST.sub(r"@\1", text).split())


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", folded(text)).casefold()


def _resemble(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return one == other or (len(shorter) >= _LONG_CHARS and shorter in longer)


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
