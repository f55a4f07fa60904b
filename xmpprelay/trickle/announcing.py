"""Everybody can see that a primary is away: what is said of it, and how often.

A standby shows in the presence of home@relay, in discovery and in the answer to each post; those
are asked for. What is said by itself, the posts of status@relay and a line to the operator's
admins, comes at most once in ten minutes: a primary that comes and goes is one event.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from xmpprelay.core.health import Flag, Stance
from xmpprelay.trickle.standby import BY_OPERATOR, Situation

SAY_EVERY_S: Final = 600.0

_SHOWN: Final = "%H:%M UTC"


class Announcing:
    """Says how the primaries are. `say` is given what is to be said by itself, and the reason."""

    def __init__(
        self,
        situations: Callable[[], Sequence[Situation]],
        say: Callable[[str, str], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._situations = situations
        self._say = say
        self._now = now
        self._monotonic = monotonic
        self._said_away: dict[str, datetime | None] = {}  # site -> since when it was said to be
        self._said_at: dict[str, float] = {}
        self.changed: Callable[[], None] = lambda: None  # the presence of home@relay is another

    def take_up(self) -> None:
        """An earlier run has said what goes on now, and its end is news."""
        for situation in self._situations():
            self._said_away[situation.site] = situation.since

    def announce(self, situation: Situation) -> None:
        """A standby has begun or ended."""
        self.changed()
        self._consider(situation)

    def tick(self) -> None:
        """A minute has passed: say what could not be said yet."""
        for situation in self._situations():
            self._consider(situation)

    def _consider(self, situation: Situation) -> None:
        site, now_s = situation.site, self._monotonic()
        before = self._said_away.get(site)
        if (situation.since is None) == (before is None):
            return
        said_at = self._said_at.get(site)
        if said_at is not None and now_s - said_at < SAY_EVERY_S:
            return
        self._said_away[site], self._said_at[site] = situation.since, now_s
        if situation.since is not None:
            self._say(self._down(situation), situation.detail)
        elif before is not None:
            self._say(self._up(situation, self._now() - before), "")

    def _down(self, situation: Situation) -> str:
        since = situation.since or self._now()
        why = " by the operator" if situation.reason == BY_OPERATOR else ""
        return (
            f"{_name(situation)} is on standby{why} since {since.astimezone(UTC):{_SHOWN}}. What "
            "you post goes to your followers at once, and is inserted there later."
        )

    def _up(self, situation: Situation, lasted: timedelta) -> str:
        waiting = situation.waiting
        after = f"{_name(situation)} is back after {span(lasted)}"
        if not waiting:
            return f"{after}."
        return f"{after}; {waiting} posts are being inserted, the oldest first."

    # What is asked for

    def away_since(self) -> datetime | None:
        """Since when a primary is away, the first of them; None: none is."""
        away = (each.since for each in self._situations() if each.since is not None)
        return min(away, default=None)

    def presence(self) -> tuple[str | None, str | None]:
        """The <show/> and <status/> of home@relay (RFC 6121 §4.7.2); None: no such element."""
        away = [each for each in self._situations() if each.since is not None]
        since = self.away_since()
        if since is None:
            return None, None
        waiting = sum(each.waiting for each in away)
        return "away", f"standby since {since.astimezone(UTC):{_SHOWN}}, {waiting} waiting"

    def note(self, site: str | None, waiting: int) -> str:
        """What the answer to a post says of where it will be inserted; empty: all is well."""
        for each in self._situations():
            if each.site == site and each.since is not None:
                return f"primary on standby, {waiting} before you"
        return ""


def line_of(situation: Situation, now: datetime) -> str:
    """One line for people on how a primary is (`queue`, `status`)."""
    name, waiting = _name(situation), situation.waiting
    parts = [f"{name} is {_WORDS[situation.stance]}"]
    if situation.since is not None:
        parts[0] += f" since {situation.since.astimezone(UTC):{_SHOWN}}"
    parts.append(f"{waiting} waiting" if waiting else "nothing waits")
    if situation.oldest is not None and waiting:
        parts.append(f"the oldest for {span(now - situation.oldest)}")
    through = situation.through_in()
    if through is not None:
        parts.append(f"{situation.per_second * 60:.0f} a minute, through in {span(through)}")
    if situation.flag is not Flag.AUTO:
        parts.append(f"the operator has set standby {situation.flag.value}")
    return ", ".join(parts) + "."


_WORDS: Final = {
    Stance.ONLINE: "online",
    Stance.TRICKLE: "online and catching up",
    Stance.STANDBY: "on standby",
}


def _name(situation: Situation) -> str:
    """What people call it."""
    return f"The primary {situation.site.partition('://')[2]}" if situation.site else "The primary"


def span(length: timedelta) -> str:
    """A span of time in two units at most, such as `3 h 20 min`."""
    seconds = max(0, round(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"
