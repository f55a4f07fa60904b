"""A client made with aioxmpp, as a process of its own (see tests/interop/aioxmpp_client.py)."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.servers import Account

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / ".venv-aioxmpp" / "bin" / "python"
PROGRAM = REPOSITORY / "tests" / "interop" / "aioxmpp_client.py"

Event = dict[str, Any]


class AioxmppClient:
    """A logged-in client. What arrives is kept, in order, until a test takes it with `next`.

    async with AioxmppClient(account) as bob:
        await bob.do("subscribe", to="alice@example.test")
        message = await bob.next("message")
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._arrived: list[Event] = []
        self._process: asyncio.subprocess.Process | None = None
        self.jid = ""  # the full one, once logged in

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(PYTHON),
            str(PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        account = self._account
        where = {"host": account.host, "port": account.port}
        try:
            done = await self.do("login", jid=account.jid, password=account.password, **where)
        except BaseException:
            await self.kill()
            raise
        self.jid = done["jid"]
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Logs out, unless it was killed."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.communicate()

    async def do(self, name: str, **arguments: Any) -> Event:
        """Lets it carry out a command; returns its `done` event. AssertionError if it fails."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._take(lambda event: event["event"] in ("done", "failed"))
        assert answer["event"] == "done", answer["reason"]
        return answer

    async def next(self, kind: str, **fields: Any) -> Event:
        """The first message or presence, arrived or to come, that has these fields."""
        wanted = {"event": kind, **fields}
        return await self._take(lambda event: wanted.items() <= event.items())

    async def kill(self) -> None:
        """Ends it as a crash would: it does not log out."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _take(self, fits: Callable[[Event], bool]) -> Event:
        assert self._process is not None
        assert self._process.stdout is not None
        for event in self._arrived:
            if fits(event):
                self._arrived.remove(event)
                return event
        while line := await self._process.stdout.readline():
            event = json.loads(line)
            if fits(event):
                return event
            self._arrived.append(event)
        raise AssertionError("the aioxmpp client has ended; its stderr says why")
