"""The component's connection: what is told when there is none, and how the next one is made."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from tests.integration.clients import COMPONENT
from tests.servers.towns import Town
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.xmpp.component import Component

DOMAIN = "relay.example.test"
HEADER = (
    f"<stream:stream xmlns='{COMPONENT}' xmlns:stream='http://etherx.jabber.org/streams' "
    f"from='{DOMAIN}' id='7'>"
)
CONFLICT = "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(*scripts: Script, port: int = 0) -> AsyncIterator[int]:
    """A server that treats its first, second … connection as these say; gives its port."""
    left = list(scripts)
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await left.pop(0)(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


async def accepts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server does."""
    await reader.readuntil(b">")
    writer.write(HEADER.encode())
    await reader.readuntil(b"</handshake>")
    writer.write(b"<handshake/>")
    await writer.drain()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server does that is asked whether it is still there."""
    await accepts(reader, writer)
    asked = fromstring(await reader.readuntil(b"</iq>"))
    writer.write(f"<iq from='{asked.get('to')}' to='{DOMAIN}' id='{asked.get('id')}' ".encode())
    writer.write(b"type='result'/>")
    await writer.drain()


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server does that is stopped."""
    await reader.read()
    del writer


async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As the wrong port does."""
    await reader.readuntil(b">")
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    await reader.read()


def component(port: int, *, domain: str = DOMAIN, secret: str = "secret") -> Component:
    made = Component(domain, secret, "127.0.0.1", port, "example.test")
    made.answer_within_s = 0.3
    return made


async def told(made: Component) -> str:
    """What is told when it cannot connect."""
    with pytest.raises(StreamError) as caught:
        await made.open(0.0)
    await made.close()
    return caught.value.sentence


# --- no connection -------------------------------------------------------------------------------


async def test_a_wrong_secret_is_told(session_town: Town) -> None:
    sentence = await told(component(session_town.component_port, secret="wrong"))
    assert "refuses the component's secret: set the same secret" in sentence


async def test_a_component_that_the_server_does_not_know_is_told(session_town: Town) -> None:
    sentence = await told(component(session_town.component_port, domain="other.example.test"))
    if session_town.tells_strangers:
        assert "no component other.example.test: add it" in sentence
    else:
        assert "refuses the component's secret" in sentence


async def test_the_old_stream_of_a_relay_that_was_killed_is_waited_for() -> None:
    """The server may not have seen its end yet."""

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b">")
        writer.write((HEADER + CONFLICT).encode())
        writer.close()

    async with listening(refuses, accepts) as port:
        made = component(port)
        await made.open(10.0)
        assert made.up
        await made.close()
    async with listening(refuses) as port:
        assert "is connected already: stop the other" in await told(component(port))


async def test_a_server_that_is_not_there_is_told() -> None:
    sentence = await told(component(free_port()))
    assert "No XMPP server listens" in sentence
    assert "correct [xmpp] host and port" in sentence


@pytest.mark.parametrize("script", [hangs, speaks_http])
async def test_a_port_of_something_else_is_told(script: Script) -> None:
    async with listening(script) as port:
        sentence = await told(component(port))
    assert str(port) in sentence or "is not XML" in sentence
    assert "correct [xmpp] host and port" in sentence or "look into its log" in sentence


async def test_a_server_that_comes_up_later_is_waited_for() -> None:
    port = free_port()
    made = component(port)
    opening = asyncio.create_task(made.open(10.0))
    for _ in range(20):  # the first try is in vain
        await asyncio.sleep(0)
    assert not opening.done()
    async with listening(accepts, port=port):
        await asyncio.wait_for(opening, 10)
        assert made.up
        await made.close()


# --- the next one --------------------------------------------------------------------------------


async def test_one_that_was_refused_is_ended_and_does_not_end_the_next() -> None:
    """slixmpp knows one transport: the end of an old connection must not be taken for the new."""
    ended = asyncio.Event()
    later: list[asyncio.StreamWriter] = []

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepts(reader, writer)
        writer.close()

    async def refuses_and_stays(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b">")
        writer.write((HEADER + CONFLICT).encode())
        later.append(writer)
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1000):
                pass
        ended.set()

    async with listening(closes, refuses_and_stays, answers) as port:
        made = component(port)
        streams: asyncio.Queue[str] = asyncio.Queue()
        made.came_up = lambda: streams.put_nowait("up")
        made.went_down = lambda: streams.put_nowait("down")
        await made.open(0.0)
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(10):
            assert [await streams.get() for _ in range(3)] == ["up", "down", "up"]
            await ended.wait()
        later[0].close()
        assert (await made.ping("example.test")).get("type") == "result"
        assert streams.empty()
        await made.close()
        await asyncio.wait_for(running, 10)


async def test_what_is_asked_fails_with_the_stream_and_not_later() -> None:
    async with listening(accepts, accepts) as port:
        made = component(port)
        made.answer_within_s = 60.0
        await made.open(0.0)
        question = made.ping("example.test")
        made.drop("by the test")
        with pytest.raises(StreamError):
            await asyncio.wait_for(question, 5)
        with pytest.raises(StreamError):
            await made.ping("example.test")
        await made.close()
