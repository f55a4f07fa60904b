"""Pages of items: who may see what, from where on, how much, and how far is looked."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from tests.contract.store_world import Clock, Opened, people
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Kind, Mode, Person
from xmpprelay.core.text import message_id
from xmpprelay.items import MAX_BYTES, MAX_ITEMS, Items, Page, Span
from xmpprelay.store.database import Database
from xmpprelay.store.operations import FollowRow, add_follow
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post

READER = "reader@elsewhere.test"
"""Nobody knows him."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A database with authors, the graph of it, and what reads items from it."""

    db: Database
    graph: Graph
    items: Items
    alice: Person
    bob: Person

    async def posts(self, *texts: str, **more: object) -> Sequence[int]:
        made = []
        for text in texts:
            row = PostRow(self.alice.id, text, **more)  # type: ignore[arg-type]
            made.append((await self.db.write(append_post, row)).post.number)
        return made

    async def page(self, limit: int, jid: str = READER, **span: object) -> Page:
        return await self.items.of_author(jid, self.alice, Span(limit, **span))  # type: ignore[arg-type]

    def name(self, number: int) -> str:
        return message_id(number, self.db.epoch)


@pytest.fixture
async def shelf(opened: Opened) -> AsyncIterator[Shelf]:
    async with opened() as db:
        alice, bob = await people(db, "alice", "bob")
        graph = Graph(["example.org"])
        found = [Person(alice, "alice@example.org", "alice"), Person(bob, "bob@example.org", "bob")]
        for each in found:
            graph.add_person(each)
        yield Shelf(db, graph, Items(db, graph), *found)


def numbers(page: Page) -> list[int]:
    return [item.post.number for item in page.items]


async def test_a_page_is_the_newest_or_goes_on_from_a_number(shelf: Shelf) -> None:
    made = await shelf.posts(*"abcdefg")
    assert numbers(await shelf.page(3)) == made[-3:]
    assert numbers(await shelf.page(3, oldest=True)) == made[:3]
    assert numbers(await shelf.page(3, after=made[2])) == made[3:6]
    assert numbers(await shelf.page(3, before=made[3])) == made[:3]
    assert (await shelf.page(0)).items == ()


@pytest.mark.parametrize("span", [{}, {"oldest": True}], ids=["newest", "oldest"])
async def test_a_page_is_complete_where_there_is_no_more(
    shelf: Shelf, span: dict[str, bool]
) -> None:
    await shelf.posts(*"abc")
    assert not (await shelf.page(2, **span)).complete
    assert (await shelf.page(3, **span)).complete
    assert (await shelf.page(4, **span)).complete


async def test_boosts_are_items_and_letters_changes_and_the_deleted_are_none(
    shelf: Shelf, clock: Clock
) -> None:
    first, second = await shelf.posts("first", "second")
    theirs = (await shelf.db.write(append_post, PostRow(shelf.bob.id, "bob's"))).post.number
    boost = PostRow(shelf.alice.id, "", kind=Kind.BOOST, original=theirs)
    boosted = (await shelf.db.write(append_post, boost)).post.number
    await shelf.posts("psst", kind=Kind.DIRECT, targets=(shelf.bob.id,))
    clock.pass_s(60)
    await shelf.db.write(change_post, ChangeRow(shelf.alice.id, first, "first!"))
    await shelf.db.write(change_post, ChangeRow(shelf.alice.id, second, None))
    page = await shelf.page(10)
    assert numbers(page) == [first, boosted]
    assert [item.post.content.text for item in page.items] == ["first!", "bob's"]
    assert [item.updated for item in page.items] == [clock.now(), None]


async def test_what_somebody_may_not_see_is_passed_over(shelf: Shelf) -> None:
    hidden = await shelf.posts("@bob a", "@bob b", targets=(shelf.bob.id,))
    [shown] = await shelf.posts("to all")
    hidden += await shelf.posts(*(f"@bob {n}" for n in range(70)), mentions=(shelf.bob.id,))
    shelf.graph.block(shelf.bob.id, READER)
    assert numbers(await shelf.page(2, oldest=True)) == [shown, hidden[2]], "whom it answers"
    shelf.graph.protect(shelf.alice.id, True)
    assert numbers(await shelf.page(5)) == []
    shelf.graph.protect(shelf.alice.id, False)
    shelf.graph.add_person(Person(99, READER, None))
    shelf.graph.block(99, shelf.bob.jid)
    assert numbers(await shelf.page(5)) == [shown]
    assert (await shelf.page(5)).complete
    everybody = await shelf.page(5, jid="other@elsewhere.test")
    assert numbers(everybody) == list(hidden[-5:])
    shelf.graph.protect(shelf.alice.id, True)
    assert numbers(await shelf.page(5)) == []
    assert numbers(await shelf.page(1, jid=shelf.alice.jid)) == [hidden[-1]]


async def test_an_approved_follower_reads_a_protected_author(shelf: Shelf) -> None:
    made = await shelf.posts("a")
    shelf.graph.protect(shelf.alice.id, True)
    assert numbers(await shelf.page(1, jid=shelf.bob.jid)) == []
    row = FollowRow(shelf.bob.id, shelf.alice.id, Mode.PUBSUB, None)
    shelf.graph.add_follow((await shelf.db.write(add_follow, row)).follow)
    assert numbers(await shelf.page(1, jid=shelf.bob.jid)) == list(made)


async def test_an_answer_is_bounded_by_its_bytes_and_its_items(shelf: Shelf) -> None:
    long = await shelf.posts(*(f"{n}{chr(34) * 1_300}" for n in range(30)))
    page = await shelf.page(30)
    most = MAX_BYTES // 7_800
    assert numbers(page) == list(long[-most:])
    assert not page.complete
    named = await shelf.items.named(READER, shelf.alice, [shelf.name(n) for n in long])
    assert [each.post.number for each in named] == list(long[:most])
    await shelf.posts(*map(str, range(MAX_ITEMS + 1)))
    assert len((await shelf.page(1_000_000)).items) == MAX_ITEMS


async def test_an_item_is_found_by_our_name_and_by_its_authors(shelf: Shelf) -> None:
    [mine] = await shelf.posts("a", item="mine")
    [other] = await shelf.posts("b")
    theirs = (await shelf.db.write(append_post, PostRow(shelf.bob.id, "c"))).post.number
    names = [shelf.name(other), "mine", shelf.name(theirs), "unknown", "9.zzz", shelf.name(99)]
    found = await shelf.items.named(READER, shelf.alice, names)
    assert [each.post.number for each in found] == [other, mine]
    assert await shelf.items.number_of(shelf.alice, "mine") == mine
    assert await shelf.items.number_of(shelf.alice, shelf.name(mine)) == mine
    assert await shelf.items.number_of(shelf.bob, "mine") is None


async def test_who_names_an_item_often_gets_it_once(shelf: Shelf) -> None:
    mine, other = [(await shelf.posts(text, item=text))[0] for text in ("mine", "other")]
    names = ["other", "mine", shelf.name(mine), "other", shelf.name(other), "mine"]
    found = await shelf.items.named(READER, shelf.alice, names)
    assert [each.post.number for each in found] == [other, mine]
    [answer] = await shelf.posts("answer", parent=mine, root=mine)
    post = found[1].post
    answers = await shelf.items.answers_named(READER, post, [shelf.name(answer)] * 3)
    assert [each.post.number for each in answers] == [answer]


async def test_answers_are_pages_of_their_own(shelf: Shelf) -> None:
    [parent] = await shelf.posts("a")
    made = await shelf.posts("b", "c", "d", parent=parent, root=parent)
    post = (await shelf.items.named(READER, shelf.alice, [shelf.name(parent)]))[0].post
    page = await shelf.items.answers_to(READER, post, Span(2))
    assert numbers(page) == list(made[-2:])
    page = await shelf.items.answers_to(READER, post, Span(2, after=made[0]))
    assert numbers(page) == list(made[1:])
    names = [shelf.name(made[2]), shelf.name(parent), "mine"]
    found = await shelf.items.answers_named(READER, post, names)
    assert [each.post.number for each in found] == [made[2]]


async def test_who_has_posted_lately_is_looked_for_among_the_last_entries(shelf: Shelf) -> None:
    await shelf.posts("a", "b")
    await shelf.db.write(append_post, PostRow(shelf.bob.id, "c"))
    [number] = await shelf.posts("d")
    await shelf.db.write(append_post, PostRow(shelf.bob.id, "", kind=Kind.BOOST, original=number))
    assert await shelf.items.last_authors(5) == [shelf.alice.id, shelf.bob.id]
    assert await shelf.items.last_authors(2) == [shelf.alice.id]
    assert await shelf.items.last_authors(1) == []
