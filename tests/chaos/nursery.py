"""Relay processes that start quickly: a process that has imported everything, and forks.

Half of the cost of a start is importing, which is no part of what the crash loops test. What is
forked does what `xmpprelay run --config FILE` does, in a process of its own, and is killed as any
other: `kill -9`. Nothing is shared with the next one but the database.

Run as a program it is the process that forks; `Nursery` is the test's side of it.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final, Self

from tests.chaos.steps import step

STARTS_WITHIN_S: Final = 300.0
"""It takes a third of a second; a machine that is busy with long runs may need a minute."""

_PR_SET_PDEATHSIG: Final = 1


class Nursery:
    """One relay after the other, on one machine. As a context manager it outlives nobody."""

    def __init__(self, folder: Path) -> None:
        self._notified_at = folder / "notify"
        self._log = folder / "relay.log"
        self._notices: asyncio.Queue[str] = asyncio.Queue()
        self._forker: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        notices = self._notices

        class Notices(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _: Any) -> None:
                notices.put_nowait(data.decode())

        self._listening, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Notices, local_addr=str(self._notified_at), family=socket.AF_UNIX
        )
        self._forker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.nursery", str(self._log)),
            cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"NOTIFY_SOCKET": str(self._notified_at)},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._forker is not None
        assert self._forker.stdin is not None
        self._forker.stdin.close()  # it kills what it has forked, and ends
        await self._forker.wait()
        self._listening.close()

    async def starts(self, config: Path) -> None:
        """Start a relay; returns when it says that it is ready."""
        while not self._notices.empty():
            self._notices.get_nowait()
        process = os.pidfd_open(int(await self._does(f"start {config}")))
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(process, gone.set)
        ended = asyncio.ensure_future(gone.wait())
        told = asyncio.ensure_future(self._notices.get())
        try:
            with step("the start of the relay"):
                async with asyncio.timeout(STARTS_WITHIN_S):
                    await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            loop.remove_reader(process)
            os.close(process)
        if not told.done() or told.result() != "READY=1":
            lines = self._log.read_text(errors="replace").splitlines()
            said = told.result() if told.done() else "nothing, and ended"
            raise AssertionError(f"the relay said {said}:\n" + "\n".join(lines[-20:]))

    async def is_killed(self) -> None:
        """kill -9; returns when it is gone."""
        assert await self._does("kill") == "killed"

    async def _does(self, order: str) -> str:
        forker = self._forker
        assert forker is not None
        assert forker.stdin is not None
        assert forker.stdout is not None
        forker.stdin.write(f"{order}\n".encode())
        return (await forker.stdout.readline()).decode().strip()


def serve(log: str) -> None:
    """Fork relays as standard input says, until it ends."""
    import xmpprelay.config
    import xmpprelay.service  # noqa: F401 - what takes time to import
    from xmpprelay.cli import execute

    child = 0
    for line in sys.stdin:
        order, _, config = line.rstrip("\n").partition(" ")
        if order == "start":
            child = os.fork()
            if not child:
                _become(log)
                os._exit(execute(["run", "--config", config]))
            answer = f"{child}"
        else:
            _end(child)
            child, answer = 0, "killed"
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    _end(child)


def _become(log: str) -> None:
    """In the child: nothing of the parent's standard streams, and never without the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for stream in (1, 2):
        os.dup2(out, stream)


def _end(child: int) -> None:
    if child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    serve(sys.argv[1])
