"""Profiles and pictures of authors in the database (XEP-0054, XEP-0084).

Whether a part may be taken over from somebody's own address is decided here, in the transaction:
what he sets himself in the same moment wins, in whichever order the two come.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, update

from xmpprelay.core.profile import NO_PROFILE, Part, Picture, Profile, Shown
from xmpprelay.errors import NotRegistered
from xmpprelay.store.dialect import upsert
from xmpprelay.store.rows import AnyRow
from xmpprelay.store.schema import handle, picture, profile
from xmpprelay.store.writer import Transaction, operation

_TEXTS: Final = (Part.NAME, Part.ABOUT, Part.URL)

_PROFILE: Final = (
    profile.c.person,
    profile.c.name,
    profile.c.about,
    profile.c.url,
    profile.c.typed,
    profile.c.source,
    picture.c.sha1,
    picture.c.width,
    picture.c.height,
    func.length(picture.c.data).label("size_bytes"),
)
_WITH_PICTURE: Final = profile.outerjoin(picture, picture.c.person == profile.c.person)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """What is to change of somebody's profile."""

    person: int
    texts: Mapping[Part, str] = field(default_factory=dict)  # checked; "" takes a part away
    pictures: tuple[Picture | None, ...] = ()  # none of them: it stays; None takes it away
    typed: bool = True  # by himself; False: taken over from his own address
    source: str | None = None  # of what is taken over: the hash of the picture there


@operation(grows=True)
def change_profile(tx: Transaction, rows: Sequence[ProfileRow]) -> list[Profile]:
    """Change profiles, and give each as it is now.

    What is taken over leaves those parts alone that somebody has set himself. Raises NotRegistered
    for somebody without a handle: he has no profile.
    """
    return [_change(tx, row) for row in rows]


def _change(tx: Transaction, row: ProfileRow) -> Profile:
    if tx.conn.scalar(select(handle.c.handle).where(handle.c.person == row.person)) is None:
        raise NotRegistered("Only who posts here has a profile: `join yourname` first.")
    before = profile_of(tx.conn, row.person)
    parts = {*row.texts, *([Part.PICTURE] if row.pictures else [])}
    if not row.typed:
        parts -= before.typed
    values: dict[str, Any] = {part.value: getattr(before, part.value) for part in _TEXTS}
    values |= {part.value: text for part, text in row.texts.items() if part in parts}
    typed = before.typed | parts if row.typed else before.typed
    source = before.source if row.typed else row.source
    written = " ".join(sorted(typed))
    upsert(tx.conn, profile, [{"person": row.person, "typed": written, "source": source} | values])
    if Part.PICTURE in parts:
        _show(tx, row.person, row.pictures[-1])
    return profile_of(tx.conn, row.person)


def _show(tx: Transaction, person: int, shown: Picture | None) -> None:
    if shown is None:
        tx.conn.execute(delete(picture).where(picture.c.person == person))
        return
    size = {"width": shown.width, "height": shown.height}
    upsert(tx.conn, picture, [{"person": person, "sha1": shown.sha1, "data": shown.data} | size])


@operation(grows=False)
def untype_profile(tx: Transaction, rows: Sequence[int]) -> list[Profile]:
    """Let all parts of these people's profiles be taken over again; give each as it is now."""
    free = {"typed": "", "source": None}
    tx.conn.execute(update(profile).where(profile.c.person.in_(rows)).values(free))
    return [profile_of(tx.conn, person) for person in rows]


def profile_of(conn: Connection, person: int) -> Profile:
    """Give the profile of one person; an empty one if nothing is kept."""
    asked = select(*_PROFILE).select_from(_WITH_PICTURE).where(profile.c.person == person)
    row = conn.execute(asked).one_or_none()
    return NO_PROFILE if row is None else _read(row)


def load_profiles(conn: Connection) -> Iterator[tuple[int, Profile]]:
    """Give all profiles with whose they are; of the pictures all but their bytes."""
    asked = select(*_PROFILE).select_from(_WITH_PICTURE)
    for row in conn.execute(asked):
        yield row.person, _read(row)


def picture_of(conn: Connection, person: int) -> Picture | None:
    """Give somebody's picture; None: he shows none."""
    asked = select(picture.c.data, picture.c.width, picture.c.height)
    row = conn.execute(asked.where(picture.c.person == person)).one_or_none()
    return None if row is None else Picture(*row)


def _read(row: AnyRow) -> Profile:
    typed = frozenset(map(Part, row.typed.split()))
    size = (row.width, row.height, row.size_bytes)
    shown = None if row.sha1 is None else Shown(row.sha1, *size)
    return Profile(row.name, row.about, row.url, shown, typed, row.source)
