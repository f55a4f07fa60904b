"""What happens to a post while its account has a turn: no wake-up is lost, nothing is undone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.properties.trickle.loop import VirtualLoop
from tests.properties.trickle.relay import Disk, People, now
from xmpprelay.core.health import Flag
from xmpprelay.core.insertion import (
    PARENT_GONE,
    RESENDABLE,
    Act,
    Head,
    Insertion,
    Rules,
    State,
    ended,
    resent,
)
from xmpprelay.core.model import Appended
from xmpprelay.core.primary import (
    EVERYBODY,
    MENTIONS_OTHERS,
    Absent,
    Account,
    Attempt,
    Candidate,
    Caps,
    File,
    Found,
    Look,
    Outcome,
    Probe,
    Reach,
    Result,
    Scope,
    Status,
)
from xmpprelay.core.site import Site
from xmpprelay.errors import StoreError
from xmpprelay.store.insertion import ChooseRow, choose
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post
from xmpprelay.trickle.engine import Engine, Place
from xmpprelay.trickle.standby import Standby
from xmpprelay.trickle.telling import telling

A, B = "https://a.example", "https://b.example"
ALICE, BOB = 1, 2

Answer = Callable[[Account, Status], Awaitable[Result]]


class Driver:
    """A primary that answers as the test says, else by inserting; it notes what came, and when."""

    def __init__(self) -> None:
        self.came: list[tuple[int, str, float]] = []  # account, text, at
        self.statuses: list[Status] = []
        self.looked: list[Attempt] = []
        self.changed: list[str] = []  # remote ids of what was edited or deleted
        self.uploads = 0
        self.answer: Answer = self.inserts
        self.reach = Reach.UP
        self.upload_gate = asyncio.Event()
        self.max_chars = 500
        self.look: Look = Absent()

    async def inserts(self, account: Account, status: Status) -> Result:
        return Result(Outcome.INSERTED, remote_id=f"{account.site} {status.id}")

    async def probe(self, _account: Account | None = None) -> Probe:
        return Probe(self.reach, Caps("a server", max_chars=self.max_chars, max_media=1))

    async def insert(self, account: Account, status: Status, _key: str) -> Result:
        self.came.append((account.id, status.text, asyncio.get_running_loop().time()))
        self.statuses.append(status)
        return await self.answer(account, status)

    async def upload(self, _account: Account, _file: File) -> Result:
        await self.upload_gate.wait()
        self.uploads += 1
        return Result(Outcome.INSERTED, remote_id="m1")

    async def edit(self, _account: Account, remote_id: str, _status: Status, _key: str) -> Result:
        self.changed.append(remote_id)
        return Result(Outcome.INSERTED, remote_id=remote_id)

    async def delete(self, _account: Account, remote_id: str) -> Result:
        self.changed.append(remote_id)
        return Result(Outcome.INSERTED)

    async def reconcile(self, _account: Account, attempt: Attempt) -> Look:
        self.looked.append(attempt)
        return self.look

    @property
    def texts(self) -> list[str]:
        return [text for _, text, _ in self.came]


class Town:
    """Two primaries, alice and bob at the first of them."""

    def __init__(self) -> None:
        self.disk = Disk(now, 2)
        self.people = People(
            {who: Account(who, A, f"token {who}", remote_id=f"a{who}") for who in (ALICE, BOB)}
        )
        self.drivers = {site: Driver() for site in (A, B)}
        self.told: list[tuple[float, str]] = []  # to an author: when, and the sentence
        self._begins()

    def _begins(self) -> None:
        """The relay's process, with nothing in memory."""
        loop = asyncio.get_running_loop()
        self.places = {
            site: Place(Site(site, None, lambda: 1.0, loop.time()), driver, service=site)  # type: ignore[arg-type]
            for site, driver in self.drivers.items()
        }
        self.engine = Engine(
            self.disk, self.places, self.people, Rules(long="split"),
            now=now, monotonic=loop.time, fetch=self.fetch,
        )  # fmt: skip
        self.engine.news = self._news
        self.standby = Standby(self.disk, self.places, now=now, monotonic=loop.time)
        self.engine.probe, self.engine.changed = self.standby.probe, self.standby.changed
        self.running = [loop.create_task(self.engine.run(each)) for each in self.places.values()]

    def _news(self, head: Head, before: Insertion, row: Insertion) -> None:
        told = telling(head, before, row, self.engine.rules)
        self.told += [(asyncio.get_running_loop().time(), each.sentence) for each in told]

    def heard(self) -> list[str]:
        """What authors were told since the last call."""
        told, self.told = self.told, []
        return [sentence for _, sentence in told]

    async def restarts(self) -> None:
        await self.ends()
        self._begins()
        await self.engine.load()

    async def fetch(self, address: str) -> File:
        return File(address, "image/png", b"")

    async def posts(self, author: int, text: str, **more: Any) -> int:
        row = PostRow(author, text, **{"account": author, **more})
        appended: Appended = await self.disk.write(append_post, row)
        self.engine.queued(appended.queued)
        return appended.post.number

    async def deletes(self, author: int, number: int) -> None:
        await self.edits(author, number, None)

    async def edits(self, author: int, number: int, text: str | None) -> None:
        appended = await self.disk.write(change_post, ChangeRow(author, number, text))
        self.engine.queued(appended.queued)

    async def moves(self, author: int, site: str, remote_id: str = "b") -> None:
        """Somebody links another account."""
        self.people.accounts[author] = Account(author, site, "another", remote_id=remote_id)
        await self.engine.relinked(author)

    async def resends(self, number: int) -> None:
        changes = await self.disk.write(choose, ChooseRow(sent_again, number=number))
        self.engine.chosen(changes)

    def row(self, number: int) -> Insertion:
        [found] = [row for row in self.disk.rows() if row.post == number and row.act is Act.INSERT]
        return found

    @property
    def waiting(self) -> int:
        return sum(place.site.total for place in self.places.values())

    async def ends(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        await self.engine.close()


def lived(story: Callable[[Town], Coroutine[Any, Any, None]]) -> None:
    async def live() -> None:
        town = Town()
        try:
            await story(town)
        finally:
            await town.ends()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live())


class Gate:
    """An answer that does not come before the test lets it."""

    def __init__(self, result: Result) -> None:
        self.opens = asyncio.Event()
        self._result = result

    async def __call__(self, _account: Account, _status: Status) -> Result:
        await self.opens.wait()
        return self._result


DONE = Result(Outcome.INSERTED, remote_id="r1")


def dropped(row: Insertion, at: datetime) -> Insertion | None:
    return ended(row, State.CANCELLED, "dropped", at) if row.due else None


def sent_again(row: Insertion, at: datetime) -> Insertion | None:
    return resent(row, at) if row.state in RESENDABLE else None


def test_what_is_dropped_while_its_picture_is_uploaded_stays_dropped() -> None:
    async def story(town: Town) -> None:
        number = await town.posts(ALICE, "look", attachments=("https://p.example/1.png",))
        await asyncio.sleep(10)
        changes = await town.disk.write(choose, ChooseRow(dropped, number=number))
        town.engine.chosen(changes)
        town.drivers[A].upload_gate.set()
        await town.posts(ALICE, "after it")
        await asyncio.sleep(100)
        assert town.drivers[A].texts == ["after it"]
        assert town.row(number).state is State.CANCELLED
        assert town.waiting == 0

    lived(story)


def test_a_reply_does_not_wait_for_what_was_taken_back() -> None:
    async def story(town: Town) -> None:
        await asyncio.sleep(5)
        site, gate = town.places[A].site, Gate(DONE)
        site.health = replace(site.health, limit=8.0)
        town.drivers[A].answer = gate
        await town.posts(BOB, "hangs")
        parent = await town.posts(BOB, "a question")
        await asyncio.sleep(10)
        town.drivers[A].answer = town.drivers[A].inserts
        reply = await town.posts(ALICE, "an answer", parent=parent)
        await town.posts(ALICE, "something else")
        await asyncio.sleep(10)
        assert town.drivers[A].texts == ["hangs"]
        await town.deletes(BOB, parent)
        await asyncio.sleep(5)
        assert town.drivers[A].texts == ["hangs", "something else"]
        assert (town.row(reply).state, town.row(reply).reason) == (
            State.CANCELLED, PARENT_GONE,
        )  # fmt: skip
        gate.opens.set()
        await asyncio.sleep(5)
        assert town.waiting == 0

    lived(story)


def test_a_reply_to_what_was_refused_says_what_it_answers() -> None:
    async def story(town: Town) -> None:
        async def refuses_bob(account: Account, status: Status) -> Result:
            if account.id == BOB:
                return Result(Outcome.REJECTED, reason="http_422")
            return await town.drivers[A].inserts(account, status)

        town.drivers[A].answer = refuses_bob
        parent = await town.posts(BOB, "a rude question")
        await asyncio.sleep(5)
        town.heard()
        reply = await town.posts(ALICE, "an answer", parent=parent)
        await asyncio.sleep(5)
        [sentence] = town.heard()
        assert sentence.startswith(f"#{reply} was inserted alone, with the address of #{parent}, ")
        assert town.drivers[A].texts[-1] == f"an answer\n\nhttps://relay.test/{parent}"

    lived(story)


def test_who_links_another_account_while_he_has_a_turn_goes_on_there() -> None:
    async def story(town: Town) -> None:
        gate = Gate(Result(Outcome.AUTH, scope=Scope.ACCOUNT, reason="http_401"))
        town.drivers[A].answer = gate
        await town.posts(ALICE, "one")
        await town.posts(ALICE, "two")
        await asyncio.sleep(10)
        town.people.accounts[ALICE] = replace(town.people.accounts[ALICE], site=B)
        await town.engine.relinked(ALICE)
        assert [place.site.total for place in town.places.values()] == [0, 2]
        gate.opens.set()
        await asyncio.sleep(60)
        assert town.drivers[A].texts == ["one"]
        assert town.drivers[B].texts == ["one", "two"]
        assert town.waiting == 0

    lived(story)


def test_what_waits_of_who_unlinks_is_cancelled_even_while_it_is_sent() -> None:
    async def story(town: Town) -> None:
        gate = Gate(Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="busy"))
        town.drivers[A].answer = gate
        first, second = await town.posts(ALICE, "one"), await town.posts(ALICE, "two")
        await asyncio.sleep(10)
        del town.people.accounts[ALICE]
        await town.engine.relinked(ALICE)
        gate.opens.set()
        await asyncio.sleep(600)
        assert town.drivers[A].texts == ["one"]
        for number in (first, second):
            assert (town.row(number).state, town.row(number).due) == (State.CANCELLED, None)
        assert town.waiting == 0

    lived(story)


def test_a_fault_after_the_end_of_a_turn_opens_nothing_again() -> None:
    async def story(town: Town) -> None:
        def fails(*_: object) -> None:
            raise RuntimeError("whoever is told has a fault")

        town.engine.news = fails
        town.drivers[A].answer = Gate(Result(Outcome.REJECTED, reason="http_422"))
        town.drivers[A].answer.opens.set()
        number = await town.posts(ALICE, "rude")
        await asyncio.sleep(600)
        assert town.engine.failures == 1
        assert (town.row(number).state, town.row(number).due) == (State.REFUSED, None)
        assert town.drivers[A].texts == ["rude"]
        assert town.waiting == 0

    lived(story)


def test_a_row_is_settled_before_its_owner_is_told_of_his_credentials() -> None:
    async def story(town: Town) -> None:
        async def cannot(_account: Account) -> None:
            raise StoreError("the disk is full")

        town.people.refused = cannot  # type: ignore[method-assign]
        gate = Gate(Result(Outcome.AUTH, scope=Scope.ACCOUNT, reason="http_401"))
        gate.opens.set()
        town.drivers[A].answer = gate
        number = await town.posts(ALICE, "one")
        await asyncio.sleep(5)
        assert town.row(number).state is State.QUEUED

    lived(story)


def test_an_account_whose_id_is_not_the_credentials_has_its_next_turn() -> None:
    """The operator has one account now, and some posts were queued for their authors."""

    async def story(town: Town) -> None:
        town.people.of = lambda _: Account(0, A, "one for all")  # type: ignore[method-assign]
        await town.posts(ALICE, "one")
        await town.posts(ALICE, "two")
        await asyncio.sleep(60)
        assert town.drivers[A].texts == ["one", "two"]
        assert town.waiting == 0

    lived(story)


def test_one_account_for_all_that_is_refused_puts_the_primary_on_standby() -> None:
    """Nothing else can go on; and whoever runs the relay is to see it."""

    async def story(town: Town) -> None:
        town.people.accounts = {EVERYBODY: Account(EVERYBODY, A, "one for all")}
        away: list[str] = []
        town.standby.announce = lambda situation: away.append(situation.reason)
        await asyncio.sleep(1)  # it is there at first
        driver = town.drivers[A]
        gate = Gate(Result(Outcome.AUTH, scope=Scope.ACCOUNT, reason="http_401"))
        gate.opens.set()
        driver.answer = gate
        driver.reach = Reach.AUTH
        await town.posts(ALICE, "one", account=EVERYBODY)
        await asyncio.sleep(5)
        assert away == ["http_401"]
        driver.answer, driver.reach = driver.inserts, Reach.UP
        await asyncio.sleep(600)
        assert driver.texts[-1] == "one"
        assert town.waiting == 0

    lived(story)


# --- another account, elsewhere or there ---------------------------------------------------------

UNCLEAR = Result(Outcome.UNKNOWN, reason="timeout")
MOVES = [(B, "b"), (A, "another")]
"""To another instance, and to another account of the same."""


@pytest.mark.parametrize(("site", "remote_id"), MOVES)
def test_what_may_be_at_a_former_account_is_held_and_not_looked_for(
    site: str, remote_id: str
) -> None:
    async def story(town: Town) -> None:
        gate = Gate(UNCLEAR)
        gate.opens.set()
        town.drivers[A].answer = gate
        number = await town.posts(ALICE, "one")
        await town.posts(ALICE, "two")
        await asyncio.sleep(10)
        assert town.row(number).state is State.UNKNOWN
        town.drivers[A].answer = town.drivers[A].inserts
        stopped: list[str] = []
        town.engine.news = lambda _head, _before, row: stopped.append(row.reason)
        await town.moves(ALICE, site, remote_id)
        await asyncio.sleep(2 * 86_400)
        assert (town.row(number).state, stopped) == (State.HELD, ["elsewhere"])
        assert town.drivers[A].texts == ["one"]
        assert [driver.looked for driver in town.drivers.values()] == [[], []]
        assert town.waiting == 2
        await town.resends(number)
        await asyncio.sleep(10)
        there = "b" if site == B else "another"
        assert [row.where and row.where.account for row in town.disk.rows()] == [there] * 2
        assert town.drivers[site].texts[-2:] == ["one", "two"]
        assert town.waiting == 0

    lived(story)


@pytest.mark.parametrize(("site", "remote_id"), MOVES)
def test_what_is_at_a_former_account_is_not_changed_any_more(site: str, remote_id: str) -> None:
    async def story(town: Town) -> None:
        first, second = await town.posts(ALICE, "one"), await town.posts(ALICE, "two")
        await asyncio.sleep(10)
        await town.moves(ALICE, site, remote_id)
        stopped: list[tuple[Act, State, str]] = []
        town.engine.news = lambda _head, _before, row: stopped.append(
            (row.act, row.state, row.reason)
        )
        await town.edits(ALICE, first, "uno")
        await town.deletes(ALICE, second)
        await asyncio.sleep(10)
        assert stopped == [
            (Act.EDIT, State.REFUSED, "elsewhere"),
            (Act.DELETE, State.REFUSED, "elsewhere"),
        ]
        await town.moves(ALICE, A, "a1")
        await town.edits(ALICE, first, "un")
        await asyncio.sleep(10)
        assert [driver.changed for driver in town.drivers.values()] == [
            [f"{A} {first}.epoch1"],
            [],
        ], "linked anew, it is hers again"
        assert town.waiting == 0

    lived(story)


def test_an_answer_to_what_is_elsewhere_goes_alone() -> None:
    async def story(town: Town) -> None:
        parent = await town.posts(BOB, "a question")
        await asyncio.sleep(10)
        await town.moves(BOB, B)
        await town.moves(ALICE, B, "c")
        await town.posts(ALICE, "an answer", parent=parent)
        other = await town.posts(BOB, "another question")
        await asyncio.sleep(10)
        await town.posts(ALICE, "a second answer", parent=other)
        await asyncio.sleep(10)
        answers = [each.in_reply_to for each in town.drivers[B].statuses]
        assert answers == [None, None, f"{B} {other}.epoch1"]
        assert town.drivers[B].texts[0] == f"an answer\n\nhttps://relay.test/{parent}"

    lived(story)


def test_a_picture_is_uploaded_where_the_post_goes() -> None:
    async def story(town: Town) -> None:
        gate = Gate(Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="busy", retry_after_s=600))
        gate.opens.set()
        town.drivers[A].answer = gate
        for driver in town.drivers.values():
            driver.upload_gate.set()
        await town.posts(ALICE, "look", attachments=("https://p.example/1.png",))
        await asyncio.sleep(10)
        await town.moves(ALICE, B)
        await asyncio.sleep(700)
        assert [driver.uploads for driver in town.drivers.values()] == [1, 1]
        assert town.drivers[B].texts == ["look"]
        assert town.waiting == 0

    lived(story)


def test_a_picture_that_is_uploaded_while_its_author_moves_is_uploaded_again() -> None:
    async def story(town: Town) -> None:
        await town.posts(ALICE, "look", attachments=("https://p.example/1.png",))
        await asyncio.sleep(10)
        await town.moves(ALICE, B)
        for driver in town.drivers.values():
            driver.upload_gate.set()
        await asyncio.sleep(10)
        assert [driver.uploads for driver in town.drivers.values()] == [1, 1]
        assert [driver.texts for driver in town.drivers.values()] == [[], ["look"]]

    lived(story)


@pytest.mark.parametrize(("max_chars", "parts"), [(500, 3), (700, 2), (5000, 1)])
def test_a_split_post_that_was_not_begun_is_split_anew(max_chars: int, parts: int) -> None:
    async def story(town: Town) -> None:
        gate = Gate(Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="busy", retry_after_s=60))
        gate.opens.set()
        town.drivers[A].answer, town.drivers[B].max_chars = gate, max_chars
        number = await town.posts(ALICE, " ".join(f"word{n}" for n in range(160)))
        await town.posts(ALICE, "after it")
        await asyncio.sleep(10)
        assert town.waiting == 4
        await town.moves(ALICE, B)
        await asyncio.sleep(100)
        assert len(town.drivers[B].came) == parts + 1
        assert len([row for row in town.disk.rows() if row.post == number]) == parts
        words = " ".join(town.drivers[B].texts).replace("…", "").split()
        assert [word for word in words if word.startswith("word")] == [
            f"word{n}" for n in range(160)
        ]
        assert town.waiting == 0

    lived(story)


def test_of_a_split_post_that_was_begun_the_rest_is_parked() -> None:
    async def story(town: Town) -> None:
        async def first_only(account: Account, status: Status) -> Result:
            if town.drivers[A].came[1:]:
                return Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="busy", retry_after_s=60)
            return await town.drivers[A].inserts(account, status)

        town.drivers[A].answer = first_only
        number = await town.posts(ALICE, " ".join(f"word{n}" for n in range(160)))
        await town.posts(ALICE, "after it")
        await asyncio.sleep(10)
        await town.moves(ALICE, B)
        await asyncio.sleep(100)
        assert [(row.state, row.reason) for row in town.disk.rows() if row.post == number] == [
            (State.INSERTED, ""),
            (State.PARKED, "elsewhere"),
            (State.PARKED, "elsewhere"),
        ]
        assert town.drivers[B].texts == ["after it"]
        assert town.waiting == 0

    lived(story)


# --- what authors are told -----------------------------------------------------------------------


async def waits_for_bob(town: Town) -> tuple[int, int]:
    """Bob has posted, and it does not come through; alice answers. The numbers of both posts."""
    gate = Gate(Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="busy", retry_after_s=2000))
    gate.opens.set()
    town.drivers[A].answer = gate
    parent = await town.posts(BOB, "a question")
    await asyncio.sleep(5)
    return parent, await town.posts(ALICE, "an answer", parent=parent)


def test_who_waits_for_what_he_answers_is_told_once_when_it_takes_long() -> None:
    async def story(town: Town) -> None:
        parent, reply = await waits_for_bob(town)
        await asyncio.sleep(119)
        assert town.heard() == []
        await asyncio.sleep(2)
        [sentence] = town.heard()
        assert sentence.startswith(f"#{reply} waits until #{parent}, which it answers, is inserted")
        await asyncio.sleep(600)
        await town.restarts()
        await asyncio.sleep(600)
        assert town.heard() == [], "not again, and not over a restart"
        town.drivers[A].answer = town.drivers[A].inserts
        await asyncio.sleep(1500)
        assert town.drivers[A].texts[-2:] == ["a question", "an answer"]
        assert (town.heard(), town.waiting) == ([], 0)

    lived(story)


def test_a_standby_does_not_count_for_who_waits_for_what_he_answers() -> None:
    async def story(town: Town) -> None:
        parent, _reply = await waits_for_bob(town)
        await asyncio.sleep(300)
        await town.standby.flag(A, Flag.ON)
        await asyncio.sleep(2 * 3600)
        await town.standby.flag(A, Flag.AUTO)
        await asyncio.sleep(1000)  # bob's is asked to wait once more
        assert town.drivers[A].texts[1:] == ["a question"]
        town.drivers[A].answer = town.drivers[A].inserts
        await asyncio.sleep(1500)
        assert town.drivers[A].texts[2:] == ["a question", "an answer"]
        assert town.drivers[A].statuses[-1].in_reply_to == town.row(parent).remote_id

    lived(story)


def test_who_waits_behind_his_parent_in_the_same_backlog_is_told_nothing() -> None:
    async def story(town: Town) -> None:
        await asyncio.sleep(5)
        gate = Gate(Result(Outcome.UNKNOWN, reason="http_502"))
        gate.opens.set()
        town.drivers[A].answer = gate
        parent = await town.posts(BOB, "a question")
        await asyncio.sleep(5)
        town.drivers[A].answer = town.drivers[A].inserts
        await town.posts(ALICE, "an answer", parent=parent)
        await asyncio.sleep(115)
        assert town.drivers[A].texts == ["a question", "a question", "an answer"]
        assert town.heard() == [], "that it is looked for takes a minute, and is no news"

    lived(story)


def test_whose_answer_has_gone_alone_is_told_when_it_is_found() -> None:
    async def story(town: Town) -> None:
        async def refuses_bob(account: Account, status: Status) -> Result:
            if account.id == BOB:
                return Result(Outcome.REJECTED, reason="http_422")
            return Result(Outcome.UNKNOWN, reason="http_502")

        town.drivers[A].answer = refuses_bob
        parent = await town.posts(BOB, "a rude question")
        await asyncio.sleep(5)
        reply = await town.posts(ALICE, "an answer", parent=parent)
        await asyncio.sleep(5)
        assert [sentence[:31] for sentence in town.heard()] == ["The service behind this relay d"]
        town.drivers[A].look = Found((Candidate("r9"),))
        await asyncio.sleep(60)
        [sentence] = town.heard()
        assert town.row(reply).remote_id == "r9"
        assert sentence.startswith(f"#{reply} was inserted alone, with the address of #{parent}, ")

    lived(story)


def test_whose_answer_is_lost_with_what_it_answers_is_told() -> None:
    async def story(town: Town) -> None:
        parent, reply = await waits_for_bob(town)
        await asyncio.sleep(5)
        town.engine.chosen(await town.disk.write(choose, ChooseRow(dropped, number=parent)))
        await asyncio.sleep(5)
        [sentence] = town.heard()
        assert sentence.startswith(f"#{reply} is not inserted, since #{parent}, which it answers,")

    lived(story)


def test_whose_post_names_others_is_told_and_the_post_keeps_it() -> None:
    async def story(town: Town) -> None:
        gate = Gate(replace(DONE, reason=MENTIONS_OTHERS, detail="It mentions eve there."))
        gate.opens.set()
        town.drivers[A].answer = gate
        with capture_logs() as logs:
            number = await town.posts(ALICE, "@eve")
            await asyncio.sleep(5)
        assert [each["post"] for each in logs if each["event"] == "trickle.mentions_others"] == [
            str(number)
        ]
        assert "mentions eve" not in str(logs)
        [sentence] = town.heard()
        assert (
            f"#{number} is inserted, but names others than you meant. It mentions eve" in sentence
        )
        assert (town.row(number).state, town.row(number).reason) == (
            State.INSERTED, MENTIONS_OTHERS,
        )  # fmt: skip

    lived(story)


# --- an instance that the operator has taken out -------------------------------------------------

GONE = "https://gone.example"


async def is_taken_out(town: Town) -> list[int]:
    """Alice's instance is not served any more after a start; her posts that wait."""
    town.drivers[A].reach = Reach.DOWN
    numbers = [await town.posts(ALICE, text) for text in ("one", "two")]
    town.people.accounts[ALICE] = replace(town.people.accounts[ALICE], site=GONE)
    await town.restarts()
    town.drivers[A].reach = Reach.UP
    return numbers


def test_a_start_cancels_nothing_of_whose_instance_is_taken_out() -> None:
    async def story(town: Town) -> None:
        numbers = await is_taken_out(town)
        await town.posts(ALICE, "three")
        await town.posts(BOB, "from bob")
        await asyncio.sleep(600)
        assert [town.row(number).state for number in numbers] == [State.QUEUED] * 2
        assert (town.drivers[A].texts, town.waiting) == (["from bob"], 0)
        town.people.accounts[ALICE] = replace(town.people.accounts[ALICE], site=B)
        await town.engine.relinked(ALICE)
        assert town.places[B].site.total == 3
        await asyncio.sleep(60)
        assert town.drivers[B].texts == ["one", "two", "three"]
        assert town.waiting == 0

    lived(story)


def test_what_waits_for_an_instance_that_is_taken_out_is_parked_when_it_is_too_old() -> None:
    async def story(town: Town) -> None:
        numbers = await is_taken_out(town)
        assert await town.engine.park_old() == []
        await asyncio.sleep(town.engine.rules.max_age.total_seconds() - 60)
        young = await town.posts(ALICE, "three")
        assert await town.engine.park_old() == []
        await asyncio.sleep(120)
        assert [row.post for row in await town.engine.park_old()] == numbers
        assert [town.row(each).state for each in (*numbers, young)] == [
            State.PARKED, State.PARKED, State.QUEUED,
        ]  # fmt: skip
        del town.people.accounts[ALICE]
        await town.engine.relinked(ALICE)
        assert town.row(young).state is State.CANCELLED, "it ends when she unlinks"

    lived(story)


def test_what_waits_for_a_login_that_does_not_hold_is_parked_when_it_is_too_old() -> None:
    async def story(town: Town) -> None:
        town.people.of = lambda _: None  # type: ignore[method-assign]
        number = await town.posts(ALICE, "one")
        await asyncio.sleep(town.engine.rules.max_age.total_seconds() + 60)
        assert [row.post for row in await town.engine.park_old()] == [number]
        assert town.waiting == 0

    lived(story)


def test_a_start_ends_what_an_unlink_has_not() -> None:
    async def story(town: Town) -> None:
        [number, _] = await is_taken_out(town)
        del town.people.accounts[ALICE]
        await town.restarts()
        assert (town.row(number).state, town.row(number).reason) == (State.CANCELLED, "unlinked")

    lived(story)
