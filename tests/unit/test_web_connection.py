"""What a connection of the pages counts as, on a transport that holds back what it is given."""

import asyncio
from typing import Any

from aiohttp import web

from xmpprelay.web.answers import Answers
from xmpprelay.web.connection import Bounds, Connection, Door

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n"
AT_ONCE = Bounds(connections=1, head_s=-1.0, answer_s=-1.0)
"""Whoever is waited for is overdue."""


class Wire(asyncio.Transport):
    """A transport of which the test says how much is still in it."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.ends: list[str] = []

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: Any) -> None:
        self.unsent += len(data)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return bool(self.ends)

    def close(self) -> None:
        self.ends.append("closed")

    def abort(self) -> None:
        self.ends.append("cut off")


class Told(Answers):
    """Tells the test that an answer was given to the transport."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    def sent(self, request: web.BaseRequest, answer: web.StreamResponse) -> None:
        super().sent(request, answer)
        self.told.set()


class Client:
    """A connection of its own house, and its wire."""

    def __init__(self, door: Door) -> None:
        self.wire = Wire()
        self.meanwhile = b""  # what comes while an answer is made
        self.answers = Told()
        self.connection = Connection(web.Server(self._page), door, self.answers)
        self.connection.connection_made(self.wire)

    async def _page(self, request: web.BaseRequest) -> web.Response:
        assert isinstance(request.protocol, Connection)
        request.protocol.answering()
        assert request.protocol.overdue(), "it is being answered"
        request.protocol.data_received(self.meanwhile)
        return web.Response(text="small")

    async def asks(self, more: bytes = b"") -> None:
        """Return when the answer was given to the transport."""
        self.connection.data_received(REQUEST % more)
        await self.answers.told.wait()

    async def goes(self) -> None:
        self.connection.connection_lost(None)
        await asyncio.sleep(0)


async def test_an_answer_is_waited_for_until_the_last_byte_is_out() -> None:
    client = Client(Door(AT_ONCE))
    assert client.connection.overdue(), "nothing has been asked yet"
    await client.asks()
    assert client.connection.overdue()
    assert not client.connection.idle
    client.wire.unsent = 0
    assert client.connection.idle
    assert not client.connection.overdue()
    client.connection.data_received(b"GET")
    assert client.connection.overdue()
    await client.goes()


async def test_a_question_that_has_begun_during_an_answer_is_waited_for_as_others_are() -> None:
    client = Client(Door(AT_ONCE))
    client.meanwhile = b"GET / HT"
    await client.asks()
    client.wire.unsent = 0
    assert not client.connection.idle
    assert client.connection.overdue()
    await client.goes()


async def test_a_connection_that_ends_is_waited_for_until_it_has_ended() -> None:
    client = Client(Door(AT_ONCE))
    await client.asks(b"Connection: close\r\n")
    client.wire.unsent = 0
    assert not client.connection.idle
    assert client.connection.overdue()
    await client.goes()


async def test_nobody_goes_who_has_not_got_his_answer() -> None:
    door = Door(AT_ONCE)
    first = Client(door)
    await first.asks()
    second = Client(door)
    assert (first.wire.ends, second.wire.ends) == ([], ["closed"])
    first.wire.unsent = 0
    third = Client(door)
    assert (first.wire.ends, third.wire.ends) == (["cut off"], [])
    assert door.inside == {third.connection}
    assert door.came_when_full == 2
    for client in (first, second, third):
        await client.goes()
    assert not door.inside
