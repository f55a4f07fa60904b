"""Pages of long answers (XEP-0059): what is asked for, and what is said of what is given.

What is on a page decides whoever answers; here the request is read and the `<set/>` of the answer
is written. A page never has more than what whoever answers gives at most, whatever is asked for
(XEP-0059 §2.1 lets an answer be shorter).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.errors import BadRequest, RelayError
from xmpprelay.xmpp.stanzas import tag

RSM: Final = "http://jabber.org/protocol/rsm"

_NUMBER: Final = re.compile("[0-9]{1,10}")
"""An unsigned integer, as the schema has it; ten digits are more than there can be of anything."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for; at most one of `after`, `before` and `index` is given."""

    limit: int  # entries at most; 0: only how many there are (XEP-0059 §2.7)
    after: str | None = None  # the id of the last entry before the page
    before: str | None = None  # the id of the first entry behind it; "": the last page
    index: int | None = None  # the number of its first entry, counted from 0


def read_page(payload_parent: Element, most: int) -> Page:
    """What the `<set/>` in an element asks for; without one, the first `most` entries.

    Raises BadRequest for numbers that are none, and where two places are named at once
    (XEP-0059 §2).
    """
    asked = payload_parent.find(tag("set", RSM))
    if asked is None:
        return Page(most)
    limit = _number(asked, "max")
    after, before = _text(asked, "after"), _text(asked, "before")
    index = _number(asked, "index")
    after = after or None  # an empty one: from the beginning
    if sum(each is not None for each in (after, before, index)) > 1:
        raise BadRequest("Ask for the page after an entry, before one, or at an index: for one.")
    return Page(most if limit is None else min(limit, most), after, before, index)


def part_of(names: Sequence[str], page: Page) -> range:
    """Which of these names, each of which is there once, are on a page.

    Raises NoSuchEntry: the one that the page goes on from is not there (XEP-0059 §2.2).
    """
    if page.after is not None:
        first = _place(names, page.after) + 1
    elif page.before:
        first = max(0, _place(names, page.before) - page.limit)
        return range(first, _place(names, page.before))
    elif page.before is not None:
        first = max(0, len(names) - page.limit)
    else:
        first = page.index or 0
    return range(min(first, len(names)), min(first + page.limit, len(names)))


def _place(names: Sequence[str], name: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise NoSuchEntry("That is not in the list any more: begin anew.") from None


class NoSuchEntry(RelayError):
    """A page is to go on from something that is not there (XEP-0059 §2.2)."""

    condition = "item-not-found"
    type = "cancel"


def add_set(
    parent: Element, first: str | None, last: str | None, count: int | None, index: int | None
) -> None:
    """Say of an answer which page it is: its first and last entry's ids, and how many there are.

    Where the page is empty `first` and `last` are None; `index` is the first entry's number
    (XEP-0059 §2.1, §2.6).
    """
    told = SubElement(parent, tag("set", RSM))
    if first is not None:
        element = SubElement(told, tag("first", RSM))
        element.text = first
        if index is not None:
            element.set("index", str(index))
    if last is not None:
        SubElement(told, tag("last", RSM)).text = last
    if count is not None:
        SubElement(told, tag("count", RSM)).text = str(count)


def _text(asked: Element, name: str) -> str | None:
    child = asked.find(tag(name, RSM))
    return None if child is None else child.text or ""


def _number(asked: Element, name: str) -> int | None:
    text = _text(asked, name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text.strip()) is None:
        raise BadRequest(f"The page's <{name}/> is a whole number, 0 or more.")
    return int(text)


__all__ = ["RSM", "NoSuchEntry", "Page", "add_set", "part_of", "read_page"]
