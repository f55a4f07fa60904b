"""When a primary is away: it is probed, the outage is noted, and whoever wants to know is told.

What people see of it (a presence, a line in the answer to a post, the account that announces it)
is made elsewhere, of a `Situation`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from xmpprelay.core.health import Flag, Stance
from xmpprelay.core.primary import Probe, Reach
from xmpprelay.core.site import Site
from xmpprelay.errors import StoreError
from xmpprelay.log import get_logger
from xmpprelay.store.outages import (
    EndRow,
    Outage,
    begin_outage,
    end_outage,
    remember_caps,
    remembered,
    set_flag,
)
from xmpprelay.trickle.engine import Place, Store

log = get_logger("primary")

BY_OPERATOR: Final = "operator"
"""The reason of a standby that the operator has ordered."""


@dataclass(frozen=True, slots=True)
class Situation:
    """How one primary is, as far as anybody is told."""

    site: str  # its base URL; empty: there is only one
    stance: Stance
    since: datetime | None  # of a standby: when it began
    waiting: int  # rows
    oldest: datetime | None  # when the oldest of them was made
    per_second: float  # rows inserted, over the last minute
    reason: str  # of a standby, a short code
    detail: str  # the same for people
    flag: Flag

    def through_in(self) -> timedelta | None:
        """How long it will take at the present rate; None: nobody knows."""
        if self.stance is Stance.STANDBY or not self.waiting or self.per_second <= 0:
            return None
        return timedelta(seconds=self.waiting / self.per_second)


class Standby:
    """Watches some primaries. `announce` is told of each change, by what it was before."""

    def __init__(
        self,
        db: Store,
        places: Mapping[str, Place],
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._places = places
        self._now = now
        self._monotonic = monotonic
        self._away_since: dict[str, datetime] = {}
        self._reasons: dict[str, str] = {}
        self._started: set[str] = set()  # which have been probed
        self.announce: Callable[[Situation], None] = lambda _: None

    async def load(self) -> None:
        """Take up what an earlier run knew. Raises StoreError."""
        for name, place in self._places.items():
            known = await self._db.read(partial(remembered, site=name))
            if known.caps is not None:
                place.site.knows(known.caps, self._monotonic())
            if known.flag is not Flag.AUTO:
                place.site.flagged(known.flag, self._monotonic())
            if known.away_since is not None:
                self._away_since[name], self._reasons[name] = known.away_since, known.reason

    async def probe(self, place: Place) -> None:
        """Ask a primary that is away how it is."""
        site, before = place.site, place.site.caps
        try:
            found = await place.driver.probe(place.account)
        except Exception:  # a driver's fault must not end the probing
            log.exception("primary.probe_failed", site=site.name)
            found = Probe(Reach.DOWN, reason="crash", detail="The driver has failed; see the log.")
        site.probed(found, self._monotonic())
        self._started.add(site.name)
        if site.caps is not None and site.caps != before:
            await self._stored(remember_caps, (site.name, site.caps))

    async def changed(self, place: Place) -> None:
        """Look whether a primary is on standby now and was not, or the other way round."""
        site = place.site
        away, was = site.health.away, site.name in self._away_since
        if away and not was and (site.name in self._started or site.health.flag is Flag.ON):
            await self._begins(site)
        elif not away and was:
            place.back = self._now()
            await self._ends(site)

    async def _begins(self, site: Site) -> None:
        since = self._now()
        reason = BY_OPERATOR if site.health.flag is Flag.ON else site.reason
        self._away_since[site.name], self._reasons[site.name] = since, reason
        log.warning("primary.down", site=site.name, reason=reason, waiting=site.total)
        await self._stored(begin_outage, Outage(site.name, since, None, reason, 0))
        self.announce(self.situation(site))

    async def _ends(self, site: Site) -> None:
        since = self._away_since.pop(site.name)
        self._reasons.pop(site.name, None)
        lasted = self._now() - since
        log.warning("primary.up", site=site.name, away_s=round(lasted.total_seconds()))
        await self._stored(end_outage, EndRow(site.name, self._now(), site.total))
        self.announce(self.situation(site))

    async def flag(self, name: str, flag: Flag) -> Situation:
        """The operator decides about a standby; kept over restarts. Raises StoreError."""
        place = self._places[name]
        await self._db.write(set_flag, (name, flag))
        place.site.flagged(flag, self._monotonic())
        await self.changed(place)
        place.wake.set()
        return self.situation(place.site)

    async def probe_now(self, name: str) -> tuple[Probe, Situation]:
        """Ask a primary at once, away or not, and tell what it said."""
        place = self._places[name]
        found = await place.driver.probe(place.account)
        if place.site.health.probe_at is not None:
            place.site.probed(found, self._monotonic())
            await self.changed(place)
        elif found.caps is not None:
            place.site.knows(found.caps, self._monotonic())
        place.wake.set()
        return found, self.situation(place.site)

    def situation(self, site: Site, oldest: datetime | None = None) -> Situation:
        """How a primary is; `oldest` as it is in the database, where somebody has looked."""
        return Situation(
            site=site.name,
            stance=site.stance(oldest, self._now()),
            since=self._away_since.get(site.name),
            waiting=site.total,
            oldest=oldest,
            per_second=site.per_second(self._monotonic()),
            reason=self._reasons.get(site.name, site.reason),
            detail=site.detail,
            flag=site.health.flag,
        )

    def situations(self) -> Sequence[Situation]:
        """How all of them are."""
        return [self.situation(place.site) for place in self._places.values()]

    async def _stored(self, op: object, row: object) -> None:
        """Store what is good to know, and no more than that."""
        try:
            await self._db.write(op, row)
        except StoreError as error:
            log.warning("primary.not_noted", error=error.sentence)
