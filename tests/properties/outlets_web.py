"""What the relay of a town shows on the web: to anybody, and to whoever has somebody's secret.

Time stands still in a town unless it is told to pass, so that a feed made before is given out until
the relay knows of a change: what has changed and is not known to it is found here.
"""

import re
from collections import Counter
from typing import Final

from lxml import etree, html

from tests.integration.web_world import Answer
from tests.properties.audience_model import Entry, gets, reads
from tests.properties.outlets_town import PEOPLE, Town, name
from xmpprelay.core.text import parse_short_id, short_id

ATOM: Final = "{http://www.w3.org/2005/Atom}"
POSTS_OF_PAGE: Final = 20
ANYBODY: Final = 0
"""A person of the plain world who is nobody in it."""


class Onlooker:
    """Reads all pages and feeds of a town."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._own: dict[int, dict[str, str]] = {}  # person -> kind of feed -> its address

    async def reads_author(self, author: int) -> None:
        """An author's page and feeds are what anybody may see of him."""
        expected = self._shown_of(author)
        others = [e for e in expected if e.targets and e.targets[0] != author]
        quiet = [e.number for e in expected if e not in others]
        numbers = [e.number for e in expected]
        for path, right in (
            (f"/@{name(author)}.atom", quiet),
            (f"/@{name(author)}.rss", quiet),
            (f"/@{name(author)}/with-replies.atom", numbers),
            (f"/@{name(author)}", numbers[-POSTS_OF_PAGE:]),
        ):
            answer = await self._town.site.get(path)
            assert answer.status == (200 if self._is_on_the_web(author) else 404), path
            if answer.status == 200:
                found = _numbers_on(answer) if path.endswith(name(author)) else _numbers_in(answer)
                assert found == [self._seen(path, n) for n in reversed(right)], f"{path}: {right}"

    async def reads_posts(self) -> None:
        """Each post has its page if anybody may see it."""
        for entry in list(self._town.entries.values()):
            shown = entry.shown or entry
            answer = await self._town.site.get(f"/@{name(shown.author)}/{short_id(entry.number)}")
            there = 200 if entry is shown else 308
            assert answer.status == (there if self._is_shown(entry) else 404), entry
            if answer.status == 200:
                words = answer.text
                for token, each in self._town.texts.items():
                    assert token not in words or self._is_shown(each), f"{each} on {entry}"

    async def reads_own(self, who: int) -> None:
        """Somebody's stream, and what names him, are what he gets."""
        if who not in self._own:
            told = await self._town.says(who, "feed new")
            home, rss, mentions = re.findall(r"http://\S+", told)
            self._own[who] = {"home": home, "rss": rss, "mentions": mentions}
        entries = [e for e in self._town.entries.values() if e.kind != "direct"]
        stream = [e.number for e in entries if gets(self._town.world, e, who)]
        naming = [e.number for e in entries if who in (*e.targets, *e.mentions)]
        for kind, address in self._own[who].items():
            answer = await self._town.site.get(address)
            assert answer.status == 200, address
            found = Counter(_numbers_in(answer))
            for each in entries:
                if each.author == who:  # his own is there where it names himself
                    found.pop(each.number, None)
            right = stream if kind != "mentions" else [n for n in stream if n in naming]
            assert found == Counter(right), f"{kind} of {name(who)}: {right}"

    async def reads_all(self) -> None:
        for who in PEOPLE:
            await self.reads_author(who)
            await self.reads_own(who)
        await self.reads_posts()

    def _is_on_the_web(self, author: int) -> bool:
        return author not in self._town.world.protected | self._town.private

    def _is_shown(self, entry: Entry) -> bool:
        writers = {entry.author, (entry.shown or entry).author}
        public = entry.kind != "direct" and all(map(self._is_on_the_web, writers))
        return public and reads(self._town.world, entry, ANYBODY)

    def _shown_of(self, author: int) -> list[Entry]:
        mine = (e for e in self._town.entries.values() if e.author == author)
        return [e for e in mine if self._is_shown(e)]

    def _seen(self, path: str, number: int) -> int:
        """A page names what a boost shows."""
        entry = self._town.entries[number]
        return number if "." in path else (entry.shown or entry).number


def _numbers_in(feed: Answer) -> list[int]:
    """The posts in a feed, in its order."""
    root = etree.fromstring(feed.body)
    ids = [e.findtext(f"{ATOM}id") for e in root.iter(f"{ATOM}entry")]
    ids += [item.findtext("guid") for item in root.iter("item")]
    return [_number(re.search(r"node=(\w+)\.", each or "")) for each in ids]


def _numbers_on(page: Answer) -> list[int]:
    """The posts on a page, in its order."""
    links = html.fromstring(page.body).cssselect("article .when a")
    return [_number(re.search(r"/(\w+)$", each.get("href"))) for each in links]


def _number(found: re.Match[str] | None) -> int:
    number = None if found is None else parse_short_id(found[1])
    assert number is not None
    return number
