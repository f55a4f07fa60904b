"""`xmpprelay quickstart`: plays the tour, and keeps all up after it.

What happens is in `steps.py` and `primary_steps.py`; here it is played, and told how it went. The
first step that does not come about ends the tour: which one it was and why goes to standard error,
with the ends of the logs, and the exit code is not 0.

After the tour, on a terminal, everything stays up for somebody with a client of his own. What
alice, bob and carol get is shown as it comes, and `primary down` and `primary up` can be typed.

Ctrl-C, SIGTERM and SIGHUP end it at any time, with everything it has begun: the people log out, the
relay and the server are stopped, and what is not to be kept is removed.
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from xmpprelay.errors import XmppRelayError
from xmpprelay.quickstart.keyboard import Keyboard
from xmpprelay.quickstart.people import NotSeen, Person
from xmpprelay.quickstart.place import VISITOR, Kind, Place, open_place
from xmpprelay.quickstart.primaries import DemoPrimary
from xmpprelay.quickstart.primary_steps import PrimarySteps
from xmpprelay.quickstart.relay_process import RelayFailed
from xmpprelay.quickstart.screen import Screen

EXIT_INTERRUPTED: Final = 130  # as of a process that SIGINT ended
EXIT_FAILED: Final = 1

QUEUE_WITHIN_S: Final = 20.0
"""A queue that gets no shorter for so long is left alone: `queue` tells more of it."""

_LOG_LINES: Final = 12


async def quickstart(data_dir: Path | None, tour_only: bool, primary: Kind = "mastodon") -> int:
    """Play the tour; stay up after it, but for `tour_only` and without a terminal; the exit code.

    Everything is kept in `data_dir`; nothing is kept if it is None. `primary` is the service behind
    the relay. Raises ConfigError when the folder is of no use.
    """
    screen = Screen()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    stays = not tour_only and sys.stdin.isatty() and sys.stdout.isatty()
    with open_place(data_dir, primary) as place:
        try:
            async with contextlib.AsyncExitStack() as stack:
                tour = Tour(place, screen, stack, ended)
                code = await tour.play(stays=stays)
            if stays and code == 0:
                screen.good("Ended: the relay and its server are stopped.")
        except RelayFailed as error:  # it did not end when it was to
            screen.bad(error.sentence)
            code = EXIT_FAILED
        if place.kept:
            screen.note(f"Kept in {place.folder}: `--data-dir` goes on from there.")
    return code


class Tour:
    """One tour. What it begins is ended by `stack`; when `ended` is set, it breaks off."""

    def __init__(
        self,
        place: Place,
        screen: Screen,
        stack: contextlib.AsyncExitStack,
        ended: asyncio.Event,
    ) -> None:
        self._place = place
        self._screen = screen
        self._ended = ended
        self._steps = PrimarySteps(place, screen, stack)
        self._at = ""  # the step under way

    async def play(self, *, stays: bool) -> int:
        """All steps, and then, if it `stays`, wait for the end; the exit code."""
        try:
            if not await self._unless_ended(self._play_steps()):
                self._screen.heading(f"Interrupted at {self._at}.")
                return EXIT_INTERRUPTED
            if stays:
                self._welcome()
                await self._unless_ended(self._show_what_comes())
        except XmppRelayError as error:
            self._failed(error.sentence)
            return EXIT_FAILED
        return 0

    async def _unless_ended(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work; False if all was `ended` before it was done.

        Raises what the work raises, and RelayFailed when the relay ends by itself.
        """
        working = asyncio.create_task(work)
        ending = asyncio.create_task(self._ended.wait())
        losing = asyncio.create_task(self._steps.relay.lost.wait())
        tasks = (working, ending, losing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended.is_set():
            return False
        if self._steps.relay.lost.is_set():
            raise RelayFailed("The relay ended by itself.")
        working.result()
        return True

    async def _play_steps(self) -> None:
        began = time.perf_counter()
        self._screen.title("xmpprelay, shown on this machine by alice, bob and carol")
        steps = self._steps.in_order()
        for number, (title, step) in enumerate(steps, 1):
            self._at = f"step {number} ({title})"
            self._screen.step(number, title)
            await step()
        self._at = ""
        took = [1000 * each for each in self._steps.took]
        self._screen.good(
            f"All {len(steps)} steps worked, in {time.perf_counter() - began:.1f} s. "
            f"From alice to a follower: {min(took):.1f} to {max(took):.1f} ms."
        )

    def _failed(self, why: str) -> None:
        relay, server = self._steps.relay, self._place.server
        logs = [
            (f"the relay's log ({relay.log})", relay.log_tail(_LOG_LINES)),
            ("Prosody's log", server.log_tail(_LOG_LINES)),
        ]
        if isinstance(self._place.primary, DemoPrimary):
            logs.append(("the demo primary's log", self._place.primary.log_tail(_LOG_LINES)))
        where = f"{self._at[0].upper()}{self._at[1:]} failed. " if self._at else ""
        self._screen.bad(where + why, [(whose, text) for whose, text in logs if text not in why])

    def _welcome(self) -> None:
        server, passwords = self._place.server, self._place.passwords
        screen, home = self._screen, self._steps.home
        jid, pages = f"{VISITOR}@{server.domain}", self._place.pages
        screen.heading("Now you, with your own client. All of it stays up until you press Ctrl-C.")
        screen.pairs(
            [
                ("address", jid),
                ("password", passwords[VISITOR]),
                ("server", f"{server.host}, port {server.c2s_port}, no TLS: it is this machine"),
                (
                    "profanity",
                    f"/connect {jid} server {server.host} port {server.c2s_port} tls disable",
                ),
                ("Gajim", f"Advanced Settings: host {server.host}, port {server.c2s_port}, PLAIN"),
                ("write to", f"{home}: help, join NAME, follow alice"),
                ("or add", f"alice@{server.component_domain} to your contacts"),
                ("or be", f"alice@{server.domain}, with the password {passwords['alice']}"),
                ("pages", f"{pages.front} in a browser; how all is: {pages.status}"),
                *self._of_primary(),
            ]
        )
        screen.blank()
        screen.note("What alice, bob and carol get is shown here:")

    def _of_primary(self) -> list[tuple[str, str]]:
        primary = self._place.primary
        if not isinstance(primary, DemoPrimary):
            return []
        return [
            ("primary", f"{primary.site} in a browser; `link` goes there, with the same password"),
            ("type here", "primary down, primary up: let it die, and bring it back"),
        ]

    async def _show_what_comes(self) -> None:
        for person in self._steps.people.values():
            person.forgets()
        shows = [asyncio.create_task(self._show(person)) for person in self._steps.people.values()]
        typed = asyncio.create_task(self._obey_what_is_typed())
        tasks = (*shows, typed)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not typed.done() or typed.cancelled():
            raise NotSeen("The server ended by itself.")
        typed.result()

    async def _obey_what_is_typed(self) -> None:
        """Until there is nothing more to come, as after Ctrl-D."""
        with Keyboard() as keyboard:
            while (line := await keyboard.line()) is not None:
                try:
                    await self._obey(line.split())
                except XmppRelayError as error:
                    self._screen.note(error.sentence)

    async def _obey(self, words: list[str]) -> None:
        screen, primary = self._screen, self._place.primary
        match words:
            case []:
                pass
            case ["primary", *_] if not isinstance(primary, DemoPrimary):
                screen.note("There is no demo primary: `--primary mastodon` has one.")
            case ["primary", "down"] if isinstance(primary, DemoPrimary) and primary.running:
                await self._steps.take_away()
                screen.note("Post something: it goes live all the same. `primary up` ends it.")
            case ["primary", "up"] if isinstance(primary, DemoPrimary) and not primary.running:
                await self._steps.bring_back(within_s=QUEUE_WITHIN_S)
            case ["primary", "down" | "up"]:
                screen.note(f"It is {words[1]} already.")
            case _:
                screen.note(
                    "Here one types: primary down, primary up. Posts and commands of the relay are "
                    "for your client. Ctrl-C ends all."
                )

    async def _show(self, person: Person) -> None:
        while True:
            seen = await person.sees("whatever comes", lambda _: True, within_s=None)
            if seen.kind == "message":
                self._screen.gets(person.name, self._steps.short(seen.sender), seen.text)
