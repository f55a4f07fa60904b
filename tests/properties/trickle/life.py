"""One run of the trickle against a scripted primary, by a seed.

Authors post, answer one another, edit and delete; the primary fails as its script says, and is away
for a second or for a week; the relay is killed at commits, and just before and after requests
leave. At last nothing fails any more and everything comes to rest; then what is at the primary is
compared with the journal.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Final

from tests.primaries.faults import CHAOS, ERROR_500, ERROR_503, HANG, REFUSE, Fault, Op, late
from tests.primaries.profiles import PROFILES
from tests.primaries.twin import Twin
from tests.primaries.world import World
from tests.properties.trickle.loop import VirtualLoop
from tests.properties.trickle.relay import Disk, People, Relay, now
from xmpprelay.core.insertion import OPEN, PARENT_GONE, Act, Insertion, Rules, State
from xmpprelay.core.model import Post
from xmpprelay.core.primary import Absent, Look
from xmpprelay.primary.base import Primary
from xmpprelay.store.posts import ChangeRow, PostRow

AUTHORS: Final = 5
OUTAGES: Final = (REFUSE, HANG, ERROR_500, ERROR_503)
LONGEST_REST_S: Final = 10 * 86_400.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run is like."""

    seed: int
    posts: int = 100
    share: float = 0.38  # of requests that are disturbed
    kills: int = 4
    outages: int = 2
    looks: bool = True  # False: what is unclear is simply sent again
    faults: Sequence[Fault] = CHAOS
    ops: frozenset[Op] = frozenset(Op)  # which requests are disturbed
    scale: float = 1.0  # of all that people wait for
    late_s: float = 40.0  # what is done late is done within that
    settle_s: float = 60.0

    @property
    def rules(self) -> Rules:
        return Rules(settle=timedelta(seconds=self.settle_s), max_age=timedelta(days=30))


@dataclass(slots=True)
class Books:
    """What came of it."""

    posts: int = 0
    inserted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # order, parents, texts, what must not be there
    kills: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def bad(self) -> list[str]:
        return self.lost + self.doubled + self.wrong


class Blind(Twin):
    """The control: it never looks, as if everything that is unclear had not happened."""

    async def reconcile(self, account: object, attempt: object) -> Look:
        del account, attempt
        return Absent()


class Life:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = Random(plan.seed)
        profile = self.rng.choice(PROFILES)
        self.world = World(replace(profile, limits=()), now=lambda: now().timestamp())
        self.disk = Disk(now, AUTHORS)
        names = range(1, AUTHORS + 1)
        self.people = People({each: self.world.join(f"p{each}", each) for each in names})
        self.primary = self._driver()
        self.disk.moment = self._moment
        self.relay = self._relay()
        self.made: dict[int, Post] = {}  # number -> the post as it is to be at the end
        self.gone: set[int] = set()
        self.books = Books()
        self._moments = 0
        self._dies_at: set[int] = set()
        self._dead = asyncio.Event()
        self._names = iter(range(1, 10**9))

    def _driver(self) -> Primary:
        kind = Twin if self.plan.looks else Blind
        return kind(
            self.world,
            sleep=asyncio.sleep,
            rtt_s=lambda: self.rng.uniform(0.02, 0.4),
            moment=lambda where, _op: self._moment(where),
        )

    def _relay(self) -> Relay:
        return Relay(
            self.disk, self.primary, self.people, self.plan.rules, self.rng, self.world.site
        )

    # Kills

    def _moment(self, _where: str) -> None:
        self._moments += 1
        if self._moments in self._dies_at:
            self._dead.set()
        if self._dead.is_set():
            raise asyncio.CancelledError

    async def _rises(self) -> None:
        """After a kill: what there was is let go of, and it is started on the same database."""
        while self._dead.is_set():
            await self.relay.dies()
            self.books.kills += 1
            self._dead.clear()
            self.relay = self._relay()
            try:
                await self.relay.starts()
            except asyncio.CancelledError:
                if not self._dead.is_set():
                    raise

    async def _surely(self, step: Callable[[], object]) -> object:
        """Do something that a kill may cut short, until it is certainly done."""
        while True:
            await self._rises()
            try:
                return await step()  # type: ignore[misc]
            except asyncio.CancelledError:
                if not self._dead.is_set():
                    raise

    async def _passes(self, wait_s: float) -> None:
        """Let time pass; the relay may be killed meanwhile."""
        ends_at = asyncio.get_running_loop().time() + wait_s
        while (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
            await self._rises()
            try:
                async with asyncio.timeout(left_s):
                    await self._dead.wait()
            except TimeoutError:
                return

    # What people do

    async def lives(self) -> Books:
        plan, rng = self.plan, self.rng
        self._script()
        await self.relay.starts()
        for _ in range(plan.kills):
            self._dies_at.add(rng.randrange(1, plan.posts * 8))
        for _ in range(plan.posts):
            await self._something()
            await self._passes(rng.choice((0.0, 0.1, 1.0, 5.0, 20.0)) * rng.random() * plan.scale)
        await self._rests()
        self._check()
        await self.relay.dies()
        return self.books

    def _script(self) -> None:
        rng, at = self.rng, now().timestamp()
        faults: list[Fault] = [
            late(each, rng.uniform(0.0125, 1.0) * self.plan.late_s) if each.late_s else each
            for each in CHAOS
        ]
        self.world.script.at_random(rng, self.plan.share, faults, self.plan.ops)
        for _ in range(self.plan.outages):
            start = at + rng.uniform(0.0, self.plan.posts * 3.0) * self.plan.scale
            lasts_s = rng.choice((1.0, 30.0, 600.0, 3600.0, 7 * 86_400.0)) * self.plan.scale
            fault = rng.choice(OUTAGES)
            self.world.script.outage(fault, start=start, end=start + lasts_s)

    async def _something(self) -> None:
        rng = self.rng
        author = rng.randint(1, AUTHORS)
        mine = [n for n, post in self.made.items() if post.author == author]
        what = rng.random()
        if mine and what < 0.06:
            await self._change(author, rng.choice(mine), None)
        elif mine and what < 0.14:
            await self._change(author, rng.choice(mine), f"edited {next(self._names)}")
        else:
            others = [n for n in self.made if n not in self.gone]
            parent = rng.choice(others) if others and rng.random() < 0.25 else None
            text = "ok" if rng.random() < 0.2 else f"post {next(self._names)}, ü 🎉 https://a.b/c"
            await self._post(author, text, parent)

    async def _post(self, author: int, text: str, parent: int | None) -> None:
        row = PostRow(
            author=author, text=text, account=author, parent=parent, origin=f"o{next(self._names)}"
        )
        post = await self._surely(lambda: self.relay.posts(row))
        assert isinstance(post, Post)
        self.made[post.number] = post
        self.books.posts += 1

    async def _change(self, author: int, number: int, text: str | None) -> None:
        if number in self.gone or (text is not None and self.made[number].edits >= 5):
            return
        row = ChangeRow(author, number, text, origin=f"o{next(self._names)}")
        await self._surely(lambda: self.relay.changes(row))
        if text is None:
            self.gone.add(number)
        else:
            post = self.made[number]
            self.made[number] = replace(post, text=text, edits=post.edits + 1)

    async def _rests(self) -> None:
        """All that is open comes to an end: most of it while things fail, the rest without."""
        await self._drains(self.rng.choice((7200.0, 86_400.0)) * self.plan.scale)
        self.world.script.mend()
        self._dies_at.clear()
        await self._drains(LONGEST_REST_S)
        if self.disk.any_open():
            self.books.wrong.append("it does not come to rest")

    async def _drains(self, longest_s: float) -> None:
        began, rest_s = asyncio.get_running_loop().time(), 10.0 * self.plan.scale
        while self.disk.any_open() and asyncio.get_running_loop().time() - began < longest_s:
            await self._passes(rest_s)
            rest_s = min(rest_s * 1.3, 3600.0)

    # The books are closed

    def _check(self) -> None:
        books, rows = self.books, self.disk.rows()
        books.requests = self.world.requests.total()
        books.faults = self.world.faults
        books.wrong += [f"{row}" for row in rows if row.due and row.state not in OPEN]
        twin = self.primary
        if isinstance(twin, Twin) and max(twin.most_at_once.values(), default=0) > 1:
            books.wrong.append("two requests at once for one account")
        if self.relay.engine.failures:
            books.wrong.append(f"{self.relay.engine.failures} unforeseen failures")
        by_post: dict[int, list[Insertion]] = defaultdict(list)
        for row in rows:
            by_post[row.post].append(row)
        for account in self.people.accounts:
            self._check_account(account, by_post)
        left = self.relay.place.site.waiting
        if left.total():
            books.wrong.append(f"{left} are counted as waiting")

    def _check_account(self, account: int, by_post: dict[int, list[Insertion]]) -> None:
        books = self.books
        wanted: list[Post] = []
        for number, post in sorted(self.made.items()):
            if post.author != account:
                continue
            first = next(row for row in by_post[number] if row.act is Act.INSERT)
            if number in self.gone:
                continue
            if first.reason == PARENT_GONE and first.state is State.CANCELLED:
                continue  # what it answers was taken back before it was there
            if first.state is not State.INSERTED:
                books.lost.append(f"#{number} is {first.state}, {first.reason}")
                continue
            wanted.append(post)
        books.inserted += len(wanted)
        there = self.world.stored(self.people.accounts[account])
        by_id = {each.id: each for each in there}
        placed = []
        for post in wanted:
            rows = by_post[post.number]
            first = next(row for row in rows if row.act is Act.INSERT)
            stored = by_id.pop(first.remote_id or "", None)
            if stored is None:
                books.lost.append(f"#{post.number} is not there, or another has its id")
                continue
            placed.append(there.index(stored))
            last = [row for row in rows if row.act is Act.EDIT]
            refused = any(row.state is State.REFUSED for row in last)
            reads = stored.sent
            if post.parent is not None and not stored.parent:  # what it answers is linked to
                reads = reads.partition("\n\nhttps://relay.test/")[0]
            if reads != post.text and not refused:
                books.wrong.append(f"#{post.number} reads {stored.sent!r}, not {post.text!r}")
            self._check_parent(post, stored.parent, by_post)
        books.doubled += [f"{each.sent!r} is there and no post's" for each in by_id.values()]
        if placed != sorted(placed):
            books.wrong.append(f"account {account} is out of order: {placed}")

    def _check_parent(self, post: Post, parent: str, by_post: dict[int, list[Insertion]]) -> None:
        if not parent:
            return
        if post.parent is None:
            self.books.wrong.append(f"#{post.number} answers something at the primary")
            return
        row = next(row for row in by_post[post.parent] if row.act is Act.INSERT)
        if row.remote_id != parent:
            self.books.wrong.append(f"#{post.number} answers another post at the primary")


def live(plan: Plan) -> Books:
    """Run it."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_live(plan))


async def _live(plan: Plan) -> Books:
    return await Life(plan).lives()
