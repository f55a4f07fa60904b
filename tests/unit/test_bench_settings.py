"""The benchmark of the server's settings: what it says, and the network that fails in it."""

import asyncio
from dataclasses import replace

import pytest

from tests.bench.scene import Row
from tests.bench.second_connection import Outage
from tests.bench.settings import line
from tests.bench.stanza_sizes import LONG_POSTS, SHORT_POSTS, Sizes
from tests.bench.tunnel import Tunnel
from xmpprelay.quickstart.private_server import free_port

THROUGH = Outage(
    gave_up_s=25.2,
    lost_before=48,
    through_s=0.44,
    tried=1,
    refused=0,
    sent=120,
    came=120,
    doubled=0,
    watched_s=65.1,
)
WELL = Sizes(
    long_came=LONG_POSTS,
    short_came=SHORT_POSTS,
    lost=0,
    pages=3,
    page_bytes=129_618,
    pages_lost=0,
    list_bytes=229_749,
    answered=True,
)


def test_an_outage_is_told() -> None:
    begins = "the relay gives up after 25 s, 48 posts lost until then; "
    assert THROUGH.told() == f"{begins}a post through 0.4 s later; 0 of 120 lost since then"
    refused = replace(THROUGH, through_s=None, tried=31, refused=31, came=0)
    assert refused.told() == (
        f"{begins}refused 31 times, still so after 65 s; 120 of 120 lost since then"
    )
    shared = replace(THROUGH, tried=5, came=13, doubled=20)
    assert shared.told() == (
        f"{begins}a post through 0.4 s later; 107 of 120 lost since then, 5 connections, "
        "20 deliveries twice"
    )


def test_sizes_are_told() -> None:
    text = "a text of 200,000 bytes to the relay is"
    assert WELL.told() == (
        "the longest posts come; the longest page of 129,618 bytes does; the longest list of "
        f"229,749 bytes does; {text} answered"
    )
    without = replace(WELL, page_bytes=None, pages_lost=3, list_bytes=None, answered=False)
    assert without.told() == (
        "the longest posts come; the longest page does not, asked for 3 times: the connection ends "
        f"3 times; the longest list does not; {text} not answered"
    )
    small = replace(WELL, long_came=0, short_came=1, lost=8, pages=0, page_bytes=None)
    assert small.told() == (
        "the longest posts: the connection ends 8 times in 10 s, 0 of 30 come, and 1 of 20 short "
        "ones of another author"
    )


def test_the_values_of_a_setting_are_in_columns() -> None:
    rows = [
        Row("ejabberd", "shaper, components", "normal", "x", {}),
        Row("Prosody", "component_stanza_size_limit", "262,144", "x", {}),
    ]
    assert {line(row).index("x", 45) for row in rows} == {49}


async def test_a_network_that_fails_tells_nobody() -> None:
    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        ended.set()
        writer.close()

    ended = asyncio.Event()
    tunnel = Tunnel()
    tunnel.beyond = free_port()
    server = await asyncio.start_server(echoes, "127.0.0.1", tunnel.beyond)
    async with server, tunnel:
        old_reader, old = await asyncio.open_connection("127.0.0.1", tunnel.port)
        old.write(b"one")
        assert await old_reader.readexactly(3) == b"one"
        tunnel.fails()
        old.write(b"two")
        reader, new = await asyncio.open_connection("127.0.0.1", tunnel.port)
        new.write(b"three")
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"three"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(old_reader.read(1), 0.05)
        old.close()
        await asyncio.sleep(0.05)
        assert not ended.is_set(), "the server is not told that the old one is gone"
        assert len(tunnel.since) == 1
        new.close()
        await asyncio.wait_for(ended.wait(), 5)
