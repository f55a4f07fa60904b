"""How much there is, measured: the tier of each author, and the load of the relay (S10.2, S10.4).

The rules are in `core/volume.py`. Here they get their numbers: what each author has posted in the
last 24 hours, read from the journal at the start and then every hour, and what waits in the lanes,
looked at every few seconds. Both are kept in memory alone, but for tiers that the operator has
pinned.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from xmpprelay.choices import Choices
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.volume import DIGEST_EVERY, Load, LoadState, Tier, live_per_hour, tier_of
from xmpprelay.errors import StoreError
from xmpprelay.log import get_logger
from xmpprelay.store.database import Database
from xmpprelay.store.less import (
    Pace,
    PinRow,
    load_tiers,
    paces_since,
    pin_tier,
    surplus_authors,
)

log = get_logger("volume")

MEASURED_OVER: Final = timedelta(hours=24)

SAMPLE_EVERY_S: Final = 5.0

_HOUR_MINUTES: Final = 60


class Volume:
    """The tiers of a relay's authors, and its load."""

    def __init__(
        self,
        db: Database,
        delivery: Delivery,
        choices: Choices,
        *,
        busy_s: float,
        peak_s: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._delivery = delivery
        self._choices = choices
        self._now = now
        self._monotonic = monotonic
        self._tiers: dict[int, Tier] = {}  # of those who are no persons
        self._pinned: dict[int, Tier] = {}
        self._surplus: set[int] = set()  # of whom something was surplus once
        self._load = Load(busy_s, peak_s)
        self._minutes = 0
        self._measuring: asyncio.Task[None] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self.failures = 0  # what was not foreseen

    # Tiers

    def load(self, conn: Connection) -> None:
        """Measure for the first time."""
        self._pinned = {author: Tier(tier) for author, tier in load_tiers(conn).items()}
        self._surplus = surplus_authors(conn)
        self._take(paces_since(conn, self._now() - MEASURED_OVER))

    async def measure(self) -> None:
        """Find out who is an outlet or a firehose now. Raises StoreError."""
        since = self._now() - MEASURED_OVER
        self._take(await self._db.read(lambda conn: paces_since(conn, since)))

    def _take(self, paces: Iterable[Pace]) -> None:
        hours = MEASURED_OVER / timedelta(hours=1)
        rates = {pace.author: pace.posts / hours for pace in paces}
        tiers = {}
        for author in rates.keys() | self._tiers.keys():
            before = self._tiers.get(author, Tier.PERSON)
            tier = tiers[author] = tier_of(before, rates.get(author, 0.0))
            if tier is not before:
                log.info("author.tier", author=author, tier=tier.value)
        self._tiers = {author: tier for author, tier in tiers.items() if tier is not Tier.PERSON}
        self._surplus.update(self._tiers)

    def tier(self, author: int) -> Tier:
        """The tier of an author: as the operator has pinned it, else as measured or declared."""
        pinned = self._pinned.get(author)
        if pinned is not None:
            return pinned
        measured = self._tiers.get(author, Tier.PERSON)
        if measured is Tier.PERSON and self._choices.is_bot(author):
            return Tier.OUTLET
        return measured

    async def pin(self, handle: str, tier: Tier | None) -> None:
        """Pin an author's tier, for good, or let it be measured again (None).

        Raises UnknownHandle, StoreError.
        """

        def pinned(author: int) -> None:
            if tier is None:
                self._pinned.pop(author, None)
            else:
                self._pinned[author] = tier

        row = PinRow(handle, None if tier is None else tier.value)
        await self._db.write(pin_tier, row, committed=pinned)

    def live_per_hour(self, author: int) -> int | None:
        """How many of an author's posts come live in a clock hour, now; None: all (S10.3)."""
        live = live_per_hour(self.tier(author), self._load.state)
        if live is not None:
            self._surplus.add(author)
        return live

    def rounds(self) -> Mapping[int, timedelta]:
        """The authors of whom something may be surplus, and how often that comes by digest."""
        return {author: DIGEST_EVERY[self.tier(author)] for author in self._surplus}

    # Load

    @property
    def state(self) -> LoadState:
        """Whether the fan-out keeps up."""
        return self._load.state

    @property
    def waiting(self) -> int:
        """How many live deliveries are still to be made, about."""
        return self._load.waiting

    @property
    def wait_s(self) -> float:
        """How long that takes, as far as is known."""
        return self._load.wait_s

    def sample(self) -> None:
        """Look at the lanes."""
        before = self._load.state
        state = self._load.sample(self._monotonic(), self._delivery.lane_loads())
        if state is not before:
            seconds = round(self._load.wait_s, 1)
            log.warning("load", state=state.value, waiting=self._load.waiting, seconds=seconds)

    # Its own time

    def start(self) -> None:
        """Look at the lanes every few seconds from now on."""
        self._sampling = asyncio.get_running_loop().create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_EVERY_S)
            try:
                self.sample()
            except Exception:  # the top of the loop: the next sample may be better
                self.failures += 1
                log.exception("load.not_measured")

    def minute(self) -> None:
        """A minute has passed; each hour everybody's tier is measured."""
        self._minutes += 1
        if self._minutes % _HOUR_MINUTES == 0 and self._measuring is None:
            self._measuring = asyncio.get_running_loop().create_task(self._measure())

    async def _measure(self) -> None:
        try:
            await self.measure()
        except StoreError as error:
            log.warning("tiers.not_measured", why=error.sentence)
        finally:
            self._measuring = None

    async def close(self) -> None:
        """Measure nothing more."""
        for task in (self._sampling, self._measuring):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
