"""Linked accounts in the database: one of each for everybody, and what is learned too late."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.contract.store_world import Clock, Opened, people
from xmpprelay.errors import Refused, StoreError
from xmpprelay.store.account import data_of, leave
from xmpprelay.store.database import Database
from xmpprelay.store.links import (
    ClientRow,
    LinkRow,
    MarkRow,
    PrivateRow,
    SealRow,
    StoredLink,
    add_link,
    load_clients,
    load_links,
    mark_link,
    remove_link,
    seal_link,
    set_client,
    set_private,
)

SITE = "https://social.example"
OTHER = "https://other.example"


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as db:
        yield db


def row(person: int, name: str = "alice", token: str = "sealed", site: str = SITE) -> LinkRow:
    return LinkRow(person, site, f"{name}@{site.removeprefix('https://')}", f"id-{name}", token)


async def links(db: Database) -> list[StoredLink]:
    return await db.read(lambda conn: list(load_links(conn)))


# --- links ---------------------------------------------------------------------------------------


async def test_a_link_is_kept_and_replaced_by_the_next(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    linked = await db.write(add_link, row(alice))
    expected = StoredLink(alice, SITE, "alice@social.example", "id-alice", "sealed", linked.created)
    assert linked == expected
    assert await links(db) == [linked]
    clock.pass_s(60)
    again = await db.write(add_link, row(alice, token="sealed 1"))
    assert again.created == linked.created, "it is the same account"
    other = await db.write(add_link, row(alice, "alice2", "sealed 2", OTHER))
    assert other.created - linked.created == timedelta(minutes=1)
    assert await links(db) == [other]


async def test_one_account_belongs_to_one_person(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(add_link, row(alice))
    with pytest.raises(Refused, match=r"alice@social\.example is linked to somebody else here"):
        await db.write(add_link, row(bob))
    at_another_site = await db.write(add_link, row(bob, site=OTHER))
    assert [each.person for each in await links(db)] == [alice, bob]
    with pytest.raises(Refused):
        await db.write(add_link, row(bob))
    assert at_another_site in await links(db), "what he had stays"
    assert await db.write(remove_link, alice)
    assert (await db.write(add_link, row(bob))).person == bob


async def test_of_two_who_link_the_same_at_once_the_first_has_it(db: Database) -> None:
    alice, bob, carol = await people(db, "alice", "bob", "carol")
    submitted = [
        db.submit(add_link, each) for each in (row(alice), row(bob), row(carol, "carol", "c"))
    ]
    first, second, third = await asyncio.gather(*submitted, return_exceptions=True)
    assert isinstance(first, StoredLink)
    assert isinstance(second, Refused)
    assert isinstance(third, StoredLink)
    assert [each.person for each in await links(db)] == [alice, carol]


async def test_a_link_of_nobody_is_refused_by_the_database(db: Database) -> None:
    with pytest.raises(StoreError):
        await db.write(add_link, row(99))


async def test_a_removed_link_is_gone(db: Database) -> None:
    [alice] = await people(db, "alice")
    await db.write(add_link, row(alice))
    assert await db.write(remove_link, alice)
    assert await links(db) == []
    assert not await db.write(remove_link, alice)


async def test_who_leaves_has_no_link_any_more(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(add_link, row(alice))
    await db.write(add_link, row(bob, "bob"))
    data = await db.read(lambda conn: list(data_of(conn, "alice@example.org")))
    [told] = [each for each in data if each["type"] == "link"]
    assert told["account"] == "alice@social.example"
    assert "sealed" not in str(data)
    await db.write(leave, alice)
    assert [each.person for each in await links(db)] == [bob]


async def test_since_when_credentials_do_not_hold_is_kept(db: Database, clock: Clock) -> None:
    [alice] = await people(db, "alice")
    linked = await db.write(add_link, row(alice))
    refused = await db.write(mark_link, MarkRow(alice, "sealed", refused=True))
    assert refused is not None
    assert refused.refused == linked.created
    clock.pass_s(60)
    again = await db.write(mark_link, MarkRow(alice, "sealed", refused=True))
    assert again == refused, "the first time counts"
    assert await links(db) == [refused]
    assert await db.write(mark_link, MarkRow(alice, "sealed", refused=False)) == linked


async def test_what_is_learned_of_an_older_login_changes_nothing(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(add_link, row(alice))
    await db.write(mark_link, MarkRow(alice, "sealed", refused=True))
    new = await db.write(add_link, row(alice, token="sealed anew"))
    assert new.refused is None
    assert await db.write(mark_link, MarkRow(alice, "sealed", refused=True)) is None
    assert await db.write(mark_link, MarkRow(bob, "sealed anew", refused=True)) is None
    assert await db.write(seal_link, SealRow(alice, "sealed", "sealed again")) is None
    assert await links(db) == [new]


async def test_whether_protected_posts_go_there_is_of_the_account(db: Database) -> None:
    alice, bob = await people(db, "alice", "bob")
    await db.write(add_link, row(alice))
    assert await db.write(set_private, PrivateRow(bob, private=True)) is None
    chosen = await db.write(set_private, PrivateRow(alice, private=True))
    assert chosen is not None
    assert chosen.private
    assert (await db.write(add_link, row(alice, token="sealed anew"))).private
    assert not (await db.write(add_link, row(alice, "alice2"))).private
    assert not (await db.write(add_link, row(alice))).private


async def test_a_token_is_sealed_with_another_key(db: Database) -> None:
    [alice] = await people(db, "alice")
    await db.write(add_link, row(alice))
    await db.write(mark_link, MarkRow(alice, "sealed", refused=True))
    sealed = await db.write(seal_link, SealRow(alice, "sealed", "sealed anew"))
    assert sealed is not None
    assert (sealed.token, sealed.refused is None) == ("sealed anew", False)
    assert await links(db) == [sealed]


# --- the relay, as each instance knows it --------------------------------------------------------


async def test_the_relay_is_registered_once_at_each_instance(db: Database) -> None:
    first = ClientRow(SITE, "id 1", "sealed 1")
    await db.write(set_client, first)
    await db.write(set_client, ClientRow(OTHER, "id 2", "sealed 2"))
    new = ClientRow(OTHER, "id 3", "sealed 3")
    await db.write(set_client, new)
    assert await db.read(lambda conn: list(load_clients(conn))) == [new, first]
