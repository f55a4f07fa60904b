"""What every driver has to do for the trickle, as suites.

A driver passes by subclasses in a test file, each with a fixture `bench` that gives a `Bench`: the
driver, something that it can be tried on, and how to break that. `PrimarySuite` is for all of
them. `UnclearSuite` is for those whose requests can be lost on the way. `status_suite.py` has what
is to be true of Mastodon's API besides.

Nothing here waits: a bench has short time-outs, and a clock of its own where time has to pass.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import count
from typing import Any, Protocol

import pytest

from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    Caps,
    Dedupe,
    Found,
    Look,
    LookFailed,
    Outcome,
    Reach,
    Result,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.primary.base import Primary

DONE = (Outcome.INSERTED, Outcome.DUPLICATE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is stored at the service of a post; None: it has no place for that."""

    text: str
    visibility: str | None = None
    parent: str | None = None  # remote id of what it answers; empty: it answers nothing
    language: str | None = None  # empty: none is known
    author: str | None = None  # bare JID
    published: datetime | None = None


class Break(StrEnum):
    """How the way to the service breaks."""

    REFUSED = "refused"  # until it is mended, no byte can leave
    LOST = "lost"  # the next request is lost, and so nothing is done
    UNHEARD = "unheard"  # the next request is done, and the answer is lost


class Bench(Protocol):
    """A driver, and what it is tried on. The test file makes it, and takes it down."""

    primary: Primary
    account: Account
    caps: Caps  # what a probe is to find; of rates, whether there is one
    secret: str  # what must never be shown: a token, a password, a key

    def utc(self) -> datetime:
        """What the driver takes for the time."""

    async def stored(self) -> list[Seen]:
        """What is there now, without what was deleted, in the order in which it came."""

    async def break_way(self, how: Break) -> None:
        """Break the way to the service."""

    async def mend(self) -> None:
        """Everything works again."""


_serial = count(1)


def status(bench: Bench, text: str, **fields: Any) -> Status:
    """A post of alice's, as the engine hands it over."""
    serial = next(_serial)
    return Status(
        id=f"{serial}.ab12cd",
        atom_id=f"tag:relay.example,2026:{serial}.ab12cd",
        author="alice@example.org",
        handle="alice",
        text=text,
        published=bench.utc(),
        **fields,
    )


def attempt(bench: Bench, sent: Status, high_water: str | None = None) -> Attempt:
    """That a status was sent a moment ago, for the first time."""
    return Attempt(sent, bench.utc(), bench.utc(), high_water)


async def insert(bench: Bench, text: str, **fields: Any) -> tuple[Status, Result]:
    """Insert something new with a key of its own; it has to succeed."""
    new = status(bench, text, **fields)
    result = await bench.primary.insert(bench.account, new, f"key of {new.id}")
    assert result.outcome is Outcome.INSERTED, result
    assert result.remote_id
    return new, result


async def texts(bench: Bench) -> list[str]:
    """The texts that are stored, oldest first."""
    return [each.text for each in await bench.stored()]


def ids(look: Look) -> list[str]:
    """The remote ids that a look has found."""
    assert isinstance(look, Found), look
    return [each.remote_id for each in look.candidates]


def replace_rate(found: object, expected: object) -> object:
    """The expected rate, if there is one where one is expected: its figures are the driver's."""
    return expected if (found is None) == (expected is None) else found


class PrimarySuite:
    """For every driver."""

    # --- Probing ---------------------------------------------------------------------------------

    async def test_a_probe_finds_it_there_and_says_what_it_can(self, bench: Bench) -> None:
        for account in (None, bench.account):
            probe = await bench.primary.probe(account)
            assert probe.reach is Reach.UP, probe
            assert probe.caps is not None
            rates = {
                name: replace_rate(getattr(probe.caps, name), getattr(bench.caps, name))
                for name in ("account_rate", "site_rate")
            }
            assert replace(probe.caps, **rates) == bench.caps
        assert await bench.stored() == []

    async def test_a_probe_finds_it_away_and_there_again(self, bench: Bench) -> None:
        await bench.break_way(Break.REFUSED)
        probe = await bench.primary.probe()
        assert (probe.reach, bool(probe.reason), bool(probe.detail)) == (Reach.DOWN, True, True)
        await bench.mend()
        assert (await bench.primary.probe()).reach is Reach.UP

    # --- Inserting -------------------------------------------------------------------------------

    async def test_a_post_is_stored_once_as_it_is(self, bench: Bench) -> None:
        text = "Tea & <biscuits> — “now”,\nsays alice 🍵 https://example.org/a?b=c&d=e"
        new, result = await insert(bench, text, language="en", visibility=Visibility.UNLISTED)
        [seen] = await bench.stored()
        assert seen.text == text
        assert seen.visibility in (None, "unlisted")
        assert seen.language in (None, "en")
        assert seen.parent in (None, "")
        assert seen.author in (None, "alice@example.org")
        assert seen.published in (None, new.published)
        assert result.detail == "" or len(result.detail) <= 200

    async def test_every_post_has_an_id_of_its_own_and_the_order_is_kept(
        self, bench: Bench
    ) -> None:
        made = [(await insert(bench, f"post {n}"))[1].remote_id for n in range(5)]
        assert len(set(made)) == 5
        assert await texts(bench) == [f"post {n}" for n in range(5)]

    async def test_equal_texts_are_different_posts(self, bench: Bench) -> None:
        for _ in range(3):
            await insert(bench, "ok")
        assert await texts(bench) == ["ok", "ok", "ok"]

    async def test_a_reply_has_its_parent(self, bench: Bench) -> None:
        _, parent = await insert(bench, "who wants tea?")
        await insert(bench, "I do", in_reply_to=parent.remote_id)
        assert (await bench.stored())[1].parent in (None, parent.remote_id)

    async def test_the_same_with_the_same_key_is_one_where_the_service_sees_to_that(
        self, bench: Bench
    ) -> None:
        new = status(bench, "once")
        first, second = [await bench.primary.insert(bench.account, new, "key") for _ in range(2)]
        assert first.outcome is Outcome.INSERTED
        assert second.outcome in DONE
        times = 2 if bench.caps.dedupe is Dedupe.NONE else 1
        assert await texts(bench) == ["once"] * times
        assert (first.remote_id == second.remote_id) == (times == 1)

    async def test_where_nobody_listens_nothing_is_sent(self, bench: Bench) -> None:
        await bench.break_way(Break.REFUSED)
        new = status(bench, "hello?")
        for _ in range(2):
            result = await bench.primary.insert(bench.account, new, "key")
            assert (result.outcome, result.scope) == (Outcome.RETRY, Scope.DRIVER), result
            assert result.reason
            assert result.detail
        await bench.mend()
        assert await bench.stored() == []
        assert (await bench.primary.insert(bench.account, new, "key")).outcome in DONE
        assert await texts(bench) == ["hello?"]

    # --- Changing --------------------------------------------------------------------------------

    async def test_an_edit_changes_the_text_and_nothing_else(self, bench: Bench) -> None:
        await insert(bench, "before")
        new, made = await insert(bench, "a tpyo")
        assert made.remote_id
        await insert(bench, "after")
        edited = replace(new, text="a typo", updated=bench.utc())
        for _ in range(2):
            result = await bench.primary.edit(bench.account, made.remote_id, edited, "edit")
            assert result.outcome in DONE, result
        assert await texts(bench) == ["before", "a typo", "after"]

    async def test_what_is_deleted_is_gone_and_may_be_deleted_again(self, bench: Bench) -> None:
        _, made = await insert(bench, "regretted")
        await insert(bench, "kept")
        assert made.remote_id
        for _ in range(2):
            result = await bench.primary.delete(bench.account, made.remote_id)
            assert result.outcome in DONE, result
            assert await texts(bench) == ["kept"]

    # --- Looking ---------------------------------------------------------------------------------

    async def test_a_look_finds_what_is_there_and_nothing_else(self, bench: Bench) -> None:
        sent = status(bench, "is it there?")
        asked = attempt(bench, sent)
        assert await bench.primary.reconcile(bench.account, asked) == Absent()
        await insert(bench, "another")
        assert await bench.primary.reconcile(bench.account, asked) == Absent()
        made = await bench.primary.insert(bench.account, sent, "key")
        assert ids(await bench.primary.reconcile(bench.account, asked)) == [made.remote_id]

    async def test_a_look_that_fails_says_so(self, bench: Bench) -> None:
        asked = attempt(bench, status(bench, "is it there?"))
        await bench.break_way(Break.REFUSED)
        look = await bench.primary.reconcile(bench.account, asked)
        assert isinstance(look, LookFailed)
        assert (look.result.outcome, look.result.scope) == (Outcome.RETRY, Scope.DRIVER)

    # --- Secrets, and the end --------------------------------------------------------------------

    async def test_no_secret_is_shown(self, bench: Bench) -> None:
        shown: list[object] = [bench.primary, bench.account, await bench.primary.probe()]
        shown.append((await insert(bench, "no secrets"))[1])
        await bench.break_way(Break.REFUSED)
        shown.append(await bench.primary.insert(bench.account, status(bench, "lost"), "key"))
        shown.append(await bench.primary.probe(bench.account))
        assert bench.secret
        for each in shown:
            assert bench.secret not in repr(each)
            assert bench.secret not in str(each)

    async def test_it_can_be_closed_before_it_was_used_and_twice(self, bench: Bench) -> None:
        await bench.primary.aclose()
        await bench.primary.aclose()


class UnclearSuite(PrimarySuite):
    """For drivers whose requests, or the answers to them, can be lost."""

    @pytest.mark.parametrize("how", [Break.LOST, Break.UNHEARD])
    async def test_a_look_tells_what_became_of_an_unclear_insert(
        self, bench: Bench, how: Break
    ) -> None:
        await bench.primary.probe()
        await insert(bench, "before")
        new = status(bench, "unclear")
        asked = attempt(bench, new)
        await bench.break_way(how)
        result = await bench.primary.insert(bench.account, new, "key")
        assert result.outcome is Outcome.UNKNOWN, result
        assert result.reason
        await bench.mend()
        look = await bench.primary.reconcile(bench.account, asked)
        if how is Break.UNHEARD:
            assert len(ids(look)) == 1
        else:
            assert look == Absent()
            assert (await bench.primary.insert(bench.account, new, "key")).outcome in DONE
        assert await texts(bench) == ["before", "unclear"]

    @pytest.mark.parametrize("how", [Break.LOST, Break.UNHEARD])
    async def test_an_unclear_change_is_made_again(self, bench: Bench, how: Break) -> None:
        new, made = await insert(bench, "a tpyo")
        assert made.remote_id
        edited = replace(new, text="a typo", updated=bench.utc())
        await bench.break_way(how)
        result = await bench.primary.edit(bench.account, made.remote_id, edited, "edit")
        assert result.outcome is Outcome.UNKNOWN, result
        await bench.mend()
        result = await bench.primary.edit(bench.account, made.remote_id, edited, "edit")
        assert result.outcome in DONE
        assert await texts(bench) == ["a typo"]
        await bench.break_way(how)
        result = await bench.primary.delete(bench.account, made.remote_id)
        assert result.outcome is Outcome.UNKNOWN, result
        await bench.mend()
        assert (await bench.primary.delete(bench.account, made.remote_id)).outcome in DONE
        assert await bench.stored() == []
