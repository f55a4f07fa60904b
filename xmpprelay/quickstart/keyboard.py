"""What is typed in the terminal, line by line, while everything else goes on."""

import asyncio
import os
import sys
from types import TracebackType
from typing import Self


class Keyboard:
    """Standard input. As a context manager it listens."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()

    def __enter__(self) -> Self:
        """Listen."""
        # Read when there is something, and not as a stream that never blocks: the terminal is
        # standard output too, and that must.
        asyncio.get_running_loop().add_reader(self._file, self._read)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._file)

    async def line(self) -> str | None:
        """The next line; None: there will be none, as after Ctrl-D."""
        return await self._lines.get()

    def _read(self) -> None:
        try:
            typed = os.read(self._file, 4096)  # of a terminal, one line
        except OSError:  # it is gone
            typed = b""
        if not typed:
            asyncio.get_running_loop().remove_reader(self._file)
            self._lines.put_nowait(None)
        for line in typed.decode(errors="replace").splitlines():
            self._lines.put_nowait(line)
