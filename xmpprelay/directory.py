"""Who posts here, for who asks: the list of public authors, and finding people by name (XEP-0055).

Whoever is hidden from who asks is in neither (S6.1), and nor are the relay's own accounts. In the
list are the public authors only; protected ones are found by whoever knows a part of their handle
or name, as they are by `whois`.

A list of everybody is made anew for each who asks, since each may be kept out by others: a portion
of it in each turn of the loop, one list after the other, and not too many for the same asker.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.pacing import Bucket, Buckets, Rate
from xmpprelay.core.profile import fits_words
from xmpprelay.errors import TooFast, TryLater
from xmpprelay.profiles import Profiles

FOUND: Final = 50
"""People that a search gives at most."""

WORDS: Final = 10
"""Words of a search that are looked for; the rest are left aside."""

ASKING: Final = Rate(per_second=0.5, burst=30)
"""Lists for one asker: three thousand people at once, page by page, then fifty a second."""

LOOKED_AT: Final = Rate(per_second=200_000, burst=2_000_000)
"""People who are looked at for all lists together: a third of a processor, in the long run."""

_ASKERS: Final = 10_000
_WAITING: Final = 50
_PORTION: Final = 500
"""People that are looked at in one turn of the loop: about a millisecond."""


class Directory:
    """Lists authors. `monotonic` is the clock that spans are measured with."""

    def __init__(
        self,
        graph: Graph,
        profiles: Profiles,
        domain: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph
        self._profiles = profiles
        self._domain = domain
        self._monotonic = monotonic
        self._asked = Buckets(ASKING, _ASKERS)
        self._looked_at = Bucket.full(LOOKED_AT, monotonic())
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def public(self, asker: str) -> list[str]:
        """The handles of all public authors whom a bare JID may know of, in alphabetical order.

        Raises TooFast, TryLater.
        """
        protected = self._graph.protected
        everybody = await self._seen_by(asker, lambda person: not protected(person.id))
        return [person.handle or "" for person in everybody]

    async def find(self, asker: str, words: str, most: int = FOUND) -> list[Person]:
        """The first authors whose handle or name has all of these words in it.

        In alphabetical order of their handles; an empty search finds nobody. Raises TooFast,
        TryLater.
        """
        wanted = [word.removeprefix("@").casefold() for word in words.split()[:WORDS]]
        wanted = [word for word in wanted if word]
        if not wanted:
            return []

        def fits(person: Person) -> bool:
            return fits_words(wanted, person.handle or "", self._profiles.of(person.id).name)

        return await self._seen_by(asker, fits, most)

    async def _seen_by(
        self, asker: str, fits: Callable[[Person], bool], most: int | None = None
    ) -> list[Person]:
        wait_s = self._asked.take(asker, self._monotonic())
        if wait_s:
            raise TooFast("You ask for too many lists of people at once. Wait a moment.", wait_s)
        everybody = self._graph.handles()
        looked_at = self._looked_at.take(LOOKED_AT, self._monotonic(), len(everybody))
        if self._waiting >= _WAITING or not isinstance(looked_at, Bucket):
            raise TryLater("Too many ask for lists of people at once. Try again in a minute.")
        self._looked_at = looked_at
        self._waiting += 1
        try:
            async with self._turn:
                return await self._listed(everybody, asker, fits, most)
        finally:
            self._waiting -= 1

    async def _listed(
        self,
        handles: Sequence[str],
        asker: str,
        fits: Callable[[Person], bool],
        most: int | None,
    ) -> list[Person]:
        found: list[Person] = []
        for number, handle in enumerate(handles):
            if number % _PORTION == _PORTION - 1:
                await asyncio.sleep(0)
            person = self._graph.by_handle(handle)
            if person is None or not fits(person) or not self._shows(asker, person):
                continue
            found.append(person)
            if len(found) == most:
                break
        return found

    def _shows(self, asker: str, person: Person) -> bool:
        ours = person.jid.rpartition("@")[2] == self._domain
        return not ours and not self._graph.hides(asker, person.id)
