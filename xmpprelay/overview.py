"""How everything is, in one picture: for the page, for programs, and for the command line.

It names services and numbers, and no people. What a service has said in its own words is left out,
since anybody may look; an operator has it in `xmpprelay primary status` and in the log.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from xmpprelay import __version__
from xmpprelay.core.health import Flag, Stance
from xmpprelay.core.reasons import reason_in_words
from xmpprelay.core.volume import LoadState
from xmpprelay.store.database import Database
from xmpprelay.store.outages import Outage, list_outages
from xmpprelay.trickle.announcing import span
from xmpprelay.trickle.standby import BY_OPERATOR, Situation
from xmpprelay.volume import Volume

OUTAGES: Final = 10
"""So many of the last ones are told."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the relay itself is."""

    connected: bool  # to its XMPP server
    journal: str  # writable, full, failed
    load: LoadState
    deliveries: int  # that are still to be made, about
    wait_s: float  # how long that takes


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything is at a time."""

    at: datetime
    health: Health | None  # None: no relay runs
    primaries: Sequence[Situation]
    outages: Sequence[Outage]  # newest first

    @property
    def away(self) -> Sequence[Situation]:
        """The primaries that are on standby."""
        return [each for each in self.primaries if each.since is not None]


class Looking:
    """Looks how everything is. `connected` says whether the relay has a stream."""

    def __init__(
        self,
        db: Database,
        volume: Volume,
        situations: Callable[[], Awaitable[Sequence[Situation]]],
        *,
        connected: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._volume = volume
        self._situations = situations
        self._connected = connected
        self._now = now

    async def look(self) -> Overview:
        """How everything is now. Raises StoreError."""
        outages = await self._db.read(partial(list_outages, limit=OUTAGES))
        return Overview(self._now(), self._health(), await self._situations(), outages)

    def _health(self) -> Health:
        journal = "failed" if self._db.failure else "full" if self._db.full else "writable"
        return Health(
            self._connected(),
            journal,
            self._volume.state,
            self._volume.waiting,
            self._volume.wait_s,
        )


# --- in words ------------------------------------------------------------------------------------


def name_of(site: str) -> str:
    """What people call a primary."""
    return site.partition("://")[2] or "the primary"


def state_of(each: Situation) -> str:
    """A word for how a primary is; at the start, or without a relay, nobody knows."""
    unknown = each.stance is Stance.STANDBY and each.since is None
    return "unknown" if unknown else each.stance.value


def summary(overview: Overview) -> str:
    """All of it in a sentence or two, the worst first."""
    health = overview.health
    if health is None:
        return "The relay does not run. This is what it has left."
    if not health.connected:
        return (
            "The relay is not connected to its XMPP server at the moment: posts neither come in "
            "nor go out. It tries again every few seconds, and nothing is lost."
        )
    if health.journal != "writable":
        return (
            "The relay's disk has no room, so nothing new can be posted. Reading goes on."
            if health.journal == "full"
            else "The relay cannot write to its database, so nothing can be posted."
        )
    if overview.away:
        return _standby(overview)
    if health.load is not LoadState.NORMAL:
        return (
            "There is much to do: posts of bots and outlets go into digests for now, and those of "
            "people go out at once."
        )
    late = [each for each in overview.primaries if each.stance is Stance.TRICKLE]
    if late:
        return (
            f"Posts go out at once. {_names(late)} {'is' if len(late) == 1 else 'are'} there, and "
            "what has waited is being inserted."
        )
    if any(state_of(each) == "unknown" for each in overview.primaries):
        return "Posts go out at once. Whether the primary is there is not known yet."
    into = " and are inserted into the primary" if overview.primaries else ""
    return f"All is well: posts go out at once{into}."


def _standby(overview: Overview) -> str:
    away = overview.away
    since = min(each.since or overview.at for each in away)
    return (
        f"{_names(away)} {'is' if len(away) == 1 else 'are'} on standby since "
        f"{since.astimezone(UTC):%-d %b %H:%M} UTC ({span(overview.at - since)}). What people post "
        "goes to their followers at once, and is inserted there later."
    )


def _names(situations: Sequence[Situation]) -> str:
    names = ", ".join(name_of(each.site) for each in situations)
    return names[0].upper() + names[1:] if names.startswith("the ") else names


# --- for programs --------------------------------------------------------------------------------


def told(overview: Overview) -> dict[str, Any]:
    """The same as JSON has it; times are of XEP-0082, lengths seconds.

    A standby is there in the form of XEP-0455 §2.2 as well. Whoever ignores all fields that the
    form does not have, as it says that one must, has an empty object where there is no standby.
    """
    return {
        **outage_status(overview),
        "at": _utc(overview.at),
        "summary": summary(overview),
        "relay": _told_health(overview.health),
        "primaries": [_told_primary(each, overview.outages) for each in overview.primaries],
        "outages": [_told_outage(each, overview.at) for each in overview.outages],
    }


def outage_status(overview: Overview) -> Mapping[str, Any]:
    """A standby as XEP-0455 has an outage; when it will end nobody knows."""
    away = overview.away
    if not away:
        return {}
    began = min(each.since or overview.at for each in away)
    planned = all(each.reason == BY_OPERATOR for each in away)
    return outage_of(began, _standby(overview), planned=planned)


def outage_of(began: datetime, sentence: str, *, planned: bool) -> dict[str, Any]:
    """An outage as XEP-0455 §2.2 has it."""
    return {
        "planned": planned,
        "beginning": _utc(began),
        "message": {"default": sentence, "en": sentence},
    }


def _told_health(health: Health | None) -> dict[str, Any]:
    if health is None:
        return {"runs": False, "version": __version__}
    return {
        "runs": True,
        "version": __version__,
        "server": "connected" if health.connected else "away",
        "journal": health.journal,
        "load": health.load.value,
        "deliveries_waiting": health.deliveries,
        "deliveries_wait_s": round(health.wait_s, 1),
    }


def _told_primary(each: Situation, outages: Sequence[Outage]) -> dict[str, Any]:
    through = each.through_in()
    away = each.since is not None
    known = state_of(each) != "unknown"
    back = max((o.ended for o in outages if o.site == each.site and o.ended), default=None)
    return {
        "site": each.site,
        "name": name_of(each.site),
        "state": state_of(each),
        "since": _utc(each.since if away else back if known else None),
        "reason": each.reason if away else None,
        "reason_in_words": reason_in_words(each.reason) if away else None,
        "set_by_operator": None if each.flag is Flag.AUTO else each.flag.value,
        "waiting": each.waiting,
        "oldest": _utc(each.oldest) if each.waiting else None,
        "per_minute": round(each.per_second * 60, 1),
        "through_in_s": None if through is None else round(through.total_seconds()),
    }


def _told_outage(each: Outage, now: datetime) -> dict[str, Any]:
    lasted: timedelta = (each.ended or now) - each.began
    return {
        "site": each.site,
        "name": name_of(each.site),
        "began": _utc(each.began),
        "ended": _utc(each.ended),
        "lasted_s": max(0, round(lasted.total_seconds())),
        "reason": each.reason,
        "reason_in_words": reason_in_words(each.reason),
        "carried": None if each.ended is None else each.carried,
    }


def _utc(moment: datetime | None) -> str | None:
    """A time as XEP-0082 has it."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
