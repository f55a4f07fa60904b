"""What the commands have in common: their options, what they print, and how they read.

Everything that somebody else may have written (a JID, a post) goes through `plain` before it is
printed: a terminal obeys what it is sent.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.config import Config

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])
Progress = Callable[[int, int], None]

CONFIG_VARIABLE: Final = "XMPPRELAY_CONFIG"
CONFIG_PATH: Final = Path("/etc/xmpprelay/xmpprelay.toml")


def config_option(command: Command) -> Command:
    """Give a command the option --config, as the argument `config_path`."""
    return click.option(
        "--config",
        "config_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        envvar=CONFIG_VARIABLE,
        default=CONFIG_PATH,
        show_default=True,
        show_envvar=True,
        help="The configuration.",
    )(command)


def json_option(command: Command) -> Command:
    """Give a command the option --json, as the argument `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one object a line, for programs."
    )(command)


def load_config(path: Path) -> "Config":
    """The configuration, or ConfigError. What the command's own work logs is kept to errors."""
    from xmpprelay import log
    from xmpprelay.config import load

    log.configure("error")
    return load(path)


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def read_database(config: "Config", question: "Callable[[Connection], T]") -> T:
    """The answer to a question about the database, which is opened for reading only."""
    from xmpprelay.store.database import Database

    async def ask() -> T:
        database = await Database.open(config.store.url, now=now, readonly=True)
        try:
            return await database.read(question)
        finally:
            await database.close()

    return asyncio.run(ask())


def call_or_alone(
    config: "Config",
    command: str,
    arguments: "dict[str, Any]",
    alone: "Callable[[], Awaitable[Any]]",
    *,
    rows: "Sequence[Any] | None" = None,
    tell: "Progress | None" = None,
) -> Any:
    """What the running relay gives for a command; where none runs, what `alone` gives."""
    from xmpprelay import control

    async def do() -> Any:
        try:
            return await control.call(
                config.store.socket, command, arguments, rows, tell or (lambda done, of: None)
            )
        except control.ControlUnavailable:
            return await alone()

    return asyncio.run(do())


def number_of(post_id: str) -> int | None:
    """The number of the post that somebody means by #k3f, k3f, or k3f.abc123; None: no such id."""
    from xmpprelay.core.text import parse_message_id, parse_short_id

    with_epoch = parse_message_id(post_id)
    return with_epoch[0] if with_epoch else parse_short_id(post_id)


def shown_time(moment: datetime) -> str:
    """A time for people, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def complain(sentence: str, problems: Iterable[str] = ()) -> None:
    """Tell an error on standard error: one line, and one for each of its problems."""
    click.echo(f"xmpprelay: {plain(sentence)}", err=True)
    for problem in problems:
        click.echo(f"  {plain(problem)}", err=True)


def plain(text: str) -> str:
    """The text on one line, with everything that does not print written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def print_json(objects: Iterable[object]) -> None:
    """Print each object as JSON, one a line, in ASCII."""
    for each in objects:
        click.echo(json.dumps(each))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: as a table on a terminal, else with tabs between the cells and in full."""
    cleaned = ([plain(cell) for cell in row] for row in rows)
    if not sys.stdout.isatty():
        for row in (header, *cleaned):
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in cleaned:
        table.add_row(*map(Text, row))
    Console().print(table)


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show how far something has come, on a terminal: call what this gives with (done, of)."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
