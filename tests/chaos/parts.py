"""The parts of a long run, in the order in which they are done.

Each takes the run (how many, from which seed on, how to tell of progress) and gives its rows.
"""

import asyncio
import os
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.progress import Progress

from tests.chaos import (
    characters,
    journal_kills,
    primary_kills,
    relay_kills,
    server_kills,
    simulation,
    trickle_lives,
)
from tests.chaos.floods import run as all_floods
from tests.chaos.report import Row, keep
from tests.properties.trickle.outage import CAPACITY, Away, Return, away, returns
from tests.servers.towns import TOWNS, EjabberdTown, ProsodyTown

REPOSITORY: Final = Path(__file__).parents[2]

WORLDS: Final = 5000
RELAY_KILLS: Final = 2000
SERVER_KILLS: Final = 50
SERVICE_KILLS: Final = 50
JOURNAL_KILLS: Final = 200
PRIMARY_KILLS: Final = 20
TRICKLES: Final = 500
BLIND_TRICKLES: Final = 20
TRICKLE_POSTS: Final = 200
BACKLOG: Final = 10_000
QUEUE: Final = 1_000_000
DAYS_AWAY: Final = 7
FUZZ_S: Final = 600  # for each target
LIVES: Final = 2000
STEPS: Final = 60
LIVES_THROUGH_OUTLETS: Final = 200
STEPS_THROUGH_OUTLETS: Final = 40

READY_WITHIN_S: Final = 300.0
"""A killed ejabberd repairs its tables: with a large archive, on a busy machine, for minutes."""


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


Part = Callable[[Run], AsyncIterator[Row]]
"""Rows come as soon as they are there."""


@contextmanager
def _folder() -> Iterator[Path]:
    """For databases and sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        yield Path(folder)


# --- the simulation ------------------------------------------------------------------------------


async def simulation_(run: Run) -> AsyncIterator[Row]:
    seeds = run.many(WORLDS)
    with run.bar("simulated worlds", seeds) as more:
        worlds = await simulation.run(run.first_seed, seeds, more)
    figures = worlds.figures
    note = (
        f"{figures.repeated} repeats by {figures.incidents} faults, 0 without one; "
        f"{figures.bounces} bounces"
    )
    size = f"{figures.seeds} worlds, {figures.deliveries} deliveries"
    yield Row("fan-out, simulated", size, worlds.lost, 0, note, tuple(worlds.bad))


# --- the audience --------------------------------------------------------------------------------


async def audience(run: Run) -> AsyncIterator[Row]:
    """Whom a post reaches, against the oracle: over the core, then through the whole relay."""
    with run.bar("audience", 2) as more:
        for name, file, lives, steps in (
            ("core", "test_audience.py", LIVES, STEPS),
            ("outlets", "test_outlets.py", LIVES_THROUGH_OUTLETS, STEPS_THROUGH_OUTLETS),
        ):
            lives = run.many(lives)
            settings = {"XMPPRELAY_EXAMPLES": f"{lives}", "XMPPRELAY_STEPS": f"{steps}"}
            size = f"{lives} lives of {steps} steps"
            yield await _pytest(f"audience, {name}", size, settings, f"tests/properties/{file}")
            more()


# --- the primary ---------------------------------------------------------------------------------


async def primary(run: Run) -> AsyncIterator[Row]:
    """The trickle by seeds and its control, the return from an outage, then real processes."""
    for name, seeds, looks in (
        ("the trickle, simulated", run.many(TRICKLES), True),
        ("control: the trickle without looking", run.many(BLIND_TRICKLES), False),
    ):
        with run.bar(name, seeds) as more:
            yield await _tried(name, _trickles(name, run.first_seed, seeds, looks, more))
    with run.bar("outages of the primary", 3) as more:
        for limited in (False, True):
            name = f"return of a primary that {'refuses too much' if limited else 'slows down'}"
            yield await _tried(name, _return(name, limited))
            more()
        name = f"a primary that is away for {DAYS_AWAY} days"
        yield await _tried(name, _away(name))
        more()
    kills = run.many(PRIMARY_KILLS)
    with run.bar("kills of relay and primary", kills) as more:
        name = "kill -9 of the relay and of the primary"
        yield await _tried(name, _kill_primary(name, run.first_seed, kills, more))


async def _trickles(
    name: str, first: int, seeds: int, looks: bool, told: Callable[[], None]
) -> Row:
    got = await trickle_lives.run(first, seeds, TRICKLE_POSTS, told, looks=looks)
    size = f"{got.runs} lives, {got.posts} posts, {got.inserted} inserted"
    note = f"{got.requests} requests, {got.faults} of them disturbed; {got.kills} kills"
    if looks:
        return Row(name, size, got.lost, got.doubled, note, tuple(got.bad))
    if not got.doubled:
        return Row(name, size, got.lost, 0, note, ("it doubled nothing: it shows nothing",))
    return Row(name, size, got.lost, f"{got.doubled}, as it must", note)


async def _return(name: str, limited: bool) -> Row:
    with ProcessPoolExecutor(1) as process:
        asked = process.submit(returns, BACKLOG, limited=limited)
        got: Return = await asyncio.wrap_future(asked)
    bad = []
    if got.peak > CAPACITY * 1.1 or got.refused:
        bad.append(f"{got.peak} requests a second at the peak, {got.refused} refused")
    if got.live_at(0.95) >= 10.0:
        bad.append("who posts now waits behind the backlog")
    if got.drained_s >= 1.3 * got.ideal_s:
        bad.append(f"{got.drained_s:.0f} s, where {got.ideal_s:.0f} would be ideal")
    if got.stored != got.expected:
        bad.append(f"{got.stored} posts are there, not {got.expected}")
    note = (
        f"through in {got.drained_s:.0f} s (ideal: {got.ideal_s:.0f}), {got.peak:.1f} requests a "
        f"second at most ({CAPACITY:.0f}), live posts p95 {got.live_at(0.95):.1f} s"
    )
    lost, doubled = max(0, got.expected - got.stored), max(0, got.stored - got.expected)
    return Row(name, f"{got.backlog} posts wait", lost, doubled, note, tuple(bad))


async def _away(name: str) -> Row:
    with ProcessPoolExecutor(1) as process:
        got: Away = await asyncio.wrap_future(process.submit(away, QUEUE, DAYS_AWAY))
    bad = []
    if got.most_probes > 2:
        bad.append(f"{got.most_probes} probes within five minutes")
    if got.taken_bytes >= 100_000_000:
        bad.append(f"{got.taken_bytes} bytes of memory")
    note = (
        f"{got.probes} probes, {got.most_probes} at most within five minutes; "
        f"{got.taken_bytes / 1e6:.1f} MB at the start"
    )
    return Row(name, f"{got.waiting} posts wait", QUEUE - got.waiting, 0, note, tuple(bad))


async def _kill_primary(name: str, first: int, kills: int, told: Callable[[], None]) -> Row:
    server = ProsodyTown()
    server.ready_within_s = READY_WITHIN_S
    with _folder() as folder:
        async with server:
            got = await primary_kills.run(server, folder, first, kills, told)
    size = f"{got.kills} kills, {got.posts} posts, {got.inserted} at the primary"
    note = f"{got.in_doubt} in doubt at the kills, {got.stored} of them stored"
    return Row(name, size, len(got.lost), len(got.doubled), note, tuple(got.bad))


# --- kills ---------------------------------------------------------------------------------------


async def relay(run: Run) -> AsyncIterator[Row]:
    kills = run.many(RELAY_KILLS)
    half = kills - kills // 2
    middle, end = run.first_seed + half, run.first_seed + kills
    with run.bar("kills of the relay", kills) as more:
        for name, kind, numbers in (
            ("Prosody", ProsodyTown, range(run.first_seed, middle)),
            ("ejabberd", EjabberdTown, range(middle, end)),
        ):
            if numbers:
                name = f"kill -9 of the relay, on {name}"
                yield await _tried(name, _kill_relay(name, kind(), numbers, more))


async def _kill_relay(
    name: str, server: server_kills.Server, numbers: range, told: Callable[[], None]
) -> Row:
    server.ready_within_s = READY_WITHIN_S
    with _folder() as folder:
        async with server:
            got = await relay_kills.run(server, folder, numbers.start, len(numbers), told)
    size = f"{got.kills} kills, {got.posts} posts, {got.deliveries} deliveries"
    note = f"{got.repeated} repeats on the wire, {got.repeated / max(1, got.kills):.1f} a kill"
    return Row(name, size, len(got.lost), len(got.doubled), note, tuple(got.bad))


async def _tried(name: str, doing: Awaitable[Row]) -> Row:
    """The row, or one that says why there is none: the others have their turn."""
    try:
        return await doing
    except Exception as error:  # noqa: BLE001 - the top of the loop
        return Row(name, "", "?", "?", "", (_told(error),))


def _told(error: Exception) -> str:
    """What an error says, and where it came from in the tests: some say nothing."""
    places = traceback.extract_tb(error.__traceback__)
    at = next((each for each in reversed(places) if "/tests/" in each.filename), places[-1])
    return f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno}, {at.line})"


@dataclass(frozen=True)
class _Kind:
    """A server that is killed."""

    name: str
    server: Callable[[], server_kills.Server]
    archived: bool = False
    control: Callable[[server_kills.Crowd], None] | None = None
    of_service: bool = False


_KINDS: Final = (
    _Kind("Prosody", ProsodyTown),
    _Kind("ejabberd", EjabberdTown),
    _Kind("ejabberd with mod_mam", lambda: EjabberdTown(mam=True)),
    _Kind(
        "ejabberd with mod_mam, every post archived",
        lambda: EjabberdTown(mam=True),
        archived=True,
    ),
    _Kind("ejabberd with mod_multicast", lambda: EjabberdTown(multicast=True)),
    _Kind(
        "ejabberd with mod_multicast and mod_mam, every post archived",
        lambda: EjabberdTown(multicast=True, mam=True),
        archived=True,
    ),
)
_BY_PING: Final = server_kills.Crowd.forces_the_ping
_CONTROLS: Final = (
    _Kind("by ping: kill -9 of ejabberd", EjabberdTown, control=_BY_PING),
    _Kind(
        "by ping: kill -9 of ejabberd with mod_mam, every post archived",
        lambda: EjabberdTown(mam=True),
        archived=True,
        control=_BY_PING,
    ),
    _Kind(
        "probes past the service: kill -9 of ejabberd with mod_multicast",
        lambda: EjabberdTown(multicast=True),
        control=server_kills.Crowd.probes_past_the_service,
    ),
)


async def server(run: Run) -> AsyncIterator[Row]:
    kills = run.many(SERVER_KILLS)
    with run.bar("kills of the server", kills * len(_KINDS)) as more:
        for kind in _KINDS:
            name = f"kill -9 of {kind.name}"
            yield await _tried(name, _kill_server(name, kind, run.first_seed, kills, more))


async def control(run: Run) -> AsyncIterator[Row]:
    """The protection is off: these have to lose."""
    kills = run.many(SERVER_KILLS)
    with run.bar("control runs", kills * len(_CONTROLS)) as more:
        for kind in _CONTROLS:
            name = f"control, {kind.name}"
            row = await _tried(name, _kill_server(name, kind, run.first_seed, kills, more))
            if row.lost == 0:
                row = replace(row, bad=("the control run lost nothing: it shows nothing",))
            elif row.lost != "?":
                row = replace(row, lost=f"{row.lost}, as it must")
            yield row


async def service(run: Run) -> AsyncIterator[Row]:
    """What it may cost when ejabberd's mod_multicast is restarted under a fan-out: it is told."""
    kills = run.many(SERVICE_KILLS)
    kind = _Kind("", lambda: EjabberdTown(multicast=True), of_service=True)
    with run.bar("kills of mod_multicast", kills) as more:
        name = "ejabberd's mod_multicast alone is killed"
        row = await _tried(name, _kill_server(name, kind, run.first_seed, kills, more))
        yield row if row.lost == "?" else replace(row, lost=f"{row.lost} (not prevented)")


async def _kill_server(
    name: str, kind: _Kind, first: int, kills: int, told: Callable[[], None]
) -> Row:
    server = kind.server()
    server.ready_within_s = READY_WITHIN_S
    with _folder() as folder:
        async with server:
            got = await server_kills.run(
                server,
                folder,
                first,
                kills,
                archived=kind.archived,
                control=kind.control,
                of_service=kind.of_service,
                told=told,
            )
    size = f"{got.kills} kills, {got.deliveries} deliveries, {got.in_flight} in flight at them"
    note = f"{got.repeated} repeats, {got.worst} at most by one kill"
    may_lose = kind.of_service or kind.control is not None
    return Row(name, size, got.lost, got.doubled, note, tuple(got.wrong if may_lose else got.bad))


async def journal(run: Run) -> AsyncIterator[Row]:
    kills = run.many(JOURNAL_KILLS)
    with run.bar("kills of the journal", kills) as more, _folder() as folder:
        got = await journal_kills.run(folder, run.first_seed, kills, more)
    size = f"{got.kills} kills, {got.posts} posts"
    name = "kill -9 of the journal's writer"
    yield Row(name, size, got.lost, got.doubled, "", tuple(got.bad))


# --- the rest ------------------------------------------------------------------------------------


async def characters_(run: Run) -> AsyncIterator[Row]:
    texts = list(characters.chunks())
    edges = [f"a{chr(code)}b" for code in characters.BOUNDARIES]
    with run.bar("characters", 3 * len(texts) + 2 * len(edges)) as more:
        wrong = await asyncio.to_thread(characters.serialiser, texts, more)
        size = f"1,114,112 code points, {len(characters.places())} places"
        yield Row("characters, serialised", size, len(wrong), 0, "", tuple(wrong))
        for kind in TOWNS:
            with _folder() as folder:
                async with kind() as town:
                    wrong = await characters.through(town, folder, [*edges, *texts], more)
            name = f"characters, through {kind.name}"
            size = f"1,114,112 code points, {len(edges)} boundaries one by one"
            yield Row(name, size, len(wrong), 0, "", tuple(wrong))


async def floods(run: Run) -> AsyncIterator[Row]:
    with run.bar("floods", 1):
        async for given in all_floods("full"):
            yield Row.of(given)


async def fuzz(run: Run) -> AsyncIterator[Row]:
    with run.bar("fuzz", 1):
        settings = {"XMPPRELAY_FUZZ_S": f"{FUZZ_S}"}
        yield await _pytest("fuzz", f"{FUZZ_S} s for each target", settings, "tests/fuzz")


async def _pytest(name: str, size: str, settings: Mapping[str, str], *arguments: str) -> Row:
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
    bad: tuple[str, ...] = ()
    if await process.wait() != 0:
        kept = keep(name, lines)
        # pytest's own summary names what failed, in its last lines
        bad = (f"all that was said: {kept}", *lines[-4:])
    return Row(name, size, 0, 0, said, bad)


PARTS: Final[Mapping[str, Part]] = {
    "characters": characters_,
    "journal": journal,
    "control": control,
    "server": server,
    "service": service,
    "relay": relay,
    "primary": primary,
    "floods": floods,
    "fuzz": fuzz,
    "audience": audience,
    "simulation": simulation_,
}
"""The short ones first: what is broken shows early."""


async def live_through(run: Run, names: Iterable[str], came: Callable[[Row], None]) -> None:
    """Do these parts; `came` is given each row when it is there.

    A part that cannot be done is a row that says so.
    """
    for name in names:
        try:
            async for row in PARTS[name](run):
                came(row)
        except Exception as error:  # noqa: BLE001 - the top of the loop: the others have their turn
            came(Row(name, "", "?", "?", "", (_told(error),)))
