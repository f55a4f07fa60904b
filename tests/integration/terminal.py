"""A terminal that a test types into and reads, with a chat client in it.

The client runs in a tmux of its own. Nothing polls: tmux passes on what the client writes, and each
time the screen is read again.
"""

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

WITHIN_S: Final = 20.0
"""A client needs a second; a machine that is busy with tests may need several."""


class Terminal:
    """One program on a screen of 110 by 45 characters; its files are in a folder of the test."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._socket = folder / "tmux"
        self._pipe = folder / "output"
        self._command = command
        self._environment = os.environ | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "TERM": "screen-256color",
            "LC_ALL": "C.UTF-8",
        }
        self._environment.pop("TMUX", None)
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        os.mkfifo(self._pipe)
        size = ("-x", "110", "-y", "45")
        await self._tmux("-f", "/dev/null", "new-session", "-d", *size, *self._command)
        self._reading = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._reading, self._written)
        await self._tmux("pipe-pane", "-O", f"exec cat > '{self._pipe}'")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self._reading)
        await self._tmux("kill-server")

    def _written(self) -> None:
        os.read(self._reading, 65536)
        self._changed.set()

    async def types(self, line: str) -> None:
        """Type a line, and the return key."""
        await self._tmux("send-keys", "-l", line)
        await self._tmux("send-keys", "Enter")

    async def screen(self) -> str:
        """What stands on the screen now; lines that the terminal has broken are whole."""
        return await self._tmux("capture-pane", "-p", "-J")

    async def shows(self, text: str) -> str:
        """The screen, once the text stands on it; AssertionError with the screen if it does not."""
        screen = ""
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    self._changed.clear()
                    screen = await self.screen()
                    if text in " ".join(screen.split()):
                        return screen
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"the screen does not show {text!r}:\n{screen}") from None

    async def _tmux(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("tmux", "-S", str(self._socket), *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return out.decode()
