"""`status`: how everything is, as the status page has it, with a small plot of the last day."""

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from xmpprelay.cli.plot import ASCII, ASCII_MARK, BLOCKS, MARK, bars, columns, hours, marks
from xmpprelay.cli.primary import left_behind
from xmpprelay.cli.shared import (
    config_option,
    json_option,
    load_config,
    now,
    plain,
    print_json,
    read_database,
    shown_time,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.config import Config
    from xmpprelay.core.activity import Series
    from xmpprelay.store.outages import Outage

_SPAN: Final = "24h"

_WIDE: Final = 50
"""Columns of the plot, so that it fits into 80: three points of the last day each."""

_STATES: Final = {
    "online": "there",
    "trickle": "there, and catching up",
    "standby": "on standby",
    "unknown": "not known",
}


@click.command(epilog="Example: xmpprelay status")
@json_option
@config_option
def status(as_json: bool, config_path: Path) -> None:
    """Print how the relay and its primary are.

    There is a plot of the last day with it, in which outages are marked. It is what the page
    /status shows, with --json what /status.json and /status.csv do. Where no relay runs it is said
    what the last one has left.
    """
    config = load_config(config_path)
    found = _live(config) or _left(config)
    if as_json:
        print_json([found])
        return
    for line in (*_lines(found), *_plot(found["activity"]), *_outages(found["outages"])):
        _print(line)


def _live(config: "Config") -> dict[str, Any] | None:
    """What the running relay says; None: none runs."""
    from xmpprelay import control

    try:
        found = asyncio.run(control.call(config.store.socket, "status", {"span": _SPAN}))
    except control.ControlUnavailable:
        return None
    return dict(found)


def _left(config: "Config") -> dict[str, Any]:
    """What the last run has left in the database."""
    from xmpprelay.core.activity import Span
    from xmpprelay.core.activity import told as told_series
    from xmpprelay.overview import OUTAGES, Overview, told
    from xmpprelay.store.activity import load_series
    from xmpprelay.store.outages import list_outages

    def ask(conn: "Connection") -> "tuple[Series, list[Outage]]":
        return load_series(conn, Span(_SPAN), now()), list_outages(conn, OUTAGES)

    series, outages = read_database(config, ask)
    primaries = left_behind(config) if config.primary.driver != "none" else ()
    overview = Overview(now(), None, primaries, outages)
    return told(overview) | {"activity": told_series(series)}


# --- in lines ------------------------------------------------------------------------------------


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [found["summary"], ""]
    for each in found["primaries"]:
        lines += _primary_lines(each)
    relay = found["relay"]
    if relay["runs"]:
        lines.append(
            f"relay       xmpprelay {relay['version']}; server {relay['server']}; journal "
            f"{relay['journal']}; load {relay['load']}"
        )
    return [*lines, ""]


def _primary_lines(each: dict[str, Any]) -> list[str]:
    state = _STATES[each["state"]]
    if each["since"] is not None:
        state += f" since {_time(each['since'])}"
    if each["reason"] is not None:
        state += f", {each['reason_in_words']}"
    if each["set_by_operator"] and each["reason"] != "operator":
        state += f"; the operator has set standby {each['set_by_operator']}"
    waiting = _posts(each["waiting"])
    if each["oldest"] is not None:
        waiting += f", the oldest since {_time(each['oldest'])}"
    if each["per_minute"]:
        waiting += f"; {each['per_minute']} a minute"
    if each["through_in_s"] is not None:
        waiting += f", through in {_span(each['through_in_s'])}"
    return [f"primary     {each['name']}: {state}", f"waiting     {waiting}"]


def _outages(outages: list[dict[str, Any]]) -> list[str]:
    lines = []
    for each in outages:
        line = f"outage      {_time(each['began'])}, "
        line += f"{'for' if each['ended'] else 'lasts for'} {_span(each['lasted_s'])}: "
        line += f"{each['name']}, {each['reason_in_words']}"
        if each["carried"] is not None:
            line += f"; {_posts(each['carried'])} carried over"
        lines.append(line)
    return lines


def _plot(points: list[dict[str, Any]]) -> list[str]:
    """Posts, deliveries and what waited over the last day, and when a primary was on standby."""
    blocks, mark = (BLOCKS, MARK) if _shows_blocks() else (ASCII, ASCII_MARK)
    at = [datetime.fromisoformat(each["begins"]) for each in points]

    def row(name: str, key: str, *, adds: bool) -> str:
        known = [each[key] if each["watched"] else None for each in points]
        shown = columns(list(zip(at, known, strict=True)), _WIDE, adds=adds)
        most = max((each.value or 0 for each in shown), default=0)
        return f"{name:<12}{bars(shown, blocks)}  at most {most:,}"

    away = [(begins, each["standby_s"]) for begins, each in zip(at, points, strict=True)]
    standby = columns(away, _WIDE, adds=True)
    rows = [
        row("posts", "posts", adds=True),
        row("deliveries", "deliveries", adds=True),
        row("new people", "people", adds=True),
        row("waiting", "backlog", adds=False),
        f"{'standby':<12}{marks(standby, mark)}",
        f"{'UTC':<12}{hours(standby)}",
    ]
    minutes = sum(each["minutes"] for each in points) / max(1, len(standby))
    return [f"The last 24 hours, {round(minutes)} minutes a column:", *rows, ""]


def _shows_blocks() -> bool:
    try:
        (BLOCKS + MARK).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _print(line: str) -> None:
    """On a terminal, what is wrong stands out."""
    from rich.console import Console
    from rich.text import Text

    text = Text(plain(line).rstrip())
    if line.startswith(("standby ", "waiting ")):
        text.stylize("yellow")
    if line.startswith(("posts ", "deliveries ", "new people ")):
        text.stylize("cyan")
    text.highlight_words(["on standby", "not connected", "server away", "failed"], "bold red")
    Console(soft_wrap=True, highlight=False).print(text)


def _posts(number: int) -> str:
    return f"{number} post{'' if number == 1 else 's'}"


def _time(text: str) -> str:
    return shown_time(datetime.fromisoformat(text))


def _span(seconds: float) -> str:
    from xmpprelay.trickle.announcing import span

    return span(timedelta(seconds=seconds))
