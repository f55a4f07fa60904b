"""What is known of each author: name, description, address, picture (XEP-0054, XEP-0084).

All of it is in memory but for the pictures' bytes, which are read from the database when somebody
asks. A change counts from its commit on, and `changed` is told of it then. What comes from the
author's own address is taken over for those parts only that he has not set here
(`store/profiles.py`). Of somebody without a handle there is nothing, and who leaves is forgotten.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from xmpprelay.core.model import Person
from xmpprelay.core.pacing import Bucket, Buckets, Rate
from xmpprelay.core.profile import NO_PROFILE, Part, Picture, Profile, checked, fitting
from xmpprelay.errors import RelayError, StoreError, TooFast, TryLater
from xmpprelay.log import get_logger
from xmpprelay.pictures import Pictures
from xmpprelay.store.database import Database
from xmpprelay.store.profiles import (
    ProfileRow,
    change_profile,
    load_profiles,
    picture_of,
    untype_profile,
)

log = get_logger("profiles")

_TEXTS: Final = (Part.NAME, Part.ABOUT, Part.URL)

DECODED: Final = Rate(per_second=0.1, burst=10)
"""Pictures of one person that are decoded: all people's wait for the same thread."""

_SENDERS: Final = 10_000

SENT: Final = Rate(per_second=4 * 2**20, burst=32 * 2**20)
"""Bytes of pictures that go out by the stream, to all together: they are by far the longest answers
there are, and posts go the same way. A thousand pictures at once, then a hundred a second."""


@dataclass(frozen=True, slots=True)
class Card:
    """What somebody's own address shows, as it came."""

    texts: Mapping[Part, str]  # not cleaned yet
    picture: bytes | None  # None: none
    source: str  # the hash by which his presence tells of that picture; "": of none


class Profiles:
    """The profiles of all authors.

    `changed` is told who looks otherwise now, how he looked before and how he does, and nothing
    where all that he shows is the same. `look` is asked to take over what somebody's own address
    shows, and says whether it will. `monotonic` is the clock that spans are measured with.
    """

    def __init__(
        self,
        db: Database,
        pictures: Pictures,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._pictures = pictures
        self._monotonic = monotonic
        self._sent = Bucket.full(SENT, monotonic())
        self._decoded = Buckets(DECODED, _SENDERS)
        self._profiles: dict[int, Profile] = {}
        self.changed: Callable[[int, Profile, Profile], None] = lambda _who, _before, _now: None
        self.look: Callable[[Person], bool] = lambda _: False

    def load(self, conn: Connection) -> None:
        """Take up what is stored."""
        self._profiles = dict(load_profiles(conn))

    def of(self, person: int) -> Profile:
        """What somebody shows; an empty profile where he shows nothing."""
        return self._profiles.get(person, NO_PROFILE)

    async def picture(self, person: int, *, streamed: bool = True) -> Picture | None:
        """The picture that somebody shows; None: none. `streamed`: it goes out by the stream.

        Raises TryLater, also where too much of the kind has gone out by the stream of late.
        """
        shown = self.of(person).picture
        if shown is None:
            return None
        if streamed:
            self._take_allowance(shown.size_bytes)
        try:
            return await self._db.read(lambda conn: picture_of(conn, person))
        except StoreError as error:
            raise TryLater("The relay cannot read this at the moment. Try later.") from error

    def _take_allowance(self, size_bytes: int) -> None:
        taken = self._sent.take(SENT, self._monotonic(), size_bytes)
        if not isinstance(taken, Bucket):
            raise TryLater("Too many pictures are asked for at once. Try again in a minute.")
        self._sent = taken

    async def decoded(self, person: Person, data: bytes) -> Picture:
        """The picture that is made of somebody's bytes.

        Raises NotAPicture, PictureTooBig, TooFast, TryLater.
        """
        wait_s = self._decoded.take(person.id, self._monotonic())
        if wait_s:
            raise TooFast("Those are too many pictures at once. Wait a moment.", wait_s)
        return await self._pictures.encoded(data)

    # What he sets himself

    async def set(
        self, person: Person, texts: Mapping[Part, str], pictures: tuple[Picture | None, ...] = ()
    ) -> Profile:
        """Set texts, and a picture or, with (None,), none; gives the profile as it is now.

        An empty text takes a part away. Raises TooLong, BadRequest, NotRegistered, TryLater: then
        nothing has changed.
        """
        good = {part: checked(part, text) for part, text in texts.items()}
        return await self._change(ProfileRow(person.id, good, pictures))

    async def own(self, person: Person) -> bool:
        """Show what somebody's own address shows, as if he had set nothing here.

        Whether it is looked at now; it is not if that was only just done. What he had set stays
        until then. Raises TryLater.
        """

        def done(now: Profile) -> None:
            self._take(person.id, now)

        try:
            await self._db.write(untype_profile, person.id, committed=done)
        except StoreError as error:
            raise _later() from error
        return self.look(person)

    # What his own address shows

    async def take_over(self, person: Person, card: Card) -> None:
        """Show what somebody's own address shows, but for what he has set here.

        A picture that is of no use here is none. Raises TryLater, NotRegistered.
        """
        texts = {part: fitting(part, card.texts.get(part, "")) for part in _TEXTS}
        shown = await self._picture_of(person, card)
        await self._change(ProfileRow(person.id, texts, (shown,), typed=False, source=card.source))

    async def _picture_of(self, person: Person, card: Card) -> Picture | None:
        if card.picture is None or Part.PICTURE in self.of(person.id).typed:
            return None
        try:
            return await self.decoded(person, card.picture)
        except (TooFast, TryLater):
            raise
        except RelayError as error:
            log.info("profile.picture_refused", person=person.id, why=error.sentence)
            return None

    # Changes

    async def _change(self, row: ProfileRow) -> Profile:
        def done(now: Profile) -> None:
            self._take(row.person, now)

        try:
            return await self._db.write(change_profile, row, committed=done)
        except StoreError as error:
            raise _later() from error

    def _take(self, person: int, now: Profile) -> None:
        before = self.of(person)
        if now == NO_PROFILE:
            self._profiles.pop(person, None)
        else:
            self._profiles[person] = now
        if _shown(before) != _shown(now):
            self.changed(person, before, now)

    def forget(self, person: int) -> None:
        """Somebody has left: nothing is known of him any more."""
        self._profiles.pop(person, None)


def _shown(profile: Profile) -> tuple[object, ...]:
    """What others see of it: not who has set what, nor what was looked at."""
    return profile.name, profile.about, profile.url, profile.picture


def _later() -> TryLater:
    return TryLater("The relay cannot store this at the moment; nothing was changed. Try later.")
