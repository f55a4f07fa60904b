"""A private PostgreSQL on the loopback, for the tests.

It runs the machine's `postgres` program on a data folder of its own, which `initdb` makes: the
system's own server and its clusters are neither asked nor disturbed. Nothing of it is meant to
last, so it does not wait for the disk. It never outlives whoever started it.

As whom it runs. PostgreSQL refuses to be root, so root starts it as the user `postgres` of the
Debian package; anyone else starts it as himself.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import (
    POLL_S,
    claim_port,
    end_bound,
    free_port,
    spawn_bound,
)

USER = "postgres"


class Postgresql:
    """A private PostgreSQL. As a context manager it runs, and at the end leaves nothing behind.

    Its port, password and data stay the same through `kill` and `start`. StreamError when it cannot
    be had.
    """

    host = "127.0.0.1"
    ready_within_s = 30.0  # it takes 0.3 s; a machine busy with tests needs several

    def __init__(self) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self.folder = Path(tempfile.mkdtemp(prefix="xmpprelay-postgresql-"))
        self._options = _other_user(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._at_exit: weakref.finalize[..., Any] | None = None

    async def __aenter__(self) -> Self:
        """Makes its data and starts it."""
        try:
            await asyncio.to_thread(self._make_data)
            await self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it and removes its data."""
        await self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = USER, password: str = "") -> str:
        """The URL of one of its databases."""
        who = f"{user}:{password or self.password}"
        return f"postgresql://{who}@{self.host}:{self.port}/{database}"

    async def new_database(self) -> str:
        """The URL of an empty database that no other test has."""
        name = f"test_{secrets.token_hex(8)}"
        await self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    async def execute(self, statement: str, url: str = "") -> list[Any]:
        """Carries out a statement, in the database of a URL or the first one; gives its rows."""
        connection = await asyncpg.connect(url or self.url())
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def start(self) -> None:
        """Returns when it can be asked."""
        claim_port(self.port)
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        command = [_program("postgres"), "-D", str(self.folder / "data")]
        command += [f"-c{name}={value}" for name, value in settings.items()]
        with (self.folder / "console.log").open("ab") as console:
            self._process = spawn_bound(command, console, cwd=self.folder, **self._options)
        self._at_exit = weakref.finalize(self, end_bound, self._process)
        try:
            async with asyncio.timeout(self.ready_within_s):
                while not await self._answers():
                    if self._process.poll() is not None:
                        raise StreamError(f"The private PostgreSQL ended: {self._said()}")
                    await asyncio.sleep(POLL_S)
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """Ends it at once, with all its connections, and returns when it is gone."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGQUIT)  # of all its processes it tells each
            await asyncio.to_thread(self._process.wait)
            self._process = None
        if self._at_exit is not None:
            self._at_exit.detach()
            self._at_exit = None

    async def _answers(self) -> bool:
        try:
            await self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _make_data(self) -> None:
        words = self.folder / "password"
        words.write_text(self.password)
        command = [_program("initdb"), "--no-sync", "--auth=scram-sha-256", "--encoding=UTF8"]
        command += [
            "--locale=C",
            f"--username={USER}",
            f"--pwfile={words}",
            str(self.folder / "data"),
        ]
        made = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._options,
        )
        if made.returncode != 0:
            raise StreamError(f"PostgreSQL made no data folder; it says: {made.stdout}")

    def _said(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace").strip()


def _other_user(folder: Path) -> dict[str, Any]:
    """Gives the folder to whom PostgreSQL runs as; what a process of his is started with."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return {}  # its package, which makes the user, is not here: told when the program is missed
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def _program(name: str) -> str:
    """Debian keeps the programs of each version in a folder of their own."""
    homes = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda home: float(home.parent.name)
    )
    found = shutil.which(name, path=os.pathsep.join(map(str, reversed(homes))))
    found = found or shutil.which(name)
    if found is None:
        raise StreamError(
            f"There is no {name} on this machine; type: "
            "sudo apt-get install --no-install-recommends postgresql"
        )
    return found
