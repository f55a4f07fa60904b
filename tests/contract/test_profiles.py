"""Profiles and pictures in the database: what is typed stays, what is left is forgotten."""

import base64
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.store_world import Opened, people, settings
from xmpprelay.core.profile import NO_PROFILE, Part, Picture, Profile, Shown
from xmpprelay.errors import NotRegistered
from xmpprelay.store import migrations
from xmpprelay.store.account import data_of, leave
from xmpprelay.store.database import Database
from xmpprelay.store.operations import HandleRow, take_handle
from xmpprelay.store.profiles import (
    ProfileRow,
    change_profile,
    load_profiles,
    picture_of,
    untype_profile,
)

PICTURE = Picture(b"not looked at here", 16, 8)
OTHER = Picture(b"another one", 4, 4)


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


@pytest.fixture
async def alice(db: Database) -> int:
    [alice] = await people(db, "alice")
    await db.write(take_handle, HandleRow(alice, "alice", "alice"))
    return alice


async def loaded(db: Database) -> dict[int, Profile]:
    return await db.read(lambda conn: dict(load_profiles(conn)))


async def picture(db: Database, person: int) -> Picture | None:
    return await db.read(lambda conn: picture_of(conn, person))


async def test_a_profile_is_kept_part_by_part(db: Database, alice: int) -> None:
    await db.write(change_profile, ProfileRow(alice, {Part.NAME: "Alice", Part.URL: "https://a.b"}))
    now = await db.write(change_profile, ProfileRow(alice, {Part.URL: ""}, (PICTURE,)))
    shown = Shown(PICTURE.sha1, 16, 8, len(PICTURE.data))
    typed = frozenset({Part.NAME, Part.URL, Part.PICTURE})
    assert now == Profile("Alice", "", "", shown, typed)
    assert await loaded(db) == {alice: now}
    assert await picture(db, alice) == PICTURE


async def test_a_picture_is_replaced_and_taken_away(db: Database, alice: int) -> None:
    for shown in (PICTURE, OTHER):
        await db.write(change_profile, ProfileRow(alice, pictures=(shown,)))
    assert await picture(db, alice) == OTHER
    now = await db.write(change_profile, ProfileRow(alice, pictures=(None,)))
    assert (now.picture, await picture(db, alice)) == (None, None)
    assert now.typed == {Part.PICTURE}


async def test_what_is_typed_is_not_taken_over(db: Database, alice: int) -> None:
    await db.write(change_profile, ProfileRow(alice, {Part.NAME: "Alice"}, (None,)))
    own = {Part.NAME: "A. Liddell", Part.ABOUT: "Curious."}
    row = ProfileRow(alice, own, (PICTURE,), typed=False, source="abc")
    now = await db.write(change_profile, row)
    assert (now.name, now.about, now.picture, now.source) == ("Alice", "Curious.", None, "abc")
    assert now.typed == {Part.NAME, Part.PICTURE}


async def test_neighbours_of_one_commit_see_each_other(db: Database, alice: int) -> None:
    """The commit of a takeover and of what is typed meanwhile: the typed wins in both orders."""
    taken = ProfileRow(alice, {Part.NAME: "taken", Part.ABOUT: "taken"}, typed=False, source="")
    name = ProfileRow(alice, {Part.NAME: "typed"})
    about = ProfileRow(alice, {Part.ABOUT: "typed"})
    for done in [db.submit(change_profile, row) for row in (name, taken, about)]:
        await done
    profile = (await loaded(db))[alice]
    assert (profile.name, profile.about, profile.source) == ("typed", "typed", "")


async def test_all_of_it_can_be_taken_over_again(db: Database, alice: int) -> None:
    await db.write(change_profile, ProfileRow(alice, {Part.NAME: "Alice"}, (PICTURE,)))
    await db.write(change_profile, ProfileRow(alice, typed=False, source="abc"))
    now = await db.write(untype_profile, alice)
    assert (now.name, now.typed, now.source) == ("Alice", frozenset(), None)
    row = ProfileRow(alice, {Part.NAME: "A. Liddell"}, (None,), typed=False, source="")
    now = await db.write(change_profile, row)
    assert (now.name, now.picture, now.source) == ("A. Liddell", None, "")


async def test_of_somebody_without_a_handle_nothing_is_kept(db: Database) -> None:
    [bob] = await people(db, "bob")
    for typed in (True, False):
        with pytest.raises(NotRegistered):
            await db.write(
                change_profile, ProfileRow(bob, {Part.NAME: "Bob"}, (PICTURE,), typed=typed)
            )
    assert (await loaded(db), await picture(db, bob)) == ({}, None)
    assert await db.write(untype_profile, bob) == NO_PROFILE


async def test_who_leaves_is_forgotten(db: Database, alice: int) -> None:
    [bob] = await people(db, "bob")
    await db.write(take_handle, HandleRow(bob, "bob", "bob"))
    for who in (alice, bob):
        await db.write(change_profile, ProfileRow(who, {Part.NAME: "X"}, (PICTURE,)))
    await db.write(leave, alice)
    assert list(await loaded(db)) == [bob]
    assert (await picture(db, alice), await picture(db, bob)) == (None, PICTURE)
    with pytest.raises(NotRegistered):
        await db.write(change_profile, ProfileRow(alice, {Part.NAME: "late"}, typed=False))


async def test_it_is_among_the_data_of_a_person(db: Database, alice: int) -> None:
    await db.write(change_profile, ProfileRow(alice, {Part.ABOUT: "Curious."}, (PICTURE,)))
    held = await db.read(lambda conn: list(data_of(conn, "alice@example.org")))
    texts = {"name": "", "about": "Curious.", "url": ""}
    assert {"type": "profile", "picture_elsewhere": None} | texts in held
    [kept] = [each for each in held if each["type"] == "picture"]
    assert base64.b64decode(kept["base64"]) == PICTURE.data


async def test_names_of_an_earlier_version_are_typed(
    opened: Opened, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", *(f"versions/rev_000{number}.py" for number in range(1, 5))):
        shutil.copy(migrations.FOLDER / name, folder / name)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "FOLDER", folder)
        async with opened():
            pass
    with closing(sqlite3.connect(path)) as old, old:
        for who in (1, 2, 3):
            old.execute("INSERT INTO person VALUES (?, ?, 0)", (who, f"{who}@example.org"))
        chosen = [(1, "name", "Alice"), (1, "about", "me"), (1, "bot", "on"), (2, "about", "you")]
        old.executemany("INSERT INTO setting VALUES (?, ?, ?)", [*chosen, (3, "lang", "de")])
    async with opened() as db:
        assert await loaded(db) == {
            1: Profile("Alice", "me", typed=frozenset({Part.NAME, Part.ABOUT})),
            2: Profile("", "you", typed=frozenset({Part.ABOUT})),
        }
        assert await settings(db) == {(1, "bot"): "on", (3, "lang"): "de"}
