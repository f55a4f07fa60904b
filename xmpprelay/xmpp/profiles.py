"""Who stands behind an address: cards, names and pictures of authors (XEP-0054, 0084, 0172, 0292).

Everybody who may know of an author may read what he shows; only he himself changes it, from his own
bare JID: by a vCard, by publishing to the nodes that his address has, or by the command `profile`.
home@relay and the domain have a card that nobody changes.

A picture is encoded anew, so the hash by which it goes is never the one that its author has
published it under. He publishes its data first, as XEP-0084 has it, then the metadata that name
them; in between it is kept in memory, and shown to nobody.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.model import Person
from xmpprelay.core.nodes import AVATAR_DATA, AVATAR_METADATA, NICK
from xmpprelay.core.profile import Part, Picture, Shown
from xmpprelay.errors import BadRequest, RelayError
from xmpprelay.pictures import NotAPicture, PictureTooBig
from xmpprelay.profiles import Profiles as Room
from xmpprelay.xmpp.addresses import Address, Addresses, Author
from xmpprelay.xmpp.answering import Answering
from xmpprelay.xmpp.cards import (
    VCARD,
    VCARD4,
    avatar_data,
    avatar_metadata,
    nick,
    picture_in,
    read_base64,
    read_vcard4,
    texts_in,
    vcard,
    vcard4,
)
from xmpprelay.xmpp.disco import NOTHING, Questions
from xmpprelay.xmpp.pubsub.names import PubsubError
from xmpprelay.xmpp.stanzas import parse_jid, tag

VCARD4_NODE: Final = "urn:xmpp:vcard4"

PROFILE_NODES: Final[Mapping[str, str]] = {
    AVATAR_DATA: "Picture",
    AVATAR_METADATA: "About the picture",
    NICK: "Nickname",
    VCARD4_NODE: "Card",
}
"""The nodes of what an author shows of himself, by name, with a title for people."""

ONLY_ITEM: Final = "current"
"""The id of an item beside which there is no other (XEP-0060 §12.20)."""

OFFERED: Final = 100
"""Pictures that wait for their metadata, 64 KiB each at most; above it the oldest goes."""

_NOTE: Final = "Write here to post; `help` lists what else can be typed."

Item = tuple[str, Element]
"""An item's id and its payload."""


class Forbidden(RelayError):
    """Only the author himself may do that (XEP-0054 §3.2)."""

    condition = "forbidden"
    type = "auth"


class Profiles:
    """Answers questions for cards, and serves the nodes of `PROFILE_NODES`."""

    def __init__(
        self,
        questions: Questions,
        name: str,
        room: Room,
        addresses: Addresses,
        answering: Answering,
    ) -> None:
        self._name = name
        self._room = room
        self._addresses = addresses
        self._answering = answering
        self._offered: OrderedDict[int, tuple[str, Picture]] = OrderedDict()
        self._published: dict[int, tuple[str, str]] = {}
        # The hash under which an author has published his picture, and that of ours
        questions.answer("get", tag("vCard", VCARD), self._asked_for_vcard)
        questions.answer("set", tag("vCard", VCARD), self._vcard_is_set)
        questions.answer("get", tag("vcard", VCARD4), self._asked_for_vcard4)

    def forget(self, person: int) -> None:
        """Somebody has left: what he has offered is not kept."""
        self._offered.pop(person, None)
        self._published.pop(person, None)

    # Cards

    def _asked_for_vcard(self, iq: Element, target: Address, payload: Element) -> Element | None:
        """XEP-0054 §3.3."""
        del payload
        if not isinstance(target, Author):
            return self._home_vcard()
        author = target.person
        profile = self._room.of(author.id)
        if profile.picture is None:
            return vcard(author.handle or "", target.jid, profile, None)
        asker, _ = parse_jid(iq.get("from", ""))

        async def answer() -> Element:
            self._check_sees(asker, target.jid)
            picture = await self._room.picture(author.id)
            self._check_sees(asker, target.jid)
            return vcard(author.handle or "", target.jid, self._room.of(author.id), picture)

        self._answering.put(iq, answer)
        return None

    def _check_sees(self, asker: str, address: str) -> None:
        """Pass if an author is there for who has asked: not if one has blocked the other since.

        Raises what is answered at an address that stands for nobody (S6.2).
        """
        if self._addresses.seen_by(asker, address) is None:
            raise self._addresses.missing(asker, address)

    def _home_vcard(self) -> Element:
        card = Element(tag("vCard", VCARD))
        for field, text in (("NICKNAME", self._name), ("FN", self._name), ("DESC", _NOTE)):
            SubElement(card, tag(field, VCARD)).text = text
        return card

    def _asked_for_vcard4(self, iq: Element, target: Address, payload: Element) -> Element:
        """XEP-0292 §4."""
        del iq, payload
        if isinstance(target, Author):
            return self._vcard4(target.person)
        card = Element(tag("vcard", VCARD4))
        for field, text in (("fn", self._name), ("note", _NOTE)):
            SubElement(SubElement(card, tag(field, VCARD4)), tag("text", VCARD4)).text = text
        return card

    def _vcard4(self, author: Person) -> Element:
        address = self._addresses.author(author)
        return vcard4(author.handle or "", address, self._room.of(author.id))

    def _vcard_is_set(self, iq: Element, target: Address, payload: Element) -> None:
        """A whole card replaces what was shown (XEP-0054 §3.2)."""
        sender, _ = parse_jid(iq.get("from", ""))
        if not isinstance(target, Author) or target.person.jid != sender:
            raise Forbidden("Only who posts from an address changes its card.")

        async def answer() -> Element:
            await self._replace(target.person, payload)
            return NOTHING

        self._answering.put(iq, answer, changes=True)

    async def _replace(self, author: Person, card: Element) -> None:
        texts = self._unlike(author, texts_in(card, self._called(author)))
        data, shown = picture_in(card), self._room.of(author.id).picture
        if data is not None and shown is not None and _hash(data) == shown.sha1:
            await self._room.set(author, texts)  # it is the one that he has got from us
            return
        picture = None if data is None else await self._room.decoded(author, data)
        await self._room.set(author, texts, (picture,))

    def _called(self, author: Person) -> str:
        return self._room.of(author.id).name or author.handle or ""

    def _unlike(self, author: Person, texts: Mapping[Part, str]) -> dict[Part, str]:
        """The texts; a handle that came back as a name is none."""
        same = texts.get(Part.NAME) == author.handle
        return {**texts, Part.NAME: ""} if same else dict(texts)

    # Nodes

    async def node_items(self, author: Person, node: str) -> Sequence[Item]:
        """The items of one of `PROFILE_NODES`, as (id, payload); none: there is nothing there.

        KeyError for another node. Raises TryLater.
        """
        profile = self._room.of(author.id)
        if node == NICK:
            return [(ONLY_ITEM, nick(author.handle or "", profile))]
        if node == VCARD4_NODE:
            return [(ONLY_ITEM, self._vcard4(author))]
        if node == AVATAR_METADATA:
            shown = profile.picture
            return [] if shown is None else [(shown.sha1, avatar_metadata(shown))]
        if node == AVATAR_DATA:
            picture = await self._room.picture(author.id)
            return [] if picture is None else [(picture.sha1, avatar_data(picture))]
        raise KeyError(node)

    def item_ids(self, author: Person, node: str) -> Sequence[str]:
        """The ids of the items that `node_items` gives; no picture is read for it.

        KeyError for another node.
        """
        if node in (AVATAR_DATA, AVATAR_METADATA):
            shown = self._room.of(author.id).picture
            return () if shown is None else (shown.sha1,)
        if node in PROFILE_NODES:
            return (ONLY_ITEM,)
        raise KeyError(node)

    async def publish(
        self, author: Person, node: str, item_id: str | None, payload: Element
    ) -> str:
        """The author publishes to one of `PROFILE_NODES`; gives the id of the item.

        KeyError for another node. Raises PubsubError, TooLong, BadRequest, TryLater; then nothing
        has changed.
        """
        namespace, name, publish = {
            AVATAR_DATA: (AVATAR_DATA, "data", self._publish_data),
            AVATAR_METADATA: (AVATAR_METADATA, "metadata", self._publish_metadata),
            NICK: (NICK, "nick", self._publish_nick),
            VCARD4_NODE: (VCARD4, "vcard", self._publish_vcard4),
        }[node]
        if payload.tag != tag(name, namespace):
            raise _invalid(f"To this node goes a <{name}/> of {namespace}.")
        try:
            return await publish(author, item_id, payload)
        except PictureTooBig as error:
            raise PubsubError("not-acceptable", "payload-too-big", error.sentence) from error
        except NotAPicture as error:
            raise _invalid(error.sentence) from error

    async def retract(self, author: Person, node: str, item_id: str) -> None:
        """The author takes an item back: what stood in it is shown no more.

        KeyError for another node. Raises PubsubError if there is no such item; TryLater.
        """
        if item_id not in self.item_ids(author, node):
            raise PubsubError("item-not-found", "", "There is no such item here.")
        if node in (AVATAR_DATA, AVATAR_METADATA):
            await self._room.set(author, {}, (None,))
        elif node == NICK:
            await self._room.set(author, {Part.NAME: ""})
        else:
            await self._room.set(author, dict.fromkeys((Part.NAME, Part.ABOUT, Part.URL), ""))

    async def _publish_data(self, author: Person, item_id: str | None, payload: Element) -> str:
        """The bytes of a picture; it is shown from when its metadata come (XEP-0084 §3.1)."""
        try:
            data = read_base64(payload.text or "")
        except BadRequest as error:
            raise _invalid(error.sentence) from error
        name = _hash(data)
        if item_id is not None and item_id.lower() != name:
            raise _invalid("The id of a picture is the SHA-1 of its bytes, in hexadecimal.")
        self._offered.pop(author.id, None)
        self._offered[author.id] = (name, await self._room.decoded(author, data))
        while len(self._offered) > OFFERED:
            self._offered.popitem(last=False)
        return name

    async def _publish_metadata(self, author: Person, item_id: str | None, payload: Element) -> str:
        """Which picture is shown; empty: none is (XEP-0084 §3.2, §3.5)."""
        infos = payload.findall(tag("info", AVATAR_METADATA))
        if not infos:
            await self._room.set(author, {}, (None,))
            return item_id or ONLY_ITEM
        names = {info.get("id", "").lower() for info in infos}
        name, offered = self._offered.get(author.id, ("", None))
        if offered is not None and name in names:
            await self._room.set(author, {}, (offered,))
            self._offered.pop(author.id, None)
            self._published[author.id] = (name, offered.sha1)
            return offered.sha1
        shown = self._room.of(author.id).picture
        if shown is not None and names & self._names_of(author, shown):
            return shown.sha1
        raise PubsubError(
            "item-not-found",
            "",
            f"There is no picture with that id: publish its data to {AVATAR_DATA} first. One "
            "elsewhere on the web is not fetched.",
        )

    def _names_of(self, author: Person, shown: Shown) -> set[str]:
        """The hashes by which the picture that is shown may be called."""
        published, ours = self._published.get(author.id, ("", ""))
        return {shown.sha1, published} if ours == shown.sha1 else {shown.sha1}

    async def _publish_nick(self, author: Person, item_id: str | None, payload: Element) -> str:
        del item_id
        await self._room.set(author, self._unlike(author, {Part.NAME: payload.text or ""}))
        return ONLY_ITEM

    async def _publish_vcard4(self, author: Person, item_id: str | None, payload: Element) -> str:
        del item_id
        texts, data = read_vcard4(payload, self._called(author))
        pictures = () if data is None else (await self._room.decoded(author, data),)
        await self._room.set(author, self._unlike(author, texts), pictures)
        return ONLY_ITEM


def _hash(data: bytes) -> str:
    return sha1(data).hexdigest()  # noqa: S324 - XEP-0084 §3.1


def _invalid(sentence: str) -> PubsubError:
    return PubsubError("bad-request", "invalid-payload", sentence)
