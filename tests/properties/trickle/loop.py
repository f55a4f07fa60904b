"""An event loop whose time passes only when nothing else can happen, and then at once."""

import asyncio
from typing import Final

MOST_TURNS: Final = 5_000_000
"""More means that something goes round in circles without time passing."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code that waits by `asyncio.sleep` and `asyncio.timeout` alone, and has no sockets."""

    def __init__(self) -> None:
        super().__init__()
        select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = lambda _timeout=None: select(0)  # type: ignore[attr-defined]
        self._at = 0.0
        self._turns = 0

    def time(self) -> float:
        return self._at

    def _run_once(self) -> None:
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise RuntimeError("time does not pass")
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._at = max(self._at, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]
