"""`run` and `quickstart`: the commands that stay."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xmpprelay.cli.shared import config_option

if TYPE_CHECKING:
    from xmpprelay.quickstart.place import Kind


@click.command(epilog="Example: xmpprelay run --config /etc/xmpprelay/xmpprelay.toml")
@config_option
def run(config_path: Path) -> int:
    """Run the relay, as a component of your XMPP server.

    It stays in the foreground and logs to standard error. SIGTERM ends it, within five seconds;
    until then it connects again whenever the server was away.
    """
    from xmpprelay import log
    from xmpprelay.config import load, warnings

    config = load(config_path)
    log.configure(config.log.level, config.log.format)
    for warning in warnings(config):
        log.get_logger("config").warning("config.doubtful", warning=warning)
    from xmpprelay import process

    return asyncio.run(process.run(config))


@click.command(epilog="Example: xmpprelay quickstart --tour-only")
@click.option("--tour-only", is_flag=True, help="Play the tour, then end; 0 if all of it worked.")
@click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data there; without it nothing is kept.",
)
@click.option(
    "--primary",
    type=click.Choice(("mastodon", "sql", "none")),
    default="mastodon",
    show_default=True,
    help="The service behind the relay: a demo of one, a table in an SQLite file, or none.",
)
def quickstart(tour_only: bool, data_dir: Path | None, primary: "Kind") -> int:
    """Show the relay on this machine, in a tour.

    There are a private XMPP server, which listens on this machine only, the relay, and three people
    who join, post and follow, also while the service behind the relay is away. After the tour all
    stays up for you to log in with your own client, until you press Ctrl-C.
    """
    from xmpprelay import log

    log.configure("warning")
    from xmpprelay.quickstart import tour

    return asyncio.run(tour.quickstart(data_dir, tour_only, primary))
