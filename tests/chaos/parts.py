"""The parts of a long run, in the order in which they are done.

Each takes the run (how many, from which seed on, how to tell of progress) and gives its rows.
"""

import asyncio
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from tests.chaos import characters, journal_kills, relay_kills, server_kills, simulation
from tests.chaos.report import Row
from tests.servers.towns import EjabberdTown, ProsodyTown
from xmpprelay.xmpp.barrier import SAMPLE

REPOSITORY: Final = Path(__file__).parents[2]

WORLDS: Final = 5000
RELAY_KILLS: Final = 2000
SERVER_KILLS: Final = 50
JOURNAL_KILLS: Final = 200
FUZZ_S: Final = 600


@dataclass(frozen=True)
class Run:
    """What somebody has asked for."""

    progress: Progress
    seeds: int | None = None  # None: as many as a part has by itself
    first_seed: int = 0

    def many(self, usual: int) -> int:
        return usual if self.seeds is None else self.seeds

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[..., None]]:
        """A bar; what it gives is called with how much more is done (1)."""
        task = self.progress.add_task(name, total=total)
        yield lambda more=1: self.progress.advance(task, more)
        self.progress.update(task, completed=total)


Part = Callable[[Run], Awaitable[Iterable[Row]]]


@contextmanager
def _folder() -> Iterator[Path]:
    """For databases and sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        yield Path(folder)


# --- the simulation ------------------------------------------------------------------------------


async def simulation_(run: Run) -> Iterable[Row]:
    seeds = run.many(WORLDS)
    with run.bar("simulated worlds", seeds) as more:
        worlds = await simulation.run(run.first_seed, seeds, more)
    figures = worlds.figures
    note = (
        f"{figures.repeated} repeats by {figures.incidents} faults, 0 without one; "
        f"{figures.bounces} bounces"
    )
    size = f"{figures.seeds} worlds, {figures.deliveries} deliveries"
    return [Row("fan-out, simulated", size, worlds.lost, 0, note, tuple(worlds.bad))]


# --- kills ---------------------------------------------------------------------------------------


async def relay(run: Run) -> Iterable[Row]:
    kills = run.many(RELAY_KILLS)
    first = run.first_seed
    half = kills // 2
    rows = []
    with run.bar("kills of the relay", kills) as more:
        for name, server, begin, count in (
            ("Prosody", ProsodyTown(), first, kills - half),
            ("ejabberd", EjabberdTown(), first + kills - half, half),
        ):
            if count:
                with _folder() as folder:
                    async with server:
                        got = await relay_kills.run(server, folder, begin, count, more)
                size = f"{got.kills} kills, {got.posts} posts, {got.deliveries} deliveries"
                note = f"{got.repeated} repeats on the wire, {got.repeated / got.kills:.1f} a kill"
                lost, doubled = len(got.lost), len(got.doubled)
                name = f"kill -9 of the relay, on {name}"
                rows.append(Row(name, size, lost, doubled, note, tuple(got.bad)))
    return rows


@dataclass(frozen=True)
class _Kind:
    """A server that is killed."""

    name: str
    server: Callable[[], server_kills.Server]
    archived: bool = False
    sample: int = SAMPLE
    by_ping: bool = False


_KINDS: Final = (
    _Kind("Prosody", ProsodyTown),
    _Kind("ejabberd", EjabberdTown),
    _Kind("ejabberd, everybody asked", EjabberdTown, sample=1),
    _Kind("ejabberd with mod_mam", lambda: EjabberdTown(mam=True)),
    _Kind(
        "ejabberd with mod_mam, every post archived, everybody asked",
        lambda: EjabberdTown(mam=True),
        archived=True,
        sample=1,
    ),
)
_CONTROLS: Final = (
    _Kind("ejabberd", EjabberdTown, by_ping=True),
    _Kind(
        "ejabberd with mod_mam, every post archived",
        lambda: EjabberdTown(mam=True),
        archived=True,
        by_ping=True,
    ),
)


async def server(run: Run) -> Iterable[Row]:
    kills = run.many(SERVER_KILLS)
    rows = []
    with run.bar("kills of the server", kills * len(_KINDS)) as more:
        for kind in _KINDS:
            got = await _kill_server(kind, run.first_seed, kills, more)
            name = f"kill -9 of {kind.name}"
            rows.append(Row(name, *_sizes(got), tuple(got.bad)))
    return rows


async def control(run: Run) -> Iterable[Row]:
    """The protection is off: these have to lose."""
    kills = run.many(SERVER_KILLS)
    rows = []
    with run.bar("control runs", kills * len(_CONTROLS)) as more:
        for kind in _CONTROLS:
            got = await _kill_server(kind, run.first_seed, kills, more)
            name = f"control, by ping: kill -9 of {kind.name}"
            bad = () if got.lost else ("the control run lost nothing: it shows nothing",)
            size, lost, doubled, note = _sizes(got)
            told = f"{lost}, as it must" if lost else lost
            rows.append(Row(name, size, told, doubled, note, bad))
    return rows


async def _kill_server(
    kind: _Kind, first: int, kills: int, told: Callable[[], None]
) -> server_kills.Figures:
    with _folder() as folder:
        async with kind.server() as server:
            return await server_kills.run(
                server,
                folder,
                first,
                kills,
                archived=kind.archived,
                sample=kind.sample,
                by_ping=kind.by_ping,
                told=told,
            )


def _sizes(got: server_kills.Figures) -> tuple[str, int, int, str]:
    size = f"{got.kills} kills, {got.deliveries} deliveries, {got.in_flight} in flight at them"
    note = f"{got.repeated} repeats, {got.worst} at most by one kill"
    return size, got.lost, got.doubled, note


async def journal(run: Run) -> Iterable[Row]:
    kills = run.many(JOURNAL_KILLS)
    with run.bar("kills of the journal", kills) as more, _folder() as folder:
        got = await journal_kills.run(folder, run.first_seed, kills, more)
    size = f"{got.kills} kills, {got.posts} posts"
    return [Row("kill -9 of the journal's writer", size, got.lost, got.doubled, "", tuple(got.bad))]


# --- the rest ------------------------------------------------------------------------------------


async def characters_(run: Run) -> Iterable[Row]:
    texts = list(characters.chunks())
    edges = [f"a{chr(code)}b" for code in characters.BOUNDARIES]
    rows = []
    with run.bar("characters", 3 * len(texts) + 2 * len(edges)) as more:
        wrong = await asyncio.to_thread(characters.serialiser, texts, more)
        size = f"1,114,112 code points, {len(characters.places())} places"
        rows.append(Row("characters, serialised", size, len(wrong), 0, "", tuple(wrong)))
        for name, server in (("Prosody", ProsodyTown()), ("ejabberd", EjabberdTown())):
            with _folder() as folder:
                async with server:
                    wrong = await characters.through(server, folder, [*edges, *texts], more)
            name = f"characters, through {name}"
            size = f"1,114,112 code points, {len(edges)} boundaries one by one"
            rows.append(Row(name, size, len(wrong), 0, "", tuple(wrong)))
    return rows


async def floods(run: Run) -> Iterable[Row]:
    if importlib.util.find_spec("tests.chaos.floods") is None:
        return []
    module = importlib.import_module("tests.chaos.floods")
    with run.bar("floods", 1):
        return [Row.of(given) for given in await module.run("full")]


async def fuzz(run: Run) -> Iterable[Row]:
    if not (REPOSITORY / "tests" / "fuzz").is_dir():
        return []
    with run.bar("fuzz", 1):
        return [await _pytest("fuzz", {"XMPPRELAY_FUZZ_S": str(FUZZ_S)}, "tests/fuzz")]


async def _pytest(name: str, settings: Mapping[str, str], *arguments: str) -> Row:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "--timeout", "0", *arguments),
        cwd=REPOSITORY,
        env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines = (await process.stdout.read()).decode(errors="replace").splitlines()
    said = lines[-1].strip("= ") if lines else ""
    bad = () if await process.wait() == 0 else tuple(lines[-20:])
    return Row(name, ", ".join(f"{value} s" for value in settings.values()), 0, 0, said, bad)


PARTS: Final[Mapping[str, Part]] = {
    "characters": characters_,
    "journal": journal,
    "control": control,
    "server": server,
    "relay": relay,
    "floods": floods,
    "fuzz": fuzz,
    "simulation": simulation_,
}
"""The short ones first: what is broken shows early."""


async def live_through(
    run: Run, names: Iterable[str], console: Console, came: Callable[[Iterable[Row]], None]
) -> None:
    """Do these parts; `came` is given the rows of each when it is through.

    A part that cannot be done is a row that says so.
    """
    for name in names:
        try:
            came(await PARTS[name](run))
        except Exception as error:  # noqa: BLE001 - the top of the loop: the other parts have their turn
            console.print_exception()
            came([Row(name, "", "?", "?", "", (f"{type(error).__name__}: {error}",))])
