"""The profiles' room: what counts from when on, what is told of, and how much is given out."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.nodes import AVATAR_DATA
from xmpprelay.core.profile import NO_PROFILE, Part, Picture, Profile
from xmpprelay.errors import BadRequest, NotRegistered, TooFast, TooLong, TryLater
from xmpprelay.pictures import Pictures, encoded
from xmpprelay.profiles import DECODED, SENT, Card, Profiles
from xmpprelay.store.database import Database
from xmpprelay.store.operations import HandleRow, add_person, take_handle
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.profiles import PROFILE_NODES
from xmpprelay.xmpp.profiles import Profiles as Door
from xmpprelay.xmpp.pubsub.names import PubsubError

ALICE = Person(1, "alice@example.org", "alice")
BOB = Person(2, "bob@example.org", None)


def png(colour: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, "PNG")
    return file.getvalue()


class Place:
    """The room, what it has told, and its clock."""

    def __init__(self, db: Database) -> None:
        self.db, self.now = db, 0.0
        self.pictures = Pictures()
        self.told: list[tuple[int, Profile, Profile]] = []
        self.looked: list[Person] = []
        self.room = self.enters()

    def enters(self) -> Profiles:
        room = Profiles(self.db, self.pictures, lambda: self.now)
        room.changed = lambda *change: self.told.append(change)
        room.look = lambda person: self.looked.append(person) is None
        return room


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    db = await Database.open(f"sqlite:///{tmp_path}/relay.db", now=lambda: datetime.now(UTC))
    for person in (ALICE, BOB):
        await db.write(add_person, person.jid)
    await db.write(take_handle, HandleRow(ALICE.id, "alice", "alice"))
    place = Place(db)
    yield place
    place.pictures.close()
    await db.close()


async def test_what_is_set_counts_at_once_is_told_and_outlives_a_restart(place: Place) -> None:
    picture = encoded(png("red"))
    first = await place.room.set(ALICE, {Part.NAME: " Alice "})
    second = await place.room.set(ALICE, {}, (picture,))
    assert place.told == [(1, NO_PROFILE, first), (1, first, second)]
    assert (second.name, second.picture and second.picture.sha1) == ("Alice", picture.sha1)
    again = place.enters()
    await place.db.read(again.load)
    for room in (place.room, again):
        assert (room.of(1), await room.picture(1), room.of(2)) == (second, picture, NO_PROFILE)


async def test_nobody_is_told_where_what_is_shown_is_the_same(place: Place) -> None:
    await place.room.take_over(ALICE, Card({Part.NAME: "Alice"}, png("red"), "abc"))
    [told] = place.told
    await place.room.take_over(ALICE, Card({Part.NAME: "Alice"}, png("red"), "abd"))
    await place.room.set(ALICE, {Part.NAME: "Alice"}, (encoded(png("red")),))
    assert place.room.of(1).source == "abd", "it counts all the same"
    assert place.room.of(1).typed == {Part.NAME, Part.PICTURE}
    await place.room.own(ALICE)
    assert place.told == [told]
    for part in (Part.NAME, Part.ABOUT, Part.URL):
        await place.room.set(ALICE, {part: "https://a.example"})
    await place.room.set(ALICE, {}, (None,))
    assert len(place.told) == 5


async def test_what_does_not_fit_changes_nothing(place: Place) -> None:
    for texts, error in (
        ({Part.NAME: "x" * 51, Part.ABOUT: "fits"}, TooLong),
        ({Part.ABOUT: "fits", Part.URL: "nonsense"}, BadRequest),
    ):
        with pytest.raises(error):
            await place.room.set(ALICE, texts)
    with pytest.raises(NotRegistered):
        await place.room.set(BOB, {Part.NAME: "Bob"})
    assert (place.told, place.room.of(1)) == ([], NO_PROFILE)


async def test_what_cannot_be_stored_changes_nothing(place: Place) -> None:
    await place.room.set(ALICE, {}, (encoded(png("red")),))
    told = list(place.told)
    await place.db.close()
    with pytest.raises(TryLater):
        await place.room.set(ALICE, {Part.NAME: "Alice"})
    with pytest.raises(TryLater):
        await place.room.own(ALICE)
    with pytest.raises(TryLater):
        await place.room.picture(1)
    assert (place.told, place.looked) == (told, [])


async def test_a_picture_elsewhere_is_decoded_unless_it_is_set_here(place: Place) -> None:
    texts = {Part.NAME: "x" * 60, Part.URL: "nonsense"}
    await place.room.take_over(ALICE, Card(texts, png("red"), "abc"))
    now = place.room.of(1)
    assert (now.name, now.url, now.source) == ("x" * 49 + "…", "", "abc")
    assert (await place.room.picture(1)) == encoded(png("red"))
    await place.room.take_over(ALICE, Card({}, b"none", "abd"))
    assert place.room.of(1) == Profile(source="abd")
    await place.room.set(ALICE, {}, (None,))
    await place.room.take_over(ALICE, Card({}, png("red"), "abe"))
    assert place.room.of(1).picture is None
    assert await place.room.own(ALICE)
    assert (place.looked, place.room.of(1).typed) == ([ALICE], frozenset())


async def test_one_person_has_so_many_pictures_decoded(place: Place) -> None:
    for _ in range(int(DECODED.burst)):
        await place.room.decoded(ALICE, png("red"))
    with pytest.raises(TooFast) as refused:
        await place.room.decoded(ALICE, png("red"))
    await place.room.decoded(BOB, png("red"))
    place.now += refused.value.retry_after_s
    await place.room.decoded(ALICE, png("red"))


async def test_who_leaves_is_not_known_any_more(place: Place) -> None:
    await place.room.set(ALICE, {Part.NAME: "Alice"})
    place.room.forget(1)
    assert (place.room.of(1), await place.room.picture(1)) == (NO_PROFILE, None)


async def test_no_more_pictures_are_given_out_than_the_stream_can_bear(place: Place) -> None:
    await place.room.set(ALICE, {}, (Picture(bytes(2**16), 1, 1),))
    for _ in range(int(SENT.burst / 2**16)):
        assert await place.room.picture(1) is not None
    with pytest.raises(TryLater, match="Too many pictures"):
        await place.room.picture(1)
    assert await place.room.picture(1, streamed=False) is not None
    place.now += 1.0
    for _ in range(int(SENT.per_second / 2**16)):
        assert await place.room.picture(1, streamed=False) is not None, "it is another way"
        assert await place.room.picture(1) is not None


# At an author's address


@pytest.fixture
def door(place: Place) -> Door:
    """The nodes of what is in the room; nobody asks for cards."""
    nobody = SimpleNamespace(answer=lambda *_: None)
    addresses = Addresses("relay.test", "home", Graph(()))
    return Door(nobody, "Relay", place.room, addresses, nobody)  # type: ignore[arg-type]


@pytest.mark.parametrize("shows", [True, False])
async def test_items_have_the_same_ids_with_and_without_what_is_in_them(
    place: Place, door: Door, *, shows: bool
) -> None:
    await place.room.set(ALICE, {}, (encoded(png("red")) if shows else None,))
    for node in PROFILE_NODES:
        items = await door.node_items(ALICE, node)
        assert list(door.item_ids(ALICE, node)) == [name for name, _ in items]
    with pytest.raises(KeyError):
        door.item_ids(ALICE, "other")


async def test_a_picture_is_taken_back_without_being_read(place: Place, door: Door) -> None:
    await place.room.set(ALICE, {}, (Picture(bytes(2**16), 1, 1),))
    while True:
        try:
            [(name, _)] = await door.node_items(ALICE, AVATAR_DATA)
        except TryLater:
            break
    with pytest.raises(PubsubError):
        await door.retract(ALICE, AVATAR_DATA, "other")
    await door.retract(ALICE, AVATAR_DATA, name)
    assert place.room.of(1).picture is None
