"""What authors show of themselves: cards, pictures and names, set here or taken over."""

import base64
from hashlib import sha1
from io import BytesIO
from typing import Final
from xml.etree.ElementTree import Element

import pytest
from PIL import Image

from tests.integration.clients import Person, Stanza
from tests.integration.world import World
from xmpprelay.core.profile import NO_PROFILE, Picture

VCARD: Final = "vcard-temp"
VCARD4: Final = "urn:ietf:params:xml:ns:vcard-4.0"
UPDATE: Final = "vcard-temp:x:update"
GET: Final = f"<vCard xmlns='{VCARD}'/>"
GET4: Final = f"<vcard xmlns='{VCARD4}'/>"


def jpeg(colour: str = "red") -> bytes:
    file = BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "a telephone"
    Image.new("RGB", (300, 200), colour).save(file, "JPEG", exif=exif)
    return file.getvalue()


def card(picture: bytes | None = None, **fields: str) -> str:
    """A vCard; `picture` b"" is an empty one."""
    texts = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    photo = ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        photo = f"<PHOTO><TYPE>image/jpeg</TYPE><BINVAL>{data}</BINVAL></PHOTO>"
    return f"<vCard xmlns='{VCARD}'>{texts}{photo}</vCard>"


def hash_of(picture: bytes) -> str:
    return sha1(picture).hexdigest()


def shows(picture: bytes) -> str:
    """The presence of somebody with a picture."""
    return f"<presence><x xmlns='{UPDATE}'><photo>{hash_of(picture)}</photo></x></presence>"


def text(stanza: Stanza, field: str) -> str | None:
    return stanza.xml.findtext(f"{{{VCARD}}}vCard/{{{VCARD}}}{field}")


def picture_in(stanza: Stanza) -> bytes:
    binary = stanza.xml.findtext(f"{{{VCARD}}}vCard/{{{VCARD}}}PHOTO/{{{VCARD}}}BINVAL")
    return base64.b64decode(binary or "")


def photo_in(stanza: Stanza) -> str | None:
    """The hash that a presence shows; "": that there is no picture; None: nothing."""
    photo = stanza.xml.find(f"{{{UPDATE}}}x/{{{UPDATE}}}photo")
    return None if photo is None else photo.text or ""


async def has_at_home(person: Person, xml: str) -> None:
    """Let somebody have a card at her own address."""
    assert (await person.asks(person.jid, xml, "set")).type == "result"


async def follower(world: World, name: str, author: str) -> Person:
    """Somebody who has an author as a contact, and is known to be there."""
    [person] = await world.people(name)
    await person.adds(author)
    await world.live(person)
    return person


async def sees(person: Person, author: str, photo: str) -> Stanza:
    """Take the presence of an author that shows a picture."""
    address = person.author(author)
    return await person.gets(
        lambda stanza: photo_in(stanza) == photo, kind="presence", type=None, sender=address
    )


async def test_what_her_own_address_shows_is_taken_over_when_she_joins(world: World) -> None:
    alice, bob = await world.people("alice", "bob")
    mine = card(jpeg(), FN="Alice Liddell", NICKNAME="Ally", URL="https://a.example", DESC="Me.")
    await has_at_home(alice, mine)
    await alice.joins("alice")
    await world.until(lambda: world.service.profiles.of(world.person_id(alice)).picture is not None)
    address = bob.author("alice")

    answer = await bob.asks(address, GET)
    assert [text(answer, name) for name in ("FN", "NICKNAME", "URL", "DESC", "JABBERID")] == [
        "Ally", "Ally", "https://a.example", "Me.", address,
    ]  # fmt: skip
    picture = picture_in(answer)
    assert Image.open(BytesIO(picture)).size == (256, 171)
    assert b"telephone" not in picture

    newer = (await bob.asks(address, GET4)).child("vcard", VCARD4)
    assert newer is not None
    assert texts_in(newer) == {
        "fn": "Ally", "nickname": "Ally", "url": "https://a.example", "note": "Me.",
        "impp": f"xmpp:{address}",
    }  # fmt: skip
    whois = await bob.says("whois alice")
    assert whois.startswith("@alice (Ally), ")
    assert whois.endswith("\nMe.\nhttps://a.example")

    await bob.adds("alice")
    await sees(bob, "alice", hash_of(picture))


def texts_in(card: Element) -> dict[str, str | None]:
    return {child.tag.rpartition("}")[2]: child[0].text for child in card}


async def test_followers_see_another_picture_at_once_when_she_has_one(world: World) -> None:
    [alice] = await world.authors("alice")
    bob = await follower(world, "bob", "alice")
    carol = (await world.people("carol"))[0]
    await carol.says("follow alice")
    await world.live(carol)
    await sees(bob, "alice", "")
    world.clock.passes(minutes=11)
    await has_at_home(alice, card(jpeg("blue"), NICKNAME="Ally"))
    alice.sends_raw(shows(jpeg("blue")).replace("<presence>", f"<presence to='{alice.home}'>"))
    profile = world.service.profiles.of
    await world.until(lambda: profile(world.person_id(alice)).picture is not None)
    shown = profile(world.person_id(alice)).picture
    assert shown is not None
    await sees(bob, "alice", shown.sha1)
    await carol.fence()
    seen = [each for each in carol.mail.ledger if each.sender == carol.author("alice")]
    assert not [each for each in seen if each.kind == "presence"], "she is in home mode"


async def test_a_picture_is_looked_at_once_in_ten_minutes(world: World) -> None:
    [alice] = await world.authors("alice")
    asked: list[str] = []
    ask = world.service.component.ask

    def counted(iq: Element, within_s: float | None = None) -> object:
        if iq.find(f"{{{VCARD}}}vCard") is not None:
            asked.append(iq.get("to", ""))
        return ask(iq, within_s)

    world.service.component.ask = counted  # type: ignore[method-assign, assignment]
    for _ in range(2):
        world.clock.passes(minutes=11)
        for colour in ("red", "green", "blue"):
            picture = jpeg(colour)
            await has_at_home(alice, card(picture))
            to = f"<presence to='{alice.home}'>"
            alice.sends_raw(shows(picture).replace("<presence>", to))
            await alice.fence()
        await world.until(lambda: not world.service.own_cards._tasks)
    assert asked == [alice.jid] * 2


async def test_somebody_elsewhere_is_asked_at_his_own_address_by_the_domain(
    world: World,
) -> None:
    [bob] = await world.people("bob")
    far = await world.far()
    ann = f"ann@{far.domain}"
    far.says("ann", "join ann")
    asked = await far.gets(lambda each: each.has("vCard", VCARD), kind="iq", to=ann)
    assert (asked.sender, asked.type) == (far.relay, "get")
    for who, name in ((f"eve@{far.domain}", "Eve"), (far.domain, "Eve"), (ann, "Ann")):
        shown = card(jpeg(), NICKNAME=name)
        to = f"to='{far.relay}' id='{asked.id}'"
        far.sends(f"<iq from='{who}' {to} type='result'>{shown}</iq>")
    await world.until(lambda: world.service.profiles.of(world.person_id(ann)).picture is not None)
    assert text(await bob.asks(bob.author("ann"), GET), "NICKNAME") == "Ann"


async def test_what_she_sets_here_is_not_taken_over(world: World) -> None:
    [alice] = await world.people("alice")
    await has_at_home(alice, card(jpeg(), NICKNAME="Ally", DESC="At home."))
    await alice.joins("alice")
    profile = world.service.profiles.of
    await world.until(lambda: profile(world.person_id(alice)).picture is not None)
    assert await alice.says('profile name "Alice L."') == "Your name is: Alice L."
    assert await alice.says("profile picture off") == "You show no picture."
    assert "looked at only just now" in await alice.says("profile own")
    shown = await alice.says("profile")
    assert "Name: Alice L." in shown
    await alice.says('profile name "Alice L."')
    await has_at_home(alice, card(jpeg("blue"), NICKNAME="Other", DESC="Changed."))
    world.clock.passes(minutes=11)
    present = f"<presence to='{alice.home}'>"
    alice.sends_raw(shows(jpeg("blue")).replace("<presence>", present))
    await world.until(lambda: profile(world.person_id(alice)).about == "Changed.")
    now = profile(world.person_id(alice))
    assert now.name == "Alice L."

    world.clock.passes(minutes=11)
    assert "taken over in a moment" in await alice.says("profile own")
    await world.until(lambda: profile(world.person_id(alice)).name == "Other")
    assert (await alice.says("profile")).endswith(
        f"Bot: no\nAll but `bot` is taken over from {alice.jid}."
    )


async def test_the_command_sets_shows_and_takes_away(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    assert await alice.says('profile about "Bikes &amp; tea"') == (
        "Your description is: Bikes &amp; tea"
    )
    assert await alice.says("profile url https://a.example/x?y=1") == (
        "Your address on the web is: https://a.example/x?y=1"
    )
    for typed, refusal in (
        (f'profile name "{"x" * 51}"', "policy-violation"),
        ("profile url https://", "bad-request"),
        ("profile url javascript:alert(1)//a.b", "bad-request"),
    ):
        assert (await alice.is_refused(":" + typed)).condition == refusal
    assert text(await bob.asks(bob.author("alice"), GET), "URL") == "https://a.example/x?y=1"
    assert await alice.says("profile url off") == "You show no address on the web."
    assert await alice.says("profile about off") == "You have no description."
    answer = await bob.asks(bob.author("alice"), GET)
    assert [text(answer, name) for name in ("NICKNAME", "URL", "DESC")] == ["alice", None, None]
    [carol] = await world.people("carol")
    assert (await carol.is_refused(':profile name "Carol"')).condition == "registration-required"


async def test_she_sets_her_card_at_her_address_and_nobody_else_does(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    address = alice.author("alice")
    new = card(jpeg(), FN="Alice", NICKNAME="alice", DESC="Set here.")
    for who, where in ((bob, address), (alice, alice.home), (alice, alice.relay)):
        assert (await who.asks(where, new, "set")).condition == "forbidden"
    assert (await alice.asks(address, new, "set")).type == "result"
    first = await bob.asks(address, GET)
    assert (text(first, "NICKNAME"), text(first, "DESC")) == ("Alice", "Set here.")

    # A client gives back what it got, with one thing changed.
    again = card(picture_in(first), FN="Alice", NICKNAME="Ally", DESC="Set here.")
    assert (await alice.asks(address, again, "set")).type == "result"
    second = await bob.asks(address, GET)
    assert (text(second, "NICKNAME"), picture_in(second)) == ("Ally", picture_in(first))

    # Our own picture stays as it is, though it would be encoded otherwise today.
    file = BytesIO()
    Image.new("RGB", (9, 9), "blue").save(file, "PNG", compress_level=0)
    person = world.service.graph.by_jid(alice.jid)
    assert person is not None
    await world.service.profiles.set(person, {}, (Picture(file.getvalue(), 9, 9),))
    same = card(file.getvalue(), NICKNAME="alice")
    assert (await alice.asks(address, same, "set")).type == "result"
    assert picture_in(await bob.asks(address, GET)) == file.getvalue()
    assert world.service.profiles.of(person.id).name == "", "it is her handle"

    assert (await alice.asks(address, card(), "set")).type == "result"
    third = await bob.asks(address, GET)
    assert (text(third, "NICKNAME"), text(third, "DESC"), picture_in(third)) == ("alice", None, b"")


@pytest.mark.parametrize(
    ("picture", "condition", "says"),
    [
        (b"no picture at all", "bad-request", "PNG, JPEG, GIF or WebP"),
        (jpeg()[:200], "bad-request", "PNG, JPEG, GIF or WebP"),
        (jpeg() + bytes(70_000), "not-acceptable", "65,536"),
    ],
)
async def test_a_picture_that_is_none_changes_nothing(
    world: World, picture: bytes, condition: str, says: str
) -> None:
    [alice] = await world.authors("alice")
    address = alice.author("alice")
    refused = await alice.asks(address, card(picture, NICKNAME="Ally"), "set")
    assert refused.condition == condition
    assert says in refused.text
    assert text(await alice.asks(address, GET), "NICKNAME") == "alice"


async def test_a_bad_card_at_her_own_address_does_no_harm(world: World) -> None:
    [alice] = await world.people("alice")
    await has_at_home(alice, card(NICKNAME="Ally", URL="javascript:alert(1)", DESC="x" * 900))
    await alice.joins("alice")
    profile = world.service.profiles.of
    await world.until(lambda: profile(world.person_id(alice)).source is not None)
    now = profile(world.person_id(alice))
    assert (now.name, now.url, now.picture, len(now.about)) == ("Ally", "", None, 500)


async def test_who_leaves_is_forgotten_and_who_comes_back_is_new(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    address = alice.author("alice")
    assert (await alice.asks(address, card(jpeg(), FN="Alice"), "set")).type == "result"
    await alice.says(":leave-relay yes")
    assert (await bob.asks(address, GET)).condition == "item-not-found"
    assert world.service.profiles.of(world.person_id(alice)) == NO_PROFILE
    await alice.joins("other")
    again = await bob.asks(alice.author("other"), GET)
    assert (text(again, "FN"), picture_in(again)) == ("other", b"")


async def test_a_profile_outlives_a_restart(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    address = alice.author("alice")
    assert (await alice.asks(address, card(jpeg(), FN="Alice"), "set")).type == "result"
    before = await bob.asks(address, GET)
    await world.restarts()
    after = await bob.asks(address, GET)
    assert (text(after, "FN"), picture_in(after)) == ("Alice", picture_in(before))
