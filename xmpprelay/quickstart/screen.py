"""What the quickstart prints: numbered steps, and in them what each person does and sees.

    2  alice joins, and posts
       alice → home@relay   join alice
       alice ← home@relay   Welcome, @alice. …                               1.9 ms

On a terminal it has colours and the terminal's width, up to what reads well; in a pipe it is plain
text of 80 columns. It decides nothing, and what is printed has passed `_plain`: a terminal obeys
what it is sent.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

WIDEST: Final = 100
"""Lines of more columns are hard to read."""

_COLOURS: Final = {"alice": "magenta", "bob": "green", "carol": "yellow", "you": "cyan"}
_INDENT: Final = 4
_WHO: Final = 20
"""Columns of who does something: `carol ← alice@relay`."""

_TOOK: Final = 8
"""Columns of the time that it took."""


class Screen:
    """The terminal, or whatever standard output is; errors go to standard error."""

    def __init__(self) -> None:
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)
        self._width = min(self._out.width, WIDEST)
        ascii_only = not self._out.encoding.startswith("utf")
        self._sends, self._gets = ("->", "<-") if ascii_only else ("→", "←")
        self._good, self._bad = ("OK", "FAILED") if ascii_only else ("✓", "✗")

    def title(self, text: str) -> None:
        """The first lines."""
        self._print(Text(text, style="bold"))

    def step(self, number: int, title: str) -> None:
        """The head of a step."""
        self._out.print()
        self._print(Text.assemble((f"{number:2}  ", "bold cyan"), (_plain(title), "bold")))

    def sends(self, who: str, to: str, text: str) -> None:
        """What a person sends."""
        self._line(f"{who:5} {self._sends} {to}", _text(text))

    def gets(self, who: str, sender: str, text: str, seconds: float | None = None) -> None:
        """What a person gets, and how long it took."""
        self._line(f"{who:5} {self._gets} {sender}", _text(text, "bold"), seconds)

    def does(self, who: str, text: str, seconds: float | None = None) -> None:
        """What somebody or something does that is no message."""
        self._line(who, _text(text, "dim"), seconds)

    @contextmanager
    def progress(self, who: str, what: str, of: int) -> Iterator[Callable[[int], None]]:
        """A bar, on a terminal and while it lasts: call what this gives with how much is done."""
        if not self._out.is_terminal:
            yield lambda done: None
            return
        columns = (
            TextColumn(f"{'':{_INDENT}}{who:{_WHO - 1}}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn(what, style="dim"),
        )
        with Progress(*columns, console=self._out, transient=True) as bar:
            task = bar.add_task(what, total=of)
            yield lambda done: bar.update(task, completed=done)

    def note(self, text: str) -> None:
        """A remark."""
        self._print(Padding(Text(_plain(text), style="dim"), (0, 0, 0, _INDENT), expand=False))

    def table(self, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Rows under a header."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in header:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*(Text(_plain(cell)) for cell in row))
        self._print(Padding(table, (0, 0, 0, _INDENT), expand=False))

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and what they stand for."""
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for name, text in rows:
            table.add_row(name, Text(_plain(text)))
        self._print(Padding(table, (0, 0, 0, _INDENT), expand=False))

    def good(self, text: str) -> None:
        """How it went, well."""
        self._out.print()
        self._print(Text.assemble((f" {self._good}  ", "bold green"), (_plain(text), "bold")))

    def heading(self, text: str) -> None:
        """The head of something that is no step."""
        self._out.print()
        self._print(Text(_plain(text), style="bold"))

    def blank(self) -> None:
        """An empty line."""
        self._out.print()

    def bad(self, text: str, logs: Iterable[tuple[str, str]] = ()) -> None:
        """What failed and why, on standard error, with the ends of logs: (whose, lines)."""
        self._err.print()
        head = Text.assemble((f" {self._bad}  ", "bold red"), (_plain(text), "bold"))
        self._err.print(head, width=self._width)
        for whose, lines in logs:
            if lines:
                self._err.print()
                self._err.print(Text(f"The last lines of {whose}:", style="dim"))
                # As they are: somebody may have to search for them.
                self._err.print(Text(_plain(lines.expandtabs())), soft_wrap=True)

    def _line(self, who: str, text: Text, seconds: float | None = None) -> None:
        """One line in three columns; a text that is too long goes on below its beginning."""
        room = self._width - _INDENT - _WHO - _TOOK
        lines = text.wrap(self._out, room)
        for number, line in enumerate(lines):
            row = Text(" " * _INDENT)
            row.append_text(_names(f"{who:{_WHO}}" if number == 0 else " " * _WHO))
            row.append_text(line)
            if number == len(lines) - 1 and seconds is not None:
                row.pad_right(room - line.cell_len)
                row.append(f"{_time(seconds):>{_TOOK}}", style="cyan")
            row.rstrip()
            self._print(row)

    def _print(self, what: Text | Padding) -> None:
        self._out.print(what, width=self._width)


def _names(column: str) -> Text:
    """Who does something, and with whom, in the colours of the people."""
    text = Text(column)
    for name, colour in _COLOURS.items():
        text.highlight_regex(rf"\b{name}\b", colour)
    return text


def _text(text: str, style: str = "") -> Text:
    return Text(_plain(text), style=style)


def _time(seconds: float) -> str:
    """Seven characters at most."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{1 if seconds < 0.1 else 0}f} ms"


def _plain(text: str) -> str:
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )
