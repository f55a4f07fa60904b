"""Finding people: the directory of public authors (XEP-0030, 0059), and a search (XEP-0055).

Both are at the relay's own domain. In a page of the directory the JIDs are the ids that XEP-0059
speaks of: they are in order, so a page begins where the last one ended also if that author has left
meanwhile, and nobody learns by it whether there is or was such an author.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.model import Person
from xmpprelay.directory import FOUND, Directory
from xmpprelay.errors import BadRequest
from xmpprelay.profiles import Profiles
from xmpprelay.xmpp.addresses import Address, Addresses, Author
from xmpprelay.xmpp.answering import Answering
from xmpprelay.xmpp.disco import DATA, DISCO_ITEMS, NotUnderstood, Questions
from xmpprelay.xmpp.paging import RSM, Page, add_set, read_page
from xmpprelay.xmpp.stanzas import parse_jid, tag

SEARCH: Final = "jabber:iq:search"

PAGE: Final = 100
"""Entries on one page of the directory at most: some eight kilobytes."""

_INSTRUCTIONS: Final = "Give a part of somebody's handle or name; several words must all fit."
_CHARS: Final = 200
"""Of a search that is looked at."""

_COLUMNS: Final = {"nick": "Name", "jid": "Address"}


class Finding:
    """Answers who posts here. `name` is that of home@relay."""

    def __init__(
        self,
        questions: Questions,
        addresses: Addresses,
        directory: Directory,
        profiles: Profiles,
        answering: Answering,
        name: str,
    ) -> None:
        self._addresses = addresses
        self._directory = directory
        self._profiles = profiles
        self._answering = answering
        self._name = name
        questions.answer("get", tag("query", SEARCH), self._asked_how)
        questions.answer("set", tag("query", SEARCH), self._searched)

    # The directory

    def people(self, iq: Element, payload: Element) -> None:
        """Answer who is there: home@relay, then a page of the public authors (XEP-0030 §4)."""
        asker, _ = parse_jid(iq.get("from", ""))
        page = read_page(payload, PAGE)
        asked_for = payload.find(tag("set", RSM)) is not None

        async def answer() -> Element:
            handles = await self._directory.public(asker)
            return self._page(page, handles, told=asked_for)

        self._answering.put(iq, answer)

    def _page(self, page: Page, handles: Sequence[str], *, told: bool) -> Element:
        """A page; without having been asked for one it says so only where it is not all."""
        query = Element(tag("query", DISCO_ITEMS))
        first, last = self._span(page, handles)
        shown = self._entries(handles, first, last)
        for jid, name in shown:
            SubElement(query, tag("item", DISCO_ITEMS), jid=jid, name=name)
        if told or last - first <= len(handles):
            begin, end = (shown[0][0], shown[-1][0]) if shown else (None, None)
            add_set(query, begin, end, len(handles) + 1, first if shown else None)
        return query

    def _entries(self, handles: Sequence[str], first: int, last: int) -> list[tuple[str, str]]:
        """The JIDs and names of a part of the list, in which home@relay comes before everybody."""
        entries = [(self._addresses.home, self._name)] if first == 0 < last else []
        for handle in handles[max(0, first - 1) : max(0, last - 1)]:
            jid = f"{handle}@{self._addresses.domain}"
            author = self._addresses.of(jid)
            entries.append((jid, self._nick(author.person) if isinstance(author, Author) else ""))
        return entries

    def _span(self, page: Page, handles: Sequence[str]) -> tuple[int, int]:
        """Where a page begins and ends in that list."""
        length = len(handles) + 1
        if page.before is not None:
            last = self._place(page.before, handles, bisect_left) if page.before else length
            return max(0, last - page.limit), last
        if page.after is not None:
            first = self._place(page.after, handles, bisect_right)
        else:
            first = min(page.index or 0, length)
        return first, min(length, first + page.limit)

    def _place(
        self, jid: str, handles: Sequence[str], bisect: Callable[[Sequence[str], str], int]
    ) -> int:
        """Where an entry is, or would be, or after it."""
        if jid == self._addresses.home:
            return 0 if bisect is bisect_left else 1
        return 1 + bisect(handles, jid.partition("@")[0].lower())

    # The search

    def _asked_how(self, iq: Element, target: Address, payload: Element) -> Element:
        """What can be searched for (XEP-0055 §2.1), also as a form (§3)."""
        del iq, payload
        self._at_the_domain(target)
        query = Element(tag("query", SEARCH))
        SubElement(query, tag("instructions", SEARCH)).text = _INSTRUCTIONS
        SubElement(query, tag("nick", SEARCH))
        form = SubElement(query, tag("x", DATA), type="form")
        SubElement(form, tag("title", DATA)).text = "Find people"
        SubElement(form, tag("instructions", DATA)).text = _INSTRUCTIONS
        _add_form_type(form)
        field = {"var": "nick", "type": "text-single", "label": "Handle or name"}
        SubElement(form, tag("field", DATA), field)
        return query

    def _searched(self, iq: Element, target: Address, payload: Element) -> None:
        """Who fits (XEP-0055 §2.2, §3): in a form, if it was asked in one."""
        self._at_the_domain(target)
        asker, _ = parse_jid(iq.get("from", ""))
        form = payload.find(tag("x", DATA))
        words = payload.findtext(tag("nick", SEARCH)) if form is None else _nick_in(form)
        if words is None or not words.strip():
            raise BadRequest("Give a part of a handle or a name as the nickname.")
        wanted = words[:_CHARS]

        async def answer() -> Element:
            found = await self._directory.find(asker, wanted, FOUND)
            return self._found(found) if form is None else self._found_in_form(found)

        self._answering.put(iq, answer)

    def _found(self, people: Sequence[Person]) -> Element:
        query = Element(tag("query", SEARCH))
        for person in people:
            item = SubElement(query, tag("item", SEARCH), jid=self._addresses.author(person))
            SubElement(item, tag("nick", SEARCH)).text = self._nick(person)
        return query

    def _found_in_form(self, people: Sequence[Person]) -> Element:
        query = Element(tag("query", SEARCH))
        form = SubElement(query, tag("x", DATA), type="result")
        _add_form_type(form)
        reported = SubElement(form, tag("reported", DATA))
        for name, label in _COLUMNS.items():
            kind = "jid-single" if name == "jid" else "text-single"
            SubElement(reported, tag("field", DATA), {"var": name, "type": kind, "label": label})
        for person in people:
            item = SubElement(form, tag("item", DATA))
            for name, value in zip(
                _COLUMNS, (self._nick(person), self._addresses.author(person)), strict=True
            ):
                field = SubElement(item, tag("field", DATA), var=name)
                SubElement(field, tag("value", DATA)).text = value
        return query

    def _nick(self, person: Person) -> str:
        return self._profiles.of(person.id).name or person.handle or ""

    def _at_the_domain(self, target: Address) -> None:
        if target.jid != self._addresses.domain:
            raise NotUnderstood("One searches at the relay itself, by its domain.")


def _add_form_type(form: Element) -> None:
    field = SubElement(form, tag("field", DATA), var="FORM_TYPE", type="hidden")
    SubElement(field, tag("value", DATA)).text = SEARCH


def _nick_in(form: Element) -> str | None:
    """What was filled in as the nickname."""
    for field in form.findall(tag("field", DATA)):
        if field.get("var") == "nick":
            return field.findtext(tag("value", DATA))
    return None
