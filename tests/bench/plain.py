"""What one writes first: a component that calls slixmpp's `send_message()` for each follower."""

import asyncio
from collections.abc import Sequence
from multiprocessing.connection import Connection

from slixmpp import ComponentXMPP
from slixmpp.stanza import Message


class Plain(ComponentXMPP):
    """Passes on each message that it gets."""

    def __init__(
        self, domain: str, secret: str, host: str, port: int, followers: Sequence[str]
    ) -> None:
        super().__init__(domain, secret, host, port)
        self.logged_in = asyncio.Event()
        self.add_event_handler("session_start", lambda _: self.logged_in.set())
        self.add_event_handler("message", self._passes_on)
        self._followers = followers

    def _passes_on(self, message: Message) -> None:
        if message["type"] == "error":
            return
        sender = self.boundjid.bare  # ejabberd wants one
        for follower in self._followers:
            self.send_message(mto=follower, mfrom=sender, mbody=message["body"], mtype="chat")


def live(pipe: Connection, *place: object) -> None:
    """Be that component, in a process of its own; tells the pipe when it is logged in."""
    asyncio.run(_live(pipe, *place))


async def _live(pipe: Connection, *place: object) -> None:
    plain = Plain(*place)  # type: ignore[arg-type]
    plain.connect()
    await plain.logged_in.wait()
    pipe.send("logged in")
    await asyncio.get_running_loop().create_future()
