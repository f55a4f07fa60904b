"""The stream comes in pieces, cut anywhere; what is dealt with is the same, and dealt with once."""

import pytest

from tests.unit.test_prolog import MESSAGE, ROOT, Reader

TEXTS = ["one", "two", "three"]
STANZAS = (
    MESSAGE.format("one")
    + " \n"
    + MESSAGE.format("two").replace("</body>", "</body><x xmlns='y'><z><w/></z></x>")
    + "<presence from='eve@far.test' to='relay.example.test'/>"
    + MESSAGE.format("three")
)


async def test_a_stream_that_is_cut_in_two_anywhere_gives_each_stanza_once() -> None:
    stream, reader = ROOT + STANZAS, Reader()
    for cut in range(len(ROOT), len(stream)):
        reader.texts.clear()
        reader.component.connection_made(reader.end)
        reader.reads(ROOT, stream[len(ROOT) : cut])
        assert reader.texts == TEXTS[: len(reader.texts)], cut
        assert reader.reads(stream[cut:]) == TEXTS, cut
        assert not reader.component.xml_root, "nothing of it is kept"


async def test_a_stream_that_comes_byte_by_byte_is_dealt_with_as_it_comes() -> None:
    reader = Reader()
    for byte in (ROOT + STANZAS).encode():
        reader.reads(bytes([byte]))
    assert reader.texts == TEXTS


async def test_a_stanza_is_dealt_with_as_soon_as_it_is_there() -> None:
    reader = Reader()
    first, second = MESSAGE.format("one"), MESSAGE.format("two")
    assert reader.reads(ROOT, first[:-1]) == []
    assert reader.reads(first[-1:] + second[:-1]) == ["one"]
    assert reader.reads(second[-1:]) == ["one", "two"]


@pytest.mark.parametrize("end", ["</stream:stream>", "</nothing>", "&nothing;", "\x0b"])
async def test_what_came_before_the_end_is_dealt_with(end: str) -> None:
    reader = Reader()
    assert reader.reads(ROOT + MESSAGE.format("one") + MESSAGE.format("two") + end) == TEXTS[:2]
    assert reader.end.aborted


async def test_what_is_not_complete_at_the_end_is_not_dealt_with() -> None:
    reader = Reader()
    assert reader.reads(ROOT + MESSAGE.format("one") + MESSAGE.format("two")[:-3] + "&") == ["one"]
    assert reader.reads("</stream:stream>") == ["one"]
    assert reader.end.aborted
