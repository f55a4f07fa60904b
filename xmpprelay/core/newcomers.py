"""What the people of another domain, all together, may make grow here.

A domain can make up as many people as it likes, and each of them could follow, join and be kept for
ever. So each remote domain has a bound for people without a handle, and a rate for new follows and
for handles. The server's own people are the operator's, and so is what he imports: neither has a
limit here.
"""

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE
from xmpprelay.core.pacing import Buckets, Rate
from xmpprelay.errors import TooMany

_DOMAINS_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class DomainLimits:
    """What one remote domain may do (`[limits]` of the configuration)."""

    joins_per_hour: int
    follows_per_minute: int
    people: int  # without a handle


class Newcomers:
    """Counts by remote domain. Each method raises TooMany with what to do, or takes its share.

    What was taken and came to nothing is given back.
    """

    def __init__(self, graph: Graph, limits: DomainLimits) -> None:
        self._graph = graph
        self._limits = limits
        self._joins = Buckets(
            Rate(limits.joins_per_hour / 3600, limits.joins_per_hour), _DOMAINS_KEPT
        )
        self._follows = Buckets(
            Rate(limits.follows_per_minute / 60, limits.follows_per_minute), _DOMAINS_KEPT
        )
        self._unnamed: Counter[str] | None = None  # people without a handle; None: to be counted

    def become_known(self, jid: str) -> None:
        """Somebody is to be made known, without a handle as yet."""
        lane = self._graph.lane_of_jid(jid)
        if lane == OWN_LANE:
            return
        if self._counted()[lane] >= self._limits.people:
            raise TooMany(
                f"So many people of {lane} are known here that there is no room for one more: "
                "ask the operator of this relay."
            )
        self._counted()[lane] += 1

    def are_still_unknown(self, jid: str) -> None:
        """He could not be made known."""
        self._one_less(jid)

    def have_a_handle(self, jid: str) -> None:
        """He has got a handle; to be said before the graph knows it."""
        self._one_less(jid)

    def _one_less(self, jid: str) -> None:
        lane = self._graph.lane_of_jid(jid)
        if lane != OWN_LANE:
            self._counted()[lane] -= 1

    def change(self) -> None:
        """Many have come at once: count again."""
        self._unnamed = None

    def join(self, jid: str, now: float) -> None:
        """Somebody is to get a handle."""
        self._take(self._joins, jid, now, "joined here in the last hour")

    def did_not_join(self, jid: str, now: float) -> None:
        """He did not get it."""
        self._joins.give_back(self._graph.lane_of_jid(jid), now)

    def follow(self, jid: str, now: float) -> None:
        """Somebody is to follow somebody whom he does not follow yet."""
        self._take(self._follows, jid, now, "followed somebody here in the last minute")

    def did_not_follow(self, jid: str, now: float) -> None:
        """He does not."""
        self._follows.give_back(self._graph.lane_of_jid(jid), now)

    def _take(self, buckets: Buckets, jid: str, now: float, what: str) -> None:
        lane = self._graph.lane_of_jid(jid)
        wait_s = 0.0 if lane == OWN_LANE else buckets.take(lane, now)
        if wait_s:
            raise TooMany(
                f"Too many people of {lane} have {what}: try again in {_span(wait_s)}; "
                "nothing was changed."
            )

    def _counted(self) -> Counter[str]:
        if self._unnamed is None:
            lanes = self._graph.lane_of_jid
            self._unnamed = Counter(lanes(p.jid) for p in self._graph.people() if p.handle is None)
        return self._unnamed


def _span(seconds: float) -> str:
    return f"{ceil(seconds)} s" if seconds < 120 else f"{ceil(seconds / 60)} minutes"
