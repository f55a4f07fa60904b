"""What was found, for people and for programs.

Ratios are to the first way in the same round: the server's own pubsub. All figures are medians of
the rounds; the slowest of the single posts is the slowest of all rounds.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from xmpprelay.bench.measuring import Found, Plan, Turns, Used
from xmpprelay.bench.tally import Account

_CPU: Final = f"{'its':>8}{'server':>8}"
_NONE: Final = "–"


def ratios(turns: Turns) -> dict[str, dict[str, float]]:
    """Of each way: rates and times as parts of the first way's in the same round; medians."""
    own = next(iter(turns.values()))
    return {
        way: {
            figure: statistics.median(
                getattr(ours, figure) / getattr(theirs, figure)
                for ours, theirs in zip(found, own, strict=True)
            )
            for figure in ("per_s", "first_ms", "last_ms")
        }
        for way, found in turns.items()
    }


def as_json(title: str, found: Found) -> dict[str, Any]:
    """All of it, plain enough for JSON."""
    return asdict(found) | {"title": title, "ratios": ratios(found.turns)}


def table(title: str, plan: Plan, found: Found, names: Mapping[str, str]) -> Iterator[str]:
    """The lines of a table of 80 columns; `names` are those of the ways, by their short ones."""
    ratio = ratios(found.turns)
    rounds = "one round" if plan.rounds == 1 else f"medians of {plan.rounds} rounds"
    yield f"{title}: {plan.followers:,} followers, {rounds}"
    yield f"{f'bursts of {plan.burst} posts':24}{'a second':>9}{'of own':>8}{_CPU}"
    for way, turns in found.turns.items():
        per_s = statistics.median(turn.per_s for turn in turns)
        used = _used([turn.burst_us for turn in turns])
        yield f"{names[way]:24}{per_s:9,.0f}{ratio[way]['per_s']:8.2f}{used}"
    yield (
        f"{'one post at a time, ms':24}{'first':>9}{'of own':>8}{_CPU}"
        f"{'last':>7}{'of own':>8}{'slowest':>8}"
    )
    for way, turns in found.turns.items():
        first = statistics.median(turn.first_ms for turn in turns)
        last = statistics.median(turn.last_ms for turn in turns)
        slowest = max(turn.slowest_ms for turn in turns)
        used = _used([turn.single_us for turn in turns])
        yield (
            f"{names[way]:24}{first:9.1f}{ratio[way]['first_ms']:8.2f}{used}"
            f"{last:7.1f}{ratio[way]['last_ms']:8.2f}{slowest:8.1f}"
        )
    load = statistics.median(turn.burst_us.followers for turn in [*found.turns.values()][-1])
    yield f"its, server: µs of the processor for a delivery; the followers' {load:.1f}"
    idle, peak = found.idle_bytes / 2**20, found.peak_bytes / 2**20
    yield f"the relay's memory at most: {peak:.0f} MiB, {idle:.0f} before the first post"
    yield told(found.account)


def told(account: Account) -> str:
    """What became of all posts."""
    if account.well:
        return f"of {account.expected:,} deliveries nothing was lost, and nothing came twice"
    return (
        f"of {account.expected:,} deliveries {account.lost:,} WERE LOST, and {account.doubled:,} "
        f"CAME TWICE: {'; '.join(account.examples)}"
    )


def _used(each: Sequence[Used]) -> str:
    way = _median([used.way for used in each])
    return f"{way:>8}{_median([used.server for used in each]):>8}"


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f}" if known else _NONE
