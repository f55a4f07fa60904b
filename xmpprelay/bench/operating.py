"""The benchmark on a server that runs: whether it may be done there, doing it, and undoing it.

Nothing that others use is touched. The relay that is measured has a database of its own; it must
not take the connection of a relay that runs (a server may let the newer of two have it, or give
each a half), nor stand in for one that has people: it would tell their servers that they follow
nobody. What was made on the server is removed at the end, however it ends.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from xmpprelay import control
from xmpprelay.bench.advice import slowed
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Step, Where
from xmpprelay.bench.encryption import reason
from xmpprelay.bench.followers import Followers, Progress, allow_connections
from xmpprelay.bench.measuring import Found, Plan, measured
from xmpprelay.bench.usage import cpu_s_of
from xmpprelay.bench.ways import OwnPubsub, Relay, RelayOfBench
from xmpprelay.config import Config
from xmpprelay.errors import StreamError, XmppRelayError
from xmpprelay.store.database import Database
from xmpprelay.store.queries import load_people

NAMES: Final = {way.short: way.name for way in (OwnPubsub, Relay)}

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Shows what is done now, and gives what is told how far that has come."""

_OTHER: Final = "give another component domain of the server, with --domain and --secret-file"

_ABSENT: Final = (
    b"<remote-server-timeout",  # Prosody, of a component that is not connected
    b"Component unavailable",  # an older one
    b"<remote-server-not-found",
    # Of what is no component now, where other servers may not be talked to.
    b"<forbidden",
    b"<not-allowed",
)

_PROBE_BYTES: Final = 48_000
"""Of what the author may send at once: more than what a shaper lets through as a burst."""

_STANZA_BYTES: Final = 1_000

_SLOW_BYTES_PER_S: Final = 100_000
"""Shapers as packages have them allow a tenth of it; without one it is a hundred times as much."""


@dataclass(frozen=True, slots=True)
class Place:
    """The server, and the component that the relay is for this time."""

    domain: str  # of the accounts
    component_domain: str
    component_secret: str
    host: str
    component_port: int
    clients: Where
    pid: int | None = None  # of the server's process, where its processor's time is wanted


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found, and what of all that was made could not be removed."""

    title: str
    found: Found
    left: Sequence[str]


async def may_be_used(config: Config) -> None:
    """Return if the configuration's own component domain may be used for this.

    XmppRelayError if its relay runs, or has people.
    """
    domain = config.xmpp.domain
    with contextlib.suppress(control.ControlUnavailable):
        await control.call(config.store.socket, "primary.status")
        raise XmppRelayError(f"The relay of {domain} is running: stop it, or {_OTHER}.")
    if not config.store.path.exists():
        return
    url = config.store.url
    database = await Database.open(url, now=lambda: datetime.now(UTC), readonly=True)
    try:
        people = await database.read(lambda conn: len(list(load_people(conn))))
    finally:
        await database.close()
    if people:
        raise XmppRelayError(
            f"The relay of {domain} has people ({people}), and one that does not know them would "
            f"tell their servers that they follow nobody: {_OTHER}."
        )


async def bench(
    place: Place,
    logins: Sequence[Login],
    plan: Plan,
    *,
    makes: bool,
    stage: Stage,
    warn: Callable[[str], None],
) -> Outcome:
    """Measure with the first of the logins as the author and the others as followers.

    `makes`: the accounts are made, and removed at the end. `warn` is told of what spoils the
    figures, and of what could not be removed, also where this fails or is cancelled. XmppRelayError
    with what to do.
    """
    allow_connections(plan.followers)
    if place.pid is not None:
        _check_process(place.pid)
    await _listens_for_components(place)
    author = Author(place.clients, logins[0], makes=makes)
    followers = Followers(place.clients, logins[1:], makes=makes)
    try:
        async with _ended_by_sigterm(), author:
            await _is_free(author, place.component_domain)
            await _warn_of_shapers(author, warn)
            async with RelayOfBench(place, author) as process:
                followers.server = author.server
                found = await _measured(place, author, followers, process, plan, stage)
    finally:
        for what in (*followers.left, *author.left):
            warn(f"{what} could not be removed: do that yourself.")
    title = f"{author.server or 'the server'} of {place.domain}"
    return Outcome(title, found, (*followers.left, *author.left))


async def _measured(
    place: Place,
    author: Author,
    followers: Followers,
    process: RelayOfBench,
    plan: Plan,
    stage: Stage,
) -> Found:
    with contextlib.ExitStack() as shown:
        async with contextlib.AsyncExitStack() as ending:
            try:
                with _stage(stage, "Followers log in", followers):
                    await ending.enter_async_context(followers)
                own = OwnPubsub(author, followers)
                with _stage(stage, "They subscribe to a node", followers):
                    await ending.enter_async_context(own)
                relay = Relay(author, followers, process)
                with _stage(stage, "They follow by the relay", followers):
                    await ending.enter_async_context(relay)
                with stage("Measuring") as tell:
                    return await measured((own, relay), followers, plan, place.pid, tell)
            finally:
                shown.enter_context(_stage(stage, "What was made is removed", followers))


@contextlib.contextmanager
def _stage(stage: Stage, what: str, followers: Followers) -> Iterator[None]:
    with stage(what) as tell:
        followers.tell = tell
        try:
            yield
        finally:
            followers.tell = lambda done, of: None


async def _listens_for_components(place: Place) -> None:
    """StreamError at once where the relay would try for some time."""
    try:
        async with asyncio.timeout(10):
            _, writer = await asyncio.open_connection(place.host, place.component_port)
    except OSError as error:
        raise StreamError(
            f"No XMPP server listens for components at {place.host} port {place.component_port} "
            f"({reason(error)}): start the server, or correct [xmpp] host and port."
        ) from error
    writer.close()


async def _is_free(author: Author, domain: str) -> None:
    """XmppRelayError if a component is connected under that domain."""
    answer = await author.says(
        Step(
            f"<iq type='get' id='taken' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>",
            until=rb"<iq (?=[^>]*id=['\"]taken)[^>]*(/>|>.*</iq>)",
            fails=rb"<stream:error.*</stream:error>",
        )
    )
    if not any(sign in answer for sign in _ABSENT):
        raise XmppRelayError(
            f"{domain} is connected to the server already, by a relay or something else, which "
            f"would be disturbed: stop that, or {_OTHER}."
        )


async def _warn_of_shapers(author: Author, warn: Callable[[str], None]) -> None:
    """Tell if the server holds up what the author sends: as Debian's configurations do."""
    began = time.perf_counter()
    padding = " " * _STANZA_BYTES  # between stanzas, where it means nothing (RFC 6120 §4.6.1)
    for _ in range(_PROBE_BYTES // _STANZA_BYTES):
        author.sends(padding)
    ping = "<iq type='get' id='through' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
    await author.says(Step(ping, until=rb"id=['\"]through['\"]"))
    per_s = _PROBE_BYTES / (time.perf_counter() - began)
    if per_s < _SLOW_BYTES_PER_S:
        warn(slowed(author.server, author.jid, per_s))


def _check_process(pid: int) -> None:
    try:
        cpu_s_of(pid)
    except OSError:
        raise XmppRelayError(
            f"There is no process {pid}: give the server's, such as by `pgrep -o prosody` or "
            "`pgrep -o beam`."
        ) from None


@contextlib.asynccontextmanager
async def _ended_by_sigterm() -> AsyncIterator[None]:
    """Let SIGTERM end what is done in here as a Ctrl-C does: what was made is removed first."""
    task, told = asyncio.current_task(), []
    assert task is not None  # noqa: S101

    def ends() -> None:
        told.append(True)
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ends)
    try:
        yield
    except asyncio.CancelledError:
        if told:
            raise XmppRelayError("It was ended by SIGTERM before it had measured all.") from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
