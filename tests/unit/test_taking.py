"""How fast an author may write, and how many deliveries may come of it, with a clock read out."""

from datetime import UTC, datetime
from typing import cast

import pytest

from xmpprelay.core.model import Appended, Kind, Post
from xmpprelay.errors import TooFast
from xmpprelay.journal import Journal
from xmpprelay.relay.taking import PostLimits, Taking
from xmpprelay.store.posts import ChangeRow, PostRow

ALICE, ERIN, KIM = 1, 2, 3
FOLLOWERS = {ALICE: 10_000, ERIN: 3, KIM: 2_000_000}
QUICK = PostLimits(1000.0, 10_000, 3_600_000, 2000, deliveries_per_minute=600_000)


class Kept:
    """A journal that keeps what it is given."""

    def __init__(self) -> None:
        self.posts: list[Post] = []

    async def append(self, row: PostRow) -> Appended:
        post = Post(len(self.posts) + 1, row.author, row.text, None, datetime.now(UTC))
        self.posts.append(post)
        return Appended(post, duplicate=False)

    async def change(self, row: ChangeRow) -> Appended:
        return await self.append(PostRow(row.author, row.text or ""))

    async def find_duplicate(self, row: PostRow | ChangeRow) -> Post | None:
        return next((post for post in self.posts if post.text == row.text), None)


class Desk:
    """Where authors write, at a time that the test sets."""

    def __init__(self, limits: PostLimits = QUICK) -> None:
        self.now_s = 0.0
        self.journal = Kept()
        self._taking = Taking(
            cast("Journal", self.journal), limits, FOLLOWERS.__getitem__, lambda: self.now_s
        )

    async def posts(self, author: int, kind: Kind = Kind.POST) -> None:
        text = f"post {len(self.journal.posts)}"
        await self._taking.append(PostRow(author, text, kind=kind))

    async def resends(self, author: int, text: str) -> Appended:
        return await self._taking.append(PostRow(author, text))

    async def deletes(self, author: int) -> None:
        await self._taking.change(ChangeRow(author, 1, None, (), None, None))


async def test_an_author_of_ten_thousand_has_sixty_at_once_and_then_one_a_second() -> None:
    desk = Desk()
    for _ in range(60):
        await desk.posts(ALICE)
    with pytest.raises(TooFast, match="go to 10000 people each") as told:
        await desk.posts(ALICE)
    assert told.value.retry_after_s < 1.0
    for desk.now_s in (1.0, 2.0, 3.0):
        await desk.posts(ALICE)
        with pytest.raises(TooFast):
            await desk.posts(ALICE)


async def test_each_author_has_a_budget_of_his_own() -> None:
    desk = Desk()
    for _ in range(60):
        await desk.posts(ALICE)
    for _ in range(1000):
        await desk.posts(ERIN)


async def test_whoever_has_more_followers_than_the_budget_may_post_seldom() -> None:
    desk = Desk()
    await desk.posts(KIM)
    with pytest.raises(TooFast, match="Send it again in 3 minutes") as told:
        await desk.posts(KIM)
    desk.now_s = told.value.retry_after_s + 0.01
    await desk.posts(KIM)


async def test_a_letter_costs_one_delivery_and_a_deletion_as_much_as_the_post() -> None:
    desk = Desk()
    for _ in range(59):
        await desk.posts(ALICE)
    for _ in range(1000):
        await desk.posts(ALICE, Kind.DIRECT)
    await desk.deletes(ALICE)  # it goes into debt
    with pytest.raises(TooFast):
        await desk.deletes(ALICE)


async def test_a_resend_is_never_refused_and_a_refusal_costs_nothing() -> None:
    desk = Desk()
    for _ in range(60):
        await desk.posts(ALICE)
    for _ in range(5):
        with pytest.raises(TooFast):
            await desk.posts(ALICE)
        assert (await desk.resends(ALICE, "post 7")).duplicate
    desk.now_s = 1.01
    await desk.posts(ALICE)
