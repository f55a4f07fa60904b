"""What the server's settings do that docs/operations.md speaks of: shapers, conflicts, sizes.

Private servers, the relay as a process, followers who are really logged in (`scene.py`). Each row
is one value of a setting:

- *Shapers.* ejabberd's on the component's listener, with Debian's two shapers: rate and times of
  the relay's posts. And those of clients, as Debian has them on both servers: how long it takes
  until everybody has had all of many posts that one author sends at once.
- *A second connection*, while the server takes the old one for alive (`second_connection.py`).
- *Sizes of stanzas* that the server takes from the relay (`stanza_sizes.py`).
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.bench import figures
from tests.bench.scene import FEW, SHAPERS, Configured, Row, Scene
from tests.bench.second_connection import second_connection
from tests.bench.stanza_sizes import stanza_size
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.measuring import Plan, Turn, measured
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import MODULES, Prosody

LIMITS: Final = (
    f"modules_enabled = {{ {', '.join(map(repr, (*MODULES, 'limits')))} }} "
    'limits = { c2s = { rate = "10kb/s" } }'
)
"""Debian's for Prosody's clients."""

CONFLICT: Final = "component_conflict_resolve"
PASTED: Final = 20
PASTED_CHARS: Final = 1_500
"""Posts at once, and how long each is: 33 kB in all."""

SMALL, MIDDLE, LARGE = 4_096, 65_536, 262_144


async def shapers_of_components(followers: int, rounds: int) -> list[Row]:
    """The relay's posts with each shaper on the listener for components; all take turns."""
    plan = Plan(followers, rounds=1, burst=20, singles=10)
    turns: dict[str, list[Turn]] = {shaper: [] for shaper in ("none", *SHAPERS)}
    async with AsyncExitStack() as ending:
        scenes = {}
        for shaper in turns:
            server = Configured(components={} if shaper == "none" else {"shaper": shaper})
            scenes[shaper] = await ending.enter_async_context(Scene(server, followers))
        for _ in range(rounds):
            for shaper, scene in scenes.items():
                found = await measured([scene.way], scene.followers, plan)
                turns[shaper] += found.turns[scene.way.short]
                if not found.account.well:
                    raise SystemExit(f"Error: posts were lost, or came twice: {found.account}")
        lost = {shaper: scene.relay.counts("stream.lost") for shaper, scene in scenes.items()}
    return [_shaped(shaper, turns[shaper], lost[shaper]) for shaper in turns]


def _shaped(shaper: str, turns: Sequence[Turn], lost: int) -> Row:
    per_s, first, last = (
        statistics.median(getattr(turn, name) for turn in turns)
        for name in ("per_s", "first_ms", "last_ms")
    )
    effect = f"{per_s:,.0f} deliveries a second; first {first:.1f} ms, last {last:.1f} ms"
    told = {"per_s": per_s, "first_ms": first, "last_ms": last, "lost_connections": lost}
    return Row("ejabberd", "shaper, components", shaper, effect, told)


async def shaper_of_clients(server: PrivateServer, setting: str, value: str) -> Row:
    """Many posts of one author at once."""
    async with Scene(server, FEW) as scene:
        posts = await scene.followers.expect(PASTED)
        began = time.perf_counter()
        for number in range(PASTED):
            scene.way.sends(posts.text(number).ljust(PASTED_CHARS, "."))
        took = await posts.all_there(within_s=60) - began
    effect = f"{PASTED} posts of one author at once: the last after {took:.2f} s"
    return Row(server.name, setting, value, effect, {"posts": PASTED, "last_s": took})


async def all_rows(followers: int, rounds: int, tell: Callable[[Row], None]) -> list[Row]:
    """Each value of each setting; `tell` is told of each as soon as it is known."""
    rows: list[Row] = []

    def known(found: Iterable[Row]) -> None:
        for row in found:
            rows.append(row)
            tell(row)

    known(await shapers_of_components(followers, rounds))
    shaped = {"shaper": "c2s_shaper"}
    known([await shaper_of_clients(Configured(), "shaper, clients", "none")])
    known([await shaper_of_clients(Configured(clients=shaped), "shaper, clients", "normal")])
    known([await shaper_of_clients(Prosody(), "limits, clients", "none")])
    known([await shaper_of_clients(Prosody(extra_config=LIMITS), "limits, clients", "10kb/s")])
    waits = [
        second_connection(Prosody(), CONFLICT, "kick_new"),
        second_connection(Prosody(extra_config=f'{CONFLICT} = "kick_old"'), CONFLICT, "kick_old"),
        second_connection(Ejabberd(), "(has none for that)", ""),
    ]
    for size in (SMALL, MIDDLE, LARGE):
        setting = "component_stanza_size_limit"
        prosody = Prosody(extra_config=f"{setting} = {size}")
        ejabberd = Configured(components={"max_stanza_size": size})
        waits.append(stanza_size(prosody, setting, size))
        waits.append(stanza_size(ejabberd, "max_stanza_size", size))
    known(await asyncio.gather(*waits))  # counts, and seconds that pass in waiting
    return rows


def line(row: Row) -> str:
    """A line of the table."""
    return f"{row.server:10}{row.setting:29}{row.value:10}{row.effect}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--followers", type=int, default=100, metavar="N", help="of the shaper")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of the shaper")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    rows = asyncio.run(all_rows(asked.followers, asked.rounds, lambda row: print(line(row))))
    plan = {"followers": asked.followers, "rounds": asked.rounds}
    figures.write(asked.json, plan, {"rows": [asdict(row) for row in rows]})
