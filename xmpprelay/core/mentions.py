"""Whom a text names: the leading run, which makes it a reply, and names elsewhere (S2).

A name is `@` and a handle, or `@` and a bare JID. It ends where no letter of it follows; a dot, a
comma or a bracket after it belongs to the text. Whether there is such a person, somebody else says.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_NAME: Final = (
    # The local part of an address may have far more characters than a handle.
    r"@([^\s\"&'/:<>@,;()]+(?=@[A-Za-z0-9-]+\.)|[A-Za-z0-9_]{1,20})"
    r"(?:@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+))?(?![A-Za-z0-9_@])"
)
_LEADING: Final = re.compile(rf"(?:{_NAME}[\s,:;]*)")
_ANYWHERE: Final = re.compile(rf"(?<![A-Za-z0-9_@]){_NAME}")

MAX_NAMED: Final = 20
"""People whom one text can name; more are text: a post is no mailing list."""


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a text names."""

    leading: tuple[int, ...] = ()  # person ids, in order, each once
    elsewhere: tuple[int, ...] = ()  # person ids that are not in `leading`, ascending
    unknown: str | None = None  # the first name of the leading run, if nobody here has it


_NOBODY: Final = Named()


def read_names(text: str, resolve: Callable[[str, str | None], int | None]) -> Named:
    """Whom a text names; `resolve` gives the person of a handle, or of a local part and a domain.

    The leading run begins with the first character and goes on as long as names resolve (S2.1). A
    first name that nobody has makes no reply (S2.6).
    """
    if "@" not in text:
        return _NOBODY
    leading: list[int] = []
    at, unknown = 0, None
    while len(leading) < MAX_NAMED and (found := _LEADING.match(text, at)):
        person = resolve(found[1].lower(), None if found[2] is None else found[2].lower())
        if person is None:
            unknown = found[1] if not leading and found[2] is None else None
            break
        if person not in leading:
            leading.append(person)
        at = found.end()
    elsewhere: set[int] = set()
    for found in _ANYWHERE.finditer(text, at):
        if len(leading) + len(elsewhere) >= MAX_NAMED:
            break
        person = resolve(found[1].lower(), None if found[2] is None else found[2].lower())
        if person is not None and person not in leading:
            elsewhere.add(person)
    return Named(tuple(leading), tuple(sorted(elsewhere)), unknown)


def rename(text: str, name_there: Callable[[str, str | None], str | None]) -> str:
    """The text with other names in the place of those in it, `@` included.

    `name_there` is given what `read_names` gives to `resolve`; None: the name stays as it is.
    """

    def renamed(found: re.Match[str]) -> str:
        new = name_there(found[1].lower(), None if found[2] is None else found[2].lower())
        return found[0] if new is None else new

    return _ANYWHERE.sub(renamed, text)
