"""Sizes of stanzas: what becomes of the relay's longest, where the server takes only so many bytes.

The longest posts that there can be, while another author posts short ones; the longest page of an
author's node, asked for again and again; the longest list that he can ask for; a long text to the
relay. How often the connection ends, and what comes nevertheless.
"""

import asyncio
from dataclasses import asdict, dataclass
from typing import Final

from tests.bench.scene import EVERY_S, FEW, Row, Scene, had_by_all
from xmpprelay.bench.dialogues import Step
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import PrivateServer

LONG_POSTS: Final = 30
"""Of the longest; they fill a page, whose texts have 120,000 bytes at most (`items.py`)."""

SHORT_POSTS: Final = 20
"""While these are on their way, EVERY_S apart."""

BARRED: Final = 300
"""People with long addresses whom an author bars: more than the longest answer has room for, which
is of 240,000 bytes (`xmpp/pubsub/room.py`)."""

PAGES: Final = 3
TEXT_BYTES: Final = 200_000
"""Of a text to the relay; clients may send 262,144 bytes by Debian's configurations."""

_LONG: Final = "\N{GRINNING FACE}" * 1_800
_PUBSUB: Final = "http://jabber.org/protocol/pubsub"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What became of long stanzas."""

    long_came: int  # of the longest posts, to all
    short_came: int  # of another author's posts, meanwhile
    lost: int  # connections, meanwhile
    pages: int  # that were asked for
    page_bytes: int | None  # of one; None: they did not come
    pages_lost: int  # connections, by pages
    list_bytes: int | None  # the longest answer
    answered: bool  # the long text to the relay

    def told(self) -> str:
        """As a sentence."""
        if self.lost:
            return (
                f"the longest posts: the connection ends {self.lost} times in "
                f"{SHORT_POSTS * EVERY_S:.0f} s, {self.long_came} of {LONG_POSTS} come, and "
                f"{self.short_came} of {SHORT_POSTS} short ones of another author"
            )
        text = f"a text of {TEXT_BYTES:,} bytes to the relay is {'' if self.answered else 'not '}"
        return (
            f"the longest posts come; {self._pages()}; {_long('the longest list', self.list_bytes)}"
            f"; {text}answered"
        )

    def _pages(self) -> str:
        what = _long("the longest page", self.page_bytes)
        times = f", asked for {self.pages} times: the connection ends {self.pages_lost} times"
        return what + (times if self.pages_lost else "")


def _long(what: str, size: int | None) -> str:
    return f"{what} does not" if size is None else f"{what} of {size:,} bytes does"


async def stanza_size(server: PrivateServer, setting: str, value: int) -> Row:
    """Long stanzas, where the server takes so many bytes from a component."""
    async with Scene(server, FEW) as scene:
        other, home = await scene.other_author(), scene.relay.home
        posts = await scene.followers.expect(LONG_POSTS + SHORT_POSTS)
        for number in range(LONG_POSTS):
            scene.way.sends(f"{posts.text(number)} {_LONG}")
        for number in range(LONG_POSTS, posts.count):
            other.chats(home, posts.text(number), f"short-{number}")
            await asyncio.sleep(EVERY_S)
        came = [await had_by_all(posts, number) is not None for number in range(posts.count)]
        lost = scene.relay.counts("stream.lost")
        pages = [] if lost else [await _page(scene, number) for number in range(PAGES)]
        sizes = Sizes(
            long_came=sum(came[:LONG_POSTS]),
            short_came=sum(came[LONG_POSTS:]),
            lost=lost,
            pages=len(pages),
            page_bytes=next(filter(None, pages), None),
            pages_lost=scene.relay.counts("stream.lost") - lost if pages else 0,
            list_bytes=None if lost else await _list(scene),
            answered=not lost and await _is_answered(scene),
        )
    return Row(server.name, setting, f"{value:,}", sizes.told(), asdict(sizes))


async def _page(scene: Scene, number: int) -> int | None:
    """The bytes of the answer to a question for a long page; None: there was none."""
    asked = "<items node='urn:xmpp:microblog:0' max_items='50'/>"
    return await _answer(scene, f"page-{number}", "get", _PUBSUB, asked)


async def _list(scene: Scene) -> int | None:
    """The bytes of the list of whom the author has barred; None: there was no answer."""
    node, domain = "<affiliations node='urn:xmpp:microblog:0'", ".".join(["d" * 60] * 3)
    names = [f"{'a' * 800}{number}@{domain}" for number in range(BARRED)]
    for at in range(0, BARRED, 50):
        out = "".join(
            f"<affiliation jid='{x}' affiliation='outcast'/>" for x in names[at : at + 50]
        )
        said = f"{node}>{out}</affiliations>"
        await _answer(scene, f"bars-{at}", "set", f"{_PUBSUB}#owner", said)
    return await _answer(scene, "barred", "get", f"{_PUBSUB}#owner", f"{node}/>")


async def _answer(scene: Scene, id: str, kind: str, namespace: str, asked: str) -> int | None:
    """The bytes of the answer to a question of the author's; None: there was none."""
    to = f"bench@{scene.server.component_domain}"
    step = Step(
        f"<iq type='{kind}' id='{id}' to='{to}'><pubsub xmlns='{namespace}'>{asked}</pubsub></iq>",
        until=(
            rf"<iq (?=[^>]*id=['\"]{id}['\"])(?=[^>]*type=['\"]result)[^>]*(?:/>|>.*?</iq>)"
        ).encode(),
    )
    try:
        return len(await scene.author.says(step, within_s=3))
    except StreamError:
        return None


async def _is_answered(scene: Scene) -> bool:
    """Whether a long text to the relay comes back as an error, as it should."""
    text, home = "x" * TEXT_BYTES, scene.relay.home
    says = f"<message to='{home}' type='chat' id='long'><body>{text}</body></message>"
    try:
        await scene.author.says(Step(says, until=rb"<message (?=[^>]*type=['\"]error)"))
    except StreamError:
        return False
    return True
