"""The account's own list, read as far as an unclear attempt needs it.

With a high-water id upward from there, page by page, until a page is empty: short pages prove
nothing, since servers leave out what was deleted. Without one, or where the server does not go by
it, downward from the newest until what comes is older than the first sending. A post that appears
at its original time has an id of that time, so for it downward as well.

An `Ask` is one GET in the account's name: the answer of a success, or what it means that it failed.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from xmpprelay.core.primary import Outcome, Result
from xmpprelay.primary.answers import Answer, skew_s
from xmpprelay.primary.mastodon.meaning import id_of, no_json, time_of

Ask: TypeAlias = Callable[[str, Mapping[str, str]], Awaitable[Answer | Result]]

PAGE: Final = 40  # the most that Mastodon gives
MOST_PAGES: Final = 250
"""Ten thousand statuses; an account that has more since the first sending is not ours alone."""

CLOCK_SLACK: Final = timedelta(seconds=5)
"""The `Date` header has whole seconds, times of statuses sometimes too; and proxies have clocks of
their own. A guess."""


def status_path(remote_id: str, rest: str = "") -> str:
    """The path of a status."""
    return f"/api/v1/statuses/{quote(remote_id, safe='')}{rest}"


class OwnList:
    """What an account has posted."""

    def __init__(self, ask: Ask, remote_id: str, first_at: datetime, *, by_ours: bool) -> None:
        self._ask = ask
        self._path = f"/api/v1/accounts/{quote(remote_id, safe='')}/statuses"
        self._first_at = first_at
        self._by_ours = by_ours  # first_at is what our clock says, not what the server was told
        self._skew = timedelta(0)

    @property
    def since(self) -> datetime:
        """By the server's clock, when the first of what matters was made at the earliest."""
        return self._first_at + self._skew - CLOCK_SLACK

    async def read(self, high_water: str | None) -> list[dict[str, Any]] | Result:
        """The statuses since then, oldest first; older ones may be among them."""
        found = None if high_water is None else await self._upward(high_water)
        return await self._downward() if found is None else found

    async def _upward(self, min_id: str) -> list[dict[str, Any]] | Result | None:
        """None: the server does not go by `min_id`."""
        found: dict[str, dict[str, Any]] = {}
        for _ in range(MOST_PAGES):
            page = await self._page({"min_id": min_id})
            if isinstance(page, Result):
                return page
            if not page:
                return list(found.values())
            fresh = {remote_id: each for remote_id, each in page if remote_id not in found}
            if not fresh:
                return None
            found.update(reversed(fresh.items()))
            min_id = page[0][0]
        return _endless()

    async def _downward(self) -> list[dict[str, Any]] | Result:
        found: dict[str, dict[str, Any]] = {}
        query: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            page = await self._page(query)
            if isinstance(page, Result):
                return page
            fresh = {remote_id: each for remote_id, each in page if remote_id not in found}
            if page and not fresh:
                return _endless()
            found.update(fresh)
            if not page or self._is_older(page[-1][1]):
                return list(found.values())[::-1]
            query = {"max_id": page[-1][0]}
        return _endless()

    async def _page(self, query: dict[str, str]) -> list[tuple[str, dict[str, Any]]] | Result:
        """One page, as the server orders it: newest first."""
        answer = await self._ask(
            self._path, {"limit": str(PAGE), "exclude_reblogs": "true"} | query
        )
        if isinstance(answer, Result):
            return answer
        if self._by_ours:
            self._skew = timedelta(seconds=skew_s(answer))
        page = answer.json()
        if not isinstance(page, list):
            return no_json()
        known = ((id_of(each), each) for each in page if isinstance(each, dict))
        listed = [(remote_id, each) for remote_id, each in known if remote_id is not None]
        return listed if listed or not page else no_json()

    def _is_older(self, found: dict[str, Any]) -> bool:
        made_at = time_of(found)
        return made_at is not None and made_at < self.since


def _endless() -> Result:
    return Result(
        Outcome.UNKNOWN, reason="endless_list", detail="The list of the account's posts has no end."
    )
