"""Nothing is declared before the stream: no DOCTYPE, so no entities, and no other encoding.

A server lets nobody else's through; the relay does not take a server's own either.
"""

import asyncio
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from xmpprelay.xmpp.component import Component

ROOT = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>"
MESSAGE = "<message from='eve@far.test' to='relay.example.test'><body>{}</body></message>"


class End:
    """The transport, as far as the parser's side needs it."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes) -> None: ...

    def set_write_buffer_limits(self, **_: Any) -> None: ...

    def get_extra_info(self, *_: Any, **__: Any) -> None: ...

    def is_closing(self) -> bool:
        return self.aborted


class Reader:
    """A component that is only fed."""

    def __init__(self) -> None:
        self.texts: list[str | None] = []
        self.end = End()
        self.component = Component("relay.example.test", "s", "127.0.0.1", 1, "example.test")
        self.component.loop = asyncio.get_running_loop()
        self.component.take_message = self._took
        self.component.connection_made(self.end)

    def _took(self, message: Element) -> None:
        self.texts.append(message.findtext("{jabber:component:accept}body"))

    def reads(self, *pieces: str | bytes) -> list[str | None]:
        for piece in pieces:
            self.component.data_received(piece.encode() if isinstance(piece, str) else piece)
        return self.texts


@pytest.mark.parametrize(
    "begin",
    [
        "",
        "<?xml version='1.0'?>",
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>",
    ],
)
async def test_a_stream_may_begin_in_these_ways(begin: str) -> None:
    whole = begin + ROOT + MESSAGE.format("&lt;&#233;&amp;")
    assert Reader().reads(whole) == ["<é&"]
    assert Reader().reads(*whole.encode().decode("latin-1")) == ["<é&"], "byte by byte"


@pytest.mark.parametrize(
    "begin",
    [
        "<!DOCTYPE x>",
        "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e 'expanded'>]>",
        "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
        "<!-- --><!DOCTYPE x [<!ENTITY e 'expanded'>]>",
        "<?xml version='1.0'?><?pi?><!DOCTYPE x [<!ENTITY e 'expanded'>]>",
        "<?xml version='1.0' encoding='cp037'?>" + " " * 2000,
        "<?xml version='1.0' encoding='utf-16'?>" + " " * 2000,
        "<?pi " + "x" * 2000,
    ],
)
async def test_a_declaration_ends_the_stream_and_nothing_is_expanded(begin: str) -> None:
    reader = Reader()
    assert reader.reads(begin + ROOT + MESSAGE.format("&e;")) == []
    assert reader.end.aborted


async def test_a_declaration_in_another_encoding_is_not_read() -> None:
    begin = "<!DOCTYPE x [<!ENTITY e 'expanded'>]>"
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        reader = Reader()
        assert reader.reads((begin + ROOT + MESSAGE.format("&e;") * 20).encode(encoding)) == []
        assert reader.end.aborted
    hidden = b"<?xml version='1.0' encoding='cp037'?>" + (begin * 30).encode("cp037")
    reader = Reader()
    assert reader.reads(hidden) == []
    assert reader.end.aborted


async def test_inside_of_the_stream_an_entity_is_not_xml() -> None:
    for bad in ("&e;", "<!DOCTYPE x>", "<![CDATA[", "&#0;"):
        reader = Reader()
        assert reader.reads(ROOT, MESSAGE.format(bad)) == []
        if bad != "<![CDATA[":
            assert reader.end.aborted
