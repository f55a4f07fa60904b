"""What authors show of themselves, as nodes: picture, nickname, card; and events of them."""

import base64
from hashlib import sha1
from io import BytesIO
from typing import Final
from xml.etree.ElementTree import Element

import pytest
from PIL import Image

from tests.integration.clients import Person, Stanza
from tests.integration.pubsub import EVENT, PUBSUB, is_event, items, publish, retract, specific
from tests.integration.test_interests import answer_of, showing, tells
from tests.integration.test_profiles import (
    GET,
    VCARD4,
    follower,
    hash_of,
    jpeg,
    photo_in,
    picture_in,
    sees,
    text,
)
from tests.integration.world import World

DATA: Final = "urn:xmpp:avatar:data"
METADATA: Final = "urn:xmpp:avatar:metadata"
NICK: Final = "http://jabber.org/protocol/nick"
CARD: Final = "urn:xmpp:vcard4"


def data(picture: bytes) -> str:
    return f"<data xmlns='{DATA}'>{base64.b64encode(picture).decode()}</data>"


def metadata(name: str, more: str = "") -> str:
    info = f"<info id='{name}' bytes='1' type='image/png'{more}/>"
    return f"<metadata xmlns='{METADATA}'>{info}</metadata>"


NO_METADATA: Final = f"<metadata xmlns='{METADATA}'/>"


def payloads(stanza: Stanza, namespace: str = PUBSUB) -> dict[str, Element]:
    """The items of an answer or an event."""
    return {
        item.get("id", ""): item[0] for item in stanza.xml.iter(f"{{{namespace}}}item") if len(item)
    }


async def has_picture(alice: Person, picture: bytes) -> str:
    """Let an author publish a picture by both nodes; gives the id that it has then."""
    address, name = alice.author("alice"), hash_of(picture)
    offered = await alice.asks(address, publish(data(picture), name, DATA), "set")
    assert offered.type == "result", offered
    shown = await alice.asks(address, publish(metadata(name), name, METADATA), "set")
    assert shown.type == "result", shown
    item = shown.xml.find(f".//{{{PUBSUB}}}item")
    assert item is not None
    return item.get("id", "")


async def test_a_picture_is_shown_once_its_metadata_come(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    address, picture = bob.author("alice"), jpeg()
    offered = await alice.asks(address, publish(data(picture), hash_of(picture), DATA), "set")
    assert offered.type == "result"
    for node in (DATA, METADATA):
        assert payloads(await bob.asks(address, items(node=node))) == {}

    name = await has_picture(alice, picture)
    assert name != hash_of(picture), "it was encoded anew"
    [(shown, encoded)] = payloads(await bob.asks(address, items(node=DATA))).items()
    png = base64.b64decode(encoded.text or "")
    assert shown == name == sha1(png).hexdigest()
    [(same, about)] = payloads(await bob.asks(address, items(node=METADATA))).items()
    size = Image.open(BytesIO(png)).size
    assert (same, about[0].attrib) == (
        name,
        {
            "id": name, "bytes": str(len(png)), "type": "image/png",
            "width": str(size[0]), "height": str(size[1]),
        },
    )  # fmt: skip
    assert picture_in(await bob.asks(address, GET)) == png

    for again in (name, hash_of(picture)):  # a client that comes back tells the same once more
        told = await alice.asks(address, publish(metadata(again), again, METADATA), "set")
        assert told.type == "result"
    off = await alice.asks(address, publish(NO_METADATA, None, METADATA), "set")
    assert off.type == "result"
    assert payloads(await bob.asks(address, items(node=METADATA))) == {}
    gone = await alice.asks(address, publish(metadata(name), name, METADATA), "set")
    assert gone.condition == "item-not-found"


@pytest.mark.parametrize(
    ("node", "item", "payload", "condition", "own"),
    [
        (DATA, None, data(b"none at all"), "bad-request", "invalid-payload"),
        (DATA, None, data(jpeg()[:300]), "bad-request", "invalid-payload"),
        (DATA, None, f"<data xmlns='{DATA}'>???</data>", "bad-request", "invalid-payload"),
        (DATA, "0" * 40, data(jpeg()), "bad-request", "invalid-payload"),
        (DATA, None, NO_METADATA, "bad-request", "invalid-payload"),
        (DATA, None, data(jpeg() + bytes(70_000)), "not-acceptable", "payload-too-big"),
        (METADATA, None, metadata("0" * 40), "item-not-found", None),
        (
            METADATA, None, metadata("0" * 40, " url='http://127.0.0.1:1/x.png'"),
            "item-not-found", None,
        ),
        (
            NICK, None, f"<nick xmlns='{NICK}'>{'x' * 51}</nick>",
            "not-acceptable", "payload-too-big",
        ),
    ],
)  # fmt: skip
async def test_what_is_no_picture_is_refused_and_changes_nothing(
    world: World, node: str, item: str | None, payload: str, condition: str, own: str | None
) -> None:
    [alice] = await world.authors("alice")
    address = alice.author("alice")
    name = await has_picture(alice, jpeg())
    refused = await alice.asks(address, publish(payload, item, node), "set")
    assert (refused.condition, specific(refused)) == (condition, own)
    assert refused.text
    assert list(payloads(await alice.asks(address, items(node=METADATA)))) == [name]


async def test_what_was_offered_is_forgotten_with_her(world: World) -> None:
    [alice] = await world.authors("alice")
    address, name = alice.author("alice"), hash_of(jpeg())
    await alice.asks(address, publish(data(jpeg()), name, DATA), "set")
    await alice.says(":leave-relay yes")
    await alice.joins("other")
    told = await alice.asks(alice.author("other"), publish(metadata(name), name, METADATA), "set")
    assert told.condition == "item-not-found"


async def test_only_she_herself_publishes_there(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    address = alice.author("alice")
    for node, payload in ((DATA, data(jpeg())), (METADATA, NO_METADATA), (NICK, "<a xmlns='b'/>")):
        assert (await bob.asks(address, publish(payload, None, node), "set")).condition == (
            "forbidden"
        )


async def test_names_are_published_and_taken_back(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    address = alice.author("alice")
    nick = f"<nick xmlns='{NICK}'>Ally</nick>"
    assert (await alice.asks(address, publish(nick, "x", NICK), "set")).type == "result"
    [(name, shown)] = payloads(await bob.asks(address, items(node=NICK))).items()
    assert (name, shown.text) == ("current", "Ally")

    card = f"""
        <vcard xmlns='{VCARD4}'><fn><text>Ally</text></fn><nickname><text>Alice L.</text></nickname>
        <note><text>Me.</text></note><url><uri>https://a.example</uri></url>
        <photo><uri>data:image/jpeg;base64,{base64.b64encode(jpeg()).decode()}</uri></photo></vcard>
    """.strip()
    assert (await alice.asks(address, publish(card, None, CARD), "set")).type == "result"
    answer = await bob.asks(address, GET)
    assert [text(answer, field) for field in ("NICKNAME", "DESC", "URL")] == [
        "Alice L.", "Me.", "https://a.example",
    ]  # fmt: skip
    assert picture_in(answer)
    [(name, shown)] = payloads(await bob.asks(address, items(node=CARD))).items()
    assert (name, shown.findtext(f"{{{VCARD4}}}nickname/{{{VCARD4}}}text")) == (
        "current", "Alice L.",
    )  # fmt: skip

    assert (await alice.asks(address, retract("current", CARD), "set")).type == "result"
    picture = next(iter(payloads(await bob.asks(address, items(node=METADATA)))))
    assert (await alice.asks(address, retract("other", DATA), "set")).condition == "item-not-found"
    assert (await alice.asks(address, retract(picture, DATA), "set")).type == "result"
    answer = await bob.asks(address, GET)
    assert [text(answer, field) for field in ("NICKNAME", "DESC", "URL")] == ["alice", None, None]
    assert not picture_in(answer)


async def test_devices_that_want_it_are_told_and_no_others(world: World) -> None:
    [alice] = await world.authors("alice")
    bob, carol = [await follower(world, name, "alice") for name in ("bob", "carol")]
    dora = (await world.people("dora"))[0]
    await dora.says("follow alice")  # in home mode: she does not know that address
    await world.live(dora)
    wants = answer_of(f"{METADATA}+notify", f"{NICK}+notify")
    for reader in (bob, dora):
        tells(reader, wants)
        reader.sends_raw(showing(wants))
        person = world.person_id(reader)
        await world.until(lambda p=person: bool(world.service.interests.devices(p, NICK)))

    name = await has_picture(alice, jpeg())
    event = await bob.gets(is_event, sender=bob.author("alice"), type="headline")
    assert list(payloads(event, EVENT)) == [name]
    for reader in (bob, carol):
        await sees(reader, "alice", name)

    world.clock.passes(minutes=2)
    await alice.says('profile name "Ally"')
    event = await bob.gets(is_event, sender=bob.author("alice"))
    assert [(each, told.text) for each, told in payloads(event, EVENT).items()] == [
        ("current", "Ally")
    ]
    await alice.says("profile picture off")
    await alice.says('profile name "Alice"')
    await alice.says('profile name "Alice L."')
    world.clock.passes(minutes=2)
    world.service.tick()
    event = await bob.gets(is_event, sender=bob.author("alice"))
    [(each, told)] = payloads(event, EVENT).items()
    assert (each, told.tag, len(told)) == ("current", f"{{{METADATA}}}metadata", 0)
    event = await bob.gets(is_event, sender=bob.author("alice"))
    assert [told.text for told in payloads(event, EVENT).values()] == ["Alice L."]
    await sees(carol, "alice", "")
    for reader in (carol, dora):
        await reader.fence()
        assert not [each for each in reader.mail.ledger if is_event(each)]


async def test_somebody_whom_she_blocks_is_told_nothing(world: World) -> None:
    [alice] = await world.authors("alice")
    bob, carol, dora = [await follower(world, each, "alice") for each in ("bob", "carol", "dora")]
    await has_picture(alice, jpeg())
    shown = await carol.gets(lambda each: bool(photo_in(each)), kind="presence")
    await sees(bob, "alice", photo_in(shown) or "")
    await alice.says(f"block {bob.jid}")
    await world.service.keeping_out.operator_block(dora.jid, "test")  # her follow is kept
    world.clock.passes(minutes=2)
    name = await has_picture(alice, jpeg("blue"))
    await sees(carol, "alice", name)
    await bob.fence()
    dora.sends("ping")
    await dora.gets(kind="message", type="error")
    for reader in (bob, dora):
        assert not [each for each in reader.mail.ledger if photo_in(each) == name]
    address = alice.author("alice")
    for payload in (GET, items(node=DATA), items(node=NICK), f"<vcard xmlns='{VCARD4}'/>"):
        assert (await bob.asks(address, payload)).condition == "item-not-found"
