"""Whether the relay runs, and whether it can do its work: for whatever watches it.

    /healthz   200 as long as the process answers: if not, restart it
    /readyz    200 if the server is connected and posts can be stored; else 503 and one word of why,
               of these the worst: `failed` (the database), `full` (the disk), `disconnected`

A restart helps against none of the latter three, so nothing should restart a relay for `/readyz`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web


class Store(Protocol):
    """What is known of the database."""

    @property
    def full(self) -> bool:
        """Its disk has no room."""

    @property
    def failure(self) -> Exception | None:
        """Why nothing can be written any more; None: it can."""


class Health:
    """Answers monitors. `connected` says whether there is a stream to the server."""

    def __init__(self, db: Store, connected: Callable[[], bool]) -> None:
        self._db = db
        self._connected = connected

    def routes(self) -> Sequence[web.RouteDef]:
        """Its two addresses."""
        return [web.get("/healthz", self._alive), web.get("/readyz", self._ready)]

    def trouble(self) -> str:
        """What keeps the relay from its work, in a word; empty: nothing does."""
        if self._db.failure is not None:
            return "failed"
        if self._db.full:
            return "full"
        return "" if self._connected() else "disconnected"

    async def _alive(self, _request: web.Request) -> web.Response:
        return _word("ok")

    async def _ready(self, _request: web.Request) -> web.Response:
        trouble = self.trouble()
        return _word(trouble, status=503) if trouble else _word("ready")


def _word(word: str, status: int = 200) -> web.Response:
    return web.Response(text=f"{word}\n", status=status, headers={"Cache-Control": "no-store"})
