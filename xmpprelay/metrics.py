"""What the relay can be watched by: figures for Prometheus, read from the rooms when it asks.

What a room knows anyway is read at the scrape, so that the way of a post costs nothing for it. What
has to be counted on the way is one addition each; a transaction of the journal, which takes a
millisecond at best, also half a microsecond for its histogram.

No figure is about a person, and no label can be made to grow from outside: labels are kinds of
entries, conditions of our own errors, rooms, and the primaries of the configuration.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xmpprelay import __version__
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.model import OWN_LANE, Kind
from xmpprelay.errors import StoreError
from xmpprelay.inserting import Inserting
from xmpprelay.journal import Journal
from xmpprelay.store.database import Database
from xmpprelay.trickle.standby import Situation
from xmpprelay.volume import Volume

_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""A good disk is in the first three; above 0.25 s people begin to notice."""

_OLDEST_KEPT_S: Final = 5.0
"""How long the age of the oldest row holds: it is the one figure that takes a look at the disk."""


class Stream(Protocol):
    """What is known of the stream to the server."""

    up: bool
    streams: int  # that have come up since the start
    failures: int

    @property
    def refused(self) -> Mapping[tuple[str, str], int]:
        """Error stanzas sent, by condition and type."""


class Metrics:
    """The figures of one relay, in a registry of its own.

    `failures` gives for each room how often something unforeseen has happened there, `not_taken`
    how many stanzas were turned away since too many waited. What other rooms have to tell is added
    to `further`.
    """

    def __init__(
        self,
        stream: Stream,
        delivery: Delivery,
        journal: Journal,
        db: Database,
        volume: Volume,
        inserting: Inserting,
        *,
        not_taken: Callable[[], int],
        failures: Callable[[], Mapping[str, int]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._delivery = delivery
        self._journal = journal
        self._db = db
        self._volume = volume
        self._inserting = inserting
        self._not_taken = not_taken
        self._failures = failures
        self._now = now
        self._monotonic = monotonic
        self.further: list[Callable[[], Iterable[Metric]]] = []
        self._situations: Sequence[Situation] = ()
        self._situations_at: float | None = None
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, processor time, open files, start
        writes = Histogram(
            "xmpprelay_journal_write_seconds",
            "How long transactions of the database took until they were safe on the disk.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        db.timed(writes.observe)

    async def text(self) -> bytes:
        """All figures as they are now, in Prometheus's text format, version 0.0.4."""
        situations = await self._how_primaries_are()
        families = [*self._registry.collect(), *self._read(situations)]
        for more in self.further:
            families += more()
        return generate_latest(_Families(families))

    async def _how_primaries_are(self) -> Sequence[Situation]:
        now_s = self._monotonic()
        if not self._inserting.places:
            return ()
        if self._situations_at is None or now_s - self._situations_at >= _OLDEST_KEPT_S:
            try:
                self._situations, self._situations_at = await self._inserting.situations(), now_s
            except StoreError:  # the other figures tell why
                return self._inserting.standby.situations()
        oldest = {each.site: each.oldest for each in self._situations}
        places = self._inserting.places.values()
        standby = self._inserting.standby
        return [standby.situation(each.site, oldest.get(each.site.name)) for each in places]

    # The rooms

    def _read(self, situations: Sequence[Situation]) -> Iterator[Metric]:
        build = gauge("xmpprelay_build_info", "The version that runs; always 1.", ["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._of_the_server()
        yield from self._of_the_journal()
        yield from self._of_deliveries()
        yield from self._of_primaries(situations)
        failures = counter(
            "xmpprelay_failures",
            "What went wrong by a fault of the relay's own; each is in the log.",
            ["room"],
        )
        for room, count in self._failures().items():
            failures.add_metric([room], count)
        yield failures

    def _of_the_server(self) -> Iterator[Metric]:
        stream = self._stream
        yield one(
            gauge("xmpprelay_connected", "1 while the relay is connected to its server."), stream.up
        )
        yield one(
            counter("xmpprelay_streams", "How often the relay was connected to its server."),
            stream.streams,
        )
        refused = counter(
            "xmpprelay_refused",
            "Error stanzas that people were sent; policy-violation of the type wait: too fast.",
            ["condition", "type"],
        )
        for labels, count in sorted(stream.refused.items()):
            refused.add_metric(labels, count)
        yield refused
        yield one(
            counter("xmpprelay_not_taken", "Stanzas turned away since too many waited."),
            self._not_taken(),
        )

    def _of_the_journal(self) -> Iterator[Metric]:
        posts = counter(
            "xmpprelay_posts",
            "Entries of the journal: posts (with replies), direct messages, boosts, edits, "
            "deletions.",
            ["kind"],
        )
        for kind in Kind:
            posts.add_metric([kind.value], self._journal.made[kind])
        yield posts
        yield one(
            gauge("xmpprelay_journal_writable", "0 if the disk is full or the database failed."),
            not self._db.full and self._db.failure is None,
        )
        yield one(
            gauge("xmpprelay_journal_waiting", "Rows that wait for the next transaction."),
            self._db.waiting,
        )

    def _of_deliveries(self) -> Iterator[Metric]:
        loads = self._delivery.lane_loads()
        total = sum(load.confirmed for load in loads)
        own = sum(load.confirmed for load in loads if load.name == OWN_LANE)
        deliveries = counter(
            "xmpprelay_deliveries", "Stanzas with posts that servers have confirmed.", ["lane"]
        )
        deliveries.add_metric(["own"], own)
        deliveries.add_metric(["other"], total - own)
        yield deliveries
        yield one(
            gauge("xmpprelay_deliveries_in_flight", "Stanzas sent and not yet confirmed."),
            self._delivery.in_flight(),
        )
        yield one(
            gauge("xmpprelay_deliveries_waiting", "Stanzas that are still to be sent, about."),
            self._volume.waiting,
        )
        yield one(
            gauge("xmpprelay_deliveries_wait_seconds", "How long that takes, about."),
            self._volume.wait_s,
        )
        yield one(
            gauge("xmpprelay_people_live", "People who are there and have had all their posts."),
            sum(load.people for load in loads),
        )
        yield one(
            gauge("xmpprelay_lanes", "Domains that somebody is at who follows or posts."),
            len(loads),
        )
        yield one(
            gauge("xmpprelay_lanes_down", "Those of them that cannot be reached."),
            sum(self._delivery.is_down(load.name) for load in loads),
        )

    def _of_primaries(self, situations: Sequence[Situation]) -> Iterator[Metric]:
        site = ["primary"]
        standby = gauge("xmpprelay_standby", "1 while a primary is on standby.", site)
        queue = gauge("xmpprelay_queue_posts", "Posts that wait for a primary.", site)
        age = gauge("xmpprelay_queue_oldest_age_seconds", "Since when the oldest waits.", site)
        rate = gauge(
            "xmpprelay_queue_insertions_per_second", "Insertions over the last minute.", site
        )
        for each in situations:
            name, now = [each.site], self._now()
            waits_s = 0.0 if each.oldest is None else (now - each.oldest).total_seconds()
            standby.add_metric(name, each.since is not None)
            queue.add_metric(name, each.waiting)
            age.add_metric(name, max(0.0, waits_s) if each.waiting else 0.0)
            rate.add_metric(name, each.per_second)
        yield from (standby, queue, age, rate)


class _Families(Collector):
    """Families that were read already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._families


def gauge(name: str, told: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    """A family of numbers that rise and fall."""
    return GaugeMetricFamily(name, told, labels=labels)


def counter(name: str, told: str, labels: Sequence[str] = ()) -> CounterMetricFamily:
    """A family of numbers that only rise; `_total` is put behind its name."""
    return CounterMetricFamily(name, told, labels=labels)


def one(family: Any, value: float) -> Metric:
    """A family without labels, which has one number."""
    family.add_metric([], value)
    made: Metric = family
    return made
