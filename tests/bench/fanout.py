"""The fan-out beside the server's own pubsub and a plain component: rates, times, what it costs.

A private server with many followers, each really logged in. The same texts come to all of them in
three ways, in turn (`rivals.py`): by the server's own pubsub, by a component that calls
`send_message()` for each, and by the relay, with everything that it has switched on: posts are on
disk first, blocks are looked at, and what was written is confirmed before more is.

How it is measured and told is that of `xmpprelay bench` (`xmpprelay/bench/`), which does it on a
server that runs.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.bench.rivals import NAMES, PLAIN_DOMAIN, PLAIN_SECRET, followers_of, ways_of
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.followers import allow_connections
from xmpprelay.bench.measuring import Found, Plan, measured
from xmpprelay.bench.telling import as_json, table
from xmpprelay.errors import XmppRelayError
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import Prosody

_PLAIN: Final = f'Component "{PLAIN_DOMAIN}"\n    component_secret = "{PLAIN_SECRET}"'
_BESIDE: Final = {PLAIN_DOMAIN: PLAIN_SECRET}


@dataclass(frozen=True, slots=True)
class Kind:
    """A server as it is configured."""

    title: str
    made: Callable[[], PrivateServer]


KINDS: Final[Mapping[str, Kind]] = {
    "prosody": Kind(
        "Prosody, its garbage collector as it comes",
        lambda: Prosody(extra_config=f"gc = {{}}\n{_PLAIN}"),  # after the private server's own
    ),
    "prosody-gc": Kind(
        "Prosody, gc = { threshold = 250, speed = 500 }", lambda: Prosody(extra_config=_PLAIN)
    ),
    "ejabberd": Kind("ejabberd", lambda: Ejabberd(components=_BESIDE)),
    "ejabberd-multicast": Kind(
        "ejabberd with mod_multicast", lambda: Ejabberd(components=_BESIDE, multicast=True)
    ),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    for name, default, meaning in (
        ("--followers", 1000, "who get each post"),
        ("--rounds", 5, "of which the figures are medians"),
        ("--burst", 20, "posts of a burst"),
        ("--posts", 20, "posts one at a time"),
    ):
        parser.add_argument(name, type=_count, default=default, metavar="N", help=meaning)
    parser.add_argument(
        "--pause", type=_count, default=0, metavar="MS", help="before each post of these"
    )
    parser.add_argument(
        "--server", action="append", choices=list(KINDS), help="that one only; may be given again"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure; ends with an exit code if something was lost, or cannot be measured."""
    plan = Plan(asked.followers, asked.rounds, asked.burst, asked.posts, asked.pause / 1000)
    try:
        well = run(plan, asked.server or list(KINDS), asked.json)
    except XmppRelayError as error:
        sys.exit(f"Error: {error.sentence}")
    if not well:
        sys.exit("Error: posts were lost, or came twice.")


def run(plan: Plan, kinds: Sequence[str], file: Path | None) -> bool:
    """Measure, and print a table for each server; whether all posts came, and came once."""
    allow_connections(plan.followers)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told, well = {}, True
    for name in kinds:
        title = KINDS[name].title
        found = asyncio.run(measured_on(KINDS[name], plan))
        print("", *table(title, plan, found, NAMES), sep="\n")
        well = well and found.account.well
        told[name] = as_json(title, found)
        if file is not None:  # as soon as there is something
            written = {"when": when, "plan": asdict(plan), "servers": told}
            file.write_text(json.dumps(written, indent=1) + "\n")
    return well


async def measured_on(kind: Kind, plan: Plan) -> Found:
    """All rounds on one server."""
    async with (
        kind.made() as server,
        followers_of(server, plan.followers) as followers,
        ways_of(server, followers) as ways,
    ):
        return await measured(ways, followers, plan, server.pid)
