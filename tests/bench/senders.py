"""Components that only send, for `limit.py`; says `begins` when it is logged in.

python -m tests.bench.senders prebuilt|send_message PORT DOMAIN FOLLOWERS POSTS TEXT
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Final

from slixmpp import ComponentXMPP

CHUNK_BYTES: Final = 64 * 1024


class Sender(ComponentXMPP):
    """Sends so many posts to so many followers when it is logged in."""

    def __init__(self, kind: str, port: int, domain: str, followers: int, posts: int, text: str):
        super().__init__(domain, "any", "127.0.0.1", port)
        self.add_event_handler("session_start", self._starts)
        self._send = {"prebuilt": self._prebuilt, "send_message": self._one_by_one}[kind]
        self._people = [f"f{number}@own.test" for number in range(followers)]
        self._posts, self._text = posts, text
        self._room = asyncio.Event()
        self._room.set()

    def pause_writing(self) -> None:
        """The transport's buffer is full (asyncio.Protocol)."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It has room again."""
        self._room.set()

    async def _starts(self, _: Any) -> None:
        print("begins", flush=True)
        await self._send()

    async def _prebuilt(self) -> None:
        chunks = self._built()
        for _ in range(self._posts):
            for chunk in chunks:
                self.transport.write(chunk)
                await self._room.wait()
            await asyncio.sleep(0)

    async def _one_by_one(self) -> None:
        for _ in range(self._posts):
            for number, person in enumerate(self._people):
                self.send_message(mto=person, mbody=self._text, mfrom=f"author@{self.boundjid}")
                if not number % 100:
                    await asyncio.sleep(0)

    def _built(self) -> Sequence[bytes]:
        """The bytes of one post to everybody, in chunks."""
        whole = "".join(
            f'<message from="author@{self.boundjid}" to="{person}" type="chat" id="1.abcdef">'
            f'<body>{self._text}</body><origin-id xmlns="urn:xmpp:sid:0" id="1.abcdef"/>'
            '<no-store xmlns="urn:xmpp:hints"/></message>'
            for person in self._people
        ).encode()
        return [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]


async def main(kind: str, port: str, domain: str, followers: str, posts: str, text: str) -> None:
    """Send, and go on until somebody ends it."""
    sender = Sender(kind, int(port), domain, int(followers), int(posts), text)
    sender.connect()
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
