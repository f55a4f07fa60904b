"""A post as a status of the primary: its text, who sees it there, and its parts if it is too long.

A bare `@bob` means the primary's own bob there, whoever that is; so a name is written as the linked
account of the person who is meant, or is taken apart by an invisible character after the `@`.

Pure functions; what is known of people and of the primary is given.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from typing import Final

from xmpprelay.core.insertion import Rules, Send
from xmpprelay.core.mentions import rename
from xmpprelay.core.model import Post
from xmpprelay.core.primary import Caps, Visibility

WORD_JOINER: Final = "\u2060"
"""Invisible, and no part of a name: after the `@` it makes a name a mere text."""

LATE: Final = timedelta(minutes=5)
"""What is inserted later than that says when it was posted, if the operator wants it so."""

_ELLIPSIS: Final = "…"
_URL: Final = re.compile(r"https?://[^\s<>\"]+")
_LINKS: Final = re.compile(rf"(?<![A-Za-z0-9_])({_URL.pattern})")
_ACCOUNT: Final = re.compile(r"(@[A-Za-z0-9_]+)@[A-Za-z0-9.-]+")

_OPENNESS: Final = {
    Visibility.DIRECT: 0,
    Visibility.PRIVATE: 1,
    Visibility.UNLISTED: 2,
    Visibility.PUBLIC: 3,
}


@dataclass(frozen=True, slots=True)
class Naming:
    """What people are called at the primary."""

    there: Callable[[str, str | None], str | None]
    # of a handle, or of a local part and a domain: `user@host` of the linked account, or ""
    # for somebody of ours who has none; None: nobody of ours is meant
    signature: str = ""  # put before the text, where one account speaks for all


def visibility_of(post: Post, send: Send, rules: Rules) -> Visibility:
    """Who sees it there: never more than may see what it answers."""
    wanted = Visibility.UNLISTED if post.targets else rules.visibility
    return min(wanted, send.most, key=_OPENNESS.__getitem__)


def texts_of(
    post: Post,
    caps: Caps,
    rules: Rules,
    naming: Naming,
    link: str,
    now: datetime,
    *,
    attached: Sequence[str] = (),
    answers: str = "",
) -> tuple[str, ...] | None:
    """The text for each part, nearly always one; None: it is too long, and is not to be cut.

    `link` is where the whole post can be read; `attached` are addresses in it that the status has
    as attachments; `answers` is where what it answers can be read, if that is not there. The same
    post gives the same texts at every try, but for the time in a suffix, which depends on `now`
    only by being late.
    """
    text = post.text
    for address in attached:
        text = text.replace(address, "").strip()
    text = naming.signature + (_named(text, naming) if caps.names else text)
    ending = f"\n\n{answers}" if answers else ""
    if rules.time == "suffix" and now - post.created > LATE:
        ending += f" ({post.created:%Y-%m-%d %H:%M} UTC)"
    if caps.max_chars is None or weight(text + ending, caps) <= caps.max_chars:
        return (text + ending,)
    if rules.long == "refuse":
        return None
    if rules.long == "split":
        return _split(text + ending, caps, caps.max_chars)
    ending = f"{_ELLIPSIS} {link}{ending}"
    begins = cut(text, caps, caps.max_chars - weight(ending, caps))
    while begins and weight(begins + ending, caps) > caps.max_chars:
        begins = begins[:-1].rstrip()  # half an address counts as a whole one
    return (begins + ending,)


def fits(text: str, caps: Caps) -> bool:
    """Whether a text of that length goes into one status; for the word to its author (S1.5)."""
    return caps.max_chars is None or weight(text, caps) <= caps.max_chars


def weight(text: str, caps: Caps) -> int:
    """How many characters a text counts as: an address has a fixed weight, a name no host."""
    if caps.url_weight is not None:
        text = _URL.sub("x" * caps.url_weight, text)
    return len(_ACCOUNT.sub(r"\1", text) if caps.names else text)


def cut(text: str, caps: Caps, most: int) -> str:
    """The beginning of a text, of at most that weight, ending behind a word where there is one."""
    end = _longest(text, caps, most)
    if end == len(text):
        return text
    word = max(text.rfind(" ", 0, end + 1), text.rfind("\n", 0, end + 1))
    return text[: word if word > end // 2 else end].rstrip()


def _longest(text: str, caps: Caps, most: int) -> int:
    """How many of its characters have no more than that weight: weight grows with length."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if weight(text[:middle], caps) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _split(text: str, caps: Caps, most: int) -> tuple[str, ...]:
    """Parts that say which they are: `… 1/3`."""
    room = most - len(" 99/99") - len(_ELLIPSIS)
    parts: list[str] = []
    while text:
        part = text if weight(text, caps) <= room else cut(text, caps, room) or text[:1]
        while len(part) > 1 and weight(f"{part}{_ELLIPSIS} 99/99", caps) > most:
            part = part[:-1].rstrip()  # half an address counts as a whole one
        parts.append(part)
        text = text[len(part) :].lstrip()
    count = len(parts)
    return tuple(
        f"{part}{'' if n == count else _ELLIPSIS} {n}/{count}" for n, part in enumerate(parts, 1)
    )


def _named(text: str, naming: Naming) -> str:
    """The text with names as they are there; what is in an address of the Web stays as it is."""
    between = _LINKS.split(text)
    return "".join(
        each if link else _named_between(each, naming)
        for link, each in zip(cycle((False, True)), between, strict=False)
    )


def _named_between(text: str, naming: Naming) -> str:
    def there(name: str, domain: str | None) -> str | None:
        account = naming.there(name, domain)
        if account:
            return f"@{_MARK}{account}{_MARK}"
        if account is None and domain is not None:
            return None  # somebody elsewhere: no name of ours
        return f"@{WORD_JOINER}{name}" if domain is None else f"@{WORD_JOINER}{name}@{domain}"

    text = _BARE.sub(f"@{WORD_JOINER}", rename(text, there))
    return _GLUED.sub(WORD_JOINER, text).replace(_MARK, "")


_MARK: Final = "\x00"
"""Around an account that was put in; no text has one (S4)."""

_BARE: Final = re.compile(
    r"(?<![A-Za-z0-9_])@(?=[A-Za-z0-9_])"
    r"(?![A-Za-z0-9_.-]*[A-Za-z0-9_]@[A-Za-z0-9-]+\.[A-Za-z0-9])"  # no name ends with `-`
)
"""What is no name of ours, such as one of 21 letters, and may be one there."""

_GLUED: Final = re.compile(rf"{_MARK}(?=[.-][A-Za-z0-9_])")
"""The end of an account that what follows would be taken for a part of its host."""
