"""Every character there is, through everything that writes XML, and through real servers.

One character that XML 1.0 forbids closes a component's stream, and with it everybody's. It can
come from wherever text is not XML yet: the command line, a file, JSON. So each of the 1,114,112
code points, lone surrogates included, goes through the serialiser in every place where text goes
out; and through a real server to a client, who must get what was sent, or U+FFFD for what is
forbidden, on a stream that is still the first.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, SubElement, fromstring

from tests.chaos.crowd import Light, gather, leave
from tests.integration.world import World
from tests.servers.towns import Town
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Follow, Mode, Person, Post
from xmpprelay.core.text import clean, short_id
from xmpprelay.errors import BadRequest
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.rendering import Rendering
from xmpprelay.xmpp.stanzas import COMPONENT, chat, error_reply, serialise, tag

LAST: Final = 0x10FFFF
CHUNK: Final = 256
"""Code points in one text: a kilobyte at most, far below what any server takes."""

WITHIN_S: Final = 30.0

_EDGES: Final = (
    0x00, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x1F, 0x20, 0x22, 0x26, 0x27, 0x3C, 0x3E, 0x5D,
    0x7E, 0x7F, 0x80, 0x84, 0x85, 0x86, 0x9F, 0xA0, 0xAD, 0xFF, 0x100, 0x34F, 0x7FF, 0x800, 0x200B,
    0x200D, 0x200E, 0x2028, 0x2029, 0x202E, 0x2060, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000,
    0xF8FF, 0xFDCF, 0xFDD0, 0xFDEF, 0xFDF0, 0xFEFF, 0xFFF9, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF,
)  # fmt: skip
BOUNDARIES: Final = (
    *_EDGES,
    *(plane << 16 | at for plane in range(1, 17) for at in (0, 0xFFFD, 0xFFFE, 0xFFFF)),
)
"""Where a class of characters begins or ends, in UTF-8, in Unicode or in XML."""

_ALICE, _BOB, _CAROL = 1, 2, 3
_EPOCH: Final = "3p0c4s"


def expected(text: str) -> str:
    """What a reader of XML gets: U+FFFD for what XML forbids, a line feed for a carriage return."""
    return "".join(_expected(ord(char)) for char in text.replace("\r\n", "\n"))


def _expected(code: int) -> str:
    """XML 1.0 §2.2 and §2.11, said in another way than in the relay."""
    if code == 0x0D:
        return "\n"
    forbidden = (
        (code < 0x20 and code not in (0x09, 0x0A))
        or 0xD800 <= code <= 0xDFFF
        or code in (0xFFFE, 0xFFFF)
    )
    return "\ufffd" if forbidden else chr(code)


def chunks() -> Iterator[str]:
    """Texts that have every code point once."""
    for first in range(0, LAST + 1, CHUNK):
        yield "".join(map(chr, range(first, first + CHUNK)))


# --- the serialiser ------------------------------------------------------------------------------


def places() -> dict[str, Callable[[str], tuple[bytes, Callable[[Element], str]]]]:
    """Where text goes out: each gives a stanza with the text in it, and how to read it again."""
    graph = Graph(["example.test"])
    graph.add_person(Person(_ALICE, "alice@example.test", "alice"))
    graph.add_person(Person(_BOB, "bob@example.test", None))
    graph.add_person(Person(_CAROL, "carol@example.test", None))
    graph.add_follow(Follow(_BOB, _ALICE, Mode.AUTHOR, 1))
    graph.add_follow(Follow(_CAROL, _ALICE, Mode.HOME, 1))
    addresses = Addresses("relay.example.test", "home", graph)
    asked = Element(tag("message"), {"from": "b@example.test", "to": "home@relay.example.test"})

    def body(message: Element) -> str:
        return message.findtext(tag("body")) or ""

    def post(person: int) -> Callable[[str], tuple[bytes, Callable[[Element], str]]]:
        def made(text: str) -> tuple[bytes, Callable[[Element], str]]:
            stanza = Rendering(graph, addresses, _EPOCH).stanza(
                Post(1, _ALICE, text, None, datetime(2026, 3, 1, tzinfo=UTC)),
                person,
                store=False,
                held=True,
            )
            around = ("alice: ", "  #1") if person == _CAROL else ("", "")
            return stanza, lambda message: body(message)[
                len(around[0]) : len(body(message)) - len(around[1])
            ]

        return made

    def attribute(text: str) -> tuple[bytes, Callable[[Element], str]]:
        stanza = Element(tag("message"), {"from": addresses.home, "to": "b@c", "id": text})
        return serialise(stanza), lambda message: message.get("id", "")

    def nick(text: str) -> tuple[bytes, Callable[[Element], str]]:
        stanza = Element(tag("iq"))
        SubElement(SubElement(stanza, tag("vCard", "vcard-temp")), tag("NICKNAME", "vcard-temp"))
        stanza[0][0].text = text
        return serialise(stanza), lambda iq: iq[0][0].text or ""

    return {
        "a post, from its author": post(_BOB),
        "a post, from home": post(_CAROL),
        "a line of the relay's": lambda text: (serialise(chat("a@b", "c@d", text, "1")), body),
        "an error's sentence": lambda text: (
            serialise(error_reply(asked, BadRequest(text))),
            lambda message: message[0][1].text or "",
        ),
        "an attribute": attribute,
        "a nickname": nick,
    }


def serialiser(texts: Iterable[str], told: Callable[[], None] = lambda: None) -> list[str]:
    """What comes out wrong when these texts go through every place; empty: nothing."""
    wrong: list[str] = []
    writers = places()
    for text in texts:
        wanted = expected(text)
        for place, write in writers.items():
            # In an attribute white space is a space (XML 1.0 §3.3.3), whatever was written.
            want = wanted.translate({9: " ", 10: " "}) if place == "an attribute" else wanted
            stanza, read = write(text)
            [element] = fromstring(f"<s xmlns='{COMPONENT}'>".encode() + stanza + b"</s>")
            if read(element) not in (want, wanted):
                wrong.append(f"{place}: {text[:3]!a}…")
        told()
    return wrong


# --- real servers --------------------------------------------------------------------------------


async def through(
    server: Town,
    folder: Path,
    texts: Sequence[str],
    told: Callable[[], None] = lambda: None,
) -> list[str]:
    """What arrives wrong when alice's posts, and lines of the relay, have these texts.

    What breaks the stream is in the list as well.
    """
    wrong: list[str] = []
    async with World(server, folder) as world:
        await world.starts()
        names = ("alice", "bob", "carol")
        people = await gather(server, server.component_domain, names)
        try:
            wrong += await _through(world, *people, texts=texts, told=told)
        except TimeoutError:
            wrong.append("something did not arrive")
        finally:
            await leave(people)
        if world.streams != 1:
            wrong.append(f"the stream was closed {world.streams - 1} times")
    return wrong


async def _through(
    world: World,
    alice: Light,
    bob: Light,
    carol: Light,
    *,
    texts: Sequence[str],
    told: Callable[[], None],
) -> list[str]:
    wrong: list[str] = []
    await alice.asks("join alice")
    for each in (bob, carol):
        await each.asks("follow alice")
        each.keeps_bodies = True
    for text in texts:
        wrong += await _posted(world, alice, (bob, carol), text)
        wrong += await _said(world, bob, text)
        wrong += await _typed(alice, carol, text)
        told()
    return wrong


async def _posted(world: World, alice: Light, followers: Sequence[Light], text: str) -> list[str]:
    """What arrives wrong when a post has this text, which came by no stanza."""
    body = f"{text}."  # white space alone is no post
    if any(0xD800 <= ord(char) <= 0xDFFF for char in body):
        body = body.encode(errors="replace").decode()  # no Unicode, so nothing for the journal
    draft = Draft(alice.account.jid, body, None, None, None)
    post = (await world.service.relay.accept(draft)).post
    name = world.service.journal.message_id(post.number)
    got = await asyncio.gather(*(_body(each, name) for each in followers))
    want = f"alice: {expected(body)}  #{short_id(post.number)}"
    return [] if set(got) == {want} else [f"a post with {text[:3]!a}…"]


async def _body(follower: Light, name: str) -> str:
    await follower.until(lambda: name in follower.bodies, WITHIN_S)
    return follower.bodies.pop(name)


async def _said(world: World, bob: Light, text: str) -> list[str]:
    """What arrives wrong when the relay itself says this."""
    heard = len(bob.said)
    world.service.voice.tell(bob.account.jid, f"{text}.")
    await bob.until(lambda: len(bob.said) > heard, WITHIN_S)
    return [] if bob.said[heard] == expected(f"{text}.") else [f"a line with {text[:3]!a}…"]


async def _typed(alice: Light, carol: Light, text: str) -> list[str]:
    """What arrives wrong when alice's client sends this text, as far as XML allows it."""
    typed = f"\\{expected(text)}."
    carol.bodies.clear()
    alice.sends(typed)
    await carol.until(lambda: bool(carol.bodies), WITHIN_S)
    [body] = carol.bodies.values()
    got = body.removeprefix("alice: ").rpartition("  #")[0]
    want = clean(typed)[1:]
    return [] if got.strip() == want.strip() else [f"typed text with {text[:3]!a}…"]
