"""Plots of what benchmarks have found, as SVG, from the files of their `--json`.

    python -m tests.bench plots build/bench            # its *.json, beside them
    python -m tests.bench plots docs/figures docs/plots

A file is drawn by its name, up to the first `-` or `.`: `fanout-1000.json` and `fanout-5000.json`
come into the same plots, all others have one file each. Figures are medians of the rounds; times
are drawn as the share of all that took no longer. The same figures give the same bytes.

This module says what is to be drawn, `drawing.py` draws it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Told = Mapping[str, Any]  # what a file says


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in groups, each with a number at its end; None: there is no bar."""

    title: str
    unit: str
    groups: tuple[str, ...]
    series: Mapping[str, tuple[float | None, ...]]  # a value for each group
    labels: Mapping[str, tuple[str, ...]]
    log: bool = False


@dataclass(frozen=True, slots=True)
class Shares:
    """For each of the series the share of its times that are no longer than that."""

    title: str
    unit: str
    series: Mapping[str, tuple[float, ...]]  # ascending
    log: bool = True


Panel = Bars | Shares
Plot = tuple[str, Sequence[Panel]]  # its title

WAYS: Final = {"own": "the server's own pubsub", "plain": "send_message()", "relay": "the relay"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("figures", type=Path, help="the directory of the files of --json")
    parser.add_argument(
        "plots", type=Path, nargs="?", help="where plots are written to; without: the same"
    )


def run_as_asked(asked: argparse.Namespace) -> None:
    """Draw all that there is."""
    from tests.bench.drawing import draw  # which takes a second to load

    plots = plots_of(read(asked.figures))
    if not plots:
        names = ", ".join(f"{name}*.json" for name in PLOTS)
        sys.exit(f"Error: There is nothing to draw in {asked.figures}: none of {names}.")
    into = asked.plots or asked.figures
    into.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        file = into / f"{name}.svg"
        draw(plot, file)
        print(file)


def read(folder: Path) -> dict[str, list[Told]]:
    """What the files of a directory say, by what they are of, in the order of their names."""
    found: dict[str, list[Told]] = {}
    for file in sorted(folder.glob("*.json")):
        kind = file.stem.partition("-")[0]
        if kind in PLOTS:
            found.setdefault(kind, []).append(json.loads(file.read_text()))
    return found


def plots_of(files: Mapping[str, Sequence[Told]]) -> dict[str, Plot]:
    """The plots, by the names of their files."""
    plots: dict[str, Plot] = {}
    for kind, told in files.items():
        plots |= PLOTS[kind](told)
    return plots


# --- One of each ----------------------------------------------------------------------------------


def _fanout(files: Sequence[Told]) -> dict[str, Plot]:
    """Rates and times by server, number of followers and way."""
    files = sorted(files, key=lambda told: told["plan"]["followers"])
    servers = {name: each["title"] for told in files for name, each in told["servers"].items()}
    rates, times = [], []
    for server, title in servers.items():
        here = [
            (f"{told['plan']['followers']:,}", told["servers"][server])
            for told in files
            if server in told["servers"]
        ]
        sizes = tuple(size for size, _ in here)
        per_s = {
            name: tuple(_middle(found["turns"][way], "per_s") for _, found in here)
            for way, name in WAYS.items()
        }
        of_own = {
            name: tuple(_times(found["ratios"][way]["per_s"]) for _, found in here)
            for way, name in WAYS.items()
        }
        rates.append(Bars(title, "deliveries a second, by followers", sizes, per_s, of_own))
        ms = {
            name: tuple(
                _middle(found["turns"][way], figure)
                for _, found in here
                for figure in ("first_ms", "last_ms")
            )
            for way, name in WAYS.items()
        }
        ends = tuple(f"{size},\n{end}" for size in sizes for end in ("first", "last"))
        times.append(Bars(title, "ms to the first and to the last", ends, ms, _numbers(ms), True))
    return {
        "fanout-rates": ("Bursts: deliveries a second, and their ratio to own pubsub", rates),
        "fanout-times": ("One post at a time: p50", times),
    }


def _limit(files: Sequence[Told]) -> dict[str, Plot]:
    """Rates and processor's time of a delivery, to a server that only counts."""
    files = sorted(files, key=lambda told: -told["plan"]["burst"])
    names = tuple(files[0]["rows"])
    panels = []
    for figure, unit in (("per_s", "deliveries a second"), ("cpu_us", "µs of CPU for a delivery")):
        values = {
            _burst(told): tuple(_middle(told["rows"][name], figure) for name in names)
            for told in files
        }
        panels.append(Bars("", unit, names, values, _numbers(values), log=True))
    followers = files[0]["plan"]["followers"]
    return {"limit": (f"To a server that only counts, {followers:,} followers", panels)}


def _journal(files: Sequence[Told]) -> dict[str, Plot]:
    """Posts made safe a second, by how many submit them."""
    told = files[-1]
    submitters = sorted({row["submitters"] for row in told["journal"]})
    rates = {
        (row["kind"], row["submitters"]): _middle(row["runs"], "per_s") for row in told["journal"]
    }
    kinds = dict.fromkeys(kind for kind, _ in rates)
    named = {kind: kind.replace("backlog", f"{told['backlog']:,} posts before") for kind in kinds}
    values = {named[kind]: tuple(rates.get((kind, n)) for n in submitters) for kind in kinds}
    groups = tuple(f"{n:,}" for n in submitters)
    panel = Bars("", "posts a second, by submitters", groups, values, _numbers(values))
    return {"journal": ("Posts made safe", [panel])}


def _floods(files: Sequence[Told]) -> dict[str, Plot]:
    """Posts while many log in."""
    times = {
        name: _ascending(found)
        for name, found in files[-1]["times"].items()
        if not name.startswith("the relay's own")
    }
    panel = Shares("", "ms to the first follower", times)
    return {"floods": ("A post while ten thousand log in and out", [panel])}


def _latency(files: Sequence[Told]) -> dict[str, Plot]:
    """From the author to followers."""
    times = {name: _ascending(found) for name, found in files[-1]["times"].items()}
    return {"latency": ("From the author to ten followers", [Shares("", "ms", times)])}


def _returns(files: Sequence[Told]) -> dict[str, Plot]:
    """When who returns has everything, and what others wait for."""
    told = files[-1]
    plan, servers = told["plan"], told["servers"].values()
    back = {
        each["title"].partition(",")[0]: _ascending(
            ms for one_by_one in each["returned_ms"] for ms in one_by_one
        )
        for each in servers
    }
    panels: list[Panel] = [Shares("has all that he lacks", "ms since the return", back, log=False)]
    for each in servers:
        live = {name: _ascending(found) for name, found in each["live_ms"].items()}
        panels.append(Shares(f"{each['title'].partition(',')[0]}: others' posts", "ms", live))
    title = f"{plan['followers']:,} return at once, each lacks {plan['posts']} posts"
    return {"returns": (title, panels)}


def _crowded(files: Sequence[Told]) -> dict[str, Plot]:
    """Posts of others beside an author with very many followers."""
    panels = [
        Shares(
            f"{told['plan']['server'] or 'a server that only counts'}: "
            f"one has {told['plan']['followers']:,} followers",
            "ms to the last of 3 to 10 followers",
            {
                f"{name}{of}": _ascending(row[figure])
                for figure, of in (("ms", ""), ("direct_ms", ": a chat message, no relay"))
                for name, row in told["rows"].items()
                if row[figure]
            },
        )
        for told in sorted(files, key=lambda told: told["plan"]["server"] or "")
    ]
    return {"crowded": ("Posts of others beside one who posts all the time", panels)}


def _memory(files: Sequence[Told]) -> dict[str, Plot]:
    """Memory above idle."""
    rows = files[-1]["rows"]
    pairs = list(dict.fromkeys((row["followers"], row["posts"]) for row in rows))
    values = {
        name: tuple(
            statistics.median(
                row[figure] for row in rows if (row["followers"], row["posts"]) == pair
            )
            for pair in pairs
        )
        for name, figure in (("while they wait", "waiting_mib"), ("at most", "peak_mib"))
    }
    groups = tuple(f"{posts:,} posts to\n{followers:,}" for followers, posts in pairs)
    panel = Bars("", "MiB above idle", groups, values, _numbers(values))
    return {"memory": ("Memory while posts wait for a server that does not read", [panel])}


PLOTS: Final[Mapping[str, Callable[[Sequence[Told]], dict[str, Plot]]]] = {
    "fanout": _fanout,
    "limit": _limit,
    "journal": _journal,
    "latency": _latency,
    "floods": _floods,
    "returns": _returns,
    "crowded": _crowded,
    "memory": _memory,
}

# --- Figures --------------------------------------------------------------------------------------

POINTS: Final = 100
"""Of a curve: more cannot be seen, and make the file large."""


def shares(values: Sequence[float]) -> list[tuple[float, float]]:
    """Points of the curve of ascending values: a value, and the percent that do not exceed it."""
    count = len(values)
    ranks = range(1, count + 1)
    if count > POINTS:
        ranks = sorted({1 + round(at * (count - 1) / (POINTS - 1)) for at in range(POINTS)})
    return [(values[rank - 1], 100 * rank / count) for rank in ranks]


def _middle(rounds: Sequence[Told], figure: str) -> float:
    return statistics.median(each[figure] for each in rounds)


def _ascending(values: Any) -> tuple[float, ...]:
    return tuple(sorted(values))


def _numbers(series: Mapping[str, Sequence[float | None]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(map(number, values)) for name, values in series.items()}


def number(value: float | None) -> str:
    """For people: three digits, thousands as k."""
    if value is None:
        return ""
    if value >= 1_000_000:
        return f"{value / 1_000_000:.2f} M"
    if value >= 1000:
        return f"{value / 1000:.1f} k" if value < 100_000 else f"{value / 1000:.0f} k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def tick(value: float) -> str:
    """The same for an axis, where the numbers are round."""
    for unit, name in ((1_000_000, " M"), (1000, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _times(ratio: float) -> str:
    return f"×{ratio:.2f}"


def _burst(told: Told) -> str:
    posts = told["plan"]["burst"]
    return "one post" if posts == 1 else f"bursts of {posts}"
