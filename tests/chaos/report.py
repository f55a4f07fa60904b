"""What a long run says at its end: a table, and lines for docs/reliability.md."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

FILE: Final = Path(__file__).parents[2] / "build" / "chaos-report.md"
"""What each run adds to; git does not see it."""

_SHOWN: Final = 5
_LONGEST: Final = 300


@dataclass(frozen=True)
class Row:
    """What came of one part."""

    name: str  # what was done
    size: str  # how much of it
    lost: int | str
    doubled: int | str  # D: twice after the ids are looked at
    note: str = ""
    bad: tuple[str, ...] = field(default=())  # why it failed; empty: it did not

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Row":
        """A row of a part that gives a mapping: name, size, lost, doubled, note, bad."""
        bad = given.get("bad", ())
        if given.get("ok", True) is False and not bad:
            bad = ("failed",)
        return cls(
            str(given["name"]),
            str(given.get("size", "")),
            given.get("lost", 0),
            given.get("doubled", 0),
            str(given.get("note", "")),
            tuple(map(str, bad)),
        )

    @property
    def well(self) -> bool:
        return not self.bad


def show(console: Console, rows: Iterable[Row]) -> None:
    """The table on the terminal, and beneath it what went wrong."""
    table = Table(title="make chaos")
    for heading in ("", "what", "size", "lost", "doubled", "note"):
        table.add_column(heading, overflow="fold")
    rows = list(rows)
    for row in rows:
        mark = "[green]✓[/]" if row.well else "[red]✗[/]"
        table.add_row(mark, row.name, row.size, f"{row.lost}", f"{row.doubled}", row.note)
    console.print(table)
    for row in rows:
        for why in row.bad[:_SHOWN]:
            console.print(f"{row.name}: {why}", markup=False, highlight=False)
        if len(row.bad) > _SHOWN:
            console.print(f"{row.name}: and {len(row.bad) - _SHOWN} more", markup=False)


def add(rows: Iterable[Row], command: str, file: Path = FILE) -> None:
    """Add the rows to the report, as docs/reliability.md has them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    with file.open("a") as out:
        if new:
            out.write("| date | command | what | size | lost | doubled | note |\n")
            out.write("|---|---|---|---|---|---|---|\n")
        for row in rows:
            failed = "" if row.well else "FAILED: " + "; ".join(row.bad[:_SHOWN]) + ". "
            figures = row.name, row.size, row.lost, row.doubled, failed + row.note
            cells = today, f"`{command}`", *figures
            out.write("| " + " | ".join(_cell(cell) for cell in cells) + " |\n")


def keep(name: str, lines: Iterable[str]) -> Path:
    """Write all that a part has said into a file beside the report; gives its path."""
    file = FILE.parent / f"chaos-{name.replace(', ', '-').replace(' ', '-')}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def _cell(content: object) -> str:
    line = " ".join(f"{content}".split()).replace("|", "\\|")
    return line if len(line) < _LONGEST else line[:_LONGEST] + "…"
