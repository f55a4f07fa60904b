"""The primary service of the quickstart: the demo primary, a table of an SQLite file, or none.

    demo = DemoPrimary(folder, port)
    demo.join("alice", "her password")
    await demo.start()                      # returns when it answers
    code = await demo.lets_in(address, "alice", "her password")
    await demo.kill()                       # SIGKILL, as a crash would be

The demo is a process of its own. What is asked of it here is asked by HTTP, as a browser does, and
as anybody may who looks at its timeline.
"""

import asyncio
import contextlib
import html
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from xmpprelay.core.html import html_to_text
from xmpprelay.errors import XmppRelayError
from xmpprelay.quickstart.demo_primary.app import HOST
from xmpprelay.quickstart.demo_primary.store import DemoStore
from xmpprelay.quickstart.private_server import POLL_S, claim_port, end_bound, spawn_bound

READY_WITHIN_S: Final = 20.0
"""It takes less than a second; a machine busy with tests may need several."""

ANSWERS_WITHIN_S: Final = 5.0

SETTLE_S: Final = 2.0
"""What is on this machine does at once what it is sent, or never; others need a minute."""

PER_SECOND: Final = 10.0
"""Requests to the demo: few enough for people to see that it is a trickle."""

_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')
_CODE: Final = re.compile(r'<code id="code">([^<]+)</code>')
_PAGE: Final = 40  # statuses of one page of the timeline


class PrimaryFailed(XmppRelayError):
    """The demo primary did not do what was asked."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A post as the primary service shows it."""

    id: str
    author: str  # handle
    text: str
    address: str = ""  # on the web; empty: nowhere


class Table:
    """A table of an SQLite file, which the relay makes itself."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "primary.db").absolute()

    @property
    def options(self) -> Mapping[str, object]:
        """What the relay's configuration says of it."""
        return {"driver": "sql", "url": f"sqlite:///{self.file}", "settle_s": SETTLE_S}

    def posts(self) -> list[Shown]:
        """What is in it, in the order in which it came."""
        if not self.file.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db:
            try:
                rows = db.execute("SELECT id, handle, text FROM post ORDER BY rowid").fetchall()
            except sqlite3.OperationalError:  # there is no table yet, or it is just being made
                return []
        return [Shown(*row) for row in rows]


class DemoPrimary:
    """The demo primary at a port of this machine, with its data in a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.site = f"http://{HOST}:{port}"
        self.log = folder / "primary.log"
        self._port = port
        self._file = folder / "primary-demo.db"
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def options(self) -> Mapping[str, object]:
        """What the relay's configuration says of it."""
        return {
            "driver": "mastodon",
            "instances": [self.site],
            "settle_s": SETTLE_S,
            "per_second": PER_SECOND,
        }

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def join(self, name: str, password: str, follows: Iterable[str] = ()) -> None:
        """Make an account, or give it this password; while it does not run."""
        with closing(DemoStore(self._file)) as store:
            store.join(name, password, follows)

    async def start(self) -> float:
        """Start it on the data that it has; the seconds until it answers. Raises PrimaryFailed."""
        began = time.perf_counter()
        claim_port(self._port)
        command = (
            sys.executable, "-m", "xmpprelay.quickstart.demo_primary",
            "--database", str(self._file), "--port", str(self._port),
        )  # fmt: skip
        with self.log.open("ab") as log:
            self._process = spawn_bound(command, log)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await self._answers():
                    if not self.running:
                        raise PrimaryFailed(f"The demo primary ended at once:\n{self.log_tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise PrimaryFailed(
                f"The demo primary was not ready within {READY_WITHIN_S:.0f} s."
            ) from None
        return time.perf_counter() - began

    async def kill(self) -> None:
        """End it as a crash would (SIGKILL), and return when it is gone."""
        if self._process is not None:
            await asyncio.to_thread(end_bound, self._process)
            self._process = None

    async def close(self) -> None:
        """End it for good."""
        await self.kill()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of what it has printed; nothing if it has printed nothing."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    # What people do in their browsers

    async def lets_in(self, address: str, name: str, password: str) -> str:
        """Somebody opens an address, logs in and lets a program in; the code that he is shown."""
        form = {
            html.unescape(key): html.unescape(value)
            for key, value in _HIDDEN.findall(await self._text("GET", address))
        }
        form |= {"name": name, "password": password}
        page = await self._text("POST", f"{self.site}/oauth/authorize", data=form)
        code = _CODE.search(page)
        if code is None:
            raise PrimaryFailed(f"The demo primary did not let {name} in.")
        return html.unescape(code[1])

    async def posts(self, after: str = "0") -> list[Shown]:
        """Its public timeline above an id, oldest first, to its end."""
        found: list[Shown] = []
        while page := await self._page({"min_id": after}):
            found += page
            after = page[-1].id
        return found

    async def newest(self) -> str:
        """The id of the newest post on its public timeline; `0`: there is none."""
        page = await self._page({})
        return page[-1].id if page else "0"

    async def _page(self, query: dict[str, str]) -> list[Shown]:
        listed = await self._json("/api/v1/timelines/public", query | {"limit": str(_PAGE)})
        return [
            Shown(each["id"], each["account"]["acct"], html_to_text(each["content"]), each["url"])
            for each in reversed(listed)
        ]

    async def _answers(self) -> bool:
        try:
            await self._json("/api/v2/instance", {})
        except PrimaryFailed:
            return False
        return True

    async def _json(self, path: str, query: Mapping[str, str]) -> Any:
        async with self._asked("GET", f"{self.site}{path}", params=query) as response:
            return await response.json()

    async def _text(self, method: str, address: str, **more: Any) -> str:
        async with self._asked(method, address, **more) as response:
            return await response.text()

    @contextlib.asynccontextmanager
    async def _asked(self, method: str, address: str, **more: Any) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S),
                # A connection of its own for each: the demo may be another process by then.
                connector=aiohttp.TCPConnector(force_close=True),
            )
        try:
            async with self._session.request(method, address, **more) as response:
                yield response
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise PrimaryFailed(
                f"The demo primary did not answer ({type(error).__name__})."
            ) from None
