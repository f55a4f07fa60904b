"""A small plot for the terminal: rows of numbers over one time, drawn with blocks of eight heights.

Pure. Where the terminal cannot show blocks, it gets characters of ASCII.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
ASCII: Final = " .:-=+*#@"
MARK: Final = "▒"
ASCII_MARK: Final = "x"

UNKNOWN: Final = "?"
"""Where nothing is known."""


@dataclass(frozen=True, slots=True)
class Column:
    """What one character shows."""

    begins: datetime
    value: int | None  # None: nothing is known


def columns(
    values: Sequence[tuple[datetime, int | None]], most: int, *, adds: bool
) -> list[Column]:
    """Values as at most so many columns, each of as many values; `adds`, or the highest counts."""
    each = max(1, -(-len(values) // max(1, most)))
    found = []
    for first in range(0, len(values), each):
        some = values[first : first + each]
        known = [value for _, value in some if value is not None]
        value = None if not known else sum(known) if adds else max(known)
        found.append(Column(some[0][0], value))
    return found


def bars(shown: Sequence[Column], blocks: str = BLOCKS) -> str:
    """One row; what is there at all is seen, and the highest is a whole block."""
    most = max((each.value or 0 for each in shown), default=0)
    return "".join(_bar(each.value, most, blocks) for each in shown)


def _bar(value: int | None, most: int, blocks: str) -> str:
    if value is None:
        return UNKNOWN
    if not value:
        return blocks[0]
    return blocks[max(1, round(value * (len(blocks) - 1) / most))]


def marks(shown: Sequence[Column], mark: str = MARK) -> str:
    """One row that says where there is anything."""
    return "".join(mark if each.value else " " for each in shown)


def hours(shown: Sequence[Column], every: int = 3) -> str:
    """A row below that names each third hour, where there is room for it."""
    line = ""
    for place, each in enumerate(shown):
        before = shown[place - 1].begins.hour if place else None
        if each.begins.hour == before or each.begins.hour % every:
            continue
        if len(line) <= place and place + 5 <= len(shown):
            line = line.ljust(place) + f"{each.begins:%H:%M}"
    return line
